"""The linear relaxation of a fleet problem: a quick bound, and what one more unit of each limit is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.cp_sat.fleet_linear import NO_LIMIT, LinearAnswer, LinearProgram, solve_linear
from optimizer.fleet.bounds import useful_most
from optimizer.fleet.problem import FleetProblem
from optimizer.replica_columns import Bools, Floats, Ints


@dataclass(frozen=True)
class Relaxation:
    """The answer of the relaxation.

    Attributes:
        answer: of the solver; the first variables are the columns.
        resource_prices: shape (resources,): micro-dollars that one more unit saves, at least 0.
    """

    answer: LinearAnswer
    resource_prices: Floats


def relax(problem: FleetProblem, *, time_limit_seconds: float) -> Relaxation:
    """Solve the problem with counts and shares that need not be whole; every service is served.

    The rule that a machine may be lost is left out where it is no bucket's, so this bounds from below.
    """
    program = relaxed_program(problem)
    answer = solve_linear(program, time_limit_seconds=time_limit_seconds)
    return Relaxation(
        answer, np.maximum(-answer.duals[-problem.resources :], 0.0) if problem.resources else np.zeros(0)
    )


def relaxed_program(problem: FleetProblem, *, whole: Bools | None = None) -> LinearProgram:
    """Rows: covers (of a bucket: all of it runs), then the time of each column in a bucket, then resources.

    Variables: columns, then one share (0 to 1) per entry of a bucket. Covers are divided by their demand. `whole` asks
    for whole counts, shape (columns,).
    """
    matrix, uses = problem.column_covers, problem.column_uses
    bucket = problem.cover_is_bucket[matrix.index]
    shares = np.flatnonzero(bucket)
    share_variable = problem.columns + np.arange(len(shares))
    busy, busy_row = np.unique(matrix.row[shares], return_inverse=True)
    busy_row = problem.covers + busy_row.reshape(-1)
    demand = problem.cover_demand[matrix.index].astype(np.float64)
    work = demand[shares] / matrix.value[shares]
    first_resource = problem.covers + len(busy)
    entries: list[tuple[Ints, Ints, Floats]] = [
        (matrix.index[~bucket], matrix.row[~bucket], np.minimum(matrix.value / np.maximum(demand, 1.0), 1.0)[~bucket]),
        (matrix.index[shares], share_variable, np.ones(len(shares))),
        (busy_row, share_variable, work),
        (problem.covers + np.arange(len(busy)), busy, np.full(len(busy), -1.0)),
        (first_resource + uses.index, uses.row, uses.value.astype(np.float64)),
    ]
    row, variable, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    wanted = np.where(problem.cover_is_bucket | (problem.cover_demand > 0), 1.0, 0.0)
    open_rows = len(busy) + problem.resources
    most = useful_most(problem).astype(np.float64)
    return LinearProgram(
        cost=np.concatenate((problem.column_price_micro_usd.astype(np.float64), np.zeros(len(shares)))),
        most=np.concatenate((most, np.ones(len(shares)))),
        row=row,
        variable=variable,
        value=value,
        low=np.concatenate((wanted, np.full(open_rows, -NO_LIMIT))),
        high=np.concatenate(
            (np.full(problem.covers, NO_LIMIT), np.zeros(len(busy)), problem.resource_limit.astype(np.float64))
        ),
        whole=None if whole is None else np.concatenate((whole, np.zeros(len(shares), dtype=bool))),
    )
