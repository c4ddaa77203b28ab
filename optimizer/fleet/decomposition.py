"""Large fleets: each service planned alone at common prices, the prices set so that the plans fit together.

Dantzig and Wolfe's decomposition by service. The master program (`master`) prices the resources, pricing (`pricing`)
finds every service's cheapest plan at those prices, in turn until the proven bound meets the master's cost. Of the
master's mix all but a few services have one whole plan. Those few, and the services that could most easily run
elsewhere, are then decided together by an integer program among their good columns, with all supply, in what the others
leave.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat.fleet_compact import Progress, solve_compact
from optimizer.cp_sat.fleet_linear import LinearAnswer, LinearSolver, solve_linear
from optimizer.cp_sat.integers import MICRO
from optimizer.fleet.master import (
    MasterAnswer,
    Plans,
    Separable,
    join,
    lift,
    lower_bound,
    plans_of,
    shortage,
    solve_master,
)
from optimizer.fleet.parts import part_of
from optimizer.fleet.pricing import Priced, cheapest_plans
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.relaxation import relaxed_program
from optimizer.fleet.sparse import SparseRows
from optimizer.replica_columns import Bools, Floats, Ints

ROUNDS_MOST = 60
DEAR = 10.0
"""Serving no plan costs so many times the first plan; ten times more whenever that is not enough."""
DEAREST = 1e7
LEVELS_MOST = 5
"""More priorities than this cannot be told apart by their worth within the precision of a linear solver."""
LOOSE = 1e-3
SHARE_OF_GAP = 0.1
"""The prices may miss the bound by this share of the gap asked for, and so may the pricing."""
FREE = (60, 150, 300, 600)
"""Services, beside those in pieces, that are decided together, round by round."""
COLUMNS_OF_FREE = 6
ALL_FREE_MOST = 400
COLUMNS_MOST = 40_000
NEIGHBOURS = 40
ALL_PRICED_MOST = 15_000
"""Services up to which one linear program holds them all; its time grows faster than their number."""
SAMPLE = 5_000
CONTESTED = (8_000, 16_000, 32_000)
"""Services in the linear program of a fleet too large for one of all: more in every round, until it is enough."""
ENOUGH = 0.5
OVER = 4.0
"""Of what falls short, so many times as much is taken back from the services that use it, to be decided anew."""
SEVERAL = 1.5
"""Replicas per service beyond which HiGHS closes the gap sooner than SCIP."""
SHARE_OF_GAP_WHOLE = 0.2
SHARE_OF_TIME = 0.3
LEAST_SECONDS = 1.0
WHOLE = 1e-6
EXTRA = 1e-9


@dataclass(frozen=True)
class Prices:
    """Where the prices ended.

    Attributes:
        bound: proven, dollars.
        prices: shape (resources,): those of the bound.
        priced: the services' cheapest plans at them.
        plans: all plans found.
        master: the last answer of the linear program over them.
        most_cost: no plan costs more, dollars; a bound beyond it proves that there is none.
    """

    bound: float
    prices: Floats
    priced: Priced
    plans: Plans
    master: MasterAnswer
    most_cost: float


def find_prices(
    view: Separable,
    *,
    gap: float,
    until: float,
    importance: Floats | None = None,
    times: Floats | None = None,
    start: Floats | None = None,
) -> Prices | None:
    """Prices at which the services' own cheapest plans fit the limits, up to a share of the gap; None without time.

    Args:
        view: the fleet.
        gap: relative, asked for the whole solution.
        until: `time.perf_counter()` at which to stop.
        importance: shape (services,): how many times the dearest service's plan each may cost before it is left out;
            None = all are to be served if that is possible at all.
        times: shape (services,): how many services like itself each stands for; None = 1.
        start: shape (resources,): prices to begin with.
    """
    times = np.ones(view.services) if times is None else times
    goal = max(gap * SHARE_OF_GAP, EXTRA)
    prices = lift(view, np.zeros(len(view.limit)) if start is None else start)
    priced = cheapest_plans(view.wanted, view.price + view.uses.times(prices), tolerance=LOOSE)
    parts, best = [plans_of(view, priced)], (lower_bound(view, priced, prices, times), prices, priced)
    unserved = DEAR * np.maximum(priced.cost, priced.cost.mean() + EXTRA)
    if importance is not None:
        unserved = importance * (priced.cost.max() + EXTRA)
    tolerance, master = LOOSE, None
    for _ in range(ROUNDS_MOST):
        left = until - time.perf_counter()
        if left <= 0:
            break
        answer = solve_master(view, join(parts), unserved, times=times, time_limit_seconds=left)
        if not answer.feasible:
            break
        master = answer
        prices = lift(view, master.prices)
        priced = cheapest_plans(view.wanted, view.price + view.uses.times(prices), tolerance=tolerance)
        bound = lower_bound(view, priced, prices, times)
        best = max(best, (bound, prices, priced), key=lambda one: one[0])
        missing = 1 - best[0] / master.cost if master.cost > 0 else 0.0
        new = priced.cost < master.worth - EXTRA * np.maximum(master.worth, 1.0)
        if missing <= goal or not new.any():
            if tolerance > goal / 2 and missing > goal:
                tolerance = goal / 2
                continue
            dearer = importance is None and unserved.max() <= DEAREST * priced.cost.max()
            if master.unserved.max(initial=0.0) < EXTRA or not dearer:
                break
            unserved = unserved * DEAR
        if missing <= LOOSE * DEAR:
            tolerance = goal / 2
        parts.append(plans_of(view, priced).take(new))
    if master is None:
        return None
    most_cost = float(view.supply_price @ view.supply_most) + _dearest(view)
    return Prices(best[0], best[1], best[2], join(parts), master, most_cost)


def find_prices_of_many(view: Separable, *, gap: float, until: float, seed: int) -> Prices | None:
    """The same for fleets too large for one linear program over all services.

    Prices found on a sample (the dearest services, and some of the others that stand for all of them) are nearly those
    of the fleet. At them most services have one plan that is clearly the cheapest; those keep it, and a linear program
    over the others sets the prices right. The bound is of all services, so nothing rests on the sample being good.
    """
    sample, times = _sample(view, seed)
    first = find_prices(view.take(sample, view.limit), gap=gap, until=until, times=times)
    if first is None:
        return None
    best: Prices | None = None
    start = first.prices
    for number in CONTESTED:
        found = _set_right(view, start, number, gap=gap, until=until)
        if found is not None:
            bound = found.bound if best is None else max(found.bound, best.bound)
            best = found if best is None or found.master.cost < best.master.cost else best
            best, start = replace(best, bound=bound), found.prices
            if best.master.cost - best.bound <= gap * ENOUGH * best.master.cost:
                break
    return best


def _set_right(view: Separable, start: Floats, number: int, *, gap: float, until: float) -> Prices | None:
    """Better prices from good ones: services with one clearly cheapest plan keep it, the others are priced anew."""
    tolerance = gap * SHARE_OF_GAP
    priced = cheapest_plans(view.wanted, view.price + view.uses.times(start), tolerance=tolerance)
    regret, _ = _alternatives(view, start)
    plans = plans_of(view, priced)
    contested = _contested(view, plans, regret, number)
    kept = plans.take(np.setdiff1d(np.arange(view.services), contested))
    found = find_prices(view.take(contested, view.limit - _used(view, kept)), gap=gap, until=until, start=start)
    if found is None:
        return None
    again = cheapest_plans(view.wanted, view.price + view.uses.times(found.prices), tolerance=tolerance)
    bounds = [(lower_bound(view, one, at), at, one) for at, one in ((start, priced), (found.prices, again))]
    bound, prices, best = max(bounds, key=lambda one: one[0])
    moved = _renumbered(found.plans, contested, view)
    unserved = np.zeros(view.services)
    unserved[contested] = found.master.unserved
    later = np.zeros(len(moved.service) - len(found.master.weight))
    weight = np.concatenate((np.ones(len(kept.service)), found.master.weight, later))
    cost = found.master.cost + float(kept.price.sum())
    master = replace(found.master, cost=cost, weight=weight, unserved=unserved)
    return Prices(bound, prices, best, join([kept, moved]), master, np.inf)


def _used(view: Separable, plans: Plans) -> Floats:
    """What plans use of each resource."""
    used = np.bincount(plans.uses.index, weights=plans.uses.value, minlength=len(view.limit))
    return used.astype(np.float64)


def _contested(view: Separable, plans: Plans, regret: Floats, number: int) -> Ints:
    """Services whose plan is hardly better than another one, and enough of those that use what falls short."""
    order = np.argsort(regret, kind="stable")
    contested = [order[:number]]
    missing = shortage(view, _used(view, plans))
    rank = np.argsort(order)
    row = plans.uses.row
    for resource in np.flatnonzero(missing > EXTRA).tolist():
        mine = np.flatnonzero(plans.uses.index == resource)
        mine = mine[np.argsort(rank[row[mine]], kind="stable")]
        enough = np.searchsorted(np.cumsum(plans.uses.value[mine]), OVER * missing[resource]) + 1
        contested.append(row[mine[:enough]])
    return np.unique(np.concatenate(contested))


def _sample(view: Separable, seed: int) -> tuple[Ints, Floats]:
    """Services and how many each stands for: the largest alone, of the others some at random."""
    owner = view.wanted.service
    need = np.minimum.reduceat((view.wanted.demand[owner] / view.wanted.gives) * _slots(view), view.wanted.start[:-1])
    order = np.argsort(-need, kind="stable")
    large, small = order[: SAMPLE // 4], order[SAMPLE // 4 :]
    chosen = np.random.default_rng(seed).permutation(small)[: SAMPLE - len(large)]
    services = np.concatenate((large, chosen))
    times = np.concatenate((np.ones(len(large)), np.full(len(chosen), len(small) / len(chosen))))
    order = np.argsort(services)
    return services[order], times[order]


def _slots(view: Separable) -> Floats:
    """How much of all resources one replica takes, shape (entries,): a rough size."""
    taken: Floats = view.uses.times(np.ones(len(view.limit)))
    return np.maximum(taken, 1.0)


def _renumbered(plans: Plans, services: Ints, view: Separable) -> Plans:
    """Plans of a part of the services, in the numbers of all."""
    _, entries = view.wanted.take(services)
    moved = SparseRows(plans.entries.start, entries[plans.entries.index], plans.entries.value)
    return replace(plans, service=services[plans.service], entries=moved)


def _dearest(view: Separable) -> float:
    """What all services cost at most in a cheapest plan: each column as often as it alone suffices."""
    owner = view.wanted.service
    alone = np.maximum(-(-view.wanted.demand[owner] // view.wanted.gives), view.wanted.copies[owner])
    return float(view.price @ alone)


def choose_by_prices(problem: FleetProblem, view: Separable, *, gap: float, until: float) -> Bools | None:
    """Which services to serve when not all can be: those that a relaxation serves wholly, dear by priority and weight.

    A priority is worth `DEAR` squared of the next lower one, so this is no proof, but large fleets get an answer.
    """
    level = np.unique(problem.priority, return_inverse=True)[1].reshape(-1)
    level = np.where(problem.required, level.max() + 1, level)
    importance = problem.weight / problem.weight.mean() * DEAR ** (2.0 * np.minimum(level, LEVELS_MOST) + 1)
    found = find_prices(view, gap=gap, until=until, importance=importance)
    return None if found is None else problem.required | (found.master.unserved < EXTRA)


@dataclass(frozen=True)
class Whole:
    """Counts in whole numbers, with the bound they are measured by.

    Attributes:
        counts: shape (columns,).
        cost, bound: dollars.
        repeats: no wall clock had a say.
    """

    counts: Ints
    cost: float
    bound: float
    repeats: bool


def solve_by_prices(
    problem: FleetProblem, view: Separable, *, gap: float, until: float, seed: int, progress: Progress | None = None
) -> tuple[Prices | None, Whole | None]:
    """The prices with their bound, and the best whole plan found; see the module's docstring."""
    if view.services > ALL_PRICED_MOST:
        found = find_prices_of_many(view, gap=gap, until=until, seed=seed)
    else:
        found = find_prices(view, gap=gap, until=until)
    if found is None or found.master.unserved.max(initial=0.0) > EXTRA:
        return found, None
    return found, make_whole(problem, view, found, gap=gap, until=until, seed=seed, progress=progress)


@dataclass
class _Search:
    """The search for whole numbers: what is known, and the best found.

    Attributes:
        problem, view: the fleet.
        prices: where the prices ended.
        gap: asked for.
        seed: of the solvers.
        solver: for the services that are free.
        keep: shape (entries,): a service's good columns.
        entries: shape (entries,): the replicas that services keep when they are not free.
        best: the best plan found.
        bound: proven, dollars.
        repeats: whether no wall clock has ended a solver yet.
    """

    problem: FleetProblem
    view: Separable
    prices: Prices
    gap: float
    until: float
    seed: int
    solver: LinearSolver
    keep: Bools
    entries: Ints
    bound: float
    best: Ints | None = None
    cost: float = np.inf
    repeats: bool = True

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.perf_counter()

    @property
    def done(self) -> bool:
        """Whether the gap is met or time is up."""
        return self.left <= 0 or (self.best is not None and self.cost - self.bound <= self.gap * self.cost)


def make_whole(
    problem: FleetProblem,
    view: Separable,
    found: Prices,
    *,
    gap: float,
    until: float,
    seed: int,
    progress: Progress | None = None,
) -> Whole | None:
    """Whole numbers: most services keep the master's plan, an integer program decides the rest with all supply.

    First the services that the master leaves in pieces and those that could most easily run elsewhere. Then, in fleets
    of up to `ALL_FREE_MOST` services, all of them among the columns that can be in a better plan at all, which may
    close the gap from below as well. What time is left goes to neighbourhoods drawn at random.
    """
    chosen, (regret, keep) = _heaviest(view, found), _alternatives(view, found.prices)
    keep[found.plans.entries.index] = True
    several = chosen.entries.sum() > SEVERAL * view.services
    solver = LinearSolver.HIGHS if several else LinearSolver.SCIP
    search = _Search(problem, view, found, gap, until, seed, solver, keep, chosen.entries, found.bound)
    fractional = chosen.weight < 1 - WHOLE
    order = np.lexsort((regret, ~fractional))
    for number in _rounds(view.services, int(fractional.sum())):
        if not search.done:
            _try(search, order[:number], keep, progress)
    if view.services <= ALL_FREE_MOST and not search.done:
        _try_all(search, progress)
    rng = np.random.default_rng(seed)
    while search.best is not None and not search.done and view.services > NEIGHBOURS:
        _try(search, _neighbours(search, rng), keep, progress)
    if search.best is None:
        return None
    return Whole(search.best, search.cost, search.bound, search.repeats)


def _rounds(services: int, fractional: int) -> list[int]:
    """How many services are free in each round."""
    return sorted({min(number + fractional, services) for number in FREE})


def _try(search: _Search, services: Ints, keep: Bools, progress: Progress | None) -> LinearAnswer:
    """Decide these services anew; keep the plan if it is better."""
    free = np.zeros(search.view.services, dtype=bool)
    free[services] = True
    counts, answer = _decide(search, free, keep)
    search.repeats &= answer.optimal or answer.infeasible
    if counts is not None:
        _keep_better(search, counts, progress)
    return answer


def _try_all(search: _Search, progress: Progress | None) -> None:
    """All services among all columns that a better plan can hold; its bound is one of the whole problem."""
    keep = _can_be_better(search)
    if keep.sum() > COLUMNS_MOST:
        return
    if search.solver is LinearSolver.SCIP and search.gap > WHOLE:
        answer = _try(search, np.arange(search.view.services), keep, progress)
        proven = search.cost if answer.infeasible else answer.bound / MICRO * (1 - WHOLE)
    else:
        proven = _try_compact(search, keep, progress)
    search.bound = min(max(search.bound, proven), search.cost)


def _try_compact(search: _Search, keep: Bools, progress: Progress | None) -> float:
    """The same by CP-SAT, which finds plans of many replicas under tight limits where the others do not; its bound."""
    problem = search.problem
    allowed = np.zeros(problem.columns, dtype=bool)
    allowed[search.view.column[keep]] = True
    allowed[search.view.supply] = True
    part = part_of(problem, np.ones(problem.services, dtype=bool), allowed)
    answer = solve_compact(
        part.problem,
        gap=search.gap,
        time_limit_seconds=_slice(search),
        seed=search.seed,
        hint=None if search.best is None else search.best[part.columns],
        lower_bound_micro_usd=max(math.floor(search.bound * MICRO * (1 - WHOLE)), 0),
    )
    search.repeats &= answer.proven or answer.infeasible
    if answer.found:
        _keep_better(search, part.counts_of_whole(answer.counts), progress)
    return search.cost if answer.infeasible else answer.lower_bound_micro_usd / MICRO


def _slice(search: _Search) -> float:
    """Seconds for the next solver: a share of what is left, as long as there is something to do after it."""
    if search.view.services <= NEIGHBOURS and search.best is not None:
        return max(search.left, LEAST_SECONDS)
    return min(max(search.left, 0.01), max(search.left * SHARE_OF_TIME, LEAST_SECONDS))


def _keep_better(search: _Search, counts: Ints, progress: Progress | None) -> None:
    cost = float(counts @ search.problem.column_price_micro_usd) / MICRO
    if cost < search.cost:
        search.best, search.cost, search.entries = counts, cost, counts[search.view.column]
        if progress is not None:
            progress(round(cost * MICRO), round(search.bound * MICRO))


def _can_be_better(search: _Search) -> Bools:
    """Columns that some plan cheaper than the best may hold, shape (entries,).

    A plan with at least one replica of a column costs, at the prices of the bound, no less than that replica and the
    relaxed rest. If that is more above the service's cheapest than the best plan is above the bound, it is too dear.
    """
    view, found = search.view, search.prices
    price = view.price + view.uses.times(found.prices)
    room = search.cost - found.bound
    keep = np.zeros(len(price), dtype=bool)
    for service, (begin, end) in enumerate(zip(view.wanted.start[:-1], view.wanted.start[1:], strict=True)):
        own, gives = price[begin:end], view.wanted.gives[begin:end]
        rest = np.maximum(view.wanted.demand[service] - gives, 0)
        ratio = (own[None, :] / np.maximum(np.minimum(gives[None, :], rest[:, None]), 1)).min(axis=1)
        keep[begin:end] = own + ratio * rest - found.priced.bound[service] <= room * (1 + WHOLE)
    return keep


def _neighbours(search: _Search, rng: np.random.Generator) -> Ints:
    """Services to free next: some at random, and some that use what the first of them uses or could use."""
    view = search.view
    services = view.services
    seed = int(rng.integers(services))
    places = np.unique(view.uses.index[np.repeat(view.wanted.service == seed, np.diff(view.uses.start))])
    running = np.flatnonzero(search.entries > 0)
    touched = np.isin(view.uses.index, places) & np.isin(view.uses.row, running)
    beside = np.unique(view.wanted.service[view.uses.row[touched]])
    some = rng.permutation(beside)[: NEIGHBOURS // 2]
    others = rng.permutation(services)[: NEIGHBOURS - len(some)]
    return np.unique(np.concatenate((some, others, [seed])))


@dataclass(frozen=True)
class _Chosen:
    """One plan per service: replicas of each entry, shape (entries,), and the master's weight, shape (services,)."""

    entries: Ints
    weight: Floats


def _heaviest(view: Separable, found: Prices) -> _Chosen:
    """The plan of the greatest weight of each service."""
    plans, weight = found.plans, np.zeros(len(found.plans.service))
    weight[: len(found.master.weight)] = found.master.weight
    order = np.lexsort((np.arange(len(weight)), -weight, plans.service))
    first = order[np.searchsorted(plans.service[order], np.arange(view.services))]
    chosen = plans.entries.take(first)
    entries = np.zeros(len(view.column), dtype=np.int64)
    entries[chosen.index] = chosen.value
    return _Chosen(entries, weight[first])


def _alternatives(view: Separable, prices: Floats) -> tuple[Floats, Bools]:
    """How much dearer each service's second-best kind of plan is (relative), and its good columns, shape (entries,).

    Judged at the prices of the bound: a column's plan is some of it, filled up with the service's best column.
    """
    price = view.price + view.uses.times(prices)
    wanted, owner, start = view.wanted, view.wanted.service, view.wanted.start
    alone = price * np.maximum(-(-wanted.demand[owner] // wanted.gives), wanted.copies[owner])
    ratio = price / wanted.gives
    fill = np.flatnonzero(ratio == np.minimum.reduceat(ratio, start[:-1])[owner])
    fill = fill[np.searchsorted(owner[fill], np.arange(view.services))][owner]
    rest = np.maximum(wanted.demand[owner] - wanted.gives, 0)
    mixed = price + price[fill] * -(-rest // wanted.gives[fill])
    cost = np.minimum(alone, np.where(wanted.copies[owner] > 1, alone, mixed))
    order = np.lexsort((np.arange(len(cost)), cost, owner))
    rank = np.arange(len(order)) - start[:-1][owner[order]]
    keep = np.zeros(len(cost), dtype=bool)
    keep[order[rank < COLUMNS_OF_FREE]] = True
    least = cost[order[start[:-1]]]
    second = np.where(np.diff(start) > 1, cost[order[np.minimum(start[:-1] + 1, len(cost) - 1)]], np.inf)
    return (second - least) / np.maximum(least, EXTRA), keep


def _decide(search: _Search, free: Bools, keep: Bools) -> tuple[Ints | None, LinearAnswer]:
    """Counts of everything with these services free among the columns to keep, the others as they are; its answer."""
    problem, view = search.problem, search.view
    fixed = np.zeros(problem.columns, dtype=np.int64)
    fixed[view.column] = np.where(free[view.wanted.service], 0, search.entries)
    allowed = np.zeros(problem.columns, dtype=bool)
    allowed[view.column[keep]] = True
    allowed[view.supply] = True
    part = part_of(problem, free, allowed)
    rest = replace(part.problem, resource_limit=problem.resource_limit - used_of(problem, fixed))
    program = relaxed_program(rest, whole=np.ones(rest.columns, dtype=bool))
    answer = solve_linear(
        program,
        time_limit_seconds=_slice(search),
        gap=search.gap * SHARE_OF_GAP_WHOLE,
        seed=search.seed,
        solver=search.solver,
    )
    counts = np.rint(answer.values[: rest.columns]).astype(np.int64)
    if not answer.feasible or not keeps_limits(rest, counts):
        return None, answer
    return fixed + part.counts_of_whole(counts), answer


def used_of(problem: FleetProblem, counts: Ints) -> Ints:
    """What counts use of each resource, exact, shape (resources,)."""
    uses = problem.column_uses
    used = np.zeros(problem.resources, dtype=np.int64)
    np.add.at(used, uses.index, uses.value * counts[uses.row])
    return used


def keeps_limits(problem: FleetProblem, counts: Ints) -> bool:
    """Whether whole counts cover every demand and stay within every limit, exact; buckets and survival aside."""
    covers = problem.column_covers
    given = np.zeros(problem.covers, dtype=np.int64)
    np.add.at(given, covers.index, covers.value * counts[covers.row])
    return bool((given >= problem.cover_demand).all() and (used_of(problem, counts) <= problem.resource_limit).all())
