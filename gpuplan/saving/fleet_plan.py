"""What was saved of one question or of a whole fleet: told apart by what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpuplan.saving.errors import BadPlanFile
from gpuplan.saving.plan_file import (
    PlanFile,
    check_replaceable,
    checked,
    content_of,
    json_object,
    plan_in,
    write_whole,
)
from optimizer.fleet.calendar import Calendar
from optimizer.fleet.plan import FleetPlan

CALENDAR_KEYS = {"entries", "months", "cost_usd"}
FLEET_KEYS = {"machines", "services", "schema_version"}


def read_saved(path: str | Path) -> PlanFile | FleetPlan | Calendar:
    """Read a plan of one model, a fleet's plan or its calendar, as --save, --save-fleet or --json wrote it.

    Raises:
        BadPlanFile: it cannot be read, is none of them, or contradicts itself.
    """
    name = repr(str(path))
    record = json_object(content_of(path), name)
    if record.keys() >= CALENDAR_KEYS:
        return checked(Calendar, record, name)
    if not record.keys() >= FLEET_KEYS:
        return plan_in(record, name)
    plan = checked(FleetPlan, record, name)
    problem = next(_contradictions(plan), None)
    if problem is not None:
        raise BadPlanFile(f"{name} contradicts itself: {problem}; save the plan again.")
    return plan


def write_fleet_plan(path: str | Path, plan: FleetPlan) -> None:
    """Write a fleet's plan as `plan fleet --json` prints it; one that is there is replaced whole or not at all.

    Raises:
        BadPlanFile: the place cannot be written, or holds something that is no plan.
    """
    place = Path(path)
    check_replaceable(place, read_saved)
    write_whole(place, plan.model_dump_json(indent=2) + "\n")


def _contradictions(plan: FleetPlan) -> Iterator[str]:
    """What no fleet's plan of ours says."""
    names = {service.name for service in plan.services}
    if (plan.cost_usd_per_hour is None) != (plan.status in {"infeasible", "unknown"}):
        yield f"it is {plan.status}, and its cost says otherwise"
    for number, line in enumerate(plan.machines):
        if line.count < 1 or not {each.service for each in line.carries} <= names:
            yield f"machines.{number} carries what is no service of it"
    for service in plan.services:
        if service.served and not service.serving:
            yield f"service {service.name[:60]!r} is served by nothing"
