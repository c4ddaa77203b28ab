"""The cheapest plan of every service at given prices, all services at once, with a bound that proves each.

A service wants its demand d covered by replicas of columns j, which give c_j (cut at d) and cost q_j, and at least m:

    minimize sum q_j x_j   with   sum c_j x_j >= d,   sum x_j >= m,   x whole

For prices mu on the count and rho = min_j (q_j - mu) / c_j on the cover, every plan costs

    mu m + rho d  +  sum of e_j x_j  +  rho waste + mu (count - m),      e_j = q_j - mu - rho c_j >= 0

so a plan that beats the best one known can hold only few replicas of columns with a large excess e_j. All such handfuls
are enumerated, column after column for all services together, and each is filled up with the column b of excess 0. What
was enumerated is searched exactly; the little that was not (`tolerance`, `STATES_MOST`) is in the bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from optimizer.replica_columns import Bools, Floats, Ints

STATES_MOST = 2_000
"""Handfuls of one service kept at a time; those of the largest excess go first, and the bound says so."""
COUNT_PRICES = 16
"""Prices on the count that are tried between 0 and the cheapest column's price, where more than one copy is asked."""
ROUNDING = 1e-12
TINY = 1e-300


@dataclass(frozen=True)
class Wanted:
    """Services that want one demand covered; entries of one service stand together.

    Attributes:
        start: shape (services + 1,): where each service's entries begin.
        gives: shape (entries,): what one replica covers, at least 1, at most the demand.
        demand: shape (services,): at least 1.
        copies: shape (services,): replicas at least.
        most: shape (entries,): replicas at most; None = any number.
        lost: shape (entries,): replicas that go with one machine, 0 where none need be survived; None = 0 everywhere.
    """

    start: Ints
    gives: Ints
    demand: Ints
    copies: Ints
    most: Ints | None = None
    lost: Ints | None = None

    @property
    def service(self) -> Ints:
        """The service of each entry, shape (entries,)."""
        return np.repeat(np.arange(len(self.demand)), np.diff(self.start))

    @property
    def enough(self) -> Ints:
        """Replicas of each entry that alone are all that its service wants, shape (entries,)."""
        owner = self.service
        enough: Ints = np.maximum(-(-self.demand[owner] // self.gives), self.copies[owner])
        return enough if self.lost is None else enough + self.lost

    def take(self, services: Ints) -> tuple[Wanted, Ints]:
        """Some of the services, and the numbers of their entries."""
        sizes = np.diff(self.start)[services]
        start = np.concatenate(([0], np.cumsum(sizes)))
        entries = np.arange(start[-1]) + np.repeat(self.start[:-1][services] - start[:-1], sizes)
        part = Wanted(
            start,
            self.gives[entries],
            self.demand[services],
            self.copies[services],
            None if self.most is None else self.most[entries],
            None if self.lost is None else self.lost[entries],
        )
        return part, entries


@dataclass(frozen=True)
class Priced:
    """The cheapest plan of every service.

    Attributes:
        cost: shape (services,): of the plan, at the prices given.
        bound: shape (services,): no plan of the service costs less.
        service, entry, count: shape (uses,): the plans: `count` replicas of `entry`; by service, in rising order.
    """

    cost: Floats
    bound: Floats
    service: Ints
    entry: Ints
    count: Ints


@dataclass
class _Best:
    """The best plan known of every service: replicas of the fill, on top of a handful."""

    cost: Floats
    fill: Ints
    fill_count: Ints
    handful: Ints


@dataclass(frozen=True)
class _Base:
    """What the excess is measured from, per service: the fill b (with its own), rho, mu, the relaxed bound."""

    fill: Ints
    excess: Floats
    cover_price: Floats
    count_price: Floats
    bound: Floats


def cheapest_plans(wanted: Wanted, price: Floats, *, tolerance: float, ceiling: Floats | None = None) -> Priced:
    """The cheapest plan of every service that has entries at all; what may be lost is not looked at.

    Args:
        wanted: the services.
        price: shape (entries,): of one replica each, at least 0.
        tolerance: relative: how much cheaper than the plan found another may be without being searched for.
        ceiling: shape (services,): plans that cost no less are not of interest; none is given then, at that cost.
    """
    base = _relax(wanted, price)
    best = _start(wanted, price, ceiling)
    handfuls = _Handfuls(wanted, price, base, best, tolerance=tolerance)
    handfuls.search()
    slack = np.maximum(tolerance, ROUNDING) * best.cost
    bound = np.minimum(best.cost - slack, handfuls.unsearched)
    bound = np.maximum(bound, base.bound * (1 - ROUNDING))
    return _read(best, np.minimum(bound, best.cost), handfuls)


def _first_least(values: Floats, start: Ints) -> Ints:
    """The first entry of the least value in each segment, shape (segments,)."""
    least = np.minimum.reduceat(values, start[:-1])
    where = np.flatnonzero(values == np.repeat(least, np.diff(start)))
    return where[np.searchsorted(where, start[:-1])]


def _relax(wanted: Wanted, price: Floats) -> _Base:
    """Without whole numbers: the prices of cover and count that prove most, and the column that is best at them."""
    gives = wanted.gives.astype(np.float64)
    fill = _first_least(price / gives, wanted.start)
    rho, mu = (price / gives)[fill], np.zeros(len(fill))
    bound = rho * wanted.demand
    several = np.flatnonzero(wanted.copies > 1)
    if len(several):
        few, entries = wanted.take(several)
        own, owner = price[entries], few.service
        cheapest = np.minimum.reduceat(own, few.start[:-1])
        for step in range(1, COUNT_PRICES + 1):
            count_price = cheapest * (step / COUNT_PRICES)
            ratio = (own - count_price[owner]) / few.gives
            place = _first_least(ratio, few.start)
            tried = ratio[place] * few.demand + count_price * few.copies
            better = tried > bound[several]
            chosen = several[better]
            bound[chosen], mu[chosen] = tried[better], count_price[better]
            rho[chosen], fill[chosen] = ratio[place][better], entries[place][better]
    if wanted.most is None:
        return _Base(fill, np.zeros(len(fill)), rho, mu, bound)
    return _with_endless_fill(wanted, price, _Base(fill, np.zeros(len(fill)), rho, mu, bound))


def _with_endless_fill(wanted: Wanted, price: Floats, base: _Base) -> _Base:
    """The same with a fill of which there is any number, if there is one: the best of those by excess per cover."""
    assert wanted.most is not None
    owner = wanted.service
    excess = np.maximum(price - base.count_price[owner] - base.cover_price[owner] * wanted.gives, 0.0)
    rank = np.where(wanted.most >= wanted.enough, excess / wanted.gives, np.inf)
    fill = np.where(
        np.isfinite(np.minimum.reduceat(rank, wanted.start[:-1])), _first_least(rank, wanted.start), base.fill
    )
    return _Base(fill, excess[fill], base.cover_price, base.count_price, base.bound)


def _start(wanted: Wanted, price: Floats, ceiling: Floats | None) -> _Best:
    """The best plan of one column alone; none where it costs the ceiling or more."""
    alone = wanted.enough
    cost = price * alone
    if wanted.most is not None:
        cost = np.where(alone <= wanted.most, cost, np.inf)
    best = _first_least(cost, wanted.start)
    found = _Best(cost[best], best, alone[best], np.full(len(best), -1))
    if ceiling is not None:
        too_dear = found.cost >= ceiling
        found.cost, found.fill_count = np.minimum(found.cost, ceiling), np.where(too_dear, 0, found.fill_count)
    return found


class _States(NamedTuple):
    """Handfuls: whose, their excess, what they leave of the demand, their replicas, their number; shape (handfuls,)."""

    service: Ints
    spent: Floats
    left: Ints
    copies: Ints
    made: Ints

    def take(self, rows: Ints | Bools) -> _States:
        """Only these."""
        return _States(self.service[rows], self.spent[rows], self.left[rows], self.copies[rows], self.made[rows])

    def beside(self, others: _States) -> _States:
        """These, then the others."""
        return _States(
            np.concatenate((self.service, others.service)),
            np.concatenate((self.spent, others.spent)),
            np.concatenate((self.left, others.left)),
            np.concatenate((self.copies, others.copies)),
            np.concatenate((self.made, others.made)),
        )


class _Handfuls:
    """Every handful of columns other than the fill that can be part of a better plan, one column after the other."""

    def __init__(
        self,
        wanted: Wanted,
        price: Floats,
        base: _Base,
        best: _Best,
        *,
        tolerance: float,
    ) -> None:
        self.wanted, self.price, self.base, self.best, self.tolerance = wanted, price, base, best, tolerance
        self.unsearched = np.full(len(wanted.demand), np.inf)
        self._parent: list[Ints] = [np.empty(0, dtype=np.int64)]
        self._entry: list[Ints] = [np.empty(0, dtype=np.int64)]
        self._count: list[Ints] = [np.empty(0, dtype=np.int64)]
        self._made = 0

    def search(self) -> None:
        """Enumerate; `best` holds the result."""
        entry, excess, start = self._worthwhile()
        service = np.flatnonzero((self._room() > 0) & (np.diff(start) > 0))
        none = np.zeros(len(service), dtype=np.int64)
        states = _States(service, np.zeros(len(service)), self.wanted.demand[service], none, none - 1)
        level = 0
        while len(states.service):
            states = states.take(start[states.service] + level < start[states.service + 1])
            place = start[states.service] + level
            grown = self._grow(states, entry[place], excess[place])
            states = self._keep_promising(states.beside(grown))
            level += 1

    def _room(self) -> Floats:
        """How much excess a handful may have and still be part of a plan that is better by the tolerance."""
        room: Floats = self.best.cost * (1 - self.tolerance) - self.base.bound
        return room

    def _worthwhile(self) -> tuple[Ints, Floats, Ints]:
        """Entries (the least excess first in each service) that a better plan may hold; where each service begins."""
        owner = self.wanted.service
        excess = self.price - self.base.count_price[owner] - self.base.cover_price[owner] * self.wanted.gives
        excess = np.maximum(excess, 0.0)
        worth = excess < self._room()[owner]
        worth &= self._not_beaten_by_fill()
        entry = np.flatnonzero(worth)
        entry = entry[self._not_beaten(entry)]
        entry = entry[np.lexsort((excess[entry], owner[entry]))]
        start = np.concatenate(([0], np.cumsum(np.bincount(owner[entry], minlength=len(self.wanted.demand)))))
        return entry, excess[entry], start

    def _not_beaten_by_fill(self) -> Bools:
        """Entries that cost less than as many of the fill as cover no less, shape (entries,); no fill is one."""
        wanted, fill = self.wanted, self.base.fill
        number = -(-wanted.gives // wanted.gives[fill][wanted.service])
        price = self.price[fill]
        if wanted.most is not None:
            price = np.where(wanted.most[fill] >= wanted.enough[fill], price, np.inf)
        better: Bools = self.price < number * price[wanted.service]
        better[fill] = False
        return better

    def _not_beaten(self, entry: Ints) -> Bools:
        """Of these entries those that no other of the service beats in price and cover, shape (entries given,)."""
        gives, owner = self.wanted.gives[entry], self.wanted.service[entry]
        order = np.lexsort((-gives, self.price[entry], owner))
        endless = np.ones(len(entry), dtype=bool)
        if self.wanted.most is not None:
            endless = self.wanted.most[entry] >= self.wanted.enough[entry]
        rank = np.unique(gives, return_inverse=True)[1].reshape(-1) + 1
        height = owner * (len(entry) + 1) + rank
        beating = np.where(endless, height, 0)[order]
        before = np.concatenate(([0], np.maximum.accumulate(beating)[:-1]))
        kept = np.empty(len(entry), dtype=bool)
        kept[order] = height[order] > before
        return kept

    def _grow(self, states: _States, entry: Ints, excess: Floats) -> _States:
        """Each handful with 1, 2, ... replicas of its next column, as long as that can be of use."""
        service, left = states.service, states.left
        room = self._room()[service] - states.spent
        most = np.maximum(-(-left // self.wanted.gives[entry]), self.wanted.copies[service] - states.copies)
        if self.wanted.most is not None:
            most = np.minimum(most, self.wanted.most[entry])
        by_room = np.floor(room / np.maximum(excess, ROUNDING * self.best.cost[service] + TINY))
        times = np.clip(np.minimum(most, by_room), 0, STATES_MOST).astype(np.int64)
        cut = np.minimum(most, by_room) > STATES_MOST
        dearer = self.base.bound[service] + states.spent + STATES_MOST * excess
        np.minimum.at(self.unsearched, service[cut], dearer[cut])
        parent = np.repeat(np.arange(len(service)), times)
        copies = np.arange(len(parent)) - np.repeat(np.cumsum(times) - times, times) + 1
        number = self._made + np.arange(len(parent))
        self._made += len(parent)
        self._parent.append(states.made[parent])
        self._entry.append(entry[parent])
        self._count.append(copies)
        grown = _States(
            service[parent],
            states.spent[parent] + copies * excess[parent],
            left[parent] - copies * self.wanted.gives[entry[parent]],
            states.copies[parent] + copies,
            number,
        )
        self._fill_up(grown)
        return grown

    def _fill_up(self, states: _States) -> None:
        """Complete every handful with the fill; keep the best plan of each service."""
        service = states.service
        fill = self.base.fill[service]
        gives, missing = self.wanted.gives[fill], self.wanted.copies[service] - states.copies
        filled = np.maximum(np.maximum(-(-states.left // gives), missing), 0)
        over = (filled * gives - states.left) * self.base.cover_price[service]
        over += (filled - missing) * self.base.count_price[service]
        cost = self.base.bound[service] + states.spent + over
        if self.wanted.most is not None:
            cost = np.where(filled <= self.wanted.most[fill], cost + filled * self.base.excess[service], np.inf)
        order = np.lexsort((states.made, cost, service))
        first = order[np.diff(service[order], prepend=-1) != 0]
        first = first[cost[first] < self.best.cost[service[first]]]
        owner = service[first]
        self.best.cost[owner], self.best.handful[owner] = cost[first], states.made[first]
        self.best.fill[owner], self.best.fill_count[owner] = fill[first], filled[first]

    def _keep_promising(self, states: _States) -> _States:
        """Handfuls with room for more; of each service no more than STATES_MOST, those of least excess."""
        alive = states.spent < self._room()[states.service]
        alive &= (states.left > 0) | (states.copies < self.wanted.copies[states.service])
        states = states.take(alive)
        held = np.bincount(states.service, minlength=1)
        if held.max(initial=0) <= STATES_MOST:
            return states
        order = np.lexsort((states.made, states.spent, states.service))
        first = np.concatenate(([0], np.cumsum(held)))[states.service[order]]
        kept = np.arange(len(order)) - first < STATES_MOST
        gone = states.take(order[~kept])
        np.minimum.at(self.unsearched, gone.service, self.base.bound[gone.service] + gone.spent)
        return states.take(order[kept])

    def contents(self, made: Ints) -> tuple[Ints, Ints, Ints]:
        """(position in `made`, entry, count) of what the handfuls hold; -1 holds nothing."""
        parent, entry, count = (np.concatenate(parts) for parts in (self._parent, self._entry, self._count))
        found: list[tuple[Ints, Ints, Ints]] = [(np.empty(0, dtype=np.int64),) * 3]
        position = np.flatnonzero(made >= 0)
        number = made[position]
        while len(number):
            found.append((position, entry[number], count[number]))
            number = parent[number]
            position, number = position[number >= 0], number[number >= 0]
        position, entry, count = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return position, entry, count


def _read(best: _Best, bound: Floats, handfuls: _Handfuls) -> Priced:
    position, entry, count = handfuls.contents(best.handful)
    filled = np.flatnonzero(best.fill_count > 0)
    service = np.concatenate((position, filled))
    entry, count = np.concatenate((entry, best.fill[filled])), np.concatenate((count, best.fill_count[filled]))
    order = np.lexsort((entry, service))
    return Priced(best.cost, bound, service[order], entry[order], count[order])


def keeps(wanted: Wanted, priced: Priced) -> Bools:
    """Whether each plan covers what its service wants, without any one machine where it must; shape (services,)."""
    services = len(wanted.demand)
    gives = priced.count * wanted.gives[priced.entry]
    given = np.bincount(priced.service, weights=gives, minlength=services).astype(np.float64)
    count = np.bincount(priced.service, weights=priced.count, minlength=services)
    if wanted.lost is not None:
        gone = np.zeros(services)
        lost = np.minimum(priced.count, wanted.lost[priced.entry]) * wanted.gives[priced.entry]
        np.maximum.at(gone, priced.service, lost)
        given -= gone
    kept: Bools = (given >= wanted.demand) & (count >= wanted.copies)
    return kept
