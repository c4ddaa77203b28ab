"""Persimmon and Fuyu's language model: biases and LayerNorms everywhere, normalized queries and keys, a plain MLP."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, norm, plain_mlp, pre_norms
from catalog.reading import Fields

ARCHITECTURES = ("PersimmonForCausalLM",)
MODEL_TYPES = ("persimmon",)


def read(config: Fields) -> Shape:
    """Only the LM head has no bias."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    names = ("q_layernorm", "k_layernorm") if config.flag("qk_layernorm", default=True) else ()
    matrices = (
        *attention(hidden, mixer, qkv_bias=True, output_bias=True),
        *(norm(f"self_attn.{name}", mixer.head_dim, part="attention", bias=True) for name in names),
        *plain_mlp(hidden, config.size("intermediate_size"), bias=True),
        *pre_norms(hidden, bias=True),
    )
    shape = language_model(config, "Persimmon", [Layer((mixer,), matrices)] * config.layers())
    return replace(shape, outside=(*shape.outside[:-1], norm("model.final_layernorm", hidden, bias=True)))
