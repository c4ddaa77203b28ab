"""Everything that a fleet's plan says that is not so; nothing, when it is sound."""

from __future__ import annotations

from optimizer.fleet.audit.beside import Beside, FleetKnowledge
from optimizer.fleet.audit.limits import audit_limits, audit_proof, audit_sums
from optimizer.fleet.audit.machines import audit_machines
from optimizer.fleet.audit.services import audit_services
from optimizer.fleet.plan import FleetPlan


def audit_fleet(plan: FleetPlan, knowledge: FleetKnowledge) -> tuple[str, ...]:
    """What a fleet's plan says that is not so, one sentence each; empty when every promise holds.

    Args:
        plan: one without a plan (infeasible, unknown) promises nothing, and may buy nothing.
        knowledge: the facts that it was made from.
    """
    if plan.status in ("infeasible", "unknown"):
        return ("a plan that is none buys something",) if plan.machines or plan.cost_usd_per_hour is not None else ()
    beside = Beside(plan, knowledge)
    return (
        *audit_machines(beside),
        *audit_services(beside),
        *audit_limits(beside),
        *audit_sums(beside),
        *audit_proof(beside),
    )
