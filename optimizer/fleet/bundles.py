"""Whole plans of some services as columns of their own: what a plan keeps by itself needs no rule any more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.sparse import SparseRows, sparse_rows
from optimizer.replica_columns import Bools, Ints


@dataclass(frozen=True)
class Bundles:
    """A problem in which some services choose one of several plans.

    Attributes:
        problem: its columns are some of the whole problem's, then the bundles.
        kept: shape (columns kept,): their numbers in the whole problem.
        contents: (bundles x columns of the whole problem): replicas in each bundle.
        columns: of the whole problem.
    """

    problem: FleetProblem
    kept: Ints
    contents: SparseRows
    columns: int

    def opened(self, counts: Ints) -> Ints:
        """Counts of the whole problem's columns."""
        whole = np.zeros(self.columns, dtype=np.int64)
        whole[self.kept] = counts[: len(self.kept)]
        chosen = counts[len(self.kept) :]
        np.add.at(whole, self.contents.index, self.contents.value * chosen[self.contents.row])
        return whole


def bundled(problem: FleetProblem, services: Bools, owner: Ints, contents: SparseRows) -> Bundles:
    """The problem in which these services have nothing but their bundles to choose from.

    Args:
        problem: the whole problem.
        services: shape (services,): that have bundles.
        owner: shape (bundles,): whose each is; it does all that is asked of it.
        contents: (bundles x columns): replicas of each.
    """
    kept = np.flatnonzero(~np.append(services, False)[problem.column_service])
    number, wanted = len(owner), services[problem.cover_service]
    first = np.searchsorted(problem.cover_service, np.arange(problem.services))
    demand = np.where(wanted, 0, problem.cover_demand)
    demand[first[services]] = 1
    covers, uses = problem.column_covers.take(kept), problem.column_uses.take(kept)
    spent = problem.column_uses.take(contents.index)
    times = np.repeat(contents.value, np.diff(spent.start))
    bundle = len(kept) + np.repeat(contents.row, np.diff(spent.start))
    ones = np.ones(number, dtype=np.int64)
    price = np.zeros(number, dtype=np.int64)
    np.add.at(price, contents.row, contents.value * problem.column_price_micro_usd[contents.index])
    rows = len(kept) + number
    smaller = replace(
        problem,
        cover_demand=demand,
        cover_is_bucket=problem.cover_is_bucket & ~wanted,
        cover_survives=problem.cover_survives & ~wanted,
        column_service=np.concatenate((problem.column_service[kept], owner)),
        column_price_micro_usd=np.concatenate((problem.column_price_micro_usd[kept], price)),
        column_least=np.concatenate((problem.column_least[kept], ones)),
        column_most=np.concatenate((problem.column_most[kept], ones)),
        column_lost_replicas=np.concatenate((problem.column_lost_replicas[kept], ones)),
        column_covers=sparse_rows(
            rows,
            np.concatenate((covers.row, len(kept) + np.arange(number))),
            np.concatenate((covers.index, first[owner])),
            np.concatenate((covers.value, ones)),
        ),
        column_uses=sparse_rows(
            rows,
            np.concatenate((uses.row, bundle)),
            np.concatenate((uses.index, spent.index)),
            np.concatenate((uses.value, spent.value * times)),
        ),
    )
    return Bundles(smaller, kept, contents, problem.columns)
