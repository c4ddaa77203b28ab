"""CUDA graphs: how many batch sizes an engine captures, and the memory that takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optimizer.memory.factors import memory_factors

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FINE_LIMIT = 256
"""Sizes below this are captured in steps of 8, above in steps of 16."""


def captured_sizes(max_num_seqs: Ints, largest: Ints) -> Ints:
    """How many batch sizes vLLM captures: 1, 2, 4, then every 8 below 256, then every 16 up to the largest; broadcasts.

    The largest is min(2 * max_num_seqs, the platform's limit).

    Args:
        max_num_seqs: sequences per step.
        largest: the platform's limit: 512, on data-centre Blackwell 1024.

    Source: vLLM 0.33.0 `vllm/config/vllm.py`, `_set_cudagraph_sizes`.

    >>> captured_sizes(np.array([1, 8, 256, 1024]), np.array([512]))
    array([ 2,  5, 51, 51])
    """
    limit = np.minimum(2 * max_num_seqs, largest)
    few = (limit >= 1).astype(np.int64) + (limit >= 2) + (limit >= 4)
    fine = np.minimum(limit, FINE_LIMIT - 1) // 8
    coarse = np.maximum((limit - FINE_LIMIT) // 16 + 1, 0)
    return np.asarray(few + fine + coarse)


def graph_bytes(layers: Ints, sizes: Ints, tensor_parallel: Ints) -> Floats:
    """Memory of the captured graphs on one rank; broadcasts. Scatters by a factor of two, for large MoE models of four.

        (0.35 GiB + 0.1 MiB * layers * captured sizes) / TP

    Source: 17 public start-up logs, see `data/factors.json`.
    """
    factors = memory_factors()
    whole = factors.graph_bytes + factors.graph_bytes_per_layer_and_size * np.asarray(layers, dtype=np.float64) * sizes
    return np.asarray(whole / tensor_parallel, dtype=np.float64)
