"""A better bound by branching: of machines that the prices would split, either fewer are bought or one more.

The prices let a fleet buy parts of machines. Where that is what keeps the bound below the best plan, each branch has a
whole number more or fewer, and prices of its own; the least bound of all branches is one of the fleet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heappop, heappush

import numpy as np

from optimizer.cp_sat.interruption import seconds_until
from optimizer.fleet.master import Separable
from optimizer.fleet.prices import Prices, find_prices

WHOLE = 1e-6
GOAL = 1e-5
"""Relative: what a branch's bound may miss of its mix."""
WORTHWHILE = 0.02
"""Of what the bound is short of: two branches that raise it by less say that something else keeps it down."""


@dataclass(frozen=True, order=True)
class _Branch:
    """Some machines bought for good, limits on others, and the prices of the rest.

    Attributes:
        bound: dollars, of plans in this branch.
        number: in the order of making, so that equal bounds have an order.
        bought: dollars for the machines bought for good.
        view, found: the fleet without them, and its prices.
    """

    bound: float
    number: int
    bought: float
    view: Separable
    found: Prices


def branched_bound(view: Separable, found: Prices, *, cost: float, gap: float, until: float, most: int) -> float:
    """A lower bound of the fleet's cost, dollars: at least that of `found`.

    Args:
        view: the fleet.
        found: its prices.
        cost: of the best plan, dollars: a branch that costs more need not be looked at.
        gap: relative, of the cost: a bound as near as this is enough.
        until: `time.perf_counter()` at which to stop.
        most: branches, at most.
    """
    enough, made, least = cost * (1 - gap), 0, cost
    branches = [_Branch(found.bound, 0, 0.0, view, found)]
    while branches and branches[0].bound < enough and made < most and seconds_until(until) > 0:
        branch = heappop(branches)
        split = _split(branch)
        if split is None:
            least = enough = min(least, branch.bound)
            continue
        for bought, rest in split:
            made += 1
            better = _priced(branch, branch.bought + bought, rest, made, until)
            if better.bound < cost:
                heappush(branches, better)
        if _least(branches, least) - branch.bound < WORTHWHILE * (enough - branch.bound):
            break
    return _least(branches, least)


def _least(branches: list[_Branch], otherwise: float) -> float:
    return min(branches[0].bound, otherwise) if branches else otherwise


def _split(branch: _Branch) -> tuple[tuple[float, Separable], tuple[float, Separable]] | None:
    """Of the kind that is most in parts at least a number, or fewer: what is bought for good, dollars, and the rest.

    None where everything is whole.
    """
    view, count = branch.view, branch.found.master.supply
    part = count - np.floor(count + WHOLE)
    worth = np.minimum(part, 1 - part) * view.supply_price * (part > WHOLE)
    if not worth.any():
        return None
    kind = int(np.argmax(worth))
    more = float(np.ceil(count[kind] - WHOLE))
    return _with_more(view, kind, more), (0.0, _with_fewer(view, kind, more - 1))


def _with_fewer(view: Separable, kind: int, most: float) -> Separable:
    supply_most = view.supply_most.copy()
    supply_most[kind] = most
    return replace(view, supply_most=supply_most)


def _with_more(view: Separable, kind: int, number: float) -> tuple[float, Separable]:
    limit, uses = view.limit.copy(), view.supply_uses
    mine = slice(uses.start[kind], uses.start[kind + 1])
    np.subtract.at(limit, uses.index[mine], uses.value[mine] * number)
    rest = _with_fewer(replace(view, limit=limit), kind, view.supply_most[kind] - number)
    return float(view.supply_price[kind]) * number, rest


def _priced(parent: _Branch, bought: float, view: Separable, number: int, until: float) -> _Branch:
    """A branch with its own prices; without time, with its parent's bound."""
    found = find_prices(view, goal=GOAL, until=until, starts=(parent.found.prices,), plans=parent.found.plans)
    if found is None:
        return replace(parent, number=number)
    bound = np.inf if found.bound > found.most_cost else bought + found.bound
    return _Branch(max(parent.bound, bound), number, bought, view, found)
