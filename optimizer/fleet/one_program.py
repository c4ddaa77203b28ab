"""A fleet as one program: what no decomposition by service sees, and whatever is small.

The linear relaxation says what each column costs beyond what it saves (its reduced cost). In a large program CP-SAT
first decides among the few columns of each service that cost least beyond; with that plan in hand, a column whose
reduced cost alone exceeds what is left between plan and bound cannot be part of a better one, and is dropped for good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat.fleet_compact import CompactAnswer, Progress, solve_compact
from optimizer.cp_sat.fleet_linear import LinearSolver, solve_linear
from optimizer.cp_sat.interruption import seconds_until
from optimizer.fleet.bounds import enough_alone
from optimizer.fleet.bundles import Bundles, bundled
from optimizer.fleet.parts import part_of
from optimizer.fleet.problem import SUPPLY, FleetProblem
from optimizer.fleet.relaxation import Relaxation, relax, relaxed_program
from optimizer.fleet.sparse import SparseRows
from optimizer.replica_columns import Bools, Floats, Ints

SMALL = 1_500
"""Columns up to which CP-SAT is told of all of them at once."""
FEW = 8
"""Columns of each service in the first, smaller program."""
FIRST_SHARE = 0.4
"""Of the time, for the smaller program."""
TOLERANCE = 1e-9
"""Of sums in floating point, taken off every bound that comes from one."""
START_SHARE = 0.2
START_GAP = 0.01
MIXED_TOLERANCE = 1e-8
"""The same of a mixed-integer solver."""


@dataclass(frozen=True)
class OneAnswer:
    """CP-SAT's answer, its bound the best that any step proved, and the prices of the relaxation.

    Attributes:
        answer: for the whole problem.
        resource_prices: shape (resources,), micro-dollars.
    """

    answer: CompactAnswer
    resource_prices: Floats


def solve_as_one(
    problem: FleetProblem, *, gap: float, until: float, seed: int, progress: Progress | None = None
) -> OneAnswer:
    """The cheapest plan that serves every service.

    Args:
        problem: the rules.
        gap: relative, at which the search may end.
        until: `time.perf_counter()` at which to stop.
        seed: of the solvers.
        progress: told of every better plan.
    """
    relaxed = relax(problem, time_limit_seconds=_left(until))
    bound = math.floor(relaxed.answer.bound * (1 - TOLERANCE)) if relaxed.answer.optimal else 0
    hint: Ints | None = None
    if problem.cover_is_bucket.any():
        finer, hint = _split_freely(problem, _left(until) / 2, seed)
        bound = max(bound, finer)
    if problem.cover_survives.any():
        hint = one_column_each(problem, seconds=_left(until) * START_SHARE, seed=seed)
    first: CompactAnswer | None = None
    keep = np.ones(problem.columns, dtype=bool)
    if problem.columns > SMALL and relaxed.answer.optimal:
        beyond = _reduced_costs(problem, relaxed)
        seconds = _left(until) * FIRST_SHARE
        first = _among(problem, _few(problem, beyond, relaxed), gap, seconds, seed, hint, bound, progress)
        if first.found:
            cost = int(first.counts @ problem.column_price_micro_usd)
            if cost - bound <= gap * cost:
                return OneAnswer(replace(first, lower_bound_micro_usd=bound), relaxed.resource_prices)
            keep = beyond <= (cost - relaxed.answer.bound) * (1 + MIXED_TOLERANCE) + 1
            hint = first.counts
    answer = _among(problem, keep, gap, _left(until), seed, hint, bound, progress)
    if first is not None and first.found and not _is_better(problem, answer, first):
        answer = replace(first, lower_bound_micro_usd=answer.lower_bound_micro_usd)
    best = max(answer.lower_bound_micro_usd, bound) if answer.found else 0
    return OneAnswer(replace(answer, lower_bound_micro_usd=best), relaxed.resource_prices)


def one_column_each(problem: FleetProblem, *, seconds: float, seed: int) -> Ints | None:
    """A plan to start from: each service on as many of one column as do all its work, the cheapest so; None if none is.

    That is a far smaller choice, among bundles, with all of the shared limits.
    """
    bundles = bundles_of_one_column(problem)
    program = relaxed_program(bundles.problem, whole=np.ones(bundles.problem.columns, dtype=bool))
    answer = solve_linear(program, time_limit_seconds=seconds, gap=START_GAP, seed=seed, solver=LinearSolver.SCIP)
    counts = np.rint(answer.values[: bundles.problem.columns]).astype(np.int64)
    return bundles.opened(counts) if answer.feasible else None


def bundles_of_one_column(problem: FleetProblem) -> Bundles:
    """Each service with nothing to choose from but each of its columns, as often as does all its work."""
    enough = enough_alone(problem)
    usable = (problem.column_service != SUPPLY) & (enough <= problem.column_most) & _gives_to_all(problem)
    columns = np.flatnonzero(usable)
    contents = SparseRows(np.arange(len(columns) + 1), columns, enough[columns])
    return bundled(problem, np.ones(problem.services, dtype=bool), problem.column_service[columns], contents)


def _gives_to_all(problem: FleetProblem) -> Bools:
    """Whether a column gives to every cover that its service asks for, shape (columns,)."""
    asked = problem.cover_demand > 0
    wanted = np.bincount(problem.cover_service[asked], minlength=problem.services)
    given = np.bincount(
        problem.column_covers.row, weights=asked[problem.column_covers.index], minlength=problem.columns
    )
    gives: Bools = given >= np.append(wanted, 0)[problem.column_service]
    return gives


def _left(until: float) -> float:
    return max(seconds_until(until), 0.1)


def _is_better(problem: FleetProblem, one: CompactAnswer, other: CompactAnswer) -> bool:
    price = problem.column_price_micro_usd
    return one.found and int(one.counts @ price) <= int(other.counts @ price)


def _among(
    problem: FleetProblem,
    keep: Bools,
    gap: float,
    seconds: float,
    seed: int,
    hint: Ints | None,
    bound: int,
    progress: Progress | None,
) -> CompactAnswer:
    """CP-SAT's answer with only these columns, in the numbers of all."""
    part = part_of(problem, np.ones(problem.services, dtype=bool), keep)
    answer = solve_compact(
        part.problem,
        gap=gap,
        time_limit_seconds=seconds,
        seed=seed,
        hint=None if hint is None else hint[part.columns],
        lower_bound_micro_usd=bound,
        progress=progress,
    )
    counts, shares = part.counts_of_whole(answer.counts), part.shares_of_whole(answer.shares)
    return replace(answer, counts=counts, shares=shares)


def _reduced_costs(problem: FleetProblem, relaxed: Relaxation) -> Floats:
    """What one of each column costs beyond what it saves at the relaxation's prices, shape (columns,)."""
    program, duals = relaxed_program(problem), relaxed.answer.duals
    saved = np.bincount(program.variable, weights=program.value * duals[program.row], minlength=len(program.cost))
    return (program.cost - saved)[: problem.columns]


def _few(problem: FleetProblem, beyond: Floats, relaxed: Relaxation) -> Bools:
    """All supply, and of each service the columns of least reduced cost and those that the relaxation uses."""
    order = np.lexsort((beyond, problem.column_service))
    service = problem.column_service[order]
    rank = np.arange(len(order)) - np.searchsorted(service, service)
    keep = problem.column_service == SUPPLY
    keep[order[rank < FEW]] = True
    few: Bools = keep | (relaxed.answer.values[: problem.columns] > TOLERANCE)
    return few


def _split_freely(problem: FleetProblem, seconds: float, seed: int) -> tuple[int, Ints | None]:
    """A bound and counts to start from: whole machines, but buckets split as finely as one likes.

    All prices are multiples of their greatest common divisor, and so is every cost: the bound is raised to the next.
    """
    whole = np.ones(problem.columns, dtype=bool)
    answer = solve_linear(relaxed_program(problem, whole=whole), time_limit_seconds=seconds, seed=seed)
    if not answer.feasible:
        return 0, None
    unit = max(int(np.gcd.reduce(problem.column_price_micro_usd)), 1)
    bound = math.ceil((answer.bound - 1 - MIXED_TOLERANCE * abs(answer.bound)) / unit) * unit
    return max(bound, 0), np.rint(answer.values[: problem.columns]).astype(np.int64)
