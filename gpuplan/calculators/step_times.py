"""Where the time of one step goes, part by part, and what binds each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from catalog.model import ModelSpec
from optimizer.performance.breakdown import Bound, Load, Part, bound_of, limit_seconds, step_parts
from optimizer.performance.estimate import guessing_of, kv_bytes_per_value, read_hardware
from optimizer.performance.factors import Factors
from optimizer.performance.operations import measure_work
from optimizer.performance.serving import micro_batch
from optimizer.performance.shortcuts import NONE, Shortcuts
from optimizer.replica_columns import Floats, ReplicaColumns
from optimizer.requirements import Frozen, Workload


class PartTime(Frozen):
    """One part of a step.

    Attributes:
        name: "weights", "experts", "attention", "activations", "collectives", "pipeline", "host"; "draft" is what
            guesses tokens.
        share: of the step.
        bound: what binds it.
        limit_seconds: flop / peak or bytes / bandwidth, the larger; None for communication and host.
    """

    name: str
    seconds: float
    share: float
    bound: Bound
    limit_seconds: float | None


class StepTime(Frozen):
    """One step of the engine, part by part, the longest first; their seconds add up to it.

    Attributes:
        seconds: through all pipeline stages.
        tokens: that the step carries per attention-DP rank and micro-batch.
        bound: what binds most of its time.
        limit_seconds: the least that the datasheet allows for all its flop, or all its bytes.
        share_of_limit: how much of what physics allows is reached: limit_seconds / seconds.
    """

    seconds: float
    tokens: float
    bound: Bound
    limit_seconds: float
    share_of_limit: float
    parts: tuple[PartTime, ...]


def step_times(
    spec: ModelSpec,
    engine_name: str,
    rows: ReplicaColumns,
    kv_format: str,
    per_rank: int,
    workload: Workload,
    factors: Factors,
    shortcuts: Shortcuts = NONE,
) -> tuple[StepTime, StepTime]:
    """Where time goes in one replica: a step in which all requests decode, and one that fills in a lone prompt's chunk.

    Args:
        spec, engine_name, rows, kv_format: as `estimate` takes them, of one row.
        per_rank: requests in flight per attention-DP rank.
        workload: lengths.
        factors: fitted.
        shortcuts: guessed tokens are checked in the same step, and what guesses is a part of it; of a prompt only what
            is not cached is filled in.
    """
    engine, known = factors.engine(engine_name), read_hardware(rows, engine_name, factors)
    lengths = (float(workload.input_tokens), float(workload.output_tokens))
    hits, checked = shortcuts.prefix_hit_rate, shortcuts.guesses + 1
    work = measure_work(spec, rows, kv_bytes_per_value(kv_format), *lengths)
    work = replace(
        work,
        decode_attention_flop=work.decode_attention_flop * checked,
        prefill_attention_flop=work.prefill_attention_flop * (1 + hits),
    )
    guessing = guessing_of(spec, rows, kv_format, lengths, known.rates, engine, factors, shortcuts)
    none = np.zeros((1, 1))
    chunk = none + min(max(lengths[0] * (1 - hits), 1.0), engine["chunk_tokens"])
    decoded = micro_batch(none + per_rank, rows.pipeline_parallel.astype(np.float64)[:, None])

    def timed(load: Load) -> StepTime:
        parts = step_parts(work, known.sheet, known.rates, engine, factors.shared, load)
        guessed = none + guessing.seconds(load.decoded, load.prefilled)
        # What guesses is a model of its own, far smaller: each of its steps reads its weights for few tokens.
        parts["draft"] = Part(guessed, none, guessed, none)
        return _step_time(parts, limit_seconds(work, known.sheet, known.rates, load), load.tokens)

    return timed(Load(decoded, none, lengths[0], checked)), timed(Load(none, chunk, lengths[0]))


def _step_time(parts: dict[str, Part], limit: Floats, tokens: Floats) -> StepTime:
    total = sum(float(part.seconds[0, 0]) for part in parts.values())
    made = [_part_time(name, part, total) for name, part in parts.items() if part.seconds[0, 0] > 0]
    return StepTime(
        seconds=total,
        tokens=float(tokens[0, 0]),
        bound=_most(made),
        limit_seconds=float(limit[0, 0]),
        share_of_limit=float(limit[0, 0]) / total,
        parts=tuple(sorted(made, key=lambda part: -part.seconds)),
    )


def _part_time(name: str, part: Part, total: float) -> PartTime:
    seconds, limit = float(part.seconds[0, 0]), float(part.limit_seconds[0, 0])
    bound = bound_of(name, part, 0, 0)
    return PartTime(name=name, seconds=seconds, share=seconds / total, bound=bound, limit_seconds=limit or None)


def _most(parts: Sequence[PartTime]) -> Bound:
    """The bound under which the most time is spent."""
    times: dict[Bound, float] = {}
    for part in parts:
        times[part.bound] = times.get(part.bound, 0.0) + part.seconds
    return max(times, key=lambda bound: times[bound])
