"""Re-derives every promise of a Plan without the solver and without the candidate table.

Each line is laid out again on one row, its memory and speed are measured again, its price is looked up again; replicas
are put on machines one by one, sums are added up again, and every rule of the question is checked. Runs after every
solve.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from catalog.quantization import requantized
from gpu_db.offer import Offer
from gpu_db.query import select_offers
from optimizer.answer import describe_replica, estimate_of, totals_of
from optimizer.candidates import BATCHES, Variant
from optimizer.cells import memory_at
from optimizer.memory.vram import measure_memory
from optimizer.performance.estimate import estimate
from optimizer.performance.power import idle_watts
from optimizer.plan import Estimate, Line, Memory, Plan, Replica, Totals
from optimizer.promises import risks_of
from optimizer.replica_columns import ReplicaColumns
from optimizer.requirements import Requirements
from optimizer.search import Knowledge, kv_cache_formats, planned_settings, stored_variants
from optimizer.settings import shortcuts_of
from optimizer.shapes import Place

RELATIVE = 1e-9
"""Floats added up in another order may differ by this much."""
CENT_OF_MICRO = 5e-7
LEAST_CHANCE = 0.01 + RELATIVE
"""No chance is stated lower."""


def audit(plan: Plan, knowledge: Knowledge) -> tuple[str, ...]:
    """What a plan says that is not so, one sentence each; empty when every promise holds.

    Args:
        plan: with lines; an infeasible plan promises nothing and passes.
        knowledge: the facts that it was made from.
    """
    if plan.status == "infeasible":
        return () if not plan.lines else ("an infeasible plan buys something",)
    findings = [finding for line in plan.lines for finding in _audit_line(plan, line, knowledge)]
    findings += _audit_machines(plan, knowledge)
    findings += _audit_sums(plan)
    findings += _audit_rules(plan, knowledge)
    findings += _audit_risks(plan, knowledge)
    return tuple(findings)


def _audit_line(plan: Plan, line: Line, knowledge: Knowledge) -> Iterator[str]:
    """The machine is on offer as stated; the replica is allowed, runs, fits and is as fast as stated."""
    offer = _offer_of(plan, line, knowledge)
    if offer is None:
        yield f"{line.offer.offer_id} is not on offer for this question"
        return
    stated = {name: getattr(line.offer, name) for name in type(line.offer).model_fields}
    if stated != {name: getattr(offer, name) for name in stated}:
        yield f"{offer.offer_id} is not offered as the plan says"
    yield from audit_choices(_stated(plan, line), knowledge)
    yield from audit_replica(_stated(plan, line), Place.of(offer), knowledge)


def _offer_of(plan: Plan, line: Line, knowledge: Knowledge) -> Offer | None:
    choices = plan.question.choices
    considered = select_offers(
        knowledge.offers,
        gpus=choices.gpus,
        gpus_excluded=choices.gpus_excluded,
        providers=choices.providers,
        regions=choices.regions,
        billings=choices.billings,
        allow=frozenset(choices.allowed_restrictions),
        since=choices.prices_since,
    )
    return next((offer for offer in considered if offer.offer_id == line.offer.offer_id), None)


@dataclass(frozen=True)
class Stated:
    """What a plan says of one replica.

    Attributes:
        question: that it answers.
        replica: as stated.
        memory: as stated; None = of another size of requests, and not looked at.
        estimate: of requests of the question's size.
        where: the offer, for sentences.
    """

    question: Requirements
    replica: Replica
    memory: Memory | None
    estimate: Estimate
    where: str


def _stated(plan: Plan, line: Line) -> Stated:
    return Stated(plan.question, line.replica, line.memory, line.estimate, line.offer.offer_id)


def audit_choices(stated: Stated, knowledge: Knowledge) -> Iterator[str]:
    """The replica's formats, engine and parallelism are among those that were allowed."""
    replica, choices = stated.replica, stated.question.choices
    allowed = {stored.weight_format: stored for stored in stored_variants(knowledge.spec, choices)}
    if replica.weight_format not in allowed:
        yield f"{replica.weight_format} weights were not allowed"
    elif replica.kv_cache_format not in kv_cache_formats(allowed[replica.weight_format], choices):
        yield f"a {replica.kv_cache_format} KV cache was not allowed"
    if replica.engine not in choices.engines:
        yield f"{replica.engine} was not allowed"
    if choices.tensor_parallel not in (None, replica.tensor_parallel):
        yield f"TP{replica.tensor_parallel} instead of TP{choices.tensor_parallel}"
    if choices.pipeline_parallel not in (None, replica.pipeline_parallel):
        yield f"PP{replica.pipeline_parallel} instead of PP{choices.pipeline_parallel}"


def audit_replica(stated: Stated, place: Place, knowledge: Knowledge) -> Iterator[str]:
    """The engine runs the replica as it is laid out, and its memory and speed are as stated."""
    replica = stated.replica
    engine = knowledge.engines.get(replica.engine)
    if engine is None or replica.model != knowledge.spec.repo_id or replica.gpu != place.gpu:
        yield f"the replica on {stated.where} names another model, engine or GPU"
    elif replica.max_num_seqs not in BATCHES:
        yield f"max_num_seqs {replica.max_num_seqs} is not considered"
    else:
        variant = Variant(requantized(knowledge.spec, replica.weight_format), engine, replica.kv_cache_format)
        row = _row(replica, place, knowledge)
        refused = engine.refuses(variant.spec, row.gpus[0], variant.kv_format)
        if refused is not None or any(mask[0] for mask, _ in engine.refused_shapes(variant.spec, row)):
            yield f"{engine.name} cannot run the replica on {stated.where}: {refused or 'its shape is refused'}"
            return
        yield from _audit_memory(stated, variant, row, knowledge)
        yield from _audit_speed(stated, variant, row, knowledge)


def _audit_memory(stated: Stated, variant: Variant, row: ReplicaColumns, knowledge: Knowledge) -> Iterator[str]:
    question, replica = stated.question, stated.replica
    settings = planned_settings(knowledge, question.choices, question.workload, question.options)
    memory = measure_memory(variant.spec, variant.engine, row, variant.kv_format, settings, BATCHES)
    batch = int(np.flatnonzero(replica.max_num_seqs == BATCHES)[0])
    if not memory.fits[0, batch]:
        yield f"{replica.max_num_seqs} requests do not fit on {stated.where}"
    if stated.memory not in (None, memory_at(memory, batch=batch)):
        yield f"the memory on {stated.where} is not as stated"
    if replica != describe_replica(knowledge.spec, variant, row, replica.max_num_seqs, settings, question.options):
        yield f"the replica on {stated.where} is not started as it is laid out"


def _audit_speed(stated: Stated, variant: Variant, row: ReplicaColumns, knowledge: Knowledge) -> Iterator[str]:
    if not agree(stated.estimate, _speed(stated.question, stated.replica, variant, row, knowledge)):
        yield f"the speed on {stated.where} is not as stated"


def speed_of(question: Requirements, replica: Replica, place: Place, knowledge: Knowledge) -> Estimate:
    """How fast a replica is for requests of a question's size, measured anew; its engine and format are known ones."""
    spec, engine = requantized(knowledge.spec, replica.weight_format), knowledge.engines[replica.engine]
    variant = Variant(spec, engine, replica.kv_cache_format)
    return _speed(question, replica, variant, _row(replica, place, knowledge), knowledge)


def _speed(
    question: Requirements, replica: Replica, variant: Variant, row: ReplicaColumns, knowledge: Knowledge
) -> Estimate:
    workload = question.workload
    settings = planned_settings(knowledge, question.choices, workload, question.options)
    speed = estimate(
        variant.spec,
        variant.engine.name,
        row,
        variant.kv_format,
        BATCHES,
        workload.input_tokens,
        workload.output_tokens,
        knowledge.factors,
        shortcuts=shortcuts_of(workload, question.options, settings),
    )
    return estimate_of(question, speed, row, 0, int(np.flatnonzero(replica.max_num_seqs == BATCHES)[0]))


def _row(replica: Replica, place: Place, knowledge: Knowledge) -> ReplicaColumns:
    """A replica as a table of one row, from its machine's own links."""
    size = replica.tensor_parallel * replica.pipeline_parallel * replica.data_parallel
    several, alone = replica.nodes > 1, size == 1
    fast = not alone and place.scaleup_domain_gpus >= max(replica.tensor_parallel * replica.data_parallel, 2)
    beyond_bridge = place.scaleup_domain_gpus > 1 and not fast
    link = knowledge.gpus[place.gpu].pcie_bytes_per_second if beyond_bridge else place.link_bytes_per_second
    internode = place.internode_bytes_per_second if several and place.internode_bytes_per_second else math.nan

    def one(value: int) -> np.ndarray:
        return np.asarray([value], dtype=np.int64)

    return ReplicaColumns(
        gpus=(knowledge.gpus[place.gpu],),
        gpu=one(0),
        tensor_parallel=one(replica.tensor_parallel),
        pipeline_parallel=one(replica.pipeline_parallel),
        data_parallel=one(replica.data_parallel),
        expert_parallel=one(replica.expert_parallel),
        nodes=one(-(-size // place.gpu_count)),
        gpus_per_node=one(place.gpu_count if several else size),
        link_bytes_per_second=np.asarray([math.nan if alone or not link else link]),
        has_fast_links=np.asarray([fast]),
        internode_bytes_per_second=np.asarray([internode]),
    )


def agree(stated: Estimate | Totals, derived: Estimate | Totals) -> bool:
    """Whether two records hold the same numbers up to the order in which floats are added."""
    pairs = zip(_leaves(stated.model_dump()), _leaves(derived.model_dump()), strict=True)
    return all(
        math.isclose(a, b, rel_tol=RELATIVE, abs_tol=RELATIVE)
        if isinstance(a, int | float) and isinstance(b, int | float)
        else a == b
        for a, b in pairs
    )


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    else:
        yield value


def _audit_machines(plan: Plan, knowledge: Knowledge) -> Iterator[str]:
    """Every replica has its GPUs on machines that are bought, and no offer is sold more often than it can be had."""
    bought: dict[str, int] = {}
    for number, line in enumerate(plan.lines):
        bought[line.offer.offer_id] = bought.get(line.offer.offer_id, 0) + line.count
        if line.shares_machines_of_line is None and not _machines_hold(plan, number):
            yield f"the replicas of line {number} do not fit on its {line.count} machines"
        if line.count < 0 or line.replicas < 1 or (line.count == 0) != (line.shares_machines_of_line is not None):
            yield f"line {number} has impossible counts"
    for offer in knowledge.offers:
        if 0 < bought.get(offer.offer_id, 0) < offer.minimum_count:
            yield f"{bought[offer.offer_id]} x {offer.offer_id}, of which no less than {offer.minimum_count} are sold"
        if offer.available_count is not None and bought.get(offer.offer_id, 0) > offer.available_count:
            yield f"{bought[offer.offer_id]} x {offer.offer_id}, of which {offer.available_count} can be had"


def _machines_hold(plan: Plan, number: int) -> bool:
    """Machines of a line carry equal loads: the replicas of it and of the lines that share them, per machine."""
    line = plan.lines[number]
    sharing = [line, *(other for other in plan.lines if other.shares_machines_of_line == number)]
    if any(other.offer.offer_id != line.offer.offer_id for other in sharing):
        return False
    if line.replica.gpus > line.offer.gpu_count:
        nodes = -(-line.replica.gpus // line.offer.gpu_count)
        return len(sharing) == 1 and line.replica.nodes == nodes and line.replicas * nodes <= line.count
    per_machine = [-(-other.replicas // max(line.count, 1)) * other.replica.gpus for other in sharing]
    return sum(per_machine) <= line.offer.gpu_count and all(other.replica.nodes == 1 for other in sharing)


def _audit_sums(plan: Plan) -> Iterator[str]:
    for number, line in enumerate(plan.lines):
        shape = (line.replica.tensor_parallel, line.replica.pipeline_parallel, line.replica.data_parallel)
        if math.prod(shape) != line.replica.gpus:
            yield f"line {number} miscounts the GPUs of a replica"
        if not math.isclose(line.cost_usd_per_hour, line.count * line.offer.price_usd_per_hour, abs_tol=CENT_OF_MICRO):
            yield f"line {number} costs something else"
    cost = sum(line.count * line.offer.price_usd_per_hour for line in plan.lines)
    if plan.cost_usd_per_hour is None or not math.isclose(plan.cost_usd_per_hour, cost, abs_tol=CENT_OF_MICRO * 10):
        yield f"the lines cost {cost:.6f} USD/h, not {plan.cost_usd_per_hour}"
    yield from _audit_proof(plan, cost)
    if plan.totals is None or not agree(plan.totals, totals_of(plan.lines)):
        yield "the totals are not the sums of the lines"


def _audit_proof(plan: Plan, cost: float) -> Iterator[str]:
    """The bound is below the cost, and no optimal cost is above it."""
    bound, proof = plan.bound_usd_per_hour, plan.proof
    if (proof.status, proof.bound_usd_per_hour) != (plan.status, bound):
        yield "the proof is of another plan"
    if bound is None or bound > cost + CENT_OF_MICRO * 10:
        yield f"the bound {bound} is above the cost"
    elif plan.status == "optimal" and bound < cost - CENT_OF_MICRO * 10:
        yield f"the bound {bound} is below the cost {cost:.6f}, so it is not proven optimal"
    oldest = min(line.offer.as_of for line in plan.lines)
    if plan.prices_as_of != oldest:
        yield f"the oldest price is of {oldest}, not {plan.prices_as_of}"


def _audit_risks(plan: Plan, knowledge: Knowledge) -> Iterator[str]:
    """Each target's chance is as stated, and no larger than what the confidence leaves."""
    if plan.risks != risks_of(plan.question, plan.lines, knowledge.factors.errors):
        yield "the chances of missing a target are not as stated"
    left = 1 - plan.question.service_level.confidence + RELATIVE
    for risk in plan.risks:
        if risk.chance is not None and risk.chance > max(left, LEAST_CHANCE):
            yield f"{risk.option} is missed with a chance of {risk.chance:.3f}"


def _audit_rules(plan: Plan, knowledge: Knowledge) -> Iterator[str]:
    question, lines = plan.question, plan.lines
    demand, level, limits = question.demand, question.service_level, question.limits
    tokens = sum(line.replicas * line.estimate.output_tokens_per_second.planned for line in lines)
    wanted = max(
        demand.output_tokens_per_second or 0.0, (demand.requests_per_second or 0.0) * question.workload.output_tokens
    )
    if tokens < wanted * (1 - RELATIVE):
        yield f"{tokens:.3f} output tokens/s, {wanted} asked"
    if sum(line.replicas * line.estimate.concurrency for line in lines) < (demand.concurrency or 0):
        yield f"fewer than {demand.concurrency} requests in flight"
    cost, gpus = plan.cost_usd_per_hour or 0.0, sum(line.count * line.offer.gpu_count for line in lines)
    if limits.budget_usd_per_hour is not None and cost > limits.budget_usd_per_hour + CENT_OF_MICRO * 10:
        yield f"{cost} USD/h is over the budget of {limits.budget_usd_per_hour}"
    if limits.gpus is not None and gpus > limits.gpus:
        yield f"{gpus} GPUs, {limits.gpus} allowed"
    if limits.power_watts is not None and (watts := _watts(lines, knowledge)) > limits.power_watts:
        yield f"{watts} W of GPUs, {limits.power_watts} allowed"
    for line in lines:
        if line.estimate.ttft_seconds.planned > (level.ttft_seconds or math.inf):
            yield f"TTFT on {line.offer.offer_id} is {line.estimate.ttft_seconds.planned:.4f} s"
        if line.estimate.tpot_seconds.planned > (level.tpot_seconds or math.inf):
            yield f"TPOT on {line.offer.offer_id} is {line.estimate.tpot_seconds.planned:.4f} s"
    if not question.choices.mix and len({(line.offer.offer_id, line.replica) for line in lines}) > 1:
        yield "machines or replicas are mixed"


def _watts(lines: tuple[Line, ...], knowledge: Knowledge) -> float:
    """Of all GPUs that are bought: what replicas draw, and what the GPUs beside them draw that idle."""
    serving = sum(line.replicas * (line.estimate.power_watts or math.inf) for line in lines)
    return serving + sum(
        (line.count * line.offer.gpu_count - line.replicas * line.replica.gpus)
        * idle_watts(knowledge.gpus[line.offer.gpu], knowledge.factors)
        for line in lines
    )
