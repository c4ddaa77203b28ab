"""Phi-1, 1.5 and 2: attention and a plain MLP side by side behind one LayerNorm, biases everywhere."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, norm, plain_mlp
from catalog.reading import Fields

ARCHITECTURES = ("PhiForCausalLM",)
MODEL_TYPES = ("phi",)


def read(config: Fields) -> Shape:
    """The LM head has a bias, too."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    matrices = (
        *attention(hidden, mixer, qkv_bias=True, output_bias=True),
        *plain_mlp(hidden, config.size("intermediate_size"), bias=True),
        norm("input_layernorm", hidden, bias=True),
    )
    shape = language_model(config, "Phi", [Layer((mixer,), matrices)] * config.layers(), tied=False)
    return replace(shape, outside=tuple(replace(matrix, bias=matrix.part != "embedding") for matrix in shape.outside))
