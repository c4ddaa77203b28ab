"""Nemotron-4 and Minitron: LayerNorms with shift, a plain MLP of squared ReLU, rotary positions on half a head."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, norm, plain_mlp, pre_norms
from catalog.reading import Fields

ARCHITECTURES = ("NemotronForCausalLM",)
MODEL_TYPES = ("nemotron",)


def read(config: Fields) -> Shape:
    """Biases only where the config asks for them."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    biased = config.flag("attention_bias", default=False)
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        *plain_mlp(hidden, config.size("intermediate_size"), bias=config.flag("mlp_bias", default=False)),
        *pre_norms(hidden, bias=True),
    )
    shape = language_model(config, "Nemotron", [Layer((mixer,), matrices)] * config.layers())
    return replace(shape, outside=(*shape.outside[:-1], norm("model.norm", hidden, bias=True)))
