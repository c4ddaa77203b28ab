"""Requirements, model, offers, calibration -> Plan: the whole story in one screen."""

from __future__ import annotations

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from gpu_db.offer import Offer
from optimizer.answer import Stamp, write_infeasible, write_plan
from optimizer.audit import audit
from optimizer.engines.engine import Engine
from optimizer.errors import AuditFailed
from optimizer.explain import alternatives, rejections
from optimizer.performance.factors import Factors
from optimizer.plan import Plan
from optimizer.relaxations import conflicting_rules, relaxations_of
from optimizer.requirements import Requirements
from optimizer.search import Knowledge, MachineTables, Search


def solve(
    requirements: Requirements,
    spec: ModelSpec,
    offers: tuple[Offer, ...],
    gpus: dict[str, Gpu],
    engines: tuple[Engine, ...],
    factors: Factors,
    *,
    draft: ModelSpec | None = None,
    gpuplan_version: str = "",
    data_fingerprint: str = "",
    tables: MachineTables | None = None,
    brief: bool = False,
) -> Plan:
    """The best plan, proven and audited, or why there is none.

    Args:
        requirements: the question.
        spec: the model it names.
        offers: every machine on offer; the question's choices pick from them.
        gpus: every GPU by name.
        engines: at least those that the question names.
        factors: fitted factors of the performance model.
        draft: the model or head that the question names to guess tokens.
        gpuplan_version, data_fingerprint: written into the plan.
        tables: of the same offers, GPUs and factors, where they are shared with other questions.
        brief: whether what every other GPU could do is left out of a plan.

    Returns:
        A plan with status "optimal" or "feasible" (time ran out before the proof), or "infeasible" with the rules that
        conflict and the cheapest relaxations.

    Raises:
        BadRequirements: the question contradicts itself.
        SolverFailed: neither a plan nor a proof within the time limit.
        AuditFailed: a bug of ours: the plan does not keep what it says.
    """
    knowledge = Knowledge(spec, offers, gpus, {engine.name: engine for engine in engines}, factors, draft)
    search = Search(knowledge) if tables is None else tables.search(knowledge)
    stamp = Stamp(gpuplan_version, data_fingerprint)
    purchase = search.purchase(requirements)
    if purchase is None:
        return write_infeasible(
            search,
            requirements,
            stamp,
            conflicting_rules(search, requirements),
            relaxations_of(search, requirements),
            () if brief else rejections(search, requirements),
        )
    plan = write_plan(
        search,
        requirements,
        stamp,
        purchase,
        () if brief else rejections(search, requirements, purchase),
        alternatives(search, requirements, purchase),
    )
    findings = audit(plan, knowledge)
    if findings:
        raise AuditFailed("The plan does not keep what it says: " + "; ".join(findings))
    return plan
