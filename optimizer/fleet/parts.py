"""A part of a fleet problem as a problem of its own, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.fleet.problem import SUPPLY, FleetProblem
from optimizer.fleet.sparse import SparseRows
from optimizer.replica_columns import Bools, Ints


@dataclass(frozen=True)
class Part:
    """Some services and columns of a problem.

    Attributes:
        whole: the problem that this is a part of.
        problem: the part, with all resources.
        services, columns, entries: the number in the whole of each service, column and entry of `column_covers`.
    """

    whole: FleetProblem
    problem: FleetProblem
    services: Ints
    columns: Ints
    entries: Ints

    def counts_of_whole(self, counts: Ints) -> Ints:
        """Counts per column of the whole, 0 where the part has none."""
        spread = np.zeros(self.whole.columns, dtype=np.int64)
        spread[self.columns] = counts
        return spread

    def shares_of_whole(self, shares: Ints) -> Ints:
        """Shares per entry of the whole, 0 where the part has none."""
        spread = np.zeros(len(self.whole.column_covers.value), dtype=np.int64)
        spread[self.entries] = shares
        return spread


def part_of(problem: FleetProblem, services: Bools, columns: Bools | None = None) -> Part:
    """The services of a mask, with those of their columns (and of supply) that a second mask leaves."""
    kept = np.ones(problem.columns, dtype=bool) if columns is None else columns.copy()
    kept &= (problem.column_service == SUPPLY) | np.append(services, False)[problem.column_service]
    chosen, own = np.flatnonzero(kept), np.flatnonzero(services)
    if kept.all() and services.all():
        return Part(problem, problem, own, chosen, np.arange(len(problem.column_covers.value)))
    covers = np.flatnonzero(services[problem.cover_service])
    entries = np.flatnonzero(kept[problem.column_covers.row])
    matrix = problem.column_covers.take(chosen)
    number = np.append(np.cumsum(services) - 1, SUPPLY)
    part = replace(
        problem,
        service_names=tuple(problem.service_names[service] for service in own.tolist()),
        required=problem.required[own],
        priority=problem.priority[own],
        weight=problem.weight[own],
        cover_service=number[problem.cover_service[covers]],
        cover_demand=problem.cover_demand[covers],
        cover_is_bucket=problem.cover_is_bucket[covers],
        cover_survives=problem.cover_survives[covers],
        column_service=number[problem.column_service[chosen]],
        column_price_micro_usd=problem.column_price_micro_usd[chosen],
        column_least=problem.column_least[chosen],
        column_most=problem.column_most[chosen],
        column_lost_replicas=problem.column_lost_replicas[chosen],
        column_covers=SparseRows(matrix.start, np.searchsorted(covers, matrix.index), matrix.value),
        column_uses=problem.column_uses.take(chosen),
    )
    return Part(problem, part, own, chosen, entries)
