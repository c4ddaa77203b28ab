"""LFM2, dense and mixture of experts: short gated convolutions, and attention in some layers."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    embedding_and_head,
    gated_mlp,
    linear,
    norm,
    routed_experts,
    router,
    table,
)
from catalog.model import Matrix, RecurrentState, StateArray
from catalog.reading import Fields, max_context

ARCHITECTURES = ("Lfm2ForCausalLM", "Lfm2MoeForCausalLM")
MODEL_TYPES = ("lfm2", "lfm2_moe")

_NAMES = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2", "o_proj": "out_proj"}


def read(config: Fields) -> Shape:
    """Convolution or attention by layer; the first layers of the mixture of experts are dense."""
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", "tie_embedding", default=True)
    by_kind = {"conv": _convolution(config, hidden), "full_attention": _attention(config, hidden)}
    has_experts = "num_experts" in config
    dense = config.count("num_dense_layers", default=2, largest=1024) if has_experts else count
    norms = (norm("operator_norm", hidden), norm("ffn_norm", hidden))
    layers = []
    for i, kind in enumerate(_layer_kinds(config, count)):
        feed_forward = _dense(config, hidden, has_experts) if i < dense else _mixture(config, hidden)
        layers.append(Layer(by_kind[kind].mixers, (*by_kind[kind].matrices, *feed_forward, *norms)))
    return Shape(
        family="LFM2",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=(*embedding_and_head(vocabulary, hidden, tied=tied), norm("model.embedding_norm", hidden)),
    )


def _layer_kinds(config: Fields, count: int) -> list[str]:
    """The kind of each layer: listed, or by the indices of those with attention, which by default all have."""
    if "layer_types" in config:
        kinds = config.words("layer_types", length=count)
        config.require(set(kinds) <= {"conv", "full_attention"}, "layer_types", "a list of conv and full_attention")
        return list(kinds)
    if "full_attn_idxs" not in config:
        return ["full_attention"] * count
    attends = set(config.sizes("full_attn_idxs", least=0))
    return ["full_attention" if i in attends else "conv" for i in range(count)]


def _attention(config: Fields, hidden: int) -> Layer:
    mixer = read_attention(config)
    matrices = attention(hidden, mixer, qk_norm=(mixer.head_dim, mixer.head_dim))
    return Layer((mixer,), tuple(_renamed(m) for m in matrices))


def _convolution(config: Fields, hidden: int) -> Layer:
    """Two gates around a short convolution: its last inputs are all that a sequence keeps."""
    kernel, bias = config.size("conv_L_cache", default=3, largest=64), config.flag("conv_bias", default=False)
    state = StateArray("convolution", (kernel - 1, hidden), 1, "bf16")
    matrices = (
        linear("conv.in_proj", "linear_attention", 3 * hidden, hidden, "column", bias=bias),
        table("conv.conv", "linear_attention", hidden, kernel, "column", bias=bias),
        linear("conv.out_proj", "linear_attention", hidden, hidden, "row", bias=bias),
    )
    return Layer((RecurrentState("short_convolution", (state,), hidden, 1, 1),), matrices)


def _dense(config: Fields, hidden: int, has_experts: bool) -> tuple[Matrix, ...]:
    width = config.size("intermediate_size", "block_ff_dim")
    adjusted = width if has_experts else _adjusted_width(config, width)
    return tuple(_renamed(m) for m in gated_mlp(hidden, adjusted, name="feed_forward"))


def _adjusted_width(config: Fields, width: int) -> int:
    """Llama's rule: two thirds, times a factor, rounded up to a multiple."""
    if not config.flag("block_auto_adjust_ff_dim", default=True):
        return width
    multiple = config.size("block_multiple_of", default=256)
    scaled = int(config.number("block_ffn_dim_multiplier", default=1) * int(2 * width / 3))
    return -(-scaled // multiple) * multiple


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", largest=2**16)
    top_k = config.size("num_experts_per_tok", largest=experts)
    width = config.size("moe_intermediate_size")
    routed = routed_experts(hidden, width, experts, top_k, name="feed_forward.experts")
    return (router(hidden, experts, name="feed_forward.gate"), *(_renamed(m) for m in routed))


def _renamed(matrix: Matrix) -> Matrix:
    path, _, last = matrix.name.rpartition(".")
    return replace(matrix, name=f"{path}.{_NAMES.get(last, last)}")
