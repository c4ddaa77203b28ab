"""What a little more of each shared limit would save, or whom it would serve: the fleet is solved again with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.cp_sat.integers import MICRO
from optimizer.fleet.answer import limit_uses
from optimizer.fleet.fleet import LimitRow, Program
from optimizer.fleet.plan import LimitUse
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.variations import Solve, is_plan, rounded_up, used_of, with_limit
from optimizer.replica_columns import Bools

WATTS_STEP = 1000


def worth_of_limits(program: Program, solution: FleetSolution, solve: Solve) -> tuple[LimitUse, ...]:
    """How much of each limit is used, and what a little more of those that bind would save.

    A limit is tried when no further machine of the largest kind fits under it. It is raised by one; if that saves
    nothing, by the largest machine that it counts. The saving is the difference of two solved plans; how exact it is
    follows from their bounds.
    """
    uses = limit_uses(program, solution.counts)
    if not is_plan(solution):
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
    if not is_plan(after):
        return use.model_copy(update={"worth_unknown": True})
    newly = _names(program, after.served & ~before.served)
    saved = span_between(before, after) if (after.served == before.served).all() else None
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


def span_between(dear: FleetSolution, cheap: FleetSolution) -> Span:
    """The saving from one plan to another, which serve the same."""
    return Span(
        (dear.cost_micro_usd - cheap.cost_micro_usd) / MICRO,
        (dear.lower_bound_micro_usd - cheap.cost_micro_usd) / MICRO,
        (dear.cost_micro_usd - cheap.lower_bound_micro_usd) / MICRO,
    )
