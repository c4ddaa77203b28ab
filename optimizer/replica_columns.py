"""Replicas as columns: what the memory and performance models read, one row per shape on one kind of machine.

A row is a place (GPU, links, nodes) and a parallelism. Model variant (how the weights are stored), engine and KV-cache
format are the same for all rows of one table; callers loop over those few, never over rows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpu_db.gpu import Gpu

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ReplicaColumns:
    """Shapes of one replica; every array has shape (rows,).

    Attributes:
        gpus: the distinct GPUs.
        gpu: index into `gpus`.
        tensor_parallel, pipeline_parallel: TP and PP.
        data_parallel: attention-DP ranks inside the replica (1 = none); the replica has TP x PP x DP GPUs.
        expert_parallel: ranks that the experts are dealt out to: TP x DP with expert parallelism, 1 without (then
            each expert is divided by TP).
        nodes: machines that the replica spans.
        gpus_per_node: GPUs of the replica on each of them.
        link_bytes_per_second: one direction per GPU inside a node; NaN when unknown.
        has_fast_links: whether the GPUs of a TP group reach each other over NVLink, xGMI or the like (not PCIe).
        internode_bytes_per_second: one direction per GPU between nodes; NaN when there is no such link.
    """

    gpus: tuple[Gpu, ...]
    gpu: Ints
    tensor_parallel: Ints
    pipeline_parallel: Ints
    data_parallel: Ints
    expert_parallel: Ints
    nodes: Ints
    gpus_per_node: Ints
    link_bytes_per_second: Floats
    has_fast_links: Bools
    internode_bytes_per_second: Floats

    @property
    def rows(self) -> int:
        """How many shapes."""
        return len(self.gpu)

    @property
    def gpu_count(self) -> Ints:
        """GPUs of one replica, shape (rows,)."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    def gather(self, per_gpu: list[float]) -> Floats:
        """Spread one number per distinct GPU over the rows, shape (rows,)."""
        return np.asarray(per_gpu, dtype=np.float64)[self.gpu]

    def take(self, rows: Ints | Bools) -> ReplicaColumns:
        """The same table with only these rows, and only the GPUs that they use."""
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        gpu = self.gpu.take(at)
        used = np.bincount(gpu, minlength=len(self.gpus)) > 0
        return ReplicaColumns(
            tuple(gpu for gpu, is_used in zip(self.gpus, used.tolist(), strict=True) if is_used),
            (used.cumsum() - 1).take(gpu),
            self.tensor_parallel.take(at),
            self.pipeline_parallel.take(at),
            self.data_parallel.take(at),
            self.expert_parallel.take(at),
            self.nodes.take(at),
            self.gpus_per_node.take(at),
            self.link_bytes_per_second.take(at),
            self.has_fast_links.take(at),
            self.internode_bytes_per_second.take(at),
        )


_Columns = TypeVar("_Columns", bound=Any)


def take_rows(columns: _Columns, rows: Ints) -> _Columns:
    """The same dataclass of arrays with only these rows, tables inside it too; what is no array is kept."""
    picked = {field.name: _taken(getattr(columns, field.name), rows) for field in fields(columns)}
    return type(columns)(**picked)  # type: ignore[no-any-return]


def _taken(value: Any, rows: Ints) -> Any:
    if isinstance(value, np.ndarray):
        return value.take(rows, axis=0)  # faster than indexing, which asks what kind of index it is
    return take_rows(value, rows) if is_dataclass(value) else value
