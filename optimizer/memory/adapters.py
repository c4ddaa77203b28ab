"""LoRA adapters: buffers that an engine allocates at start for every layer it can adapt, used or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.model import Layers, Matrix, ModelSpec, Part
from optimizer.memory.pipelines import Spans
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
        targets: names of the linear layers that are wrapped (`--lora-target-modules`), such as "q_proj" or "experts";
            layers that the engine fuses are wrapped together. Empty = all.
    """

    rank: int
    loaded: int = 1
    parts: tuple[Part, ...] = LINEAR_PARTS
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1 or self.loaded < 1:
            raise ValueError(f"LoRA of rank {self.rank} with {self.loaded} loaded; both must be at least 1.")


def adapters_by_stage(spec: ModelSpec, adapters: Adapters, division: Division, spans: Spans) -> Ints:
    """Bytes of LoRA buffers of every stage on one rank, shape (stages, keys).

    Each adapter of a matrix is two: A reads the inputs that the rank has, B writes the outputs that it has:

        2 * loaded * rank * (inputs of the shard + outputs of the shard) * copies

    Args:
        spec: the model.
        adapters: rank and number.
        division: ways to divide each stage.
        spans: the layers of each stage, of pipelines of any depths.

    Source: vLLM 0.33.0 `vllm/lora/layers/base_linear.py` and `fused_moe.py`, `create_lora_weights` (not fully sharded).
    """
    return layers_by_stage(spec, spans) @ np.stack([_layer_bytes(group, adapters, division) for group in spec.layers])


def _layer_bytes(group: Layers, adapters: Adapters, division: Division) -> Ints:
    values = np.zeros_like(division.tensor_parallel)
    for matrix in group.matrices:
        if _is_wrapped(matrix, adapters):
            outputs, inputs, copies = shard_shape(matrix, division)
            values += (outputs + inputs) * copies
    return ADAPTER_BYTES * adapters.loaded * adapters.rank * values


FUSED: tuple[frozenset[str], ...] = (
    frozenset(("qkv_proj", "q_proj", "k_proj", "v_proj")),
    frozenset(("gate_up_proj", "gate_proj", "up_proj")),
)
"""Layers that are one in the engine: a target that names one of them wraps all."""


def target_names(spec: ModelSpec) -> tuple[str, ...]:
    """What `targets` can name in a model, in the order of its layers."""
    wrapped = (matrix for group in spec.layers for matrix in group.matrices if _is_wrapped(matrix, Adapters(rank=1)))
    return tuple(dict.fromkeys(target_name(matrix) for matrix in wrapped))


def target_name(matrix: Matrix) -> str:
    """The word that stands for a matrix among `targets`: its last one; a layer's experts are wrapped as one."""
    return "experts" if matrix.part == "experts" else matrix.name.rsplit(".", 1)[-1]


def _is_wrapped(matrix: Matrix, adapters: Adapters) -> bool:
    """Source: vLLM 0.33.0 `vllm/lora/utils.py`, `is_in_target_modules`."""
    if not matrix.gemm or matrix.part not in adapters.parts:
        return False
    named = {target_name(matrix)}
    fused = [names for names in FUSED if names & named]
    return not adapters.targets or bool(named.union(*fused) & set(adapters.targets))
