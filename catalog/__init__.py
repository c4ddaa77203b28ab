"""What models are.

In reading order:

    model                         the nouns: ModelSpec, its layers, their matrices and mixers
    sizes, quantization           pure arithmetic on them: parameters; bytes per weight in each format
    blocks, mixers, towers, audio_towers, primes
                                  what most families are built of, as matrices
    architectures, usual_decoder  one family, one file: config.json -> layers; the shape that most families have
    reading, storage, read        checked access to a config; how weights are stored; both together -> ModelSpec
    inner                         configs inside a config: the language model of a model that also sees
    find                          a name, a folder or a repository -> ModelSpec: bundled first
    hub, huggingface, snapshot, hub_cache, hub_model
                                  a repository of the Hub: asked, remembered, understood
    safetensors, gguf, gguf_model, mistral_params, model_card, adapter
                                  files in it that tell a model's shape
    records, bundle, errors       models as JSON; how the bundled ones are written; what can be wrong
"""
