"""Why a GPU is not in a fleet's plan, and at which price it enters or leaves: it is forced in, or its price moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from optimizer.cp_sat.integers import MICRO
from optimizer.fleet.fleet import Program
from optimizer.fleet.plan import PriceSensitivity, WhyNot
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.variations import (
    Solve,
    is_plan,
    scaled,
    serving_only,
    supply_of,
    with_at_least_one,
    without_columns,
    without_limits,
)
from optimizer.fleet.worth import span_between
from optimizer.replica_columns import Bools, Ints


def force_gpu(program: Program, served: Bools, gpu: str, solve: Solve) -> FleetSolution | None:
    """The cheapest plan that serves the same and has at least one machine with this GPU; None when nothing runs on it.

    Args:
        program: built with this GPU open, so that its machines are in it.
        served: services that are to be served.
        gpu: full name.
        solve: how.
    """
    columns = supply_of(program, gpu)
    if not len(columns):
        return None
    forced = solve(with_at_least_one(serving_only(program.problem, served), columns))
    return replace(forced, served=served) if is_plan(forced) else forced


def why_not(program: Program, best: FleetSolution, gpu: str, solve: Solve) -> WhyNot:
    """Why a GPU is not in the plan, answered by forcing it in; where the limits forbid that, without them."""
    forced, words = force_gpu(program, best.served, gpu, solve), "with one machine of it"
    if forced is not None and forced.status is FleetStatus.INFEASIBLE and program.limits:
        lifted = replace(program, problem=without_limits(program.problem, program.limits))
        forced, words = force_gpu(lifted, best.served, gpu, solve), "the limits leave no room for it; without them,"
    if forced is None or forced.status is FleetStatus.INFEASIBLE:
        return WhyNot(gpu=gpu, sentence=f"{gpu}: {_never_because(program, gpu)}.", exact=True)
    if not is_plan(forced):
        return WhyNot(gpu=gpu, sentence=f"{gpu}: time ended before a plan with it was found; raise --time-limit.")
    return _forced_in(program, best, forced, gpu, words)


def _forced_in(program: Program, best: FleetSolution, forced: FleetSolution, gpu: str, words: str) -> WhyNot:
    """What the plan with a GPU costs more than the best, and whom the GPU serves there."""
    extra = span_between(forced, best)
    exact = best.status is FleetStatus.OPTIMAL and forced.status is FleetStatus.OPTIMAL
    serves = tuple(dict.fromkeys(_on_gpu(program, forced, gpu)))
    use = f"it would serve {', '.join(serves)}" if serves else "even then it would serve nothing"
    more = f"{extra.amount:,.2f}" if exact else f"{max(extra.least, 0.0):,.2f} to {extra.most:,.2f}"
    return WhyNot(
        gpu=gpu,
        sentence=f"{gpu}: {words} the plan costs {more} USD/h more; {use}.",
        cost_usd_per_hour=forced.cost_micro_usd / MICRO,
        extra_usd_per_hour=extra.amount,
        extra_least_usd_per_hour=max(extra.least, 0.0),
        extra_most_usd_per_hour=extra.most,
        serves=serves,
        exact=exact,
    )


def _never_because(program: Program, gpu: str) -> str:
    if not any(pool.place.gpu == gpu for pool in program.market.pools):
        return "no offer of it is accepted (billing, region, provider, restrictions or gpu)"
    if not len(supply_of(program, gpu)):
        return "no service can run on it and keep its promises"
    return "of it there are too few to be had"


def _on_gpu(program: Program, solution: FleetSolution, gpu: str) -> Iterator[str]:
    for each in program.columns:
        for at in np.flatnonzero(solution.counts[each.numbers]).tolist():
            if program.market.pools[int(each.pool[at])].place.gpu == gpu:
                yield program.fleet.services[each.service].name


def sensitivity(program: Program, best: FleetSolution, gpu: str, solve: Solve) -> PriceSensitivity:
    """At which price a GPU enters the plan, or leaves it.

    The least cost is a concave function of the factor f on the GPU's prices: of each plan it is a line, whose slope is
    what the plan pays for the GPU. The edge is where that function meets the best cost without the GPU; where nothing
    but the GPU serves the same, where it meets the budget. From a plan with the GPU one goes to where its line meets
    that cost, solves there, and again, until nothing is cheaper: then the edge is exact.

    Args:
        program: built with this GPU open.
        best: its best plan.
        gpu: full name.
        solve: how; with a gap of 0 the edge is exact.
    """
    columns = supply_of(program, gpu)
    if not len(columns):
        words = f"{gpu}: {_never_because(program, gpu)}."
        return PriceSensitivity(
            gpu=gpu, in_plan=False, price_factor=None, usd_per_gpu_hour=None, sentence=words, exact=True
        )
    served = replace(program, problem=serving_only(program.problem, best.served))
    in_plan = bool(best.counts[columns].any())
    without = solve(without_columns(served.problem, columns)) if in_plan else best
    start = best if in_plan else force_gpu(program, best.served, gpu, solve)
    goal = _goal(program, without)
    unknown = FleetStatus.UNKNOWN in (without.status, None if start is None else start.status)
    factor, exact = None, not unknown
    if start is not None and is_plan(start) and goal is not None and not unknown:
        factor, exact = _edge(served, columns, start, goal, solve)
        exact &= without.status in (FleetStatus.OPTIMAL, FleetStatus.INFEASIBLE)
    price = None if factor is None else factor * cheapest_per_gpu(program, gpu)
    return PriceSensitivity(
        gpu=gpu,
        in_plan=in_plan,
        price_factor=factor,
        usd_per_gpu_hour=price,
        sentence=_edge_sentence(gpu, in_plan, price, factor, exact=exact),
        exact=exact,
    )


def _goal(program: Program, without: FleetSolution) -> int | None:
    """What a plan with the GPU may cost at most, in micro-dollars; None = there is no such sum.

    That is the best cost without it; if nothing serves the same without it, the budget.
    """
    if is_plan(without):
        return without.cost_micro_usd
    budgets = [int(program.problem.resource_limit[one.resource]) for one in program.limits if one.kind == "budget"]
    return next(iter(budgets), None)


def cheapest_per_gpu(program: Program, gpu: str) -> float:
    """Dollars per hour and GPU of the cheapest offer of a GPU that the fleet accepts."""
    offers = (supply.offer for supply in program.market.supplies)
    return min(offer.price_usd_per_hour / offer.gpu_count for offer in offers if offer.gpu == gpu)


def _edge_sentence(gpu: str, in_plan: bool, price: float | None, factor: float | None, *, exact: bool) -> str:
    verb = "leaves" if in_plan else "enters"
    if price is None or factor is None:
        if not exact:
            return f"{gpu}: time ended before the price at which it {verb} the plan was found; raise --time-limit."
        return f"{gpu} {'stays at any price' if in_plan else 'enters at no price'}."
    about = "" if exact else "about "
    return f"{gpu} {verb} the plan at {about}{price:,.2f} USD per GPU-hour ({factor:.0%} of today's price)."


MOST_STEPS = 12
"""Lines that are followed; each lies strictly nearer to the edge, three are the rule."""


def _edge(program: Program, columns: Ints, start: FleetSolution, goal: int, solve: Solve) -> tuple[float | None, bool]:
    """The factor at which the least cost is `goal`, and whether every plan on the way was proven optimal."""
    plan, exact = start, start.status is FleetStatus.OPTIMAL
    price = program.problem.column_price_micro_usd
    factor: float | None = None
    for _ in range(MOST_STEPS):
        paid = int(price[columns] @ plan.counts[columns])
        if not paid:
            return factor, exact
        factor = (goal - int(price @ plan.counts) + paid) / paid
        if factor <= 0:
            return None, exact
        plan = solve(scaled(program, columns, factor))
        exact &= plan.status is FleetStatus.OPTIMAL
        if not is_plan(plan) or plan.cost_micro_usd >= goal - int(plan.counts.sum()):
            return factor, exact
    return factor, False
