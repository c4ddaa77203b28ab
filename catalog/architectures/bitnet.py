"""BitNet b1.58: Llama's layers with a norm more before the last projection of attention and of the MLP."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm, pre_norms
from catalog.reading import Fields

ARCHITECTURES = ("BitNetForCausalLM",)
MODEL_TYPES = ("bitnet",)


def read(config: Fields) -> Shape:
    """The weights that it was trained with, in 16 bit; what is packed to two bits is another format."""
    config = config.assuming(num_key_value_heads=5)  # transformers 5.19 BitNetConfig
    hidden, mixer, inner = config.size("hidden_size"), read_attention(config), config.size("intermediate_size")
    biased = config.flag("attention_bias", default=False)
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        norm("self_attn.attn_sub_norm", hidden, part="attention"),
        *gated_mlp(hidden, inner),
        norm("mlp.ffn_sub_norm", inner, part="mlp"),
        *pre_norms(hidden),
    )
    return language_model(config, "BitNet", [Layer((mixer,), matrices)] * config.layers())
