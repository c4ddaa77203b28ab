"""Granite 4: Mamba-2 in most layers, attention in some, and a shared MLP beside experts (or alone) in all."""

from __future__ import annotations

from catalog.architectures.granite_moe import experts_and_shared_mlp
from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, outside, pre_norms
from catalog.mixers import Mamba2, mamba2
from catalog.reading import Fields, max_context

ARCHITECTURES = ("GraniteMoeHybridForCausalLM",)
MODEL_TYPES = ("granitemoehybrid",)

_KINDS = {"mamba": "mamba", "linear_attention": "mamba", "attention": "attention", "full_attention": "attention"}


def read(config: Fields) -> Shape:
    """Mamba or attention by layer_types."""
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", default=False)
    kinds = config.words("layer_types" if "layer_types" in config else "layers_block_type", length=count)
    config.require(set(kinds) <= set(_KINDS), "layer_types", f"a list of {', '.join(_KINDS)}")
    feed_forward = experts_and_shared_mlp(config, hidden, config.size("shared_intermediate_size"))
    rest = (*feed_forward, *pre_norms(hidden))
    by_kind = {"mamba": read_mamba(config, hidden), "attention": attention_layer(config, hidden)}
    mixers = [by_kind[_KINDS[kind]] for kind in kinds]
    return Shape(
        family="Granite 4",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=[Layer(mixer.mixers, (*mixer.matrices, *rest)) for mixer in mixers],
        outside=outside(vocabulary, hidden, tied=tied),
    )


def attention_layer(config: Fields, hidden: int) -> Layer:
    """Llama's attention."""
    mixer, bias = read_attention(config), config.flag("attention_bias", default=False)
    return Layer((mixer,), attention(hidden, mixer, qkv_bias=bias, output_bias=bias))


def read_mamba(config: Fields, hidden: int) -> Layer:
    """Mamba-2 with the sizes that Granite 4 and Bamba state alike."""
    heads = config.size("mamba_n_heads", default=128, largest=2**16)
    width = hidden * config.size("mamba_expand", default=2, largest=64)
    config.require(width % heads == 0, "mamba_n_heads", f"a divisor of mamba_expand * hidden_size = {width}")
    shape = Mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=width // heads,
        state_dim=config.size("mamba_d_state", default=256),
        groups=config.size("mamba_n_groups", default=1, largest=2**16),
        kernel=config.size("mamba_d_conv", default=4, largest=64),
        projection_bias=config.flag("mamba_proj_bias", default=False),
        convolution_bias=config.flag("mamba_conv_bias", default=True),
    )
    return Layer((shape.state,), mamba2(shape, name="mamba"))
