"""Fleets of few services and many choices by branch and cut; what that leaves open goes to the engines of `solve`.

Months, several kinds of machines and replicas that fill a machine only in part make the linear relaxation weak; SCIP's
cuts close most of that distance sooner than either CP-SAT or prices do (measured: 24 months of 3 services, 2 % after
30 s where CP-SAT was at 17 %). Its counts pass the same exact check as everybody's, its bound is taken with a tolerance
and rounded up to what whole prices can add up to.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat.clock import watching
from optimizer.cp_sat.fleet_compact import Progress, solve_compact
from optimizer.cp_sat.fleet_linear import NO_LIMIT, LinearAnswer, LinearProgram, LinearSolver, solve_linear
from optimizer.cp_sat.interruption import interrupted
from optimizer.fleet.bounds import tightened, undominated
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.one_program import START_SHARE, bundles_of_one_column, one_column_each
from optimizer.fleet.parts import Part, part_of
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.relaxation import relax, relaxed_program
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.solve import merged_prices, solve_fleet
from optimizer.replica_columns import Bools, Floats, Ints

FEW_COLUMNS = 300
"""CP-SAT proves so few at once."""
MOST_SERVICES = 1_000
"""Beyond, prices are quicker."""
SHARE_OF_TIME = 0.7
SHARE_FOR_EVERYBODY = 0.5
"""Of that: whether everybody can be served, and how; mostly so, and far easier than whom to leave out."""
SHARE_FOR_WHOM = 0.6
"""Of what is left then: whom to leave out."""
SHARE_OF_GUESS = 0.6
GUESS_GAP = 1e-6
PRICE_SECONDS = 5.0
"""For the relaxation beside a solution; a tenth of it is common."""
LIFTED = 1 << 50
LARGEST_PENALTY = 1_000_000
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
    with watching() as clock:
        best = _solve_in_turn(problem, gap, began, time_limit_seconds, seed, progress)
    return replace(best, time_ended=best.time_ended or clock.cut, seconds=time.perf_counter() - began)


def _solve_in_turn(
    problem: FleetProblem, gap: float, began: float, limit: float, seed: int, progress: Progress | None
) -> FleetSolution:
    """By branch and cut, then, unless that is proof enough, by the other engines: the better answer."""
    first = _first(problem, gap, SHARE_OF_TIME * limit, seed, progress) if suits(problem) else None
    if first is not None and progress is not None:
        progress(first.cost_micro_usd, first.lower_bound_micro_usd)
    done = (FleetStatus.OPTIMAL, FleetStatus.WITHIN_GAP)
    if first is not None and (first.status in done or interrupted()):
        return first
    left = max(limit - (time.perf_counter() - began), 0.05)
    second = solve_fleet(problem, gap=gap, time_limit_seconds=left, seed=seed, progress=progress)
    return second if first is None else better_of(problem, first, second, gap)


def suits(problem: FleetProblem) -> bool:
    """Whether the problem is of the size at which this is the quicker way."""
    return problem.columns > FEW_COLUMNS and problem.services <= MOST_SERVICES


def better_of(problem: FleetProblem, first: FleetSolution, second: FleetSolution, gap: float) -> FleetSolution:
    """Who serves more, by priority; of two that serve the same the cheaper, with the higher of the two bounds."""
    if (first.served != second.served).any():
        penalty = penalties(problem)
        return min(first, second, key=lambda one: int(penalty[~one.served].sum()))
    best = min(first, second, key=lambda one: one.cost_micro_usd)
    bound = min(max(first.lower_bound_micro_usd, second.lower_bound_micro_usd), best.cost_micro_usd)
    return replace(best, lower_bound_micro_usd=bound).judged(gap)


def _first(
    problem: FleetProblem, gap: float, limit: float, seed: int, progress: Progress | None
) -> FleetSolution | None:
    """Everybody served at least cost, or as many as can be by priority; None when neither was found."""
    began = time.perf_counter()
    everybody = np.ones(problem.services, dtype=bool)
    if problem.required.all():
        return _branched(problem, everybody, gap, limit, seed, progress=progress)
    first = _branched(problem, everybody, gap, SHARE_FOR_EVERYBODY * limit, seed, progress=progress)
    if first is not None:
        return first
    choice = choose(problem, (limit - (time.perf_counter() - began)) * SHARE_FOR_WHOM, seed)
    if choice is None:
        return None
    left = max(limit - (time.perf_counter() - began), 0.05)
    solution = _branched(problem, choice.served, gap, left, seed, choice.counts, progress)
    return None if solution is None else replace(solution, served_proven=choice.proven)


@dataclass(frozen=True)
class Choice:
    """Who can be served.

    Attributes:
        served: shape (services,).
        proven: whether nobody more important can be.
        counts: shape (columns,): a plan that serves them.
    """

    served: Bools
    proven: bool
    counts: Ints


def choose(problem: FleetProblem, limit: float, seed: int) -> Choice | None:
    """Who can be served, by priority; None when it was not found.

    Whoever is left out costs a penalty that outweighs money. Money counts nevertheless: it leads the solver to the
    cheap plans that leave room under the limits. Whether less penalty is possible at all is then asked apart.
    """
    penalty, optional = penalties(problem), ~problem.required
    if penalty.sum() > LARGEST_PENALTY:
        return None
    program = relaxed_program(problem, whole=np.ones(problem.columns, dtype=bool), optional=optional)
    variables = _served_variables(problem, optional)
    cost = program.cost / _more_than_money(problem)
    cost[variables] = -penalty[optional].astype(np.float64)
    guess = replace(program, cost=cost)
    answer = solve_linear(
        guess, time_limit_seconds=limit * SHARE_OF_GUESS, gap=GUESS_GAP, seed=seed, solver=LinearSolver.SCIP
    )
    if not answer.feasible:
        return _choose_among_bundles(problem, cost, limit * (1 - SHARE_OF_GUESS), seed)
    served = _served(problem, optional, answer)
    more = _as_important(program, problem, optional, int(penalty[served].sum()) + 1)
    free = replace(more, cost=np.zeros(len(cost)))
    better = solve_linear(free, time_limit_seconds=limit * (1 - SHARE_OF_GUESS), seed=seed, solver=LinearSolver.SCIP)
    if better.feasible:
        return Choice(_served(problem, optional, better), False, _counts(problem, better))
    return Choice(served, better.infeasible, _counts(problem, answer))


def _counts(problem: FleetProblem, answer: LinearAnswer) -> Ints:
    counts: Ints = np.rint(answer.values[: problem.columns]).astype(np.int64)
    return counts


def _choose_among_bundles(problem: FleetProblem, cost: Floats, limit: float, seed: int) -> Choice | None:
    """A choice, unproven, where each service has nothing but one column as often as it takes."""
    optional, bundles = ~problem.required, bundles_of_one_column(problem)
    program = relaxed_program(bundles.problem, whole=np.ones(bundles.problem.columns, dtype=bool), optional=optional)
    dear = program.cost / _more_than_money(problem)
    dear[_served_variables(bundles.problem, optional)] = cost[_served_variables(problem, optional)]
    answer = solve_linear(
        replace(program, cost=dear), time_limit_seconds=limit, gap=GUESS_GAP, seed=seed, solver=LinearSolver.SCIP
    )
    if not answer.feasible:
        return None
    return Choice(_served(bundles.problem, optional, answer), False, bundles.opened(_counts(bundles.problem, answer)))


def _more_than_money(problem: FleetProblem) -> float:
    """More micro-dollars than serving everybody is likely to cost: thrice what it costs without limits or rounding."""
    free = np.where(problem.resource_limit > 0, LIFTED, problem.resource_limit)
    relaxed = relax(replace(problem, resource_limit=free), time_limit_seconds=PRICE_SECONDS).answer
    return 3.0 * max(relaxed.bound if relaxed.optimal else float(problem.column_price_micro_usd.sum()), 1.0)


def _served_variables(problem: FleetProblem, optional: Bools) -> slice:
    """Where the program says who is served."""
    return slice(problem.columns, problem.columns + int(optional.sum()))


def _served(problem: FleetProblem, optional: Bools, answer: LinearAnswer) -> Bools:
    served = np.ones(problem.services, dtype=bool)
    served[optional] = np.rint(answer.values[_served_variables(problem, optional)]) > 0
    return served


def penalties(problem: FleetProblem) -> Ints:
    """What leaving out each service costs, so that one of a higher priority outweighs all of lower ones."""
    penalty, below = np.zeros(problem.services, dtype=np.int64), 0
    for priority in np.unique(problem.priority):
        mine = problem.priority == priority
        penalty[mine] = np.minimum(problem.weight[mine], LARGEST_PENALTY) * (below + 1)
        below = min(below + int(penalty[mine].sum()), LARGEST_PENALTY)
    return penalty


def _branched(
    problem: FleetProblem,
    serve: Bools,
    gap: float,
    limit: float,
    seed: int,
    start: Ints | None = None,
    progress: Progress | None = None,
) -> FleetSolution | None:
    """The cheapest plan that serves these services, or others that are as important together.

    None when none was found (or is possible). `start` is a plan that serves them.
    """
    kept = undominated(problem)
    whole = part_of(problem, np.ones(problem.services, dtype=bool), kept)
    narrow = tightened(whole.problem)
    optional = np.zeros(problem.services, dtype=bool) if serve.all() else ~problem.required
    program = relaxed_program(narrow, whole=np.ones(narrow.columns, dtype=bool), optional=optional)
    weight = penalties(problem)
    program = _as_important(program, narrow, optional, int(weight[serve].sum()))
    if start is not None:
        start = np.concatenate((start[whole.columns], serve[optional]))
    elif narrow.cover_survives.any() and serve.all():
        start = one_column_each(narrow, seconds=limit * START_SHARE, seed=seed)
    answer = solve_linear(
        program,
        time_limit_seconds=limit,
        gap=gap,
        seed=seed,
        solver=LinearSolver.SCIP,
        start=None if start is None else start.astype(np.float64),
        told=None if progress is None else lambda cost, bound: progress(round(cost), max(math.floor(bound), 0)),
    )
    if start is not None:
        answer = _no_worse(program, answer, start)
    served = _served(narrow, optional, answer)
    if not answer.feasible or weight[served].sum() < weight[serve].sum():
        return None
    part = part_of(problem, served, kept)
    counts = whole.counts_of_whole(_counts(narrow, answer))[part.columns]
    split = _split(part.problem, counts, seed)
    if split is None:
        return None
    counts, shares = split
    bound = rounded_up(whole.problem, answer.bound) if math.isfinite(answer.bound) else 0
    return _solution(part, tightened(part.problem), served, counts, shares, bound, gap, seed)


def _no_worse(program: LinearProgram, answer: LinearAnswer, start: Ints) -> LinearAnswer:
    """The answer, or the plan it was started from if that is cheaper; its bound in any case."""
    cost = program.cost[: len(start)]
    if answer.infeasible or (answer.feasible and answer.values[: len(start)] @ cost <= start @ cost):
        return answer
    values = np.zeros(len(program.cost))
    values[: len(start)] = start
    return replace(answer, feasible=True, values=values)


def _as_important(program: LinearProgram, problem: FleetProblem, optional: Bools, least: int) -> LinearProgram:
    """The program with one row more: the penalties of all who are served add up to this much."""
    if not optional.any():
        return program
    weight = penalties(problem)
    variables = _served_variables(problem, optional)
    return replace(
        program,
        row=np.append(program.row, np.full(int(optional.sum()), len(program.low))),
        variable=np.append(program.variable, np.arange(variables.start, variables.stop)),
        value=np.append(program.value, weight[optional].astype(np.float64)),
        low=np.append(program.low, float(least - weight[~optional].sum())),
        high=np.append(program.high, NO_LIMIT),
    )


def _split(problem: FleetProblem, counts: Ints, seed: int) -> tuple[Ints, Ints] | None:
    """Counts no higher than these that keep every rule exactly, and how buckets are split over them."""
    if not problem.cover_is_bucket.any():
        return counts, np.zeros(len(problem.column_covers.value), dtype=np.int64)
    most = np.minimum(problem.column_most, counts)
    fixed = solve_compact(replace(problem, column_most=most), gap=0.0, time_limit_seconds=10.0, seed=seed)
    return (fixed.counts, fixed.shares) if fixed.found else None


def rounded_up(problem: FleetProblem, bound: float) -> int:
    """A bound, less the solver's tolerance, rounded up to the next sum that whole counts of whole prices can have.

    Every plan costs a multiple of the greatest common divisor of all prices.
    """
    prices = problem.column_price_micro_usd
    unit = int(np.gcd.reduce(prices[prices > 0])) if (prices > 0).any() else 1
    return max(math.ceil((bound * (1 - TOLERANCE) - TOLERANCE) / unit) * unit, 0)


def _solution(
    part: Part,
    narrow: FleetProblem,
    served: Bools,
    counts: Ints,
    shares: Ints,
    bound: int,
    gap: float,
    seed: int,
) -> FleetSolution | None:
    """The solution of the whole problem, if its counts keep every rule exactly."""
    whole = part.whole
    counts, shares = part.counts_of_whole(counts), part.shares_of_whole(shares)
    evaluation = evaluate(whole, counts, shares, served)
    if evaluation.findings:
        return None
    relaxed = relax(narrow, time_limit_seconds=PRICE_SECONDS)
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
    )
    return solution.judged(gap)
