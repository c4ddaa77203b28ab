"""OLMo 2 and 3: norms after each half, queries and keys normalized over all heads, sliding windows in OLMo 3."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm
from catalog.reading import Fields, windows

ARCHITECTURES = ("Olmo3ForCausalLM", "Olmo2ForCausalLM")
MODEL_TYPES = ("olmo3", "olmo2")


def read(config: Fields) -> Shape:
    """OLMo 3 slides in three layers of four; OLMo 2 has no windows."""
    hidden = config.size("hidden_size")
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
    return language_model(config, "OLMo", layers)
