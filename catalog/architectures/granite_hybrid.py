"""Granite 4: Mamba-2 in most layers, attention in some, and a shared MLP beside experts (or alone) in all."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, linear, outside, pre_norms, routed_experts, router
from catalog.mixers import Mamba2, mamba2
from catalog.model import Matrix, Part
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
    rest = (*_feed_forward(config, hidden), *pre_norms(hidden))
    by_kind = {"mamba": _mamba(config, hidden), "attention": _attention(config, hidden)}
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


def _attention(config: Fields, hidden: int) -> Layer:
    mixer, bias = read_attention(config), config.flag("attention_bias", default=False)
    return Layer((mixer,), attention(hidden, mixer, qkv_bias=bias, output_bias=bias))


def _mamba(config: Fields, hidden: int) -> Layer:
    heads = config.size("mamba_n_heads", largest=2**16)
    width = hidden * config.size("mamba_expand", default=2, largest=64)
    config.require(width % heads == 0, "mamba_n_heads", f"a divisor of mamba_expand * hidden_size = {width}")
    shape = Mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=width // heads,
        state_dim=config.size("mamba_d_state"),
        groups=config.size("mamba_n_groups", largest=2**16),
        kernel=config.size("mamba_d_conv", largest=64),
        projection_bias=config.flag("mamba_proj_bias", default=False),
        convolution_bias=config.flag("mamba_conv_bias", default=True),
    )
    return Layer((shape.state,), mamba2(shape, name="mamba"))


def _feed_forward(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Experts, if there are any, and an MLP that every token passes; gate and up are one matrix."""
    shared, experts = config.size("shared_intermediate_size"), config.optional_size("num_local_experts", largest=2**16)
    part: Part = "mlp" if experts is None else "shared_experts"
    always = (
        linear("shared_mlp.input_linear", part, 2 * shared, hidden, "column"),
        linear("shared_mlp.output_linear", part, hidden, shared, "row"),
    )
    if experts is None:
        return always
    top_k = config.size("num_experts_per_tok", largest=experts)
    width, name = config.size("intermediate_size"), "block_sparse_moe"
    return (
        router(hidden, experts, name=f"{name}.router.layer"),
        *routed_experts(hidden, width, experts, top_k, name=f"{name}.experts"),
        *always,
    )
