"""What PyTorch's allocator adds to weights: a large tensor takes whole steps of 2 MiB where little of one is spare."""

from __future__ import annotations

from collections.abc import Iterable

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


def spare_by_stage(spec: ModelSpec, division: Division, spans: Spans) -> Ints:
    """Spare bytes of all weights in 16 bit of every stage, shape (stages, keys).

    Quantized weights are repacked after loading, into what the allocator has left over: they have none in public logs.

    Source of the size of the effect: Qwen2.5 7B loads 14.25 GiB on one GPU, of which 14.19 are parameters and positions
    (28 layers of 2 MiB), at TP 2 7.12 of 7.10, at TP 4 none more.

    Args:
        spec: the model.
        division: ways to divide each stage.
        spans: the layers of each stage.
    """
    of_layers = np.stack([_spare(allocated_matrices(group), division) for group in spec.layers])
    stages = layers_by_stage(spec, spans) @ of_layers
    for matrix in spec.outside:
        stages += holders(matrix, spec, spans)[:, None] * _spare((matrix,), division)
    return stages


def _spare(matrices: Iterable[Matrix], division: Division) -> Ints:
    """Spare bytes of one layer's 16-bit tensors, shape (keys,)."""
    tensors: dict[str, Ints] = {}
    for matrix in matrices:
        if matrix.inputs > 1 and find_scheme(matrix.stored_as).bits_per_weight == COPY_BITS:
            block, _, name = matrix.name.rpartition(".")
            outputs, inputs, copies = shard_shape(matrix, division)
            tensor = f"{block}.{_FUSED.get(name, name)}"
            tensors[tensor] = tensors.get(tensor, 0) + copies * outputs * inputs * (COPY_BITS // 8)
    sizes = np.array([*tensors.values(), np.zeros_like(division.tensor_parallel)])
    return np.asarray(spare_bytes(sizes).sum(axis=0))
