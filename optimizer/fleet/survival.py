"""Services that survive losing a machine, in pricing: a plan may lose no more than it has to spare.

Of the columns of one service a lost machine takes L_j replicas of one, or all of it if there are fewer. A plan that
loses at most R, whatever machine goes, holds x_j <= R / c_j wherever c_j L_j > R, and must cover d + R instead of d.
For each R that a loss can be, that is a service of the plain kind with some counts limited; the cheapest of them is
the cheapest plan that survives, and the least of their bounds is its bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.fleet.pricing import Priced, Wanted, cheapest_plans
from optimizer.replica_columns import Floats, Ints

ENDLESS = 1 << 40


@dataclass(frozen=True)
class Survivors:
    """Each service that must survive, once for each loss that a plan of it may have.

    Attributes:
        service: shape (cases,): whose case it is, in rising order.
        wanted: of each case: what is left without the loss, and how many of each column it allows.
        entry: shape (entries of the cases,): the entry of the service.
    """

    service: Ints
    wanted: Wanted
    entry: Ints


def survivors_of(wanted: Wanted) -> Survivors | None:
    """The cases of all services that must survive; None when there is no such service."""
    if wanted.lost is None or not wanted.lost.any():
        return None
    cases = [_cases_of(wanted, service) for service in np.unique(wanted.service[wanted.lost > 0]).tolist()]
    service, demand, copies, sizes, entry, most = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    start = np.concatenate(([0], np.cumsum(sizes)))
    return Survivors(service, Wanted(start, wanted.gives[entry], demand, copies, most), entry)


def _cases_of(wanted: Wanted, service: int) -> tuple[Ints, ...]:
    """(service, demand, copies, number of entries) of each case of one service, then (entry, most) of each entry."""
    assert wanted.lost is not None
    begin, end = int(wanted.start[service]), int(wanted.start[service + 1])
    gives, lost = wanted.gives[begin:end], wanted.lost[begin:end]
    times = np.arange(int(lost.sum())) - np.repeat(np.cumsum(lost) - lost, lost) + 1
    losses = np.unique(np.repeat(gives, lost) * times)
    most = losses[:, None] // gives[None, :]
    most = np.where(most >= lost[None, :], ENDLESS, most)
    case, place = np.nonzero(most)
    demand = wanted.demand[service] + losses
    return (
        np.full(len(losses), service),
        demand,
        np.full(len(losses), wanted.copies[service]),
        np.bincount(case, minlength=len(losses)),
        begin + place,
        most[case, place],
    )


def cheapest_survivors(priced: Priced, survivors: Survivors | None, price: Floats, *, tolerance: float) -> Priced:
    """The cheapest plans, those that must survive found anew.

    Args:
        priced: the plans of all services as if nothing were lost.
        survivors: those that must survive.
        price: shape (entries,): of one replica each.
        tolerance: see `cheapest_plans`.
    """
    if survivors is None:
        return priced
    own, case_price = survivors.service, price[survivors.entry]
    wanted = survivors.wanted
    alone = np.where(wanted.enough <= _most(wanted), case_price * wanted.enough, np.inf)
    least = np.full(len(priced.cost), np.inf)
    np.minimum.at(least, own, np.minimum.reduceat(alone, wanted.start[:-1]))
    floor = np.minimum.reduceat(case_price / wanted.gives, wanted.start[:-1]) * wanted.demand
    ceiling = least[own] * (1 + ROOM)
    open_cases = np.flatnonzero(floor <= ceiling)
    part, entries = wanted.take(open_cases)
    found = cheapest_plans(part, case_price[entries], tolerance=tolerance, ceiling=ceiling[open_cases])
    return _merged(priced, survivors, own[open_cases], found, survivors.entry[entries], least)


ROOM = 1e-9
"""Above the plan that sets a ceiling, so that rounding cannot lose it."""


def _most(wanted: Wanted) -> Ints:
    assert wanted.most is not None
    return wanted.most


def _merged(priced: Priced, survivors: Survivors, owner: Ints, found: Priced, entry: Ints, least: Floats) -> Priced:
    """Plans of everybody: those of survivors are the cheapest of their cases."""
    cost, bound = priced.cost.copy(), priced.bound.copy()
    mine = np.unique(survivors.service)
    bound[mine] = least[mine]
    np.minimum.at(bound, owner, found.bound)
    has_plan = np.zeros(len(owner), dtype=bool)
    has_plan[found.service] = True
    order = np.lexsort((found.cost, ~has_plan, owner))
    chosen = order[np.diff(owner[order], prepend=-1) != 0]
    cost[mine] = found.cost[chosen]
    bound[mine] = np.minimum(bound[mine], cost[mine])
    picked = np.isin(found.service, chosen)
    others = ~np.isin(priced.service, mine)
    service = np.concatenate((priced.service[others], owner[found.service[picked]]))
    entries = np.concatenate((priced.entry[others], entry[found.entry[picked]]))
    count = np.concatenate((priced.count[others], found.count[picked]))
    order = np.lexsort((entries, service))
    return Priced(cost, bound, service[order], entries[order], count[order])
