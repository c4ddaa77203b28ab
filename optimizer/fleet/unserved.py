"""Who is not served and why, what would serve everything, and which rules exclude each other: each is solved again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from optimizer.cp_sat.integers import MICRO
from optimizer.fleet.answer import limit_name
from optimizer.fleet.fleet import LimitRow, Program
from optimizer.fleet.plan import Dropped, FleetRelaxation
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.variations import (
    LIFTED,
    Solve,
    all_required_of_required,
    feasibility,
    is_plan,
    priced_by,
    rounded_up,
    servable,
    serving_only,
    used_of,
    with_limit,
    without_limits,
)
from optimizer.replica_columns import Bools, Ints

Remedy = Callable[[int], str]
"""What to say of a service, by its number, that no machine can serve."""


def dropped_services(program: Program, solution: FleetSolution, solve: Solve, remedy: Remedy) -> tuple[Dropped, ...]:
    """Services that are not served, and what each alone would need: the cost it adds without any shared limit."""
    if not is_plan(solution):
        return ()
    able = servable(program)
    free = without_limits(program.problem, program.limits)
    return tuple(
        Dropped(
            service=program.fleet.services[number].name,
            priority=program.fleet.services[number].priority,
            reason=_reason(program, solution, solve, free, number) if able[number] else remedy(number),
            has_machine=bool(able[number]),
        )
        for number in np.flatnonzero(~solution.served).tolist()
    )


def _reason(program: Program, solution: FleetSolution, solve: Solve, free: FleetProblem, number: int) -> str:
    wanted = solution.served.copy()
    wanted[number] = True
    alone = solve(serving_only(free, wanted))
    if alone.status is FleetStatus.UNKNOWN:
        return "the shared limits leave no room; time ended before its cost without them was found"
    if not is_plan(alone):
        return "not even without the shared limits can enough machines be had; raise what is owned or available"
    added = (alone.cost_micro_usd - solution.cost_micro_usd) / MICRO
    if added < 0:
        return "the shared limits leave no room; without them all would cost less, and it is served too"
    return f"the shared limits leave no room; without them it would add {added:,.2f} USD/h"


def relaxations(program: Program, solve: Solve) -> tuple[FleetRelaxation, ...]:
    """For each limit the least change that lets every service be served, and what the plan then costs.

    Services that no machine can serve are left out. With the limit lifted, the least that must be used of it is found;
    with exactly that (rounded up as it is printed) the cheapest plan is solved again. The cheapest first.
    """
    problem = serving_only(program.problem, servable(program))
    found = [one for limit in program.limits if (one := _relaxation(problem, limit, solve)) is not None]
    return tuple(sorted(found, key=lambda one: one.cost_usd_per_hour)) or _jointly(program, problem, solve)


def _relaxation(problem: FleetProblem, limit: LimitRow, solve: Solve) -> FleetRelaxation | None:
    lifted = with_limit(problem, limit.resource, LIFTED)
    least = solve(priced_by(lifted, limit.resource))
    if not is_plan(least):
        return None
    needed = used_of(lifted, limit.resource, least.counts)
    value = rounded_up(limit, needed)
    asked = int(problem.resource_limit[limit.resource])
    if value <= asked:
        return None
    plan = solve(with_limit(problem, limit.resource, value))
    if not is_plan(plan):
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


def _jointly(program: Program, problem: FleetProblem, solve: Solve) -> tuple[FleetRelaxation, ...]:
    """When no single change is enough: what the cheapest plan without limits takes of all that it exceeds."""
    free = solve(without_limits(problem, program.limits))
    if not is_plan(free):
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
    lifted = without_limits(problem, [limit for limit in program.limits if limit not in kept])
    services = _services_in_conflict(lifted, solve)
    most = [int(problem.resource_limit[limit.resource]) / limit.scale for limit in kept]
    sentences = [f"{limit_name(limit)}: {amount(limit, one)}" for limit, one in zip(kept, most, strict=True)]
    sentences += [f"service {program.fleet.services[number].name} must be served" for number in services]
    return tuple(sentences)


def _without_the_idle(problem: FleetProblem, limits: Sequence[LimitRow], solve: Solve) -> list[LimitRow]:
    """Limits without any one of which there is a plan (or none of them, when they are not to blame)."""
    kept = list(limits)
    for limit in limits:
        without = [each for each in kept if each is not limit]
        lifted = without_limits(problem, [each for each in limits if each not in without])
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
            fewer = serving_only(problem, _marked(problem, without))
            if len(without) and solve(fewer).status is FleetStatus.INFEASIBLE:
                kept = without
    return [int(number) for number in kept]


def _marked(problem: FleetProblem, services: Ints) -> Bools:
    """Which services these are, shape (services,)."""
    marked = np.zeros(problem.services, dtype=bool)
    marked[services] = True
    return marked
