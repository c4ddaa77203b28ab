"""From prices to whole numbers: which services keep their plan, and how the others are decided together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np

from optimizer.cp_sat.fleet_compact import Progress, solve_compact
from optimizer.cp_sat.fleet_linear import LinearAnswer, LinearSolver, solve_linear
from optimizer.cp_sat.integers import MICRO
from optimizer.cp_sat.interruption import seconds_until
from optimizer.fleet.branched_bound import branched_bound
from optimizer.fleet.master import Separable
from optimizer.fleet.parts import part_of
from optimizer.fleet.prices import Prices, plan_costs, regrets
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.relaxation import relaxed_program
from optimizer.fleet.whole_plans import best_of_whole_plans
from optimizer.replica_columns import Bools, Floats, Ints

FREE = (30, 100, 300)
"""Services, beside those in pieces, that are decided together, round by round."""
COLUMNS_OF_FREE = 6
MORE_COLUMNS = 24
FREE_OF_MANY = (30, 300)
ALL_FREE_MOST = 400
COLUMNS_MOST = 40_000
NEIGHBOURS = 40
GROWTH = 1.3
SEVERAL = 1.5
"""Replicas per service beyond which HiGHS closes the gap sooner than SCIP. In large fleets it does so in any case: it
can be told what is enough."""
SHARE_OF_GAP_WHOLE = 0.2
SHARE_OF_TIME = 0.3
LEAST_SECONDS = 1.0
MIXED_MOST = 3_000
"""Services up to which whole plans are mixed; beyond, a round of free services is quicker and near enough."""
NODES = {LinearSolver.SCIP: 5_000, LinearSolver.HIGHS: 1_000}
"""Of one search tree, at most: what has not been found until then is sought elsewhere."""
BRANCHES = 30
"""Of the bound, at most: one or two close it where a few machines in parts are all that keeps it below."""
WHOLE = 1e-6
MET = 0.99
"""Of the gap asked for: a plan that is nearer to the bound than this is not made better."""


@dataclass(frozen=True)
class Whole:
    """Counts in whole numbers, with the bound they are measured by.

    Attributes:
        counts: shape (columns,).
        cost, bound: dollars.
    """

    counts: Ints
    cost: float
    bound: float


@dataclass
class _Search:
    """The search for whole numbers: what is known, and the best found.

    Attributes:
        problem, view: the fleet.
        prices: where the prices ended.
        gap: asked for.
        seed: of the solvers.
        solver: for the services that are free.
        costs: shape (entries,): roughly the best plan with some of each column, at the prices.
        entries: shape (entries,): the replicas that services keep when they are not free.
        best: the best plan found.
        bound: proven, dollars.
    """

    problem: FleetProblem
    view: Separable
    prices: Prices
    gap: float
    until: float
    seed: int
    solver: LinearSolver
    costs: Floats
    entries: Ints
    bound: float
    best: Ints | None = None
    cost: float = np.inf

    @property
    def left(self) -> float:
        """Seconds."""
        return seconds_until(self.until)

    @property
    def done(self) -> bool:
        """Whether the gap is met or time is up."""
        return (self.best is not None and self.cost - self.bound <= self.gap * self.cost) or self.left <= 0


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

    First the services that the master leaves in pieces and those that could most easily run elsewhere; in fleets of up
    to `MIXED_MOST` services also the best of whole plans. Then the bound is raised by branching, and, in those of up to
    `ALL_FREE_MOST`, all services are decided among the columns that can be in a better plan at all, which may close the
    gap from both sides. What time is left goes to neighbourhoods drawn at random.
    """
    chosen, cost = _heaviest(view, found), plan_costs(view, found.prices)
    several = view.services > ALL_FREE_MOST or chosen.entries.sum() > SEVERAL * view.services
    solver = LinearSolver.HIGHS if several else LinearSolver.SCIP
    search = _Search(problem, view, found, gap, until, seed, solver, cost, chosen.entries, found.bound)
    fractional = chosen.weight < 1 - WHOLE
    order = np.lexsort((regrets(view, cost), ~fractional))
    rounds = _rounds(view.services, int(fractional.sum()))
    for number in rounds:
        search.entries = chosen.entries  # not those of the round before: what it settled would bind this one
        if search.best is None or not search.done:
            _try(search, order[:number], _good_columns(search, order[:number]), progress)
        if number == rounds[0] and view.services <= MIXED_MOST and not search.done:
            _try_whole_plans(search, progress)
    if search.best is not None:
        search.entries = search.best[view.column]
        _raise_bound(search)
    if view.services <= ALL_FREE_MOST and not search.done:
        _try_all(search, progress)
    if search.best is not None and view.services > NEIGHBOURS:
        _improve(search, progress)
    if search.best is None:
        return None
    return Whole(search.best, search.cost, search.bound)


def _improve(search: _Search, progress: Progress | None) -> None:
    """Neighbourhoods until the gap is met or time is up: larger when one is solved in vain, smaller when it is slow.

    Every second one has more columns of each service.
    """
    rng, size = np.random.default_rng(search.seed), float(NEIGHBOURS)
    columns = cycle((COLUMNS_OF_FREE, MORE_COLUMNS))
    while not search.done:
        services, before = _neighbours(search, rng, int(size)), search.cost
        answer = _try(search, services, _good_columns(search, services, next(columns)), progress)
        if answer.cut_short:
            size = max(size / GROWTH, NEIGHBOURS / 2)
        elif search.cost >= before:
            size = min(size * GROWTH, ALL_FREE_MOST, search.view.services)


def _rounds(services: int, fractional: int) -> list[int]:
    """How many services are free in each round."""
    return sorted(
        {min(number + fractional, services) for number in (FREE if services <= ALL_FREE_MOST else FREE_OF_MANY)}
    )


def _try(search: _Search, services: Ints, keep: Bools, progress: Progress | None) -> LinearAnswer:
    """Decide these services anew; keep the plan if it is better."""
    free = np.zeros(search.view.services, dtype=bool)
    free[services] = True
    counts, answer = _decide(search, free, keep)
    if counts is not None:
        _keep_better(search, counts, progress)
    return answer


def _try_whole_plans(search: _Search, progress: Progress | None) -> None:
    """The best fleet of whole plans near the best prices; keep it if it is better."""
    counts = best_of_whole_plans(
        search.problem,
        search.view,
        search.prices,
        gap=search.gap * SHARE_OF_GAP_WHOLE,
        nodes=NODES[LinearSolver.SCIP],
        seconds=_slice(search),
        seed=search.seed,
    )
    if counts is not None and keeps_limits(search.problem, counts):
        _keep_better(search, counts, progress)


def _raise_bound(search: _Search) -> None:
    """What machines bought whole add to the bound."""
    if not search.done:
        search.bound = branched_bound(
            search.view,
            search.prices,
            cost=search.cost,
            gap=search.gap * MET,
            until=search.until,
            most=BRANCHES,
        )


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
    if answer.found:
        _keep_better(search, part.counts_of_whole(answer.counts), progress)
    return search.cost if answer.infeasible else answer.lower_bound_micro_usd / MICRO


def _slice(search: _Search) -> float:
    """Seconds for the next solver: a share of what is left, as long as there is something to do after it."""
    if search.view.services <= NEIGHBOURS and search.best is not None:
        return max(search.left, LEAST_SECONDS)
    if search.best is None:
        return max(search.left * SHARE_OF_TIME, LEAST_SECONDS)
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


def _neighbours(search: _Search, rng: np.random.Generator, size: int) -> Ints:
    """Services to free next: some at random, and some that use what the first of them uses or could use."""
    view = search.view
    services = view.services
    seed = int(rng.integers(services))
    places = np.unique(view.uses.index[np.repeat(view.wanted.service == seed, np.diff(view.uses.start))])
    running = np.flatnonzero(search.entries > 0)
    touched = np.isin(view.uses.index, places) & np.isin(view.uses.row, running)
    beside = np.unique(view.wanted.service[view.uses.row[touched]])
    some = rng.permutation(beside)[: size // 2]
    others = rng.permutation(services)[: size - len(some)]
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


def _good_columns(search: _Search, services: Ints, most: int = COLUMNS_OF_FREE) -> Bools:
    """Of these services the columns of the cheapest plans, and those of every plan found, shape (entries,)."""
    view = search.view
    part, entries = view.wanted.take(services)
    order = np.lexsort((np.arange(len(entries)), search.costs[entries], part.service))
    rank = np.arange(len(order)) - part.start[:-1][part.service[order]]
    keep = np.zeros(len(view.column), dtype=bool)
    keep[entries[order[rank < most]]] = True
    keep[search.prices.plans.entries.index] = True
    return keep


def _decide(search: _Search, free: Bools, keep: Bools) -> tuple[Ints | None, LinearAnswer]:
    """Counts of everything with these services free among the columns to keep, the others as they are; its answer."""
    problem, view = search.problem, search.view
    fixed = np.zeros(problem.columns, dtype=np.int64)
    fixed[view.column] = np.where(free[view.wanted.service], 0, search.entries)
    allowed = np.zeros(problem.columns, dtype=bool)
    allowed[view.column[keep]] = True
    allowed[view.supply] = True
    start = search.best if view.services <= ALL_FREE_MOST else None  # in large fleets it only makes the program larger
    if start is not None:
        allowed |= start > 0
    part = part_of(problem, free, allowed)
    rest = replace(part.problem, resource_limit=problem.resource_limit - used_of(problem, fixed))
    program = relaxed_program(rest, whole=np.ones(rest.columns, dtype=bool))
    answer = solve_linear(
        program,
        time_limit_seconds=_slice(search),
        gap=search.gap * SHARE_OF_GAP_WHOLE,
        seed=search.seed,
        nodes=NODES[search.solver],
        solver=search.solver,
        enough=search.bound * MICRO / (1 - search.gap * MET) - float(fixed @ problem.column_price_micro_usd),
        start=None if start is None else start[part.columns].astype(np.float64),
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
    """Whether whole counts cover every demand and stay within every limit, exact; buckets aside."""
    covers = problem.column_covers
    given = np.zeros(problem.covers, dtype=np.int64)
    np.add.at(given, covers.index, covers.value * counts[covers.row])
    gone = np.zeros(problem.covers, dtype=np.int64)
    lost = covers.value * np.minimum(counts, problem.column_lost_replicas)[covers.row]
    np.maximum.at(gone, covers.index, lost * problem.cover_survives[covers.index])
    left = given - gone
    return bool((left >= problem.cover_demand).all() and (used_of(problem, counts) <= problem.resource_limit).all())
