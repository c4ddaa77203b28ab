"""Fleets of few services and many choices by branch and cut; what that leaves open goes to the engines of `solve`.

Months, several kinds of machines and replicas that fill a machine only in part make the linear relaxation weak; SCIP's
cuts close most of that distance sooner than either CP-SAT or prices do (measured: 24 months of 3 services, 2 % after
30 s where CP-SAT was at 17 %). Its counts pass the same exact check as everybody's, its bound is taken with a tolerance
and rounded up to what whole prices can add up to.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from optimizer.cp_sat.fleet_compact import Progress, solve_compact
from optimizer.cp_sat.fleet_linear import LinearSolver, solve_linear
from optimizer.fleet.bounds import tightened, undominated
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.parts import Part, part_of
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.relaxation import relax, relaxed_program
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.solve import merged_prices, solve_fleet
from optimizer.fleet.sparse import sparse_rows
from optimizer.replica_columns import Bools, Ints

FEW_COLUMNS = 300
"""CP-SAT proves so few at once."""
MOST_SERVICES = 1_000
"""Beyond, prices are quicker."""
SHARE_OF_TIME = 0.7
LARGEST_PENALTY = 100_000_000
"""Of leaving services out; beyond it, a solver's tolerance could trade priorities."""
TOLERANCE = 1e-7
"""Relative, of a bound that comes from sums in floating point."""


def solve_small(
    problem: FleetProblem,
    *,
    gap: float,
    time_limit_seconds: float,
    seed: int,
    progress: Progress | None = None,
) -> FleetSolution:
    """The cheapest plan; arguments and errors are those of `solve_fleet`.

    Branch and cut first where it is the quicker way, with most of the time; the other engines with the rest of it.
    """
    problem.check()
    began = time.perf_counter()
    first = _first(problem, gap, SHARE_OF_TIME * time_limit_seconds, seed) if suits(problem) else None
    if first is not None and progress is not None:
        progress(first.cost_micro_usd, first.lower_bound_micro_usd)
    if first is not None and first.status in (FleetStatus.OPTIMAL, FleetStatus.WITHIN_GAP):
        return replace(first, seconds=time.perf_counter() - began)
    left = max(time_limit_seconds - (time.perf_counter() - began), 0.05)
    second = solve_fleet(problem, gap=gap, time_limit_seconds=left, seed=seed, progress=progress)
    best = second if first is None else better_of(problem, first, second, gap)
    return replace(best, seconds=time.perf_counter() - began)


def suits(problem: FleetProblem) -> bool:
    """Whether the linear program says all of the rules, and is of the size at which it is the quicker way."""
    lost = problem.cover_survives & ~problem.cover_is_bucket
    whole = not lost.any() and not (problem.column_least > 1).any()
    return whole and problem.columns > FEW_COLUMNS and problem.services <= MOST_SERVICES


def better_of(problem: FleetProblem, first: FleetSolution, second: FleetSolution, gap: float) -> FleetSolution:
    """Who serves more, by priority; of two that serve the same the cheaper, with the higher of the two bounds."""
    if (first.served != second.served).any():
        penalty = penalties(problem)
        return min(first, second, key=lambda one: int(penalty[~one.served].sum()))
    best = min(first, second, key=lambda one: one.cost_micro_usd)
    bound = min(max(first.lower_bound_micro_usd, second.lower_bound_micro_usd), best.cost_micro_usd)
    return judged(replace(best, lower_bound_micro_usd=bound), gap)


def _first(problem: FleetProblem, gap: float, limit: float, seed: int) -> FleetSolution | None:
    """Everybody served at least cost, or as many as can be by priority; None when neither was found."""
    began = time.perf_counter()
    everybody = np.ones(problem.services, dtype=bool)
    if problem.required.all():
        return _branched(problem, everybody, gap, limit, seed)
    choice = choose(problem, limit / 2, seed)
    if choice is None:
        return None
    served, proven = choice
    left = max(limit - (time.perf_counter() - began), 0.05)
    solution = _branched(problem, served, gap, left, seed)
    return None if solution is None else replace(solution, served_proven=proven)


def choose(problem: FleetProblem, limit: float, seed: int) -> tuple[Bools, bool] | None:
    """Who can be served, by priority, and whether that is proven; None when it was not found.

    Every service that may be left out gets one column more: to leave it out, which covers all it asks for at no cost
    but a penalty. The least sum of penalties is sought, with everything else for nothing.
    """
    penalty = penalties(problem)
    if penalty.sum() > LARGEST_PENALTY:
        return None
    program = _with_leaving_out(problem, penalty)
    whole = np.ones(program.columns, dtype=bool)
    answer = solve_linear(
        relaxed_program(program, whole=whole), time_limit_seconds=limit, gap=0.0, seed=seed, solver=LinearSolver.SCIP
    )
    if not answer.feasible:
        return None
    left_out = np.rint(answer.values[problem.columns : program.columns]) > 0
    served = np.ones(problem.services, dtype=bool)
    served[np.flatnonzero(~problem.required)[left_out]] = False
    return served, answer.optimal


def penalties(problem: FleetProblem) -> Ints:
    """What leaving out each service costs, so that one of a higher priority outweighs all of lower ones."""
    penalty, below = np.zeros(problem.services, dtype=np.int64), 0
    for priority in np.unique(problem.priority):
        mine = problem.priority == priority
        penalty[mine] = np.minimum(problem.weight[mine], LARGEST_PENALTY) * (below + 1)
        below = min(below + int(penalty[mine].sum()), LARGEST_PENALTY)
    return penalty


def _with_leaving_out(problem: FleetProblem, penalty: Ints) -> FleetProblem:
    """The problem in which all must be served, money does not count, and leaving out is a column."""
    may = np.flatnonzero(~problem.required)
    covers = np.flatnonzero(~problem.required[problem.cover_service])
    number = problem.columns + np.searchsorted(may, problem.cover_service[covers])
    several = np.bincount(problem.cover_service, minlength=problem.services)[problem.cover_service[covers]]
    gives = np.maximum(problem.cover_demand[covers], 1) * several
    matrix, columns = problem.column_covers, problem.columns + len(may)
    one = np.ones(len(may), dtype=np.int64)
    return replace(
        problem,
        required=np.ones(problem.services, dtype=bool),
        column_service=np.concatenate((problem.column_service, may)),
        column_price_micro_usd=np.concatenate((np.zeros(problem.columns, dtype=np.int64), penalty[may])),
        column_least=np.concatenate((problem.column_least, one)),
        column_most=np.concatenate((problem.column_most, one)),
        column_lost_replicas=np.concatenate((problem.column_lost_replicas, one)),
        column_covers=sparse_rows(
            columns,
            np.concatenate((matrix.row, number)),
            np.concatenate((matrix.index, covers)),
            np.concatenate((matrix.value, gives)),
        ),
        column_uses=sparse_rows(columns, problem.column_uses.row, problem.column_uses.index, problem.column_uses.value),
    )


def _branched(problem: FleetProblem, serve: Bools, gap: float, limit: float, seed: int) -> FleetSolution | None:
    """These services served at least cost; None when that was not found (or is not possible)."""
    began = time.perf_counter()
    part = part_of(problem, serve, undominated(problem))
    narrow = tightened(part.problem)
    program = relaxed_program(narrow, whole=np.ones(narrow.columns, dtype=bool))
    answer = solve_linear(program, time_limit_seconds=limit, gap=gap, seed=seed, solver=LinearSolver.SCIP)
    if not answer.feasible:
        return None
    counts = np.rint(answer.values[: narrow.columns]).astype(np.int64)
    split = _split(part.problem, counts, seed)
    if split is None:
        return None
    counts, shares = split
    bound = rounded_up(part.problem, math.floor(answer.bound * (1 - TOLERANCE))) if math.isfinite(answer.bound) else 0
    ended = time.perf_counter() - began >= limit
    return _solution(part, narrow, serve, counts, shares, max(bound, 0), gap, seed, ended)


def _split(problem: FleetProblem, counts: Ints, seed: int) -> tuple[Ints, Ints] | None:
    """Counts no higher than these that keep every rule exactly, and how buckets are split over them."""
    if not problem.cover_is_bucket.any():
        return counts, np.zeros(len(problem.column_covers.value), dtype=np.int64)
    most = np.minimum(problem.column_most, counts)
    fixed = solve_compact(replace(problem, column_most=most), gap=0.0, time_limit_seconds=10.0, seed=seed)
    return (fixed.counts, fixed.shares) if fixed.found else None


def rounded_up(problem: FleetProblem, bound: int) -> int:
    """A bound rounded up to the next sum that whole counts of whole prices can have.

    Every plan costs a multiple of the greatest common divisor of all prices.
    """
    prices = problem.column_price_micro_usd
    unit = int(np.gcd.reduce(prices[prices > 0])) if (prices > 0).any() else 1
    return -(-bound // unit) * unit


def _solution(
    part: Part,
    narrow: FleetProblem,
    served: Bools,
    counts: Ints,
    shares: Ints,
    bound: int,
    gap: float,
    seed: int,
    ended: bool,
) -> FleetSolution | None:
    """The solution of the whole problem, if its counts keep every rule exactly."""
    whole = part.whole
    counts, shares = part.counts_of_whole(counts), part.shares_of_whole(shares)
    evaluation = evaluate(whole, counts, shares, served)
    if evaluation.findings:
        return None
    relaxed = relax(narrow, time_limit_seconds=1.0)
    solution = FleetSolution(
        status=FleetStatus.FEASIBLE,
        counts=counts,
        shares=shares,
        served=served,
        served_proven=True,
        cost_micro_usd=evaluation.cost_micro_usd,
        lower_bound_micro_usd=min(bound, evaluation.cost_micro_usd),
        resource_prices=merged_prices(part.problem, narrow, relaxed.resource_prices),
        engine="branch and cut",
        seed=seed,
        time_ended=ended,
    )
    return judged(solution, gap)


def judged(solution: FleetSolution, gap: float) -> FleetSolution:
    """The same with the status that its bound gives it."""
    if solution.lower_bound_micro_usd >= solution.cost_micro_usd:
        return replace(solution, status=FleetStatus.OPTIMAL)
    if solution.gap <= gap:
        return replace(solution, status=FleetStatus.WITHIN_GAP)
    return replace(solution, status=FleetStatus.FEASIBLE, time_ended=True)
