"""LoRA adapters: buffers that an engine allocates at start for every layer it can adapt, used or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.model import Layers, Matrix, ModelSpec, Part
from optimizer.memory.weights import Division, layers_by_stage, shard_shape

Ints = NDArray[np.int64]

ADAPTER_BYTES = 2
"""Adapters are kept in the model's 16-bit type."""

LINEAR_PARTS: tuple[Part, ...] = ("attention", "linear_attention", "mlp", "experts", "shared_experts")
"""Parts whose linear layers vLLM wraps, whatever the adapters themselves change."""


@dataclass(frozen=True, slots=True)
class Adapters:
    """LoRA adapters that are loaded at once.

    Attributes:
        rank: the largest rank (`--max-lora-rank`).
        loaded: adapters in one batch (`--max-loras`).
        parts: of the model that are wrapped.
    """

    rank: int
    loaded: int = 1
    parts: tuple[Part, ...] = LINEAR_PARTS

    def __post_init__(self) -> None:
        if self.rank < 1 or self.loaded < 1:
            raise ValueError(f"LoRA of rank {self.rank} with {self.loaded} loaded; both must be at least 1.")


def adapters_by_stage(spec: ModelSpec, adapters: Adapters, division: Division, pipeline_parallel: int) -> Ints:
    """Bytes of LoRA buffers of every stage on one rank, shape (stages, keys).

    Each adapter of a matrix is two: A reads the inputs that the rank has, B writes the outputs that it has:

        2 * loaded * rank * (inputs of the shard + outputs of the shard) * copies

    Args:
        spec: the model.
        adapters: rank and number.
        division: ways to divide it that all have this many pipeline stages.
        pipeline_parallel: stages.

    Source: vLLM 0.33.0 `vllm/lora/layers/base_linear.py` and `fused_moe.py`, `create_lora_weights` (not fully sharded).
    """
    counts = layers_by_stage(spec, pipeline_parallel)
    stages = np.zeros((pipeline_parallel, division.tensor_parallel.size), dtype=np.int64)
    for number, group in enumerate(spec.layers):
        if not group.next_token_prediction:
            stages += counts[:, number][:, None] * _layer_bytes(group, adapters, division)[None, :]
    return stages


def _layer_bytes(group: Layers, adapters: Adapters, division: Division) -> Ints:
    values = np.zeros_like(division.tensor_parallel)
    for matrix in group.matrices:
        if _is_wrapped(matrix, adapters):
            outputs, inputs, copies = shard_shape(matrix, division)
            values += (outputs + inputs) * copies
    return ADAPTER_BYTES * adapters.loaded * adapters.rank * values


def _is_wrapped(matrix: Matrix, adapters: Adapters) -> bool:
    return matrix.gemm and matrix.part in adapters.parts
