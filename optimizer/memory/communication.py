"""What libraries take outside the allocator's sight: driver context, NCCL and all-reduce buffers, kernel workspaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gpu_db.gpu import Gpu
from optimizer.memory.factors import memory_factors
from optimizer.replica_columns import ReplicaColumns

Floats = NDArray[np.float64]


HOPPER = "9."
"""How its compute capability begins."""


@dataclass(frozen=True)
class NonTorch:
    """What one engine version allocates outside PyTorch, by the number of ranks that talk to each other.

    Attributes:
        bytes_fast, bytes_pcie: by ranks, over NVLink, xGMI or the like, and over PCIe.
        bytes_amd: what an AMD GPU has on top.
        bytes_quantized: what quantized weights leave on top: memory that repacking fragments.
        bytes_hopper: what a Hopper GPU has on top: its kernels are larger.
    """

    bytes_fast: dict[int, float]
    bytes_pcie: dict[int, float]
    bytes_amd: float
    bytes_quantized: float = 0
    bytes_hopper: float = 0

    def extra_bytes(self, gpu: Gpu) -> float:
        """What one kind of card has on top."""
        if gpu.vendor == "AMD":
            return self.bytes_amd
        return self.bytes_hopper if gpu.compute_capability.startswith(HOPPER) else 0


def non_torch_bytes(rows: ReplicaColumns, table: NonTorch, *, quantized: bool = False) -> Floats:
    """Bytes that grow outside PyTorch between the engine's two snapshots, per GPU, shape (rows,).

    A table by the number of ranks that talk to each other (TP x DP) and the kind of links between them; between and
    beyond measured counts the next smaller one's value holds.

    Args:
        rows: shapes of one replica.
        table: of the engine's version.
        quantized: whether the weights are stored in less than 16 bits.

    Source: public start-up logs, see `non_torch_gib` in `optimizer/engines/data/*.json`.
    """
    ranks = rows.tensor_parallel * rows.data_parallel
    fast, pcie = by_ranks(table.bytes_fast, ranks), by_ranks(table.bytes_pcie, ranks)
    extra = rows.gather([table.extra_bytes(gpu) for gpu in rows.gpus])
    return np.where(rows.has_fast_links, fast, pcie) + extra + (table.bytes_quantized if quantized else 0)


def by_ranks(table: dict[int, float], ranks: NDArray[np.int64]) -> Floats:
    """What a table has for so many ranks, or else for the next smaller number; the shape of `ranks`."""
    counts = np.array(sorted(table))
    values = np.array([table[count] for count in counts])
    return np.asarray(values[np.searchsorted(counts, ranks, side="right") - 1])


def context_bytes(rows: ReplicaColumns) -> Floats:
    """The driver's context of one process, per GPU, shape (rows,). It lies outside vLLM's budget."""
    contexts = memory_factors().context_bytes
    return rows.gather([contexts.get(gpu.vendor, max(contexts.values())) for gpu in rows.gpus])


def product_workspace_bytes(gpu: Gpu) -> float:
    """What the library of matrix products keeps inside the allocator, by compute capability: two workspaces."""
    known = memory_factors().product_workspace_bytes
    return known.get(gpu.compute_capability.split(".")[0], known["default"])


def visible_bytes(gpu: Gpu) -> int:
    """Memory that an engine sees as the card's total: what the driver shows less a reserve of some hundred MiB.

    Raises:
        ValueError: nobody published what the driver shows; such a GPU is not planned with.
    """
    if gpu.memory_bytes is None:
        raise ValueError(
            f"Nobody published how much memory the driver of {gpu.name} shows, so nothing can be sized on it."
        )
    return gpu.memory_bytes - _unseen_bytes(gpu.name, gpu.vendor)


@cache
def _unseen_bytes(name: str, vendor: str) -> int:
    factors = memory_factors()
    named = (unseen for prefix, unseen in factors.unseen_bytes if name.startswith(prefix))
    return round(next(named, factors.unseen_bytes_default.get(vendor, 0)))
