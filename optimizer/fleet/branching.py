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
from optimizer.replica_columns import Ints

FEW_COLUMNS = 300
"""CP-SAT proves so few at once."""
MOST_SERVICES = 1_000
"""Beyond, prices are quicker."""
SHARE_OF_TIME = 0.7
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
    first = _branched(problem, gap, SHARE_OF_TIME * time_limit_seconds, seed) if suits(problem) else None
    if first is not None and progress is not None:
        progress(first.cost_micro_usd, first.lower_bound_micro_usd)
    if first is not None and first.status in (FleetStatus.OPTIMAL, FleetStatus.WITHIN_GAP):
        return replace(first, seconds=time.perf_counter() - began)
    left = max(time_limit_seconds - (time.perf_counter() - began), 0.05)
    second = solve_fleet(problem, gap=gap, time_limit_seconds=left, seed=seed, progress=progress)
    best = second if first is None else better_of(first, second, gap)
    return replace(best, seconds=time.perf_counter() - began)


def suits(problem: FleetProblem) -> bool:
    """Whether the linear program says all of the rules, and is of the size at which it is the quicker way."""
    lost = problem.cover_survives & ~problem.cover_is_bucket
    whole = not lost.any() and not (problem.column_least > 1).any()
    return whole and problem.columns > FEW_COLUMNS and problem.services <= MOST_SERVICES


def better_of(first: FleetSolution, second: FleetSolution, gap: float) -> FleetSolution:
    """The cheaper of two plans that serve everybody, with the higher of the two bounds."""
    if not second.served.all():
        return first if second.status is not FleetStatus.INFEASIBLE else second
    best = min(first, second, key=lambda one: one.cost_micro_usd)
    bound = min(max(first.lower_bound_micro_usd, second.lower_bound_micro_usd), best.cost_micro_usd)
    return judged(replace(best, lower_bound_micro_usd=bound), gap)


def _branched(problem: FleetProblem, gap: float, limit: float, seed: int) -> FleetSolution | None:
    """All services served at least cost; None when that was not found (or is not possible)."""
    began = time.perf_counter()
    part = part_of(problem, np.ones(problem.services, dtype=bool), undominated(problem))
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
    return _solution(part, narrow, counts, shares, max(bound, 0), gap, seed, ended)


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
    counts: Ints,
    shares: Ints,
    bound: int,
    gap: float,
    seed: int,
    ended: bool,
) -> FleetSolution | None:
    """The solution of the whole problem, if its counts keep every rule exactly."""
    whole, served = part.whole, np.ones(part.whole.services, dtype=bool)
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
