"""Every way to lay one replica over machines of one kind: TP x PP x attention-DP, inside a node or across nodes.

Sizes inside one machine are powers of two that divide its GPU count, and the whole machine. They form a divisibility
chain, so any set of replicas whose sizes add up to no more than the GPUs of the machines that were bought can be packed
on them without leaving a gap: the solver counts GPUs and needs no packing patterns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gpu_db.gpu import Gpu
from gpu_db.offer import Offer
from optimizer.replica_columns import Floats, Ints, ReplicaColumns

NODES_OF_A_PIPELINE = (2, 3, 4, 6, 8)
"""Across nodes, each node is a pipeline stage (or several); more stages than these starve."""
PIPELINE_PARALLEL_MOST = 32
"""A step passes every stage in turn; past this no measured deployment exists."""
TENSOR_PARALLEL_MOST = 64
"""Wider than any engine's tested TP; only rack-scale NVLink domains come near."""


class Place(NamedTuple):
    """What of an offer matters to speed and memory: offers alike in this run every replica alike.

    A rate of 0 means that it is not known or that there is no such link.
    """

    gpu: str
    gpu_count: int
    scaleup_domain_gpus: int
    link_bytes_per_second: float
    internode_bytes_per_second: float

    @classmethod
    def of(cls, offer: Offer) -> Place:
        """The place that an offer rents."""
        return cls(
            offer.gpu,
            offer.gpu_count,
            offer.scaleup_domain_gpus,
            offer.link_bytes_per_second or 0.0,
            offer.internode_bytes_per_second or 0.0,
        )

    @property
    def spans_nodes(self) -> bool:
        """Whether machines of this kind can serve one replica together."""
        return self.internode_bytes_per_second > 0 or self.scaleup_domain_gpus > self.gpu_count


def sizes_in_one_machine(gpu_count: int) -> tuple[int, ...]:
    """Replica sizes that pack a machine without gaps: a divisibility chain that ends in the whole machine.

    >>> sizes_in_one_machine(8), sizes_in_one_machine(6), sizes_in_one_machine(1)
    ((1, 2, 4, 8), (1, 2, 6), (1,))
    """
    powers = [1 << bit for bit in range(gpu_count.bit_length()) if gpu_count % (1 << bit) == 0]
    return tuple(dict.fromkeys([*powers, gpu_count]))


@lru_cache(maxsize=512)
def layouts(
    gpu_count: int,
    *,
    scaleup_domain_gpus: int,
    spans_nodes: bool,
    experts: bool,
    tensor_parallel: int | None,
    pipeline_parallel: int | None,
) -> Ints:
    """All layouts on machines of `gpu_count` GPUs, shape (layouts, 5): TP, PP, DP, EP, nodes.

    With `experts`, each layout comes with experts divided by TP (EP = 1) and dealt out (EP = TP x DP), and attention-DP
    is offered. A forced TP or PP keeps only the layouts that have it, whatever sizes that gives.
    """
    rows = [*_inside_one_node(gpu_count, tensor_parallel, pipeline_parallel, experts)]
    if spans_nodes:
        rows += _across_nodes(gpu_count, scaleup_domain_gpus, experts)
    kept = [
        row for row in dict.fromkeys(rows) if tensor_parallel in (None, row[0]) and pipeline_parallel in (None, row[1])
    ]
    return np.asarray(kept, dtype=np.int64).reshape(-1, 5)


def _inside_one_node(
    gpu_count: int, tensor_parallel: int | None, pipeline_parallel: int | None, experts: bool
) -> list[tuple[int, int, int, int, int]]:
    sizes: set[int] = set(sizes_in_one_machine(gpu_count))
    if tensor_parallel or pipeline_parallel:
        sizes |= set(range(1, gpu_count + 1))
    rows = []
    for size in sorted(sizes):
        for tp in (tp for tp in range(1, size + 1) if size % tp == 0):
            rows += _with_experts(tp, size // tp, 1, 1, experts)
            if experts and size > tp:
                rows.append((tp, 1, size // tp, size, 1))
    return rows


def _across_nodes(gpu_count: int, domain: int, experts: bool) -> list[tuple[int, int, int, int, int]]:
    rows = []
    for nodes in NODES_OF_A_PIPELINE:
        for tp in sizes_in_one_machine(gpu_count):
            if nodes * gpu_count // tp <= PIPELINE_PARALLEL_MOST:
                rows += _with_experts(tp, nodes * gpu_count // tp, 1, nodes, experts)
        wide = nodes * gpu_count
        if wide <= min(domain, TENSOR_PARALLEL_MOST):
            rows += _with_experts(wide, 1, 1, nodes, experts)
            if experts:
                rows += [(tp, 1, wide // tp, wide, nodes) for tp in sizes_in_one_machine(gpu_count)]
    return rows


def _with_experts(tp: int, pp: int, dp: int, nodes: int, experts: bool) -> list[tuple[int, int, int, int, int]]:
    plain = [(tp, pp, dp, 1, nodes)]
    return [*plain, (tp, pp, dp, tp * dp, nodes)] if experts and tp * dp > 1 else plain


@dataclass(frozen=True)
class ShapeTable:
    """Distinct shapes to evaluate, and which of them each place can run.

    Attributes:
        columns: one row per distinct shape.
        places: the distinct places.
        pair_place, pair_shape: shape (pairs,): place `pair_place[i]` can run shape `pair_shape[i]`.
    """

    columns: ReplicaColumns
    places: tuple[Place, ...]
    pair_place: Ints
    pair_shape: Ints


def enumerate_shapes(
    offers: tuple[Offer, ...],
    gpus: dict[str, Gpu],
    *,
    experts: bool,
    tensor_parallel: int | None,
    pipeline_parallel: int | None,
) -> ShapeTable:
    """All shapes on all places of these offers, equal ones once.

    A shape on one GPU is the same on every machine with that GPU; a shape inside one node does not depend on the
    network between nodes.
    """
    places = tuple(dict.fromkeys(Place.of(offer) for offer in offers))
    names = tuple(dict.fromkeys(place.gpu for place in places))
    tables = [
        layouts(
            p.gpu_count,
            scaleup_domain_gpus=p.scaleup_domain_gpus,
            spans_nodes=p.spans_nodes,
            experts=experts,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
        )
        for p in places
    ]
    pair_place = np.repeat(np.arange(len(places)), [len(table) for table in tables])
    layout = np.concatenate(tables) if tables else np.empty((0, 5), dtype=np.int64)
    slot = np.asarray([gpus[p.gpu].pcie_bytes_per_second or 0.0 for p in places])
    keys = _shape_keys(places, names, slot, pair_place, layout)
    first, pair_shape = _distinct_rows(keys)
    columns = _columns(keys[first], tuple(gpus[name] for name in names))
    return ShapeTable(columns, places, pair_place, pair_shape)


def _distinct_rows(keys: Floats) -> tuple[Ints, Ints]:
    """Where each distinct row is first, and the number of each row's kind, in the order of the columns.

    As `np.unique(keys, axis=0)`, faster: every column is numbered, and the numbers packed into one integer.
    """
    packed = np.zeros(len(keys), dtype=np.int64)
    for column in keys.T:
        values, number = np.unique(column, return_inverse=True)
        packed = packed * max(len(values), 1) + number.reshape(-1)
    _, first, kind = np.unique(packed, return_index=True, return_inverse=True)
    return first, kind.reshape(-1).astype(np.int64)


def _shape_keys(
    places: tuple[Place, ...], names: tuple[str, ...], slot: Floats, pair_place: Ints, layout: Ints
) -> Floats:
    """One row per pair: GPU, link, fast, internode, GPUs per node, then TP, PP, DP, EP, nodes. 0 = does not matter.

    A TP group wider than its scale-up domain (bridged pairs) talks over the PCIe slot, `slot` bytes/s per place.
    """
    gpu = np.asarray([names.index(p.gpu) for p in places], dtype=np.float64)[pair_place]
    link = np.asarray([p.link_bytes_per_second for p in places])[pair_place]
    internode = np.asarray([p.internode_bytes_per_second for p in places])[pair_place]
    domain = np.asarray([p.scaleup_domain_gpus for p in places])[pair_place]
    count = np.asarray([p.gpu_count for p in places])[pair_place]
    tp, pp, dp, _, nodes = layout.T
    size = tp * pp * dp
    per_node = np.where(nodes > 1, count, size)
    fast = domain >= np.maximum(tp * dp, 2)
    alone = size == 1
    link = np.where((domain > 1) & ~fast, slot[pair_place], link)
    return np.column_stack(
        [
            gpu,
            np.where(alone, 0.0, link),
            np.where(alone, 0.0, fast),
            np.where(nodes > 1, internode, 0.0),
            per_node,
            layout,
        ]
    )


def _columns(keys: Floats, gpus: tuple[Gpu, ...]) -> ReplicaColumns:
    whole = keys.astype(np.int64)
    return ReplicaColumns(
        gpus=gpus,
        gpu=whole[:, 0],
        link_bytes_per_second=np.where(keys[:, 1] > 0, keys[:, 1], np.nan),
        has_fast_links=keys[:, 2] > 0,
        internode_bytes_per_second=np.where(keys[:, 3] > 0, keys[:, 3], np.nan),
        gpus_per_node=whole[:, 4],
        tensor_parallel=whole[:, 5],
        pipeline_parallel=whole[:, 6],
        data_parallel=whole[:, 7],
        expert_parallel=whole[:, 8],
        nodes=whole[:, 9],
    )
