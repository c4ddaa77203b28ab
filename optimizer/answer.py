"""From the solver's counts to the Plan that people and programs read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from catalog.model import Confidence, ModelSpec
from gpu_db.offer import Offer
from gpu_db.regions import is_everywhere
from optimizer.candidates import BATCHES, Candidates, Variant
from optimizer.cells import estimate_at, memory_at
from optimizer.context_room import price_of_room
from optimizer.cp_sat.library import SOLVER_VERSION
from optimizer.cp_sat.program import Purchase
from optimizer.engines.engine import Engine
from optimizer.memory.vram import MemorySettings
from optimizer.open_loop import open_estimate
from optimizer.packing import Share, share_machines
from optimizer.patience import slow_answers
from optimizer.performance.certainty import NOT_MEASURED
from optimizer.performance.estimate import EstimateColumns
from optimizer.plan import (
    Estimate,
    Interval,
    Line,
    OfferedMachine,
    Plan,
    Proof,
    Rejection,
    Relaxation,
    Replica,
    Status,
    Totals,
)
from optimizer.promises import about_options, risks_of
from optimizer.replica_columns import ReplicaColumns
from optimizer.requirements import Choices, EngineOptions, Requirements
from optimizer.search import Search, planned_settings
from optimizer.settings import launch_of, to_be_named

HOURS_PER_MONTH = 730
SECONDS_PER_HOUR = 3600
MILLION = 1_000_000


@dataclass(frozen=True)
class Stamp:
    """What produced a plan: the program's version and the fingerprint of its data."""

    gpuplan_version: str
    data_fingerprint: str


def write_plan(
    search: Search,
    requirements: Requirements,
    stamp: Stamp,
    purchase: Purchase,
    rejections: tuple[Rejection, ...],
    alternatives: tuple[Rejection, ...],
) -> Plan:
    """The plan of a purchase."""
    lines = tuple(_line(search, requirements, purchase, share) for share in share_machines(purchase))
    return Plan(
        gpuplan_version=stamp.gpuplan_version,
        status="optimal" if purchase.optimal else "feasible",
        question=requirements,
        model=search.knowledge.spec.repo_id,
        cost_usd_per_hour=round(sum(line.cost_usd_per_hour for line in lines), 6),
        bound_usd_per_hour=purchase.cost_bound_usd_per_hour,
        lines=lines,
        totals=totals_of(lines),
        risks=risks_of(requirements, lines, search.knowledge.factors.errors),
        proof=_proof(search, requirements, purchase),
        conflicts=(),
        relaxations=(),
        rejections=rejections,
        alternatives=alternatives,
        prices_as_of=min(line.offer.as_of for line in lines),
        data_fingerprint=stamp.data_fingerprint,
        warnings=_warnings(search, requirements, purchase, lines),
    )


def write_infeasible(
    search: Search,
    requirements: Requirements,
    stamp: Stamp,
    conflicts: tuple[str, ...],
    relaxations: tuple[Relaxation, ...],
    rejections: tuple[Rejection, ...],
) -> Plan:
    """The answer when nothing fits."""
    return Plan(
        gpuplan_version=stamp.gpuplan_version,
        status="infeasible",
        question=requirements,
        model=search.knowledge.spec.repo_id,
        cost_usd_per_hour=None,
        bound_usd_per_hour=None,
        lines=(),
        totals=None,
        proof=_proof(search, requirements, None),
        conflicts=conflicts,
        relaxations=relaxations,
        rejections=rejections,
        alternatives=(),
        prices_as_of=None,
        data_fingerprint=stamp.data_fingerprint,
        warnings=(),
    )


def offered(offer: Offer) -> OfferedMachine:
    """An offer as a plan shows it."""
    return OfferedMachine(
        offer_id=offer.offer_id,
        provider=offer.provider,
        instance_type=offer.instance_type,
        gpu=offer.gpu,
        gpu_count=offer.gpu_count,
        region=offer.region,
        billing=offer.billing,
        price_usd_per_hour=offer.price_usd_per_hour,
        as_of=offer.as_of,
        source=offer.source,
        confidence=offer.confidence,
        restrictions=offer.restrictions,
        notes=offer.notes,
    )


def _line(search: Search, requirements: Requirements, purchase: Purchase, share: Share) -> Line:
    candidates = search.candidates(requirements)
    offer = purchase.columns.offers[share.machine]
    row = int(purchase.columns.candidate[share.column])
    evaluation = candidates.evaluations[candidates.evaluation[row]]
    at, batch = int(candidates.row[row]), int(candidates.batch[row])
    return Line(
        count=share.machines,
        replicas=share.replicas,
        shares_machines_of_line=share.with_line,
        offer=offered(offer),
        replica=replica_of(search, requirements, candidates, row),
        memory=memory_at(evaluation.memory, at, batch),
        estimate=estimate_of(requirements, evaluation.estimate, evaluation.rows, at, batch),
        cost_usd_per_hour=round(share.machines * offer.price_usd_per_hour, 6),
    )


def estimate_of(
    requirements: Requirements, speed: EstimateColumns, rows: ReplicaColumns, row: int, batch: int
) -> Estimate:
    """Speed of one cell: always full, or at the rate of arrivals that it may take where a rate is asked for."""
    level = requirements.service_level
    if requirements.demand.requests_per_second is not None:
        return open_estimate(speed, rows, requirements.workload, level, row, batch)
    in_flight = int(BATCHES[batch] * rows.data_parallel[row])
    return estimate_at(speed, in_flight, row, batch, level.confidence)


def replica_of(search: Search, requirements: Requirements, candidates: Candidates, row: int) -> Replica:
    """How one candidate is laid out and started."""
    evaluation = candidates.evaluations[candidates.evaluation[row]]
    rows, at = evaluation.rows, int(candidates.row[row])
    spec = search.knowledge.spec
    return describe_replica(
        spec,
        evaluation.variant,
        rows.take(np.asarray([at])),
        int(BATCHES[candidates.batch[row]]),
        planned_settings(search.knowledge, requirements.choices, requirements.workload, requirements.options),
        requirements.options,
    )


def describe_replica(
    spec: ModelSpec,
    variant: Variant,
    row: ReplicaColumns,
    max_num_seqs: int,
    settings: MemorySettings,
    options: EngineOptions,
) -> Replica:
    """A replica in words and as a command.

    Args:
        spec: the checkpoint as published.
        variant: how its weights are stored, the engine, the KV cache.
        row: a table of one row: where it stands and how it is laid out.
        max_num_seqs: requests at once per attention-DP rank.
        settings: that its memory was measured with.
        options: the same as it is asked for.
    """
    gpu, engine = row.gpus[0], variant.engine
    tensor, pipeline, data = (
        int(column[0]) for column in (row.tensor_parallel, row.pipeline_parallel, row.data_parallel)
    )
    launch = launch_of(
        spec,
        engine,
        settings,
        weight_format=variant.spec.weight_format,
        kv_format=variant.kv_format,
        max_num_seqs=max_num_seqs,
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        data_parallel=data,
        expert_parallel=bool(row.expert_parallel[0] > 1),
        nodes=int(row.nodes[0]),
    )
    return Replica(
        model=spec.repo_id,
        checkpoint=spec.repo_id,
        weights_from=weights_from(spec, variant.spec, engine),
        gpu=gpu.name,
        gpus=tensor * pipeline * data,
        nodes=int(row.nodes[0]),
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        data_parallel=data,
        expert_parallel=int(row.expert_parallel[0]),
        weight_format=variant.spec.weight_format,
        kv_cache_format=variant.kv_format,
        engine=engine.name,
        engine_version=engine.version,
        max_num_batched_tokens=engine.default_max_batched_tokens(gpu),
        gpu_memory_utilization=engine.memory_utilization,
        max_model_len=settings.max_model_len,
        max_num_seqs=max_num_seqs,
        options=options,
        command=engine.command(launch),
        worker_command=engine.command(launch, node_rank=1) if launch.nodes > 1 else (),
        options_file=engine.options_file(launch),
    )


def weights_from(
    published: ModelSpec, served: ModelSpec, engine: Engine
) -> Literal["checkpoint", "online quantization", "a quantized checkpoint to be named"]:
    """Where the engine gets weights of this format from."""
    if served.weight_format == published.weight_format:
        return "checkpoint"
    made = engine.makes_weights(published.weight_format, served.weight_format)
    return "online quantization" if made else "a quantized checkpoint to be named"


def totals_of(lines: tuple[Line, ...]) -> Totals:
    """What the lines do together: rates add up, the slowest replica counts for latency."""
    tokens = [(line.replicas, line.estimate.output_tokens_per_second) for line in lines]
    watts = [line.estimate.power_watts for line in lines]
    cost = sum(line.cost_usd_per_hour for line in lines)
    output = sum(n * one.value for n, one in tokens)
    lows, highs = [one.low for _, one in tokens], [one.high for _, one in tokens]
    return Totals(
        gpus=sum(line.count * line.offer.gpu_count for line in lines),
        machines=sum(line.count for line in lines),
        replicas=sum(line.replicas for line in lines),
        output_tokens_per_second=Interval(
            value=output,
            low=_weighted(tokens, lows),
            high=_weighted(tokens, highs),
            planned=sum(n * one.planned for n, one in tokens),
        ),
        requests_per_second=sum(line.replicas * line.estimate.requests_per_second for line in lines),
        concurrency=sum(line.replicas * line.estimate.concurrency for line in lines),
        ttft_seconds=max(line.estimate.ttft_seconds.value for line in lines),
        tpot_seconds=max(line.estimate.tpot_seconds.value for line in lines),
        power_watts=sum(line.replicas * (line.estimate.power_watts or 0.0) for line in lines)
        if all(one is not None for one in watts)
        else None,
        usd_per_month=cost * HOURS_PER_MONTH,
        usd_per_million_output_tokens=cost / (output * SECONDS_PER_HOUR) * MILLION,
    )


def _weighted(tokens: list[tuple[int, Interval]], ends: list[float | None]) -> float | None:
    """The end of the sum's interval if all replicas err together (the careful assumption)."""
    known = [n * end for (n, _), end in zip(tokens, ends, strict=True) if end is not None]
    return sum(known) if len(known) == len(tokens) else None


def _proof(search: Search, requirements: Requirements, purchase: Purchase | None) -> Proof:
    candidates = search.candidates(requirements)
    status: Status = "infeasible"
    columns, seconds, bound, gap = 0, 0.0, None, None
    if purchase is not None:
        status = "optimal" if purchase.optimal else "feasible"
        columns, seconds = len(purchase.columns), purchase.seconds
        bound, gap = (
            purchase.cost_bound_usd_per_hour,
            abs(purchase.value - purchase.bound) / max(abs(purchase.value), 1),
        )
    return Proof(
        solver="OR-Tools CP-SAT",
        solver_version=SOLVER_VERSION,
        status=status,
        bound_usd_per_hour=bound,
        gap=gap,
        seconds=seconds,
        candidates=len(candidates),
        candidates_after_pruning=columns,
        audited=purchase is not None,
    )


def _without_effect(lines: tuple[Line, ...], requirements: Requirements, spec: ModelSpec) -> Iterator[str]:
    """What was asked for and changes nothing."""
    options, work = requirements.options, requirements.workload
    if options.language_model_only and spec.vision is None:
        yield f"{spec.repo_id} has no vision tower: --language-model-only changes nothing."
    fewest = min(line.replica.max_num_seqs for line in lines)
    if options.adapters is not None and options.adapters.loaded > fewest:
        yield (
            f"--max-loras {options.adapters.loaded:,} is above max_num_seqs {fewest:,}: no batch holds so many "
            "adapters, and their buffers are still reserved."
        )
    shortest = min((each.tokens for each in work.lengths), default=work.tokens_per_request)
    if shortest <= work.shared_prefix_tokens:
        yield (
            f"The shared prefix of {work.shared_prefix_tokens:,} tokens is not shorter than the shortest request, "
            f"{shortest:,}: all but its last token are counted as shared."
        )


def _anywhere(lines: tuple[Line, ...], choices: Choices) -> Iterator[str]:
    """Offers that answer for every region, where one was asked for."""
    if choices.regions is not None:
        silent = {f"{one.offer.provider} {one.offer.instance_type}" for one in lines if is_everywhere(one.offer.region)}
        for offer in sorted(silent):
            yield (f"{offer} is listed without a region: ask whether it can be had in {' or '.join(choices.regions)}.")


KNOWN_FROM: Mapping[Confidence, str] = {
    "inferred": "was read from the config of a close relative, not its own",
    "recalled": "was written from memory, as no public copy of its config was found",
    "card": "was stretched to the size that its model card states",
}
"""How a shape is known that was not read from the model's own config."""


def _warnings(
    search: Search, requirements: Requirements, purchase: Purchase, lines: tuple[Line, ...]
) -> tuple[str, ...]:
    spec = search.knowledge.spec
    context = max(line.replica.max_model_len for line in lines)
    warnings = [
        *slow_answers(search, requirements, lines),
        *about_options(requirements.options),
        *_without_effect(lines, requirements, spec),
        *_anywhere(lines, requirements.choices),
        *price_of_room(search, requirements, context, purchase.cost_usd_per_hour),
    ]
    if spec.confidence != "read" and not spec.revision:  # a model on the Hub says it in its notes
        warnings.append(
            f"The shape of {spec.repo_id} {KNOWN_FROM[spec.confidence]}: `plan models --name {spec.repo_id} --json` "
            "names the sources."
        )
    if not purchase.tie_broken:
        warnings.append("Time ran out before ties were broken: an equally good plan may be returned another time.")
    for line in lines:
        warnings += _about(line, search, requirements)
    return tuple(dict.fromkeys(warnings))


def _about(line: Line, search: Search, requirements: Requirements) -> Iterator[str]:
    """What to know of one kind of replica and its machines."""
    replica, level = line.replica, line.estimate.calibration
    if level in NOT_MEASURED and requirements.options.speculation is None:
        yield f"Speed on {replica.gpu} with {replica.engine} is uncalibrated: from the datasheet, no measured run."
    described = str(search.knowledge.engines[replica.engine].facts["version"])
    if replica.engine_version != described:
        yield (
            f"Which models, formats and options {replica.engine} {replica.engine_version} has was not checked: they "
            f"are those of {described}; its defaults and its memory are its own."
        )
    if replica.weights_from == "a quantized checkpoint to be named":
        yield (
            f"{replica.weight_format} weights need a checkpoint that somebody has quantized: "
            f"put its name where the command says {to_be_named(replica.checkpoint, replica.weight_format)}."
        )
    for restriction in line.offer.restrictions:
        yield f"{line.offer.offer_id} is a {restriction} offer: {line.offer.notes or 'see its source'}."
