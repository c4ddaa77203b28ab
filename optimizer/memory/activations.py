"""What a forward pass and the sampler need besides weights and KV: the activation peak of the engine's profile run."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from catalog.model import LatentAttention, Layers, Matrix, Mixer, ModelSpec
from optimizer.memory.factors import memory_factors
from optimizer.memory.weights import Division, is_row_parallel_expert

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ACTIVATION_BYTES = 2
"""Activations are kept in 16 bit."""


def sampler_bytes(vocabulary: int, max_num_seqs: Ints, bytes_per_logit: float) -> Floats:
    """Peak of the sampler's dummy run: the logits of all sequences in fp32, and what sampling makes of them.

        bytes_per_logit * max_num_seqs * vocabulary

    It does not shrink with TP: full-vocabulary logits are gathered on every rank of the last stage. What is kept of the
    passes before it lies beside it, see `vram.py`.

    Args:
        vocabulary: entries of the logits.
        max_num_seqs: sequences per step.
        bytes_per_logit: of the engine and version; 9.5 * 4 where all logits are sorted.

    Source: public start-up logs, see `optimizer/engines/data/*.json`.

    >>> int(sampler_bytes(128_256, np.array([256]), 38.8)[0] / 2**20)
    1214
    """
    return bytes_per_logit * vocabulary * np.asarray(max_num_seqs, dtype=np.float64)


def context_bytes_per_token(spec: ModelSpec, tensor_parallel: Ints) -> Floats:
    """What latent attention unpacks of a token of context: 16-bit keys and values of a rank's heads.

        2 * heads / TP * (nope_dim + value_dim)

    Args:
        spec: the model; 0 for others than latent attention.
        tensor_parallel: ranks that divide the heads; the result has its shape.

    Source: vLLM 0.33.0 `vllm/model_executor/layers/attention/mla_attention.py`, `forward_impl` without metadata.
    """
    values = [m.query_heads * (m.nope_dim + m.value_dim) for m in spec.mixers if _unpacks_context(m)]
    return ACTIVATION_BYTES * max(values, default=0) / np.asarray(tensor_parallel, dtype=np.float64)


def _unpacks_context(mixer: Mixer) -> TypeGuard[LatentAttention]:
    """Whether a mixer is latent attention that keeps one vector per token."""
    return isinstance(mixer, LatentAttention) and mixer.compression == 1 and mixer.window is None


def forward_bytes_per_token(spec: ModelSpec, division: Division) -> Floats:
    """Peak of a forward pass per token of the batch, on one rank, shape (keys,): the widest layer's buffers.

        2 * (3 * intermediate / TP + 2.6 * hidden)         dense
        2 * top_k * (3 * intermediate / TP + hidden)       added by routed experts

    Args:
        spec: the model.
        division: ways to divide it.
    """
    widest = np.zeros(division.tensor_parallel.shape)
    for group in spec.layers:
        widest = np.maximum(widest, _layer_values(group, spec.hidden_size, division))
    return ACTIVATION_BYTES * (widest + memory_factors().forward_values_per_hidden * spec.hidden_size)


def expert_workspace_bytes_per_token(spec: ModelSpec, division: Division) -> Floats:
    """What the experts' kernels keep from one layer and step to the next, per token, shape (keys,); 0 without experts.

        2 * top_k * (max(intermediate / TP, hidden) + max(2 * intermediate / TP, hidden))

    Experts without a gate have one intermediate, not two, in the second term.

    Args:
        spec: the model.
        division: ways to divide it; whole experts that are dealt out keep their width.

    Source: vLLM 0.19.0 `vllm/model_executor/layers/fused_moe/fused_moe.py`, TritonExperts.workspace_shapes (Marlin's
    are the same), and `vllm/v1/worker/workspace.py`, which keeps them.

    >>> from catalog.find import find_model
    >>> one = Division.of(np.array([1]))
    >>> float(expert_workspace_bytes_per_token(find_model("Qwen/Qwen3-30B-A3B"), one)[0]) == 2 * 8 * (2048 + 2048)
    True
    """
    values = np.zeros(division.tensor_parallel.shape)
    for group in spec.layers:
        columns = [m for m in group.matrices if m.gemm and m.part == "experts" and not is_row_parallel_expert(m)]
        if columns:
            values = np.maximum(values, _workspace_values(columns, spec.hidden_size, division))
    return ACTIVATION_BYTES * values


def _workspace_values(columns: list[Matrix], hidden_size: int, division: Division) -> Floats:
    """Values of both workspaces per token of one layer, shape (keys,)."""
    used = columns[0].copies if columns[0].active_copies is None else columns[0].active_copies
    ranks = np.where(division.expert_parallel > 1, 1, division.tensor_parallel * division.data_parallel)
    width = columns[0].outputs / ranks
    return np.asarray(used * (np.maximum(width, hidden_size) + np.maximum(len(columns) * width, hidden_size)))


def _layer_values(group: Layers, hidden_size: int, division: Division) -> Floats:
    """Values per token that the MLP or the experts of one layer keep at once."""
    values = np.zeros(division.tensor_parallel.shape)
    for matrix in group.matrices:
        if matrix.gemm and matrix.part in ("mlp", "shared_experts") and matrix.sharding == "column":
            values += _gated_values(matrix, division)
        elif matrix.gemm and matrix.part == "experts" and not is_row_parallel_expert(matrix):
            values += _expert_values(matrix, hidden_size, division)
    return values


def _gated_values(matrix: Matrix, division: Division) -> Floats:
    """Half of the three values per intermediate value: gate and up have one matrix each."""
    return memory_factors().forward_values_per_intermediate / 2 * matrix.outputs / division.tensor_parallel


def _expert_values(matrix: Matrix, hidden_size: int, division: Division) -> Floats:
    """Routed copies of one token: a rank that holds whole experts sees its share of TP's tokens."""
    ranks = division.tensor_parallel
    used = matrix.copies if matrix.active_copies is None else matrix.active_copies
    gated = memory_factors().forward_values_per_intermediate / 2 * matrix.outputs
    return np.asarray(used * (gated / ranks + hidden_size / 2))
