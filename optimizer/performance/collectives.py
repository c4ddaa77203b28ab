"""How long GPUs take to add up their vectors: measured curves by GPU, engine kernel and ranks, and how they carry over.

    seconds(size) = latency + protocol * sqrt(size) + per_byte * size

with latency and protocol of the nearest measured GPU and the per-byte term in inverse proportion to the link. Between
machines the network adds its own latency and its own bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optimizer.replica_columns import Floats, ReplicaColumns


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity: a cheap key of a cache
class Curve:
    """One measured all-reduce: seconds against bytes."""

    gpu: str
    engine: str
    ranks: int
    latency_seconds: float
    protocol_seconds: float
    seconds_per_byte: float
    link_bytes_per_second: float

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> Curve:
        """From a line of collectives.json."""
        return Curve(
            str(record["gpu"]),
            str(record["engine"]),
            int(record["ranks"]),
            float(record["latency_seconds"]),
            float(record["protocol_seconds_per_root_byte"]),
            float(record["seconds_per_byte"]),
            float(record["link_bytes_per_second"]),
        )


@dataclass(frozen=True)
class Links:
    """Message costs per row, each (rows,): all-reduce inside a TP group, exchange between experts, pipeline hop."""

    latency_seconds: Floats
    protocol_seconds: Floats
    seconds_per_byte: Floats
    hop_latency_seconds: Floats
    hop_seconds_per_byte: Floats


FAST, SLOW = "fast", "slow"


def link_costs(
    rows: ReplicaColumns,
    engine: str,
    ranks: np.ndarray[Any, np.dtype[np.int64]],
    curves: Sequence[Curve],
    network: Mapping[str, float],
) -> Links:
    """Curve of each row's group of `ranks` GPUs.

    Args:
        rows: replicas.
        engine: whose all-reduce kernel runs.
        ranks: (rows,) GPUs that take part.
        curves: what was measured.
        network: latency_seconds and efficiency of a collective between machines, hop_latency_seconds.

    Returns:
        Costs; those of one rank are 0. NaN where the link's bandwidth is not known.
    """
    inside = np.minimum(ranks, np.maximum(rows.gpus_per_node, 1))
    machines = np.ceil(ranks / np.maximum(rows.gpus_per_node, 1))
    key = (rows.gpu * 2 + rows.has_fast_links) * MOST_RANKS + inside
    distinct, where = np.unique(key, return_inverse=True)
    groups = {(int(k) % MOST_RANKS, int(k) // MOST_RANKS % 2) for k in distinct if k % MOST_RANKS > 1}
    alike = {(ranks, fast): _alike(curves, engine, ranks, bool(fast)) for ranks, fast in groups}
    terms = np.array([_terms(int(k), rows, alike) for k in distinct]).reshape(-1, 4)[where]
    link = np.where(np.isnan(rows.link_bytes_per_second), np.nan, rows.link_bytes_per_second)
    scale = np.where(inside > 1, terms[:, 3] / link, 0.0)
    remote = machines > 1
    # Each GPU sends its share of the vector to the other machines and receives the sum: 2 (m - 1) / m / inside.
    rate = rows.internode_bytes_per_second * network["efficiency"]
    remote_bytes = np.where(remote, 2 * (machines - 1) / machines / inside / np.where(remote, rate, 1.0), 0.0)
    hop_rate = np.where(rows.nodes > 1, rows.internode_bytes_per_second, link)
    return Links(
        latency_seconds=terms[:, 0] + np.where(remote, network["latency_seconds"], 0.0),
        protocol_seconds=terms[:, 1],
        seconds_per_byte=terms[:, 2] * scale + remote_bytes,
        hop_latency_seconds=np.where(rows.nodes > 1, network["latency_seconds"], network["hop_latency_seconds"]),
        hop_seconds_per_byte=np.where(rows.pipeline_parallel > 1, 1 / hop_rate, 0.0),
    )


def _terms(
    key: int, rows: ReplicaColumns, alike: Mapping[tuple[int, int], Sequence[Curve]]
) -> tuple[float, float, float, float]:
    """Latency, protocol, seconds per byte and the link they were measured on, of the most similar measured group."""
    ranks = key % MOST_RANKS
    gpu, fast = divmod(key // MOST_RANKS, 2)
    if ranks <= 1:
        return 0.0, 0.0, 0.0, 1.0
    name = rows.gpus[gpu].name
    link = rows.gpus[gpu].link_bytes_per_second if fast else rows.gpus[gpu].pcie_bytes_per_second
    curve = min(alike[ranks, fast], key=lambda each: _from_gpu(each, name, link))
    return curve.latency_seconds, curve.protocol_seconds, curve.seconds_per_byte, curve.link_bytes_per_second


MOST_RANKS = 4096
"""GPUs of one server are fewer; what tells keys apart."""

SLOWEST_FAST_LINK = 100e9
"""Bytes per second, one direction: PCIe 5 x16 gives 63e9, NVLink 3 and xGMI more than this."""


def _alike(curves: Sequence[Curve], engine: str, ranks: int, fast: bool) -> list[Curve]:
    """The measured groups on the same kind of link, with the nearest number of ranks, of the same engine if any."""
    apart = [_from_group(curve, engine, ranks, fast) for curve in curves]
    least = min(apart)
    return [curve for curve, distance in zip(curves, apart, strict=True) if distance == least]


def _from_group(curve: Curve, engine: str, ranks: int, fast: bool) -> tuple[float, ...]:
    return (
        float((curve.link_bytes_per_second >= SLOWEST_FAST_LINK) != fast),
        abs(math.log2(curve.ranks / ranks)),
        float(curve.engine != engine),
    )


def _from_gpu(curve: Curve, gpu: str, link: float | None) -> tuple[float, float]:
    """Sorts groups that are alike: the same GPU, then the nearest bandwidth."""
    return float(curve.gpu != gpu), abs(math.log(curve.link_bytes_per_second / link)) if link else 0.0
