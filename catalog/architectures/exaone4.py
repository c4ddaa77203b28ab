"""EXAONE 4: norms after each half, normalized queries and keys per head, full attention in every fourth layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm
from catalog.reading import Fields, windows

ARCHITECTURES = ("Exaone4ForCausalLM",)
MODEL_TYPES = ("exaone4",)


def read(config: Fields) -> Shape:
    """The 1.2B has full attention only; the 32B states its layer_types."""
    hidden = config.size("hidden_size")
    layers = []
    for window in windows(config, config.layers()):
        mixer = read_attention(config, window)
        matrices = (
            *attention(hidden, mixer, qk_norm=(mixer.head_dim, mixer.head_dim)),
            *gated_mlp(hidden, config.size("intermediate_size")),
            norm("post_attention_layernorm", hidden),
            norm("post_feedforward_layernorm", hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return language_model(config, "EXAONE 4", layers)
