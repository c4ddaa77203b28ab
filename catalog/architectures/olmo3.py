"""OLMo 2 and 3: norms after each half, queries and keys normalized over all heads, sliding windows in OLMo 3."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, norm, outside
from catalog.reading import Fields, max_context, windows

ARCHITECTURES = ("Olmo3ForCausalLM", "Olmo2ForCausalLM")
MODEL_TYPES = ("olmo3", "olmo2")


def read(config: Fields) -> Shape:
    """OLMo 3 slides in three layers of four; OLMo 2 has no windows."""
    hidden, vocabulary = config.size("hidden_size"), config.size("vocab_size")
    tied = config.flag("tie_word_embeddings", default=False)
    count = config.layers()
    slides = [(i + 1) % 4 != 0 for i in range(count)] if config.get("model_type") == "olmo3" else []
    layers = []
    for window in windows(config, count, slides):
        mixer = read_attention(config, window)
        norms = (mixer.query_heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim)
        biased = config.flag("attention_bias", default=False)
        matrices = (
            *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=norms),
            *gated_mlp(hidden, config.size("intermediate_size")),
            norm("post_attention_layernorm", hidden),
            norm("post_feedforward_layernorm", hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return Shape(
        family="OLMo",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
    )
