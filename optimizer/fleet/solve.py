"""A fleet problem -> the cheapest plan with its certificate: which engine answers, and what it is held to."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from optimizer.cp_sat.clock import watching
from optimizer.cp_sat.fleet_compact import CompactAnswer, Progress, choose_served
from optimizer.cp_sat.integers import MICRO
from optimizer.cp_sat.interruption import seconds_until
from optimizer.errors import AuditFailed
from optimizer.fleet.bounds import DIVIDED, tightened, undominated
from optimizer.fleet.decomposition import solve_by_prices
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.master import Separable, separable
from optimizer.fleet.one_program import SMALL, TOLERANCE, solve_as_one
from optimizer.fleet.parts import Part, part_of
from optimizer.fleet.prices import choose_by_prices
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.whole import ALL_FREE_MOST
from optimizer.replica_columns import Bools, Floats

SEED = 7
DEFAULT_GAP = 0.001
PRUNED_MOST = 5_000_000
"""Columns beyond which looking for dominated ones costs more than leaving them in."""
DEFAULT_TIME_LIMIT_SECONDS = 30.0


def solve_fleet(
    problem: FleetProblem,
    *,
    gap: float = DEFAULT_GAP,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
    seed: int = SEED,
    progress: Progress | None = None,
) -> FleetSolution:
    """The cheapest plan of a fleet, serving the most important services first when not all can be.

    Args:
        problem: what is asked.
        gap: relative distance to a proven bound at which the search may end; 0 = to the optimum.
        time_limit_seconds: of wall time.
        seed: of the solvers; the same problem, gap and seed give the same plan unless the time limit ends the search.
        progress: called with (cost, lower bound) in micro-dollars whenever there is a better plan.

    Raises:
        BadFleetProblem: the problem's numbers do not fit together.
        AuditFailed: a bug of ours: the plan does not keep its rules.
    """
    problem.check()
    began = time.perf_counter()
    everybody = np.ones(problem.services, dtype=bool)
    with watching() as clock:
        solution = _solve_serving(problem, everybody, gap, time_limit_seconds, seed, progress)
        if not _found(solution) and not problem.required.all():
            solution = _serve_the_most_important(problem, gap, time_limit_seconds, seed, progress, began)
    seconds = time.perf_counter() - began
    return _audited(problem, replace(solution, time_ended=solution.time_ended or clock.cut, seconds=seconds))


def _serve_the_most_important(
    problem: FleetProblem, gap: float, limit: float, seed: int, progress: Progress | None, began: float
) -> FleetSolution:
    """First who is served, then the cheapest plan that serves them."""
    whole = part_of(problem, np.ones(problem.services, dtype=bool), undominated(problem))
    if problem.services > ALL_FREE_MOST:
        return _serve_what_fits(whole, gap, limit, seed, progress, began)
    chosen = choose_served(whole.problem, gap=gap, time_limit_seconds=_left(began, limit) / 2, seed=seed)
    choice = chosen.answer
    if not choice.found:
        return _without_plan(problem, FleetStatus.INFEASIBLE if choice.infeasible else FleetStatus.UNKNOWN, seed)
    first = _from_compact(whole, choice, np.zeros(problem.resources), gap, seed)
    solution = _solve_serving(problem, choice.served, gap, _left(began, limit), seed, progress)
    if not chosen.only:  # the bound of these services says nothing of others that are as important
        bound = min(choice.lower_bound_micro_usd, solution.cost_micro_usd)
        solution = replace(solution, lower_bound_micro_usd=bound).judged(gap) if _found(solution) else solution
    if not _found(solution) or first.cost_micro_usd < solution.cost_micro_usd:
        solution = first
    return replace(solution, served_proven=choice.proven)


def _found(solution: FleetSolution) -> bool:
    return solution.status not in (FleetStatus.INFEASIBLE, FleetStatus.UNKNOWN)


def _serve_what_fits(
    whole: Part, gap: float, limit: float, seed: int, progress: Progress | None, began: float
) -> FleetSolution:
    """The same for fleets too large for one program: who is served is chosen well, and not proven."""
    narrow = tightened(whole.problem)
    view = separable(narrow)
    until = began + limit
    served = None if view is None else choose_by_prices(narrow, view, gap=gap, until=until)
    if served is None:
        return _without_plan(whole.whole, FleetStatus.UNKNOWN, seed)
    solution = _solve_serving(whole.whole, served, gap, _left(began, limit), seed, progress)
    return replace(solution, served_proven=bool(served.all()))


def _left(began: float, limit: float) -> float:
    return max(seconds_until(began + limit), 0.1)


def _solve_serving(
    problem: FleetProblem, serve: Bools, gap: float, limit: float, seed: int, progress: Progress | None
) -> FleetSolution:
    """The cheapest plan that serves exactly these services."""
    began = time.perf_counter()
    few = problem.columns <= PRUNED_MOST
    part = part_of(problem, serve, undominated(problem) if few else None)
    narrow = tightened(part.problem)
    view = separable(narrow) if narrow.columns > SMALL else None
    if view is not None:
        solution = _by_decomposition(part, narrow, view, gap, began + limit, seed, progress)
        if solution is not None:
            return solution
    if view is not None and part.problem.services > ALL_FREE_MOST:
        return _without_plan(problem, FleetStatus.UNKNOWN, seed)
    one = solve_as_one(narrow, gap=gap, until=began + limit, seed=seed, progress=progress)
    if not one.answer.found:
        status = FleetStatus.INFEASIBLE if one.answer.infeasible else FleetStatus.UNKNOWN
        return _without_plan(problem, status, seed)
    return _from_compact(part, one.answer, merged_prices(part.problem, narrow, one.resource_prices), gap, seed)


def _by_decomposition(
    part: Part,
    narrow: FleetProblem,
    view: Separable,
    gap: float,
    until: float,
    seed: int,
    progress: Progress | None,
) -> FleetSolution | None:
    """The decomposition's answer; None when it has no plan and proves nothing."""
    found, whole = solve_by_prices(narrow, view, gap=gap, until=until, seed=seed, progress=progress)
    if found is not None and found.master.unserved.max(initial=0.0) > TOLERANCE and found.bound > found.most_cost:
        return _without_plan(part.whole, FleetStatus.INFEASIBLE, seed)
    if found is None or whole is None:
        return None
    answer = CompactAnswer(
        found=True,
        infeasible=False,
        proven=False,
        counts=whole.counts,
        shares=np.zeros(len(narrow.column_covers.value), dtype=np.int64),
        served=np.ones(narrow.services, dtype=bool),
        lower_bound_micro_usd=max(math.floor(whole.bound * MICRO * (1 - TOLERANCE)), 0),
        seconds=0.0,
    )
    prices = merged_prices(part.problem, narrow, found.prices * MICRO)
    solution = _from_compact(part, answer, prices, gap, seed)
    return replace(solution, engine="decomposition")


def merged_prices(problem: FleetProblem, narrow: FleetProblem, prices: Floats) -> Floats:
    """Prices of the problem's own resources: a limit that was divided by d adds 1 / d of its price to its own."""
    merged = prices[: problem.resources].copy()
    number = {name: resource for resource, name in enumerate(problem.resource_names)}
    for resource in range(problem.resources, narrow.resources):
        name, _, by = narrow.resource_names[resource].rpartition(DIVIDED)
        merged[number[name]] += prices[resource] / int(by)
    return merged


def _from_compact(part: Part, answer: CompactAnswer, prices: np.ndarray, gap: float, seed: int) -> FleetSolution:
    counts = part.counts_of_whole(answer.counts)
    served = np.zeros(part.whole.services, dtype=bool)
    served[part.services] = answer.served
    cost = sum(
        int(part.whole.column_price_micro_usd[column]) * int(counts[column]) for column in np.flatnonzero(counts)
    )
    solution = FleetSolution(
        status=FleetStatus.FEASIBLE,
        counts=counts,
        shares=part.shares_of_whole(answer.shares),
        served=served,
        served_proven=True,
        cost_micro_usd=cost,
        lower_bound_micro_usd=min(answer.lower_bound_micro_usd, cost),
        resource_prices=prices,
        engine="compact",
        seed=seed,
    )
    return solution.judged(gap)


def _without_plan(problem: FleetProblem, status: FleetStatus, seed: int) -> FleetSolution:
    return FleetSolution(
        status=status,
        counts=np.zeros(problem.columns, dtype=np.int64),
        shares=np.zeros(len(problem.column_covers.value), dtype=np.int64),
        served=np.zeros(problem.services, dtype=bool),
        served_proven=False,
        cost_micro_usd=0,
        lower_bound_micro_usd=0,
        resource_prices=np.zeros(problem.resources),
        engine="compact",
        seed=seed,
        time_ended=status is FleetStatus.UNKNOWN,
    )


def _audited(problem: FleetProblem, solution: FleetSolution) -> FleetSolution:
    """The same solution, once its counts have been found to keep every rule at the stated cost."""
    if not _found(solution):
        return solution
    evaluation = evaluate(problem, solution.counts, solution.shares, solution.served)
    findings = list(evaluation.findings)
    if evaluation.cost_micro_usd != solution.cost_micro_usd:
        findings.append(f"it costs {evaluation.cost_micro_usd}, not {solution.cost_micro_usd} micro-dollars")
    if findings:
        raise AuditFailed(f"The fleet plan does not keep what it says: {'; '.join(findings[:5])}.")
    return solution
