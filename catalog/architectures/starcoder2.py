"""StarCoder 2: grouped KV heads, LayerNorms and biases everywhere but in the LM head, a plain MLP, a window."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, plain_mlp, pre_norms
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("Starcoder2ForCausalLM",)
MODEL_TYPES = ("starcoder2",)


def read(config: Fields) -> Shape:
    """The 3B and 7B tie their LM head, as transformers does where nothing is said; the 15B does not."""
    hidden, biased = config.size("hidden_size"), config.flag("use_bias", default=True)
    mixer = read_attention(config, window=config.optional_size("sliding_window", largest=LARGEST_CONTEXT))
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        *plain_mlp(hidden, config.size("intermediate_size"), bias=biased),
        *pre_norms(hidden, bias=True),
    )
    tied = config.flag("tie_word_embeddings", default=True)
    layers = [Layer((mixer,), matrices)] * config.layers()
    return language_model(config, "StarCoder 2", layers, tied=tied, shifted=True)
