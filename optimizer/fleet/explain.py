"""Why a fleet's plan is as it is: each answer is found by solving again, none is read off the linear relaxation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat.integers import MICRO
from optimizer.fleet.answer import NO_PLAN, limit_name, limit_uses
from optimizer.fleet.fleet import LimitRow, Program
from optimizer.fleet.plan import Dropped, FleetRelaxation, LimitUse, PriceSensitivity, WhyNot
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.sparse import SparseRows
from optimizer.replica_columns import Bools, Ints

Solve = Callable[[FleetProblem], FleetSolution]
"""How a problem is solved: `solve_fleet` with a gap, a time limit and a seed."""
Remedy = Callable[[int], str]
"""What to say of a service, by its number, that no machine can serve."""

CENTS = 10_000
"""Micro-dollars in a cent: budgets are rounded up to whole ones."""
WATTS_STEP = 1000
LIFTED = 1 << 50
"""More than any sum that is counted."""


def _found(solution: FleetSolution) -> bool:
    return solution.status not in NO_PLAN


def worth_of_limits(program: Program, solution: FleetSolution, solve: Solve) -> tuple[LimitUse, ...]:
    """How much of each limit is used, and what a little more of those that bind would save.

    A limit is tried when no further machine of the largest kind fits under it. It is raised by one; if that saves
    nothing, by the largest machine that it counts. The saving is the difference of two solved plans; how exact it is
    follows from their bounds.
    """
    uses = limit_uses(program, solution.counts)
    if not _found(solution):
        return uses
    return tuple(
        _with_worth(program, solution, solve, limit, use) for limit, use in zip(program.limits, uses, strict=True)
    )


def _with_worth(program: Program, solution: FleetSolution, solve: Solve, limit: LimitRow, use: LimitUse) -> LimitUse:
    problem = program.problem
    amounts = problem.column_uses.value[problem.column_uses.index == limit.resource]
    slack = round((use.most - use.used) * limit.scale)
    if not len(amounts) or slack >= int(amounts.max()) or (limit.kind == "budget" and solution.served.all()):
        return use
    asked = int(problem.resource_limit[limit.resource])
    for step in dict.fromkeys((step_of(limit) * limit.scale, max(int(amounts.max()), step_of(limit) * limit.scale))):
        more = solve(with_limit(problem, limit.resource, asked + step))
        used = rounded_up(limit, used_of(problem, limit.resource, more.counts))
        taken = used - asked if used > asked else step
        use = _judged(program, solution, more, use, taken / limit.scale)
        if use.worth_usd_per_hour or use.worth_serves or use.worth_unknown:
            break
    return use


def step_of(limit: LimitRow) -> int:
    """By how much a limit is raised at first to see what it is worth, in its own unit."""
    return WATTS_STEP if limit.kind == "power" else 1


def _judged(program: Program, before: FleetSolution, after: FleetSolution, use: LimitUse, step: float) -> LimitUse:
    """What the raised limit changed: services that are served now, or money.

    Each plan costs from its bound to what it costs, so the saving lies between the differences of those.
    """
    if not _found(after):
        return use.model_copy(update={"worth_unknown": True})
    newly = _names(program, after.served & ~before.served)
    saved = _span(before, after) if (after.served == before.served).all() else None
    return use.model_copy(
        update={
            "worth_step": step,
            "worth_usd_per_hour": None if saved is None else max(saved.amount, 0.0),
            "worth_least_usd_per_hour": None if saved is None else max(saved.least, 0.0),
            "worth_most_usd_per_hour": None if saved is None else max(saved.most, 0.0),
            "worth_serves": newly,
            "worth_drops": _names(program, before.served & ~after.served),
            "worth_proven": before.status is FleetStatus.OPTIMAL and after.status is FleetStatus.OPTIMAL,
        }
    )


def _names(program: Program, services: Bools) -> tuple[str, ...]:
    return tuple(program.fleet.services[number].name for number in np.flatnonzero(services).tolist())


@dataclass(frozen=True)
class Span:
    """By how many dollars per hour one plan is cheaper than another: as found, and the least and most by the bounds."""

    amount: float
    least: float
    most: float


def _span(dear: FleetSolution, cheap: FleetSolution) -> Span:
    """The saving from one plan to another, which serve the same."""
    return Span(
        (dear.cost_micro_usd - cheap.cost_micro_usd) / MICRO,
        (dear.lower_bound_micro_usd - cheap.cost_micro_usd) / MICRO,
        (dear.cost_micro_usd - cheap.lower_bound_micro_usd) / MICRO,
    )


def with_limit(problem: FleetProblem, resource: int, most: int) -> FleetProblem:
    """The same problem with another limit."""
    limits = problem.resource_limit.copy()
    limits[resource] = most
    return replace(problem, resource_limit=limits)


def _lifted(problem: FleetProblem, limits: Sequence[LimitRow]) -> FleetProblem:
    for limit in limits:
        problem = with_limit(problem, limit.resource, LIFTED)
    return problem


def dropped_services(program: Program, solution: FleetSolution, solve: Solve, remedy: Remedy) -> tuple[Dropped, ...]:
    """Services that are not served, and what each alone would need: the cost it adds without any shared limit."""
    if not _found(solution):
        return ()
    able = servable(program)
    free = _lifted(program.problem, program.limits)
    return tuple(
        Dropped(
            service=program.fleet.services[number].name,
            priority=program.fleet.services[number].priority,
            reason=_reason(program, solution, solve, free, number) if able[number] else remedy(number),
            has_machine=bool(able[number]),
        )
        for number in np.flatnonzero(~solution.served).tolist()
    )


def servable(program: Program) -> Bools:
    """Services for which some machine keeps every promise, shape (services,)."""
    columns: Bools = np.bincount(
        program.problem.column_service[program.problem.column_service >= 0], minlength=program.problem.services
    ).astype(bool)
    return columns


def _reason(program: Program, solution: FleetSolution, solve: Solve, free: FleetProblem, number: int) -> str:
    wanted = solution.served.copy()
    wanted[number] = True
    alone = solve(_only(free, wanted))
    if alone.status is FleetStatus.UNKNOWN:
        return "the shared limits leave no room; time ended before its cost without them was found"
    if not _found(alone):
        return "not even without the shared limits can enough machines be had; raise what is owned or available"
    added = (alone.cost_micro_usd - solution.cost_micro_usd) / MICRO
    if added < 0:
        return "the shared limits leave no room; without them all would cost less, and it is served too"
    return f"the shared limits leave no room; without them it would add {added:,.2f} USD/h"


def _only(problem: FleetProblem, services: Bools) -> FleetProblem:
    """The problem in which exactly these services are required and the others ask for nothing."""
    demand = np.where(services[problem.cover_service], problem.cover_demand, 0)
    return replace(problem, required=np.ones(problem.services, dtype=bool), cover_demand=demand)


def relaxations(program: Program, solve: Solve) -> tuple[FleetRelaxation, ...]:
    """For each limit the least change that lets every service be served, and what the plan then costs.

    Services that no machine can serve are left out. With the limit lifted, the least that must be used of it is found;
    with exactly that (rounded up as it is printed) the cheapest plan is solved again. The cheapest first.
    """
    problem = _only(program.problem, servable(program))
    found = [one for limit in program.limits if (one := _relaxation(problem, limit, solve)) is not None]
    return tuple(sorted(found, key=lambda one: one.cost_usd_per_hour)) or _jointly(program, problem, solve)


def _relaxation(problem: FleetProblem, limit: LimitRow, solve: Solve) -> FleetRelaxation | None:
    lifted = with_limit(problem, limit.resource, LIFTED)
    least = solve(priced_by(lifted, limit.resource))
    if not _found(least):
        return None
    needed = used_of(lifted, limit.resource, least.counts)
    value = rounded_up(limit, needed)
    asked = int(problem.resource_limit[limit.resource])
    if value <= asked:
        return None
    plan = solve(with_limit(problem, limit.resource, value))
    if not _found(plan):
        return None
    cost = plan.cost_micro_usd / MICRO
    asked_value, value_value = asked / limit.scale, value / limit.scale
    return FleetRelaxation(
        option=limit_name(limit),
        asked=asked_value,
        value=value_value,
        unit=limit.unit,
        sentence=f"{limit_name(limit)} {amount(limit, value_value)} instead of {amount(limit, asked_value)}: "
        f"{cost:,.2f} USD/h",
        cost_usd_per_hour=cost,
        proven=least.status is FleetStatus.OPTIMAL and plan.status is FleetStatus.OPTIMAL,
    )


def amount(limit: LimitRow, value: float) -> str:
    """A value of a limit with its unit.

    >>> amount(LimitRow("budget", "", 0, 1_000_000, "USD/h"), 12.5)
    '12.50 USD/h'
    """
    return f"{value:,.2f} {limit.unit}" if limit.kind == "budget" else f"{value:,.0f} {limit.unit}"


def rounded_up(limit: LimitRow, needed: int) -> int:
    """What is needed of a limit, as it is printed: a budget to the next cent."""
    return -(-needed // CENTS) * CENTS if limit.kind == "budget" else needed


def priced_by(problem: FleetProblem, resource: int) -> FleetProblem:
    """The problem whose cheapest plan uses least of a resource."""
    uses = problem.column_uses
    price = np.zeros(problem.columns, dtype=np.int64)
    mine = uses.index == resource
    price[uses.row[mine]] = np.maximum(uses.value[mine], 0)
    return replace(problem, column_price_micro_usd=price)


def used_of(problem: FleetProblem, resource: int, counts: Ints) -> int:
    """How much of a resource counts take."""
    uses = problem.column_uses
    mine = uses.index == resource
    return int(uses.value[mine] @ counts[uses.row[mine]])


def _jointly(program: Program, problem: FleetProblem, solve: Solve) -> tuple[FleetRelaxation, ...]:
    """When no single change is enough: what the cheapest plan without limits takes of all that it exceeds."""
    free = solve(_lifted(problem, program.limits))
    if not _found(free):
        return ()
    cost = free.cost_micro_usd / MICRO
    exceeded = []
    for limit in program.limits:
        needed = rounded_up(limit, used_of(problem, limit.resource, free.counts))
        if needed > int(problem.resource_limit[limit.resource]):
            exceeded.append(f"{limit_name(limit)} {amount(limit, needed / limit.scale)}")
    if not exceeded:
        return ()
    return (
        FleetRelaxation(
            option="several limits together",
            asked=0.0,
            value=0.0,
            unit="",
            sentence=f"together: {', '.join(exceeded)}: {cost:,.2f} USD/h",
            cost_usd_per_hour=cost,
            proven=free.status is FleetStatus.OPTIMAL,
        ),
    )


def conflicts(program: Program, solve: Solve, remedy: Remedy) -> tuple[str, ...]:
    """A smallest set of rules that cannot all be kept: without any one of them there is a plan.

    Limits are lifted one after the other, then services are left out; what is missed by nobody stays out. A required
    service that no machine can serve is a conflict by itself.
    """
    never = np.flatnonzero(program.problem.required & ~servable(program)).tolist()
    if never:
        names = [program.fleet.services[number].name for number in never]
        return tuple(f"service {name} must be served: {remedy(at)}" for name, at in zip(names, never, strict=True))
    problem = feasibility(all_required_of_required(program.problem))
    kept = _without_the_idle(problem, program.limits, solve)
    lifted = _lifted(problem, [limit for limit in program.limits if limit not in kept])
    services = _services_in_conflict(lifted, solve)
    most = [int(problem.resource_limit[limit.resource]) / limit.scale for limit in kept]
    sentences = [f"{limit_name(limit)}: {amount(limit, one)}" for limit, one in zip(kept, most, strict=True)]
    sentences += [f"service {program.fleet.services[number].name} must be served" for number in services]
    return tuple(sentences)


def feasibility(problem: FleetProblem) -> FleetProblem:
    """The problem in which every plan costs nothing: whether there is one is all that is asked."""
    return replace(problem, column_price_micro_usd=np.zeros(problem.columns, dtype=np.int64))


def all_required_of_required(problem: FleetProblem) -> FleetProblem:
    """Only the required services, all of them to be served; the others ask for nothing."""
    return _only(problem, problem.required)


def _without_the_idle(problem: FleetProblem, limits: Sequence[LimitRow], solve: Solve) -> list[LimitRow]:
    """Limits without any one of which there is a plan (or none of them, when they are not to blame)."""
    kept = list(limits)
    for limit in limits:
        without = [each for each in kept if each is not limit]
        lifted = _lifted(problem, [each for each in limits if each not in without])
        if solve(lifted).status is FleetStatus.INFEASIBLE:
            kept = without
    return kept


def _services_in_conflict(problem: FleetProblem, solve: Solve) -> list[int]:
    """Services that make the limits too tight: without any one of them there is a plan.

    They are left out by halves, quarters and so on, at last one by one.
    """
    asks = np.zeros(problem.services, dtype=bool)
    asks[problem.cover_service[problem.cover_demand > 0]] = True
    kept = np.flatnonzero(asks)
    size = len(kept)
    while size > 1:
        size = -(-size // 2)
        for part in [kept[first : first + size] for first in range(0, len(kept), size)]:
            without = np.setdiff1d(kept, part)
            if len(without) and solve(_only(problem, _marked(problem, without))).status is FleetStatus.INFEASIBLE:
                kept = without
    return [int(number) for number in kept]


def _marked(problem: FleetProblem, services: Ints) -> Bools:
    """Which services these are, shape (services,)."""
    marked = np.zeros(problem.services, dtype=bool)
    marked[services] = True
    return marked


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
    forced = solve(with_at_least_one(_only(program.problem, served), columns))
    return replace(forced, served=served) if _found(forced) else forced


def why_not(program: Program, best: FleetSolution, gpu: str, solve: Solve) -> WhyNot:
    """Why a GPU is not in the plan, answered by forcing it in; where the limits forbid that, without them."""
    forced, words = force_gpu(program, best.served, gpu, solve), "with one machine of it"
    if forced is not None and forced.status is FleetStatus.INFEASIBLE and program.limits:
        lifted = replace(program, problem=_lifted(program.problem, program.limits))
        forced, words = force_gpu(lifted, best.served, gpu, solve), "the limits leave no room for it; without them,"
    if forced is None or forced.status is FleetStatus.INFEASIBLE:
        return WhyNot(gpu=gpu, sentence=f"{gpu}: {_never_because(program, gpu)}.", exact=True)
    if not _found(forced):
        return WhyNot(gpu=gpu, sentence=f"{gpu}: time ended before a plan with it was found; raise --time-limit.")
    return _forced_in(program, best, forced, gpu, words)


def _forced_in(program: Program, best: FleetSolution, forced: FleetSolution, gpu: str, words: str) -> WhyNot:
    """What the plan with a GPU costs more than the best, and whom the GPU serves there."""
    extra = _span(forced, best)
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


def supply_of(program: Program, gpu: str) -> Ints:
    """Columns that buy machines with a GPU."""
    numbers = [
        column
        for number, column in enumerate(program.supply.tolist())
        if column >= 0 and program.market.supplies[number].offer.gpu == gpu
    ]
    return np.asarray(numbers, dtype=np.int64)


def with_at_least_one(problem: FleetProblem, columns: Ints) -> FleetProblem:
    """The same problem in which at least one of these columns of supply is had."""
    uses, number = problem.column_uses, problem.resources
    row = np.concatenate((uses.row, columns))
    order = np.argsort(row, kind="stable")
    index = np.concatenate((uses.index, np.full(len(columns), number)))[order]
    value = np.concatenate((uses.value, np.full(len(columns), -1)))[order]
    start = np.searchsorted(row[order], np.arange(problem.columns + 1)).astype(np.int64)
    return replace(
        problem,
        column_uses=SparseRows(start, index, value),
        resource_names=(*problem.resource_names, "at least one"),
        resource_limit=np.append(problem.resource_limit, -1),
    )


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
    served = replace(program, problem=_only(program.problem, best.served))
    in_plan = bool(best.counts[columns].any())
    without = solve(_never(served.problem, columns)) if in_plan else best
    start = best if in_plan else force_gpu(program, best.served, gpu, solve)
    goal = _goal(program, without)
    unknown = FleetStatus.UNKNOWN in (without.status, None if start is None else start.status)
    factor, exact = None, not unknown
    if start is not None and _found(start) and goal is not None and not unknown:
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
    if _found(without):
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


def _never(problem: FleetProblem, columns: Ints) -> FleetProblem:
    """The same problem without these columns."""
    most, least = problem.column_most.copy(), problem.column_least.copy()
    most[columns], least[columns] = 0, 1
    return replace(problem, column_most=most, column_least=least)


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
        if not _found(plan) or plan.cost_micro_usd >= goal - int(plan.counts.sum()):
            return factor, exact
    return factor, False


def scaled(program: Program, columns: Ints, factor: float) -> FleetProblem:
    """The problem with some prices multiplied, to the nearest micro-dollar; what they take of a budget too."""
    problem = program.problem
    price = problem.column_price_micro_usd.copy()
    price[columns] = np.rint(price[columns] * factor).astype(np.int64)
    uses, value = problem.column_uses, problem.column_uses.value.copy()
    for limit in program.limits:
        if limit.kind == "budget":
            mine = (uses.index == limit.resource) & np.isin(uses.row, columns)
            value[mine] = np.maximum(price[uses.row[mine]], 1)
    return replace(problem, column_price_micro_usd=price, column_uses=SparseRows(uses.start, uses.index, value))
