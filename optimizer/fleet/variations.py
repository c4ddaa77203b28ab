"""The same fleet problem, changed: limits raised or lifted, services left out, columns closed or repriced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from optimizer.fleet.answer import NO_PLAN
from optimizer.fleet.fleet import LimitRow, Program
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.solution import FleetSolution
from optimizer.fleet.sparse import SparseRows
from optimizer.replica_columns import Bools, Ints

Solve = Callable[[FleetProblem], FleetSolution]
"""How a problem is solved: `solve_fleet` with a gap, a time limit and a seed."""
CENTS = 10_000
"""Micro-dollars in a cent: budgets are rounded up to whole ones."""
LIFTED = 1 << 50
"""More than any sum that is counted."""


def is_plan(solution: FleetSolution) -> bool:
    """Whether a solution holds a plan, proven or not."""
    return solution.status not in NO_PLAN


def with_limit(problem: FleetProblem, resource: int, most: int) -> FleetProblem:
    """The same problem with another limit."""
    limits = problem.resource_limit.copy()
    limits[resource] = most
    return replace(problem, resource_limit=limits)


def without_limits(problem: FleetProblem, limits: Sequence[LimitRow]) -> FleetProblem:
    """The same problem in which these limits bind nothing."""
    for limit in limits:
        problem = with_limit(problem, limit.resource, LIFTED)
    return problem


def servable(program: Program) -> Bools:
    """Services for which some machine keeps every promise, shape (services,)."""
    columns: Bools = np.bincount(
        program.problem.column_service[program.problem.column_service >= 0], minlength=program.problem.services
    ).astype(bool)
    return columns


def serving_only(problem: FleetProblem, services: Bools) -> FleetProblem:
    """The problem in which exactly these services are required and the others ask for nothing."""
    demand = np.where(services[problem.cover_service], problem.cover_demand, 0)
    return replace(problem, required=np.ones(problem.services, dtype=bool), cover_demand=demand)


def rounded_up(limit: LimitRow, needed: int) -> int:
    """What is needed of a limit, as it is printed: a budget to the next cent."""
    return -(-needed // CENTS) * CENTS if limit.kind == "budget" else needed


def priced_by(problem: FleetProblem, resource: int) -> FleetProblem:
    """The problem whose cheapest plan uses least of a resource."""
    uses = problem.column_uses
    price = np.zeros(problem.columns, dtype=np.int64)
    mine = uses.index == resource
    price[uses.row[mine]] = np.maximum(uses.value[mine], 0)
    return replace(problem, column_price_micro_usd=price)


def used_of(problem: FleetProblem, resource: int, counts: Ints) -> int:
    """How much of a resource counts take."""
    uses = problem.column_uses
    mine = uses.index == resource
    return int(uses.value[mine] @ counts[uses.row[mine]])


def feasibility(problem: FleetProblem) -> FleetProblem:
    """The problem in which every plan costs nothing: whether there is one is all that is asked."""
    return replace(problem, column_price_micro_usd=np.zeros(problem.columns, dtype=np.int64))


def all_required_of_required(problem: FleetProblem) -> FleetProblem:
    """Only the required services, all of them to be served; the others ask for nothing."""
    return serving_only(problem, problem.required)


def supply_of(program: Program, gpu: str) -> Ints:
    """Columns that buy machines with a GPU."""
    numbers = [
        column
        for number, column in enumerate(program.supply.tolist())
        if column >= 0 and program.market.supplies[number].offer.gpu == gpu
    ]
    return np.asarray(numbers, dtype=np.int64)


def with_at_least_one(problem: FleetProblem, columns: Ints) -> FleetProblem:
    """The same problem in which at least one of these columns of supply is had."""
    uses, number = problem.column_uses, problem.resources
    row = np.concatenate((uses.row, columns))
    order = np.argsort(row, kind="stable")
    index = np.concatenate((uses.index, np.full(len(columns), number)))[order]
    value = np.concatenate((uses.value, np.full(len(columns), -1)))[order]
    start = np.searchsorted(row[order], np.arange(problem.columns + 1)).astype(np.int64)
    return replace(
        problem,
        column_uses=SparseRows(start, index, value),
        resource_names=(*problem.resource_names, "at least one"),
        resource_limit=np.append(problem.resource_limit, -1),
    )


def without_columns(problem: FleetProblem, columns: Ints) -> FleetProblem:
    """The same problem without these columns."""
    most, least = problem.column_most.copy(), problem.column_least.copy()
    most[columns], least[columns] = 0, 1
    return replace(problem, column_most=most, column_least=least)


def scaled(program: Program, columns: Ints, factor: float) -> FleetProblem:
    """The problem with some prices multiplied, to the nearest micro-dollar; what they take of a budget too."""
    problem = program.problem
    price = problem.column_price_micro_usd.copy()
    price[columns] = np.rint(price[columns] * factor).astype(np.int64)
    uses, value = problem.column_uses, problem.column_uses.value.copy()
    for limit in program.limits:
        if limit.kind == "budget":
            mine = (uses.index == limit.resource) & np.isin(uses.row, columns)
            value[mine] = np.maximum(price[uses.row[mine]], 1)
    return replace(problem, column_price_micro_usd=price, column_uses=SparseRows(uses.start, uses.index, value))
