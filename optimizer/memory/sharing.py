"""Several models on one GPU: a slice cut in hardware (MIG), or processes that share one card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpu_db.gpu import Gpu

MEMORY_SLICES = 8
COMPUTE_SLICES = 7
"""A GPU that MIG splits has eight slices of memory and seven of compute."""


class CannotShare(ValueError):
    """A way of sharing that the GPU does not have, or that does not add up."""


def mig_slice(
    gpu: Gpu, compute_slices: int, memory_slices: int, *, of: tuple[int, int] = (COMPUTE_SLICES, MEMORY_SLICES)
) -> Gpu:
    """A MIG instance as a GPU of its own, such as 3 and 4 for "3g.40gb" of an 80 GB card.

    Memory and bandwidth are cut in eighths, compute in sevenths; what a slice's driver shows is up to 0.3 GiB less.
    Slices have no links to each other.

    Args:
        gpu: a card that MIG can split.
        compute_slices: 1 to 7.
        memory_slices: 1 to 8.
        of: compute and memory slices of the whole card; small cards have four of each.

    Raises:
        CannotShare: the card cannot be split, or not so.

    Source: NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles".
    """
    if not gpu.mig_capable:
        raise CannotShare(f"{gpu.name} cannot be split by MIG; processes can share it by utilization.")
    whole_compute, whole_memory = of
    if not 1 <= compute_slices <= whole_compute or not 1 <= memory_slices <= whole_memory:
        raise CannotShare(
            f"A slice of {compute_slices} compute and {memory_slices} memory; a GPU has {whole_compute} and "
            f"{whole_memory}."
        )
    bandwidth = gpu.memory_bandwidth_bytes_per_second
    return replace(
        gpu,
        name=f"{gpu.name} MIG {compute_slices}g of {memory_slices}/{whole_memory}",
        memory_bytes=None if gpu.memory_bytes is None else gpu.memory_bytes * memory_slices // whole_memory,
        memory_marketed_bytes=gpu.memory_marketed_bytes * memory_slices // whole_memory,
        memory_bandwidth_bytes_per_second=None if bandwidth is None else bandwidth * memory_slices / whole_memory,
        flop_per_second={name: rate * compute_slices / whole_compute for name, rate in gpu.flop_per_second.items()},
        link_bytes_per_second=None,
        scaleup_domain_gpus=1,
        mig_capable=False,
        aliases=(),
    )


def utilizations_left(total_bytes: float, context_bytes: float, utilizations: Sequence[float]) -> float:
    """Largest utilization that one more engine on the card can have, each being a share of the card's *total*.

    Every engine takes its share and a driver context beside it:

        1 - sum(utilizations) - (engines + 1) * context / total

    Raises:
        CannotShare: those that are there take more than the card.

    Source: vLLM 0.33.0 `vllm/v1/worker/utils.py`, `request_memory`: free memory must hold the share when it starts.

    >>> round(utilizations_left(80e9, 0.5e9, [0.4]), 4)
    0.5875
    """
    left = 1 - sum(utilizations) - (len(utilizations) + 1) * context_bytes / total_bytes
    if left <= 0:
        raise CannotShare(
            f"Engines at {', '.join(f'{each:g}' for each in utilizations)} leave nothing of the card for one more."
        )
    return left
