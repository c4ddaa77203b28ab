"""CUDA graphs: how many batch sizes an engine captures, and the memory that takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FINE_STEP, COARSE_STEP = 8, 16


@dataclass(frozen=True)
class GraphLaw:
    """What one engine version captures, and what that takes on one rank.

        (base + each * layers * captured sizes) / (TP if divided)

    Attributes:
        base_bytes: whatever is captured.
        bytes_per_layer_and_size: of one layer's kernels at one size.
        divided: whether TP divides it.
        sizes_per_sequence: largest size captured per sequence of a step, until the platform's limit.
        fine_limit: sizes below this are captured in steps of 8, above in steps of 16.
    """

    base_bytes: float
    bytes_per_layer_and_size: float
    divided: bool
    sizes_per_sequence: int = 2
    fine_limit: int = 256


def captured_sizes(max_num_seqs: Ints, largest: Ints, law: GraphLaw | None = None) -> Ints:
    """How many batch sizes vLLM captures: 1, 2, 4, then every 8 below 256, then every 16 up to the largest; broadcasts.

    The largest is min(2 * max_num_seqs, the platform's limit). Older versions captured every 8 up to the end, and V0 up
    to max_num_seqs.

    Args:
        max_num_seqs: sequences per step.
        largest: the platform's limit: 512, on data-centre Blackwell 1024.
        law: of the engine's version; None = of the newest.

    Source: vLLM 0.33.0 `vllm/config/vllm.py`, `_set_cudagraph_sizes`; 0.7.3 `vllm/worker/model_runner.py`,
    `_get_graph_batch_size`.

    >>> captured_sizes(np.array([1, 8, 256, 1024]), np.array([512]))
    array([ 2,  5, 51, 51])
    >>> captured_sizes(np.array([2, 256]), np.array([512]), GraphLaw(0, 0, False, sizes_per_sequence=1, fine_limit=512))
    array([ 2, 35])
    """
    per_sequence, fine_limit = (2, 256) if law is None else (law.sizes_per_sequence, law.fine_limit)
    limit = np.minimum(per_sequence * max_num_seqs, largest)
    few = (limit >= 1).astype(np.int64) + (limit >= 2) + (limit >= FINE_STEP // 2)
    fine = np.minimum(limit, fine_limit - 1) // FINE_STEP
    coarse = np.maximum((limit - fine_limit) // COARSE_STEP + 1, 0)
    return np.asarray(few + fine + coarse)


def graph_bytes(layers: Ints, sizes: Ints | Floats, tensor_parallel: Ints, law: GraphLaw) -> Floats:
    """Memory of the captured graphs on one rank; broadcasts. Scatters by a factor of two, for large MoE models of four.

    Source: public start-up logs, see `cuda_graphs` in `optimizer/engines/data/*.json`.
    """
    whole = np.asarray(law.bytes_per_layer_and_size * np.asarray(layers, dtype=np.float64) * sizes)
    whole += law.base_bytes
    return whole / np.asarray(tensor_parallel, dtype=np.float64) if law.divided else whole
