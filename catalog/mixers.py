"""Weights of the mixers that the unusual families share: latent attention, its indexer, Mamba, gated delta nets.

A module whose outputs engines split in several ways (Mamba's `in_proj` holds heads, groups and steps) appears as
several matrices of one name.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalog.blocks import UNDECIDED, linear, norm, table
from catalog.model import Indexer, LatentAttention, Matrix, Part, RecurrentState, StateArray
from catalog.reading import Fields


def latent_attention(hidden: int, mla: LatentAttention, *, name: str = "self_attn") -> tuple[Matrix, ...]:
    """Projections of multi-head latent attention, without its indexer.

    The compressing projections are on every TP rank; the expanding ones are divided by heads.

    Source: DeepSeek-V2 (arXiv:2405.04434), section 2.1.
    """
    query_dim, expanded = mla.nope_dim + mla.rope_dim, mla.nope_dim + mla.value_dim
    queries: tuple[Matrix, ...]
    if mla.q_rank is None:
        queries = (_by_head(f"{name}.q_proj", mla.query_heads, query_dim, hidden),)
    else:
        queries = (
            linear(f"{name}.q_a_proj", "attention", mla.q_rank, hidden),
            norm(f"{name}.q_a_layernorm", mla.q_rank, part="attention"),
            _by_head(f"{name}.q_b_proj", mla.query_heads, query_dim, mla.q_rank),
        )
    return (
        *queries,
        linear(f"{name}.kv_a_proj_with_mqa", "attention", mla.kv_rank + mla.rope_dim, hidden),
        norm(f"{name}.kv_a_layernorm", mla.kv_rank, part="attention"),
        _by_head(f"{name}.kv_b_proj", mla.query_heads, expanded, mla.kv_rank),
        linear(f"{name}.o_proj", "attention", hidden, mla.query_heads * mla.value_dim, "row", granule=mla.value_dim),
    )


def _by_head(name: str, heads: int, head_dim: int, inputs: int) -> Matrix:
    return linear(name, "attention", heads * head_dim, inputs, "column", granule=head_dim)


def sparse_indexer(
    hidden: int, q_rank: int, indexer: Indexer, *, name: str = "self_attn.indexer"
) -> tuple[Matrix, ...]:
    """Weights of DeepSeek-V3.2's indexer, on every TP rank. Engines keep its key and weight projections in 16 bit.

    Source: DeepSeek-V3.2 (arXiv:2512.02556), section 2.1; vLLM 0.32.
    """
    return (
        linear(f"{name}.wq_b", "attention", indexer.heads * indexer.head_dim, q_rank),
        linear(f"{name}.wk", "attention", indexer.head_dim, hidden, stored_as="bf16", quantizable=False),
        # A LayerNorm: scale and bias, which engines keep in fp32.
        table(f"{name}.k_norm", "attention", 2, indexer.head_dim, stored_as="fp32"),
        linear(f"{name}.weights_proj", "attention", indexer.heads, hidden, stored_as="bf16", quantizable=False),
    )


@dataclass(frozen=True, slots=True)
class Mamba1:
    """Shape of a Mamba mixer (arXiv:2312.00752).

    Attributes:
        hidden: width of the residual stream.
        width: channels of the recurrence.
        state_dim: values that each channel keeps.
        kernel: taps of the convolution.
        rank: of the projection to step sizes.
        projection_bias, convolution_bias, norms: which optional weights it has (Jamba's norms are of step, B and C).
    """

    hidden: int
    width: int
    state_dim: int
    kernel: int
    rank: int
    projection_bias: bool = False
    convolution_bias: bool = True
    norms: bool = False

    @property
    def state(self) -> RecurrentState:
        """What a sequence keeps: the last kernel - 1 inputs of the convolution, and the recurrence."""
        arrays = (
            StateArray("convolution", (self.kernel - 1, self.width), 1, "bf16"),
            StateArray("recurrence", (self.width, self.state_dim), 0, "bf16"),
        )
        return RecurrentState("mamba1", arrays, self.width, 1, self.state_dim)


def mamba1(shape: Mamba1, *, name: str) -> tuple[Matrix, ...]:
    """Weights of a Mamba mixer."""
    bias, width, state = shape.projection_bias, shape.width, shape.state_dim
    part: Part = "linear_attention"
    norms = (("dt_layernorm", shape.rank), ("b_layernorm", state), ("c_layernorm", state)) if shape.norms else ()
    return (
        linear(f"{name}.in_proj", part, 2 * width, shape.hidden, "column", bias=bias),
        linear(f"{name}.x_proj", part, shape.rank + 2 * state, width, "row"),
        linear(f"{name}.dt_proj", part, width, shape.rank, "column", bias=True),
        linear(f"{name}.out_proj", part, shape.hidden, width, "row", bias=bias),
        table(f"{name}.conv1d", part, width, shape.kernel, "column", bias=shape.convolution_bias),
        table(f"{name}.A_log", part, width, state, "column", stored_as="fp32"),
        table(f"{name}.D", part, width, sharding="column"),
        *(norm(f"{name}.{each}", size, part=part) for each, size in norms),
    )


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Shape of a Mamba-2 mixer (arXiv:2405.21060): `groups` share their B and C, as KV heads share keys.

    Attributes:
        hidden: width of the residual stream.
        heads, head_dim, state_dim: shape of the recurrent state.
        groups: how many B and C there are.
        kernel: taps of the convolution.
        projection_bias, convolution_bias, norm: which optional weights it has.
        state_stored_as: type of the recurrent state; the convolution's is the model's own.
    """

    hidden: int
    heads: int
    head_dim: int
    state_dim: int
    groups: int
    kernel: int
    projection_bias: bool = False
    convolution_bias: bool = True
    norm: bool = True
    state_stored_as: str = "bf16"

    @property
    def width(self) -> int:
        """Channels of the recurrence."""
        return self.heads * self.head_dim

    @property
    def state(self) -> RecurrentState:
        """What a sequence keeps: the last kernel - 1 inputs of the convolution, and the recurrence.

        TP divides the convolution's B and C channels by whole groups.
        """
        groups = (self.kernel - 1, self.groups, 2 * self.state_dim)
        arrays = (
            StateArray("convolution", (self.kernel - 1, self.width), 1, "bf16"),
            StateArray("convolution of B and C", groups, 1, "bf16"),
            StateArray("recurrence", (self.heads, self.head_dim, self.state_dim), 0, self.state_stored_as),
        )
        return RecurrentState("mamba2", arrays, self.heads, self.head_dim, self.state_dim)


def mamba2(shape: Mamba2, *, name: str) -> tuple[Matrix, ...]:
    """Weights of a Mamba-2 mixer; `in_proj` and `conv1d` appear once per way of splitting them."""
    per_head = (("A_log", "fp32"), ("D", UNDECIDED), ("dt_bias", UNDECIDED))
    inner = table(f"{name}.norm", "linear_attention", shape.width, sharding="column", granule=shape.head_dim)
    return (
        *_mamba2_input(shape, f"{name}.in_proj"),
        *_mamba2_convolution(shape, f"{name}.conv1d"),
        *(
            table(f"{name}.{vector}", "linear_attention", shape.heads, sharding="column", stored_as=stored_as)
            for vector, stored_as in per_head
        ),
        *((inner,) if shape.norm else ()),
        linear(
            f"{name}.out_proj",
            "linear_attention",
            shape.hidden,
            shape.width,
            "row",
            bias=shape.projection_bias,
            granule=shape.head_dim,
        ),
    )


def _mamba2_input(shape: Mamba2, name: str) -> tuple[Matrix, ...]:
    """Gate and input by heads, B and C by groups, one step size per head."""
    hidden, bias, both = shape.hidden, shape.projection_bias, 2 * shape.state_dim
    pair = 2 * shape.head_dim
    return (
        linear(name, "linear_attention", 2 * shape.width, hidden, "column", bias=bias, granule=pair),
        linear(name, "linear_attention", shape.groups * both, hidden, "kv_heads", bias=bias, granule=both),
        linear(name, "linear_attention", shape.heads, hidden, "column", bias=bias),
    )


def _mamba2_convolution(shape: Mamba2, name: str) -> tuple[Matrix, ...]:
    bias, both = shape.convolution_bias, 2 * shape.state_dim
    width, groups = shape.width, shape.groups * both
    return (
        table(name, "linear_attention", width, shape.kernel, "column", bias=bias, granule=shape.head_dim),
        table(name, "linear_attention", groups, shape.kernel, "kv_heads", bias=bias, granule=both),
    )


@dataclass(frozen=True, slots=True)
class GatedDeltaNet:
    """Shape of a gated delta net (arXiv:2412.06464): linear attention whose state decays and is corrected.

    Attributes:
        hidden: width of the residual stream.
        key_heads, key_head_dim: queries have the same.
        value_heads, value_head_dim: several value heads share a key head.
        kernel: taps of the convolution over queries, keys and values.
        state_stored_as: type of the recurrent state; the convolution's is the model's own.
    """

    hidden: int
    key_heads: int
    key_head_dim: int
    value_heads: int
    value_head_dim: int
    kernel: int
    state_stored_as: str = "bf16"

    @property
    def value_width(self) -> int:
        """Channels of all values."""
        return self.value_heads * self.value_head_dim

    @property
    def channels(self) -> int:
        """Channels of queries, keys and values."""
        return 2 * self.key_heads * self.key_head_dim + self.value_width

    @property
    def state(self) -> RecurrentState:
        """What a sequence keeps: the last kernel - 1 inputs of the convolution, and one matrix per value head."""
        matrix = (self.value_heads, self.value_head_dim, self.key_head_dim)
        arrays = (
            StateArray("convolution", (self.kernel - 1, self.channels), 1, "bf16"),
            StateArray("recurrence", matrix, 0, self.state_stored_as),
        )
        return RecurrentState("gated_delta_net", arrays, self.value_heads, self.value_head_dim, self.key_head_dim)


QWEN3_NEXT_INPUTS = ("in_proj_qkvz", "in_proj_qkvz", "in_proj_ba", "in_proj_ba")
QWEN3_5_INPUTS = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")


def gated_delta_net(
    shape: GatedDeltaNet, inputs: tuple[str, str, str, str], *, name: str = "linear_attn"
) -> tuple[Matrix, ...]:
    """Weights of a gated delta net.

    Args:
        shape: its heads.
        inputs: names of the projections to queries, keys and values; to the output gate; to the write strength; to
            the decay.
        name: module path inside the layer.
    """
    hidden, heads = shape.hidden, shape.value_heads
    widths = (shape.channels, shape.value_width, heads, heads)
    return (
        *(linear(f"{name}.{i}", "linear_attention", w, hidden, "column") for i, w in zip(inputs, widths, strict=True)),
        table(f"{name}.conv1d", "linear_attention", shape.channels, shape.kernel, "column"),
        table(f"{name}.A_log", "linear_attention", heads, sharding="column", stored_as="fp32"),
        table(f"{name}.dt_bias", "linear_attention", heads, sharding="column"),
        norm(f"{name}.norm", shape.value_head_dim, part="linear_attention"),
        linear(f"{name}.out_proj", "linear_attention", hidden, shape.value_width, "row", granule=shape.value_head_dim),
    )


def state_type(text: Fields, *names: str, default: str) -> str:
    """How engines keep the recurrent state: the config's word for it, as a scheme name.

    Args:
        text: the config of the language model.
        names: keys that state it.
        default: the scheme when the config does not say.
    """
    word = text.word(*names, default=None)
    if word is None:
        return default
    text.require(word in _STATE_TYPES, names[0], f"one of {', '.join(_STATE_TYPES)}")
    return _STATE_TYPES[word]


_STATE_TYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
