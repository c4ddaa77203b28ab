"""How many bytes a weight takes: storage schemes with their scales, and what else a checkpoint can be turned into.

A scheme is a fact about a file format: bits per value, the block that shares one scale, bytes per scale. Biases stay in
16 bit in every scheme.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from catalog.errors import UnknownQuantization
from catalog.model import Matrix, ModelSpec, Part

Compute = Literal["fp32", "bf16", "fp16", "fp8", "int8", "fp4"]
Sizes = TypeVar("Sizes", int, NDArray[np.int64])

BIAS_BYTES = 2
"""Biases are kept in bf16 or fp16 by every scheme."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to store a weight matrix.

    Attributes:
        name: as in `Matrix.stored_as`.
        format: the word people use for it, as in `ModelSpec.weight_format`.
        bits_per_weight: without scales.
        block: (outputs, inputs) that share one scale; 0 = the whole extent of that axis; None = no scales.
        scale_bytes_per_block: scale and zero point of one block.
        matrix_bytes: constants per matrix: a global scale, an activation scale.
        input_bytes: bytes per input channel, such as GPTQ's group index.
        compute: the type of the tensor-core operation. Weight-only schemes multiply in 16 bit.
        weight_only: activations stay in 16 bit.
    """

    name: str
    format: str
    bits_per_weight: int
    compute: Compute
    block: tuple[int, int] | None = None
    scale_bytes_per_block: float = 0
    matrix_bytes: int = 0
    input_bytes: int = 0
    weight_only: bool = False


def _grouped(bits: int, group: int, *, zero_points: bool, group_index: bool = False) -> Scheme:
    """Integer weights in groups along the inputs: AWQ, GPTQ, compressed-tensors. Scales are fp16 or bf16."""
    kind = "" if zero_points else "_symmetric"
    kind = "_gptq" if group_index else kind
    return Scheme(
        name=f"int{bits}_{f'group{group}' if group else 'channel_weight_only'}{kind}",
        format=f"int{bits}",
        bits_per_weight=bits,
        compute="bf16",
        block=(1, group),
        scale_bytes_per_block=2 + (bits / 8 if zero_points else 0),
        input_bytes=4 if group_index else 0,
        weight_only=True,
    )


GGML_BLOCKS = (
    ("q4_0", 4, 32, 18), ("q4_1", 4, 32, 20), ("q5_0", 5, 32, 22), ("q5_1", 5, 32, 24), ("q8_0", 8, 32, 34),
    ("q2_k", 2, 256, 84), ("q3_k", 3, 256, 110), ("q4_k", 4, 256, 144), ("q5_k", 5, 256, 176), ("q6_k", 6, 256, 210),
    ("iq1_s", 1, 256, 50), ("iq1_m", 1, 256, 56), ("iq2_xxs", 2, 256, 66), ("iq2_xs", 2, 256, 74),
    ("iq2_s", 2, 256, 82), ("iq3_xxs", 3, 256, 98), ("iq3_s", 3, 256, 110), ("iq4_nl", 4, 32, 18),
    ("iq4_xs", 4, 256, 136), ("tq1_0", 1, 256, 54), ("tq2_0", 2, 256, 66),
)  # fmt: skip
"""Number types of GGUF files: name, bits per value, values in a block, bytes of a block with its scales.

Source: ggml `ggml-common.h`, the sizes of its `block_*` structs.
"""


def _ggml(name: str, bits: int, block: int, block_bytes: int) -> Scheme:
    """A number type of GGUF files; kernels multiply in 16 bit."""
    return Scheme(
        name=f"gguf_{name}",
        format=name,
        bits_per_weight=bits,
        compute="bf16",
        block=(1, block),
        scale_bytes_per_block=block_bytes - bits * block / 8,
        weight_only=True,
    )


def _all_schemes() -> dict[str, Scheme]:
    schemes = [
        Scheme("fp32", "fp32", 32, "fp32"),
        Scheme("bf16", "bf16", 16, "bf16"),
        Scheme("fp16", "fp16", 16, "fp16"),
        # fp8: one fp32 scale per matrix, per output channel, or per 128 x 128 block; static ones also scale the input.
        Scheme("fp8_tensor", "fp8", 8, "fp8", block=(0, 0), scale_bytes_per_block=4),
        Scheme("fp8_tensor_static", "fp8", 8, "fp8", block=(0, 0), scale_bytes_per_block=4, matrix_bytes=4),
        Scheme("fp8_channel", "fp8", 8, "fp8", block=(1, 0), scale_bytes_per_block=4),
        Scheme("fp8_block128", "fp8", 8, "fp8", block=(128, 128), scale_bytes_per_block=4),
        # DeepSeek-V4 rounds the scales to powers of two and keeps one byte of each.
        Scheme("fp8_block128_ue8m0", "fp8", 8, "fp8", block=(128, 128), scale_bytes_per_block=1),
        Scheme("mxfp8", "fp8", 8, "fp8", block=(1, 32), scale_bytes_per_block=1),
        Scheme("int8_channel", "int8", 8, "int8", block=(1, 0), scale_bytes_per_block=4),
        Scheme("int8_bitsandbytes", "int8", 8, "bf16", block=(1, 0), scale_bytes_per_block=4, weight_only=True),
        # nf4: one fp32 absmax per 64 values, before double quantization.
        Scheme("nf4_group64", "nf4", 4, "bf16", block=(1, 64), scale_bytes_per_block=4, weight_only=True),
        # nvfp4: an fp8 scale per 16 values, a global fp32 scale and an fp32 input scale.
        Scheme("nvfp4", "nvfp4", 4, "fp4", block=(1, 16), scale_bytes_per_block=1, matrix_bytes=8),
        Scheme(
            "nvfp4_weight_only",
            "nvfp4",
            4,
            "bf16",
            block=(1, 16),
            scale_bytes_per_block=1,
            matrix_bytes=4,
            weight_only=True,
        ),
        # mxfp4: an 8-bit exponent per 32 values (OCP Microscaling formats, version 1.0).
        Scheme("mxfp4", "mxfp4", 4, "bf16", block=(1, 32), scale_bytes_per_block=1, weight_only=True),
    ]
    schemes += [_ggml(*kind) for kind in GGML_BLOCKS]
    for bits in (4, 8):
        for group in (0, 32, 64, 128):
            schemes.append(_grouped(bits, group, zero_points=True))
            schemes.append(_grouped(bits, group, zero_points=False))
            schemes.append(_grouped(bits, group, zero_points=True, group_index=True))
    return {scheme.name: scheme for scheme in schemes}


SCHEMES: dict[str, Scheme] = _all_schemes()

UNQUANTIZED = frozenset({"fp32", "bf16", "fp16"})

QUANTIZED_PARTS: frozenset[Part] = frozenset({"attention", "linear_attention", "mlp", "experts", "shared_experts"})
"""What quantizers touch: embedding, LM head, router, norms and vision tower stay in 16 bit."""


def find_scheme(name: str) -> Scheme:
    """The scheme of that name, or UnknownQuantization."""
    try:
        return SCHEMES[name]
    except KeyError:
        raise UnknownQuantization(
            f"No storage scheme is called {name!r}; known are {', '.join(sorted(SCHEMES))}."
        ) from None


def stored_bytes(matrix: Matrix, outputs: Sizes, inputs: Sizes, copies: Sizes) -> Sizes:
    """Bytes of a shard of a matrix, with its scales and its bias.

        copies * (ceil(outputs * inputs * bits / 8) + ceil(outputs / block_out) * ceil(inputs / block_in) * scale_bytes
                  + matrix_bytes + input_bytes * inputs + bias)

    Args:
        matrix: whose scheme and bias count; its own shape is not read.
        outputs: outputs of the shard, an int or an int64 array; the three broadcast.
        inputs: inputs of the shard.
        copies: how many alike the shard holds.

    Returns:
        Bytes, an int or an int64 array. Blocks that a shard cuts count whole; half-byte remainders round up.

    >>> m = Matrix("q_proj", "attention", 256, 256, stored_as="fp8_block128")
    >>> stored_bytes(m, 256, 256, 1)
    65552
    """
    scheme = find_scheme(matrix.stored_as)
    each = _ceil_divide(outputs * inputs * scheme.bits_per_weight, 8)
    each = each + scheme.matrix_bytes + scheme.input_bytes * inputs
    if scheme.block is not None:
        blocks = _blocks(outputs, scheme.block[0]) * _blocks(inputs, scheme.block[1])
        each = each + _ceil_divide(blocks * round(scheme.scale_bytes_per_block * 8), 8)
    if matrix.bias:
        each = each + outputs * BIAS_BYTES
    return copies * each


def _ceil_divide(value: Sizes, by: int) -> Sizes:
    return -(-value // by)


def _blocks(extent: Sizes, block: int) -> Sizes:
    """Blocks along one axis; block 0 is the whole axis, of which a rank without any output has none."""
    if block == 0:
        return np.minimum(extent, 1) if isinstance(extent, np.ndarray) else min(extent, 1)
    return _ceil_divide(extent, block)


@dataclass(frozen=True, slots=True)
class Requantization:
    """A weight format that a checkpoint can be turned into: its scheme, the engine's word, what it may start from."""

    scheme: str
    method: str
    starts_from: frozenset[str]


REQUANTIZATIONS: dict[str, Requantization] = {
    # The engine itself does fp8 while loading; the others are done once, by a published or an own checkpoint.
    "fp8": Requantization("fp8_tensor", "fp8", frozenset({"bf16", "fp16", "fp32"})),
    "int8": Requantization("int8_channel", "compressed-tensors", frozenset({"bf16", "fp16", "fp32"})),
    "int4": Requantization("int4_group128", "awq", frozenset({"bf16", "fp16", "fp32", "fp8"})),
    "nvfp4": Requantization("nvfp4", "modelopt_fp4", frozenset({"bf16", "fp16", "fp32", "fp8"})),
}


def available_formats(spec: ModelSpec) -> tuple[str, ...]:
    """Weight formats this model can be served in: its own first, then what `requantized` can give.

    Returns:
        Words as in `ModelSpec.weight_format`, such as ("bf16", "fp8", "int8", "int4", "nvfp4").
    """
    others = (name for name, how in REQUANTIZATIONS.items() if spec.weight_format in how.starts_from)
    return (spec.weight_format, *(name for name in others if name != spec.weight_format))


def requantized(spec: ModelSpec, weight_format: str) -> ModelSpec:
    """The same model with its linear layers in another weight format.

    Embedding, LM head, router, norms and vision tower keep their storage.

    Args:
        spec: the checkpoint to start from.
        weight_format: "fp8" (the engine's online quantization, one scale per matrix), "int8" (W8A8, one scale per
            output channel), "int4" (AWQ or GPTQ, groups of 128), "nvfp4", or the model's own format.

    Raises:
        UnknownQuantization: the word is unknown, or the checkpoint already has fewer bits.
    """
    if weight_format == spec.weight_format:
        return spec
    if weight_format not in available_formats(spec):
        raise UnknownQuantization(
            f"{spec.repo_id or spec.architecture} is stored as {spec.weight_format} and cannot be served as "
            f"{weight_format!r}; possible are {', '.join(available_formats(spec))}."
        )
    how = REQUANTIZATIONS[weight_format]
    return stored_in(spec, how.scheme, how.method)


def stored_in(spec: ModelSpec, scheme: str, method: str) -> ModelSpec:
    """The same model with the linear layers that quantizers touch in this scheme, whatever they are in now.

    Args:
        spec: the checkpoint to start from.
        scheme: a name in SCHEMES.
        method: the engine's word, as in `ModelSpec.quantization_method`.
    """
    from_quantized = spec.weight_format not in UNQUANTIZED
    return replace(
        _with_storage(spec, lambda matrix: scheme if _changes(matrix, from_quantized) else matrix.stored_as),
        weight_format=find_scheme(scheme).format,
        quantization_method=method,
    )


def _changes(matrix: Matrix, from_quantized: bool) -> bool:
    """Whether a quantizer touches it. What the publisher's own quantizer left alone stays alone."""
    if from_quantized and matrix.stored_as in UNQUANTIZED:
        return False
    return matrix.gemm and matrix.quantizable and matrix.part in QUANTIZED_PARTS


def _with_storage(spec: ModelSpec, scheme_of: Callable[[Matrix], str]) -> ModelSpec:
    layers = tuple(
        replace(group, matrices=tuple(replace(m, stored_as=scheme_of(m)) for m in group.matrices))
        for group in spec.layers
    )
    return replace(spec, layers=layers)
