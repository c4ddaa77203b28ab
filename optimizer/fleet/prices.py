"""The prices at which services that plan alone fit together, and the bound that those prices prove."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat.interruption import seconds_until
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
from optimizer.fleet.pricing import Priced, cheapest_plans
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.sparse import SparseRows
from optimizer.fleet.survival import Survivors, cheapest_survivors, survivors_of
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
SAMPLE = 5_000
CONTESTED = (8_000, 16_000, 32_000)
"""Services in the linear program of a fleet too large for one of all: more in every round, until it is enough."""
ENOUGH = 0.5
OVER = 4.0
"""Of what falls short, so many times as much is taken back from the services that use it, to be decided anew."""
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
    survivors = survivors_of(view.wanted)
    goal = max(gap * SHARE_OF_GAP, EXTRA)
    prices = lift(view, np.zeros(len(view.limit)) if start is None else start)
    priced = _plans_at(view, prices, survivors, LOOSE)
    parts, best = [plans_of(view, priced)], (lower_bound(view, priced, prices, times), prices, priced)
    unserved = DEAR * np.maximum(priced.cost, priced.cost.mean() + EXTRA)
    if importance is not None:
        unserved = importance * (priced.cost.max() + EXTRA)
    tolerance, master = LOOSE, None
    for _ in range(ROUNDS_MOST):
        left = seconds_until(until)
        if left <= 0:
            break
        answer = solve_master(view, join(parts), unserved, times=times, time_limit_seconds=left)
        if not answer.feasible:
            break
        master = answer
        prices = lift(view, master.prices)
        priced = _plans_at(view, prices, survivors, tolerance)
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


def _plans_at(view: Separable, prices: Floats, survivors: Survivors | None, tolerance: float) -> Priced:
    """Every service's cheapest plan at these prices of resources."""
    price = view.price + view.uses.times(prices)
    return cheapest_survivors(
        cheapest_plans(view.wanted, price, tolerance=tolerance), survivors, price, tolerance=tolerance
    )


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
    survivors = survivors_of(view.wanted)
    priced = _plans_at(view, start, survivors, tolerance)
    regret = regrets(view, plan_costs(view, start))
    plans = plans_of(view, priced)
    contested = _contested(view, plans, regret, number)
    kept = plans.take(np.setdiff1d(np.arange(view.services), contested))
    found = find_prices(view.take(contested, view.limit - _used(view, kept)), gap=gap, until=until, start=start)
    if found is None:
        return None
    again = _plans_at(view, found.prices, survivors, tolerance)
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
    return float(view.price @ view.wanted.enough)


def choose_by_prices(problem: FleetProblem, view: Separable, *, gap: float, until: float) -> Bools | None:
    """Which services to serve when not all can be: those that a relaxation serves wholly, dear by priority and weight.

    A priority is worth `DEAR` squared of the next lower one, so this is no proof, but large fleets get an answer.
    """
    level = np.unique(problem.priority, return_inverse=True)[1].reshape(-1)
    level = np.where(problem.required, level.max() + 1, level)
    importance = problem.weight / problem.weight.mean() * DEAR ** (2.0 * np.minimum(level, LEVELS_MOST) + 1)
    found = find_prices(view, gap=gap, until=until, importance=importance)
    return None if found is None else problem.required | (found.master.unserved < EXTRA)


def plan_costs(view: Separable, prices: Floats) -> Floats:
    """Roughly what the best plan with some of each column costs at these prices, shape (entries,).

    The column alone as often as it suffices, or one of it filled up with the service's best column.
    """
    price = view.price + view.uses.times(prices)
    wanted, owner, start = view.wanted, view.wanted.service, view.wanted.start
    alone = price * wanted.enough
    ratio = price / wanted.gives
    fill = np.flatnonzero(ratio == np.minimum.reduceat(ratio, start[:-1])[owner])
    fill = fill[np.searchsorted(owner[fill], np.arange(view.services))][owner]
    rest = np.maximum(wanted.demand[owner] - wanted.gives, 0)
    mixed = price + price[fill] * -(-rest // wanted.gives[fill])
    cost: Floats = np.minimum(alone, np.where(wanted.copies[owner] > 1, alone, mixed))
    return cost


def regrets(view: Separable, cost: Floats) -> Floats:
    """How much dearer, relatively, each service's second-best column is by `plan_costs`, shape (services,)."""
    start = view.wanted.start
    least = np.minimum.reduceat(cost, start[:-1])
    best = np.flatnonzero(cost == np.repeat(least, np.diff(start)))
    best = best[np.searchsorted(best, start[:-1])]
    others = cost.copy()
    others[best] = np.inf
    second = np.minimum.reduceat(others, start[:-1])
    regret: Floats = (second - least) / np.maximum(least, EXTRA)
    return regret
