"""OLMo 1: Llama's layers with norms that have no weights."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model
from catalog.reading import Fields

ARCHITECTURES = ("OlmoForCausalLM",)
MODEL_TYPES = ("olmo",)


def read(config: Fields) -> Shape:
    """Attention and MLP; nothing else is learned."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    biased = config.flag("attention_bias", default=False)
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        *gated_mlp(hidden, config.size("intermediate_size")),
    )
    shape = language_model(config, "OLMo", [Layer((mixer,), matrices)] * config.layers())
    return replace(shape, outside=shape.outside[:-1])
