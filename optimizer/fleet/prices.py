"""The prices at which services that plan alone fit together, and the bound that those prices prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    solve_master,
)
from optimizer.fleet.pricing import Priced, cheapest_plans
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.survival import Survivors, cheapest_survivors, survivors_of
from optimizer.replica_columns import Bools, Floats, Ints

ROUNDS_MOST = 60
DEAR = 10.0
"""Serving no plan costs so many times the first plan; ten times more whenever that is not enough."""
DEAREST = 1e7
LEVELS_MOST = 5
"""More priorities than this cannot be told apart by their worth within the precision of a linear solver."""
SHARE_OF_GAP = 0.1
"""The bound may miss the mix by this share of the gap asked for; the rest is for whole numbers."""
SHARE_OF_GAP_OF_MANY = 0.4
"""The same in fleets so large that whole numbers cost next to nothing."""
SAMPLE = 5_000
STARTS = (1.0, 1.03, 1.3)
"""Times the prices of the sample, on what is limited."""
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
    goal: float,
    until: float,
    importance: Floats | None = None,
    times: Floats | None = None,
    starts: Sequence[Floats] = (),
    plans: Plans | None = None,
) -> Prices | None:
    """Prices at which the services' own cheapest plans fit the limits, as nearly as asked; None without time.

    Args:
        view: the fleet.
        goal: relative, of what the bound may miss of the mix; the pricing may miss half of it.
        until: `time.perf_counter()` at which to stop.
        importance: shape (services,): how many times the dearest service's plan each may cost before it is left out;
            None = all are to be served if that is possible at all.
        times: shape (services,): how many services like itself each stands for; None = 1.
        starts: each of shape (resources,): prices whose plans to begin with; none = what supply asks.
        plans: more to begin with, of the same services.
    """
    goal = max(goal, EXTRA)
    rounds = _Rounds(view, np.ones(view.services) if times is None else times, goal / 2, plans)
    for start in starts or (np.zeros(len(view.limit)),):
        rounds.price(start)
    rounds.leave_out_at(importance)
    for _ in range(ROUNDS_MOST):
        master = rounds.mix(until)
        if master is None:
            break
        if rounds.price(master.prices) and rounds.missing > goal:
            continue
        if importance is not None or master.unserved.max(initial=0.0) < EXTRA or not rounds.serve_more():
            break
    return rounds.result()


class _Rounds:
    """Prices and plans in turn: prices give every service a plan, the mix of all plans found gives new prices."""

    def __init__(self, view: Separable, times: Floats, tolerance: float, plans: Plans | None) -> None:
        self.view, self._times, self._tolerance = view, times, tolerance
        self._survivors = survivors_of(view.wanted)
        self._parts: list[Plans] = [] if plans is None else [plans]
        self._best: tuple[float, Floats, Priced] | None = None
        self._unserved = np.full(view.services, np.inf)
        self._master: MasterAnswer | None = None

    @property
    def missing(self) -> float:
        """How far the bound is below the mix, relative to it."""
        if self._master is None or self._best is None or self._master.cost <= 0:
            return 0.0
        return 1 - self._best[0] / self._master.cost

    def price(self, prices: Floats) -> bool:
        """Find every service's cheapest plan, with the bound; whether one is cheaper than all its plans so far."""
        view = self.view
        prices, priced = plans_at(view, prices, self._tolerance, self._survivors)
        bound = lower_bound(view, priced, prices, self._times)
        if self._best is None or bound > self._best[0]:
            self._best = bound, prices, priced
        new = priced.cost < self._least(prices) * (1 - EXTRA) - EXTRA
        self._parts.append(plans_of(view, priced).take(new))
        return bool(new.any())

    def _least(self, prices: Floats) -> Floats:
        """What each service pays at least at these prices by the plans so far, or for none, shape (services,)."""
        least = self._unserved.copy()
        for part in self._parts:
            np.minimum.at(least, part.service, part.price + part.uses.times(prices))
        return least

    def leave_out_at(self, importance: Floats | None) -> None:
        """Set what it costs to leave a service out, by the plans at the best prices so far."""
        cost = self._priced.cost
        if importance is None:
            self._unserved = DEAR * np.maximum(cost, cost.mean() + EXTRA)
        else:
            self._unserved = importance * (cost.max() + EXTRA)

    def serve_more(self) -> bool:
        """Make leaving out dearer; False when it is dear beyond what a linear solver can tell."""
        if self._unserved.max() > DEAREST * self._priced.cost.max():
            return False
        self._unserved = self._unserved * DEAR
        return True

    @property
    def _priced(self) -> Priced:
        assert self._best is not None  # `price` comes first
        return self._best[2]

    def mix(self, until: float) -> MasterAnswer | None:
        """The cheapest mix of all plans so far; None without time."""
        left = seconds_until(until)
        if left <= 0:
            return None
        answer = solve_master(self.view, join(self._parts), self._unserved, times=self._times, time_limit_seconds=left)
        if answer.feasible:
            self._master = answer
        return answer if answer.feasible else None

    def result(self) -> Prices | None:
        """Where the prices stand; None without any mix."""
        if self._master is None or self._best is None:
            return None
        most_cost = float(self.view.supply_price @ self.view.supply_most) + _dearest(self.view)
        return Prices(*self._best, join(self._parts), self._master, most_cost)


def plans_at(
    view: Separable, prices: Floats, tolerance: float, survivors: Survivors | None = None
) -> tuple[Floats, Priced]:
    """Every service's cheapest plan at these prices of resources, lifted (`lift`), and the prices so lifted."""
    prices = lift(view, prices)
    price = view.price + view.uses.times(prices)
    priced = cheapest_plans(view.wanted, price, tolerance=tolerance)
    return prices, cheapest_survivors(priced, survivors, price, tolerance=tolerance)


def find_prices_of_many(view: Separable, *, gap: float, until: float, seed: int) -> Prices | None:
    """The same for large fleets, begun at prices found on a sample: each round over all services is dear.

    The sample is of the dearest services, and of some of the others, that stand for all of them. The first plans are
    those at its prices and at somewhat higher ones, of which the limits leave room for a mix.
    """
    sample, times = _sample(view, seed)
    first = find_prices(view.take(sample, view.limit), goal=gap * SHARE_OF_GAP, until=until, times=times)
    if first is None:
        return None
    starts = [np.where(view.limit > 0, first.prices * factor, first.prices) for factor in STARTS]
    return find_prices(view, goal=gap * SHARE_OF_GAP_OF_MANY, until=until, starts=starts)


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
    found = find_prices(view, goal=gap * SHARE_OF_GAP, until=until, importance=importance)
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
