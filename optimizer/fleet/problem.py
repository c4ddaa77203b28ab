"""What a fleet asks, in whole numbers: plans consume resources, supply produces them.

One noun holds every rule. *Services* want demands covered. *Columns* are what may be had in whole numbers: a replica of
one service (it covers that service's demands and uses resources) or a supply (it belongs to no service and produces
resources: a rented machine gives GPU slots, a commitment gives machines in each of its months). *Resources* are sums
that may not exceed a limit. Written out, with x the counts and min() cutting each coefficient at the demand:

    minimize    sum of price_j x_j
    cover k     sum of covers_jk x_j >= demand_k             for every cover of a service that is served
    bucket k    every 5,040th of the bucket runs on some column, and no replica works more than all of its time
    resource r  sum of uses_jr x_j <= limit_r                uses < 0 produces
    column j    x_j = 0  or  least_j <= x_j <= most_j

How the rules that people ask for become these:

* quota, budget, power, GPU count: a resource with what each column (or supply) takes of it;
* replicas that share machines: columns use GPU slots, a machine is a supply that gives `gpus` slots;
* owned machines: supply with the energy as its price and the owned count as `most`;
* at least n copies: a cover to which every column gives 1, demand n;
* an on-demand base under spot: a cover to which only on-demand columns give;
* months: each service once per month, each month its own resources; a commitment produces in all of its months;
* the worst of several scenarios: the same, and money as a resource: a supply of price 1 that gives one micro-dollar to
  each scenario's own cost row, of which what is rented in that scenario uses its price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.fleet.errors import BadFleetProblem
from optimizer.fleet.sparse import SparseRows
from optimizer.replica_columns import Bools, Ints

SUPPLY = -1
"""The service of a column that serves none."""
SHARES = 5040
"""A bucket's demand is split in 5,040ths, which all numbers up to 10 divide."""
WORK = 10_000_000
"""The time of one replica: a bucket's work on it is counted in ten-millionths of a replica, rounded up."""
LARGEST_SUM = 1 << 61
"""CP-SAT refuses linear sums that can leave 2^62; half of it leaves room for the slack."""


@dataclass(frozen=True)
class FleetProblem:
    """The integer program of a fleet; every array is int64 or bool.

    Attributes:
        service_names: shape (services,).
        required: shape (services,): without it there is no plan at all.
        priority: shape (services,): when not all can be served, those of a larger number go first.
        weight: shape (services,): among equal priority the greatest sum of the weights served wins, before cost.
        cover_service: shape (covers,): whose demand this is, in rising order.
        cover_demand: shape (covers,): in whole units, rounded up.
        cover_is_bucket: shape (covers,): requests of one size, whose buckets share the replicas' time.
        cover_survives: shape (covers,): still covered when one machine is lost, whichever column
            loses one. Of a bucket: each column that serves some of it has a machine more than its work needs.
        column_service: shape (columns,): `SUPPLY` or the service, in any order.
        column_price_micro_usd: shape (columns,): of one, per hour or over the whole horizon, alike for all columns.
        column_least: shape (columns,): none, or at least so many (a minimum purchase); at least 1.
        column_most: shape (columns,): at most so many.
        column_lost_replicas: shape (columns,): replicas of it that go with one machine, at least 1.
        column_covers: (columns x covers): what one gives to each cover, rounded down; only to its own service's.
        column_uses: (columns x resources): what one takes (or, below 0, gives) of each resource.
        resource_names: shape (resources,).
        resource_limit: shape (resources,): 0 for what only supply gives.
    """

    service_names: tuple[str, ...]
    required: Bools
    priority: Ints
    weight: Ints
    cover_service: Ints
    cover_demand: Ints
    cover_is_bucket: Bools
    cover_survives: Bools
    column_service: Ints
    column_price_micro_usd: Ints
    column_least: Ints
    column_most: Ints
    column_lost_replicas: Ints
    column_covers: SparseRows
    column_uses: SparseRows
    resource_names: tuple[str, ...]
    resource_limit: Ints

    @property
    def services(self) -> int:
        """How many services."""
        return len(self.service_names)

    @property
    def columns(self) -> int:
        """How many columns, supply included."""
        return len(self.column_service)

    @property
    def covers(self) -> int:
        """How many covers, buckets included."""
        return len(self.cover_service)

    @property
    def resources(self) -> int:
        """How many resources."""
        return len(self.resource_names)

    def check(self) -> None:
        """Raise BadFleetProblem unless shapes agree, numbers lie in their ranges and no sum can leave 64 bits."""
        _check_shapes(self)
        _check_ranges(self)
        _check_sums(self)
        _check_buckets(self)


def work_ten_millionths(demand: int, capacity: int) -> int:
    """Replica time that a whole bucket takes on one column, in ten-millionths of a replica, rounded up once.

    >>> work_ten_millionths(3, 2), work_ten_millionths(1, 3)
    (15000000, 3333334)
    """
    return -(-demand * WORK // capacity)


def _check_shapes(problem: FleetProblem) -> None:
    sized = {
        "service": ("required", "priority", "weight"),
        "cover": ("cover_service", "cover_demand", "cover_is_bucket", "cover_survives"),
        "column": (
            "column_service",
            "column_price_micro_usd",
            "column_least",
            "column_most",
            "column_lost_replicas",
        ),
        "resource": ("resource_limit",),
    }
    counts = dict(
        zip(sized, (problem.services, problem.covers, problem.columns, problem.resources), strict=True),
    )
    for kind, names in sized.items():
        for name in names:
            array = getattr(problem, name)
            if array.shape != (counts[kind],):
                raise BadFleetProblem(
                    f"{name} has shape {array.shape}; one number per {kind}, {counts[kind]}, is needed."
                )
    for name, width in (("column_covers", problem.covers), ("column_uses", problem.resources)):
        _check_matrix(name, getattr(problem, name), problem.columns, width)


def _check_matrix(name: str, matrix: SparseRows, rows: int, width: int) -> None:
    if matrix.rows != rows or len(matrix.index) != len(matrix.value) or int(matrix.start[-1]) != len(matrix.index):
        raise BadFleetProblem(f"{name} has {matrix.rows} rows of {len(matrix.value)} entries; {rows} rows are needed.")
    if len(matrix.index) and not 0 <= int(matrix.index.min()) <= int(matrix.index.max()) < width:
        raise BadFleetProblem(f"{name} points to {int(matrix.index.max())}; it has places 0 to {width - 1}.")


def _check_ranges(problem: FleetProblem) -> None:
    least = {
        "weight": 1,
        "cover_demand": 0,
        "column_service": SUPPLY,
        "column_price_micro_usd": 0,
        "column_least": 1,
        "column_most": 0,
        "column_lost_replicas": 1,
    }
    for name, lowest in least.items():
        array = getattr(problem, name)
        if len(array) and int(array.min()) < lowest:
            raise BadFleetProblem(f"{name} is {int(array.min())} somewhere; at least {lowest} is needed.")
    for name in ("cover_service", "column_service"):
        array = getattr(problem, name)
        if len(array) and int(array.max()) >= problem.services:
            raise BadFleetProblem(f"{name} names service {int(array.max())} of {problem.services}.")
    if len(problem.cover_service) and (np.diff(problem.cover_service) < 0).any():
        raise BadFleetProblem("cover_service must rise: a service's covers stand together.")
    uses = problem.column_uses
    if (uses.value[problem.column_service[uses.row] != SUPPLY] < 0).any():
        raise BadFleetProblem("A column of a service gives a resource; only supply (service -1) may use less than 0.")
    covers = problem.column_covers
    if (problem.cover_service[covers.index] != problem.column_service[covers.row]).any():
        raise BadFleetProblem("A column covers a demand of a service that is not its own.")
    if len(covers.value) and int(covers.value.min()) < 0:
        raise BadFleetProblem(
            f"column_covers is {int(covers.value.min())} somewhere; a column cannot take service away."
        )


def _check_sums(problem: FleetProblem) -> None:
    """In floats, whose error is far smaller than the room that LARGEST_SUM leaves."""
    most = problem.column_most.astype(np.float64)
    sums = {
        "price": np.array([problem.column_price_micro_usd @ most]),
        "resource": _sums(problem.column_uses, most, problem.resources) + np.abs(problem.resource_limit),
        "cover": _sums(problem.column_covers, most, problem.covers, problem.cover_demand),
        "weight": np.array([problem.weight.astype(np.float64).sum()]),
    }
    for name, sum_ in sums.items():
        if len(sum_) and sum_.max() >= LARGEST_SUM:
            raise BadFleetProblem(
                f"The {name} sums reach {sum_.max():.3g}, more than 2^61; use coarser units or smaller `most`."
            )


def _check_buckets(problem: FleetProblem) -> None:
    """The work of buckets is counted in 1 / (WORK x SHARES) of a replica, which leaves less room."""
    matrix = problem.column_covers
    bucket = problem.cover_is_bucket[matrix.index]
    needed = problem.cover_demand[matrix.index[bucket]] / matrix.value[bucket]
    worst = np.bincount(matrix.row[bucket], weights=needed + 1, minlength=1).max()
    if worst * WORK * SHARES >= LARGEST_SUM:
        raise BadFleetProblem(
            f"The buckets of one service would need {worst:.3g} replicas of one column; leave out columns that need "
            f"more than {LARGEST_SUM // (WORK * SHARES):,}."
        )


def _sums(matrix: SparseRows, most: np.ndarray, width: int, cut: Ints | None = None) -> np.ndarray:
    value = np.abs(matrix.value.astype(np.float64))
    if cut is not None:
        value = np.minimum(value, cut[matrix.index])
    return np.bincount(matrix.index, weights=value * most[matrix.row], minlength=width)
