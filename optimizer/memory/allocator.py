"""What PyTorch's allocator adds to weights: a large tensor takes whole steps of 2 MiB where little of one is spare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from catalog.model import Matrix, ModelSpec
from catalog.quantization import find_scheme
from optimizer.memory.factors import MIB
from optimizer.memory.pipelines import Spans
from optimizer.memory.weights import COPY_BITS, Division, allocated_matrices, holders, layers_by_stage, shard_shape

Ints = NDArray[np.int64]

OWN_SEGMENT = 10 * MIB
"""Tensors from this size on get a segment of their own."""

STEP = 2 * MIB
SPLIT_BEYOND = 1 * MIB

_FUSED = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv_proj"),
    **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3"), "gate_up_proj"),
    **dict.fromkeys(("in_proj_qkv", "in_proj_z"), "in_proj_qkvz"),
}
"""Projections that engines keep in one tensor."""


def spare_bytes(size: Ints) -> Ints:
    """What the allocator adds to a tensor of some size; the shape of `size`.

    A segment is a multiple of 2 MiB. Its rest is handed to others only where it is more than 1 MiB.

    Source: PyTorch 2.10 `c10/cuda/CUDACachingAllocator.cpp`, `get_allocation_size` and `should_split`.

    >>> (spare_bytes(np.array([175 * MIB, 174 * MIB + 1, 7 * MIB])) / MIB).round(3).tolist()
    [1.0, 0.0, 0.0]
    """
    spare = -size % STEP
    return np.where((size >= OWN_SEGMENT) & (spare <= SPLIT_BEYOND), spare, 0)


def spare_by_stage(spec: ModelSpec, division: Division, spans: Spans, weight_format: str = "") -> Ints:
    """Spare bytes of all weights in 16 bit, or in another format, of every stage, shape (stages, keys).

    Only weights that stay as they were loaded, or are repacked into as much, keep segments of their own (MXFP4 by
    Marlin). Those in other formats are repacked into what the allocator has left over: they have none in public logs.

    Source of the size of the effect: Qwen2.5 7B loads 14.25 GiB on one GPU, of which 14.19 are parameters and positions
    (28 layers of 2 MiB), at TP 2 7.12 of 7.10, at TP 4 none more. gpt-oss-120b, repacked by Marlin, loads 65.9651 GiB:
    65.9285 are parameters and positions, and 36 layers have 69 MiB of scales in segments of 70.

    Args:
        spec: the model.
        division: ways to divide each stage.
        spans: the layers of each stage.
        weight_format: whose weights; "" = those in 16 bit.
    """
    of_layers = np.stack([_spare(allocated_matrices(group), division, weight_format) for group in spec.layers])
    stages = layers_by_stage(spec, spans) @ of_layers
    for matrix in spec.outside:
        stages += holders(matrix, spec, spans)[:, None] * _spare((matrix,), division, weight_format)
    return stages


def _spare(matrices: Iterable[Matrix], division: Division, weight_format: str) -> Ints:
    """Spare bytes of one layer's tensors in a format, shape (keys,)."""
    tensors: dict[str, Ints] = {}
    for matrix in matrices:
        block, _, name = matrix.name.rpartition(".")
        for kind, size in _tensors(matrix, division, weight_format):
            tensor = f"{block}.{_FUSED.get(name, name)}.{kind}"
            tensors[tensor] = tensors.get(tensor, 0) + size
    sizes = np.array([*tensors.values(), np.zeros_like(division.tensor_parallel)])
    return np.asarray(spare_bytes(sizes).sum(axis=0))


def _tensors(matrix: Matrix, division: Division, weight_format: str) -> Iterator[tuple[str, Ints]]:
    """The tensors of a matrix that is stored in a format: what they hold, and bytes of shape (keys,)."""
    scheme = find_scheme(matrix.stored_as)
    if matrix.inputs > 1 and (scheme.format == weight_format if weight_format else scheme.bits_per_weight == COPY_BITS):
        outputs, inputs, copies = shard_shape(matrix, division)
        yield "weight", copies * outputs * inputs * scheme.bits_per_weight // 8
        if scheme.block is not None:
            high, wide = scheme.block
            scales = -(-outputs // high) * -(-inputs // wide)
            yield "scale", np.asarray(copies * scales * scheme.scale_bytes_per_block, dtype=np.int64)
