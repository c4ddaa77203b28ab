"""One configuration at many loads: where a step's time goes, what each load costs, how much a service level allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.model import ModelSpec
from optimizer.cells import EVEN_ODDS, estimate_at
from optimizer.energy import MILLION, SECONDS_PER_HOUR
from optimizer.performance.breakdown import Bound, Load, Part, bound_of, limit_seconds, step_parts
from optimizer.performance.estimate import EstimateColumns, guessing_of, kv_bytes_per_value, read_hardware
from optimizer.performance.factors import Factors
from optimizer.performance.operations import measure_work
from optimizer.performance.shortcuts import NONE, Shortcuts
from optimizer.replica_columns import Bools, Floats, Ints, ReplicaColumns
from optimizer.requirements import Frozen, ServiceLevel, Workload

MOST_PER_RANK = 4096
"""Requests in flight per attention-DP rank that are looked at; engines are started with fewer."""


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


class LoadPoint(Frozen):
    """The same configuration with another number of requests in flight.

    Attributes:
        concurrency: on the whole replica.
        gpu_watts, gpu_joules_per_output_token: None when the power limit is not known.
        usd_per_million_output_tokens: at the price that was given; None without one.
        fits: whether memory holds so many requests.
        keeps_service_level: whether TTFT and TPOT stay within what was asked.
    """

    concurrency: int
    ttft_seconds: float
    tpot_seconds: float
    output_tokens_per_second: float
    output_tokens_per_second_per_gpu: float
    gpu_watts: float | None
    gpu_joules_per_output_token: float | None
    usd_per_million_output_tokens: float | None
    fits: bool
    keeps_service_level: bool


@dataclass(frozen=True)
class Sweep:
    """Estimates of one replica at `batches` requests per attention-DP rank, and which of them memory holds."""

    rows: ReplicaColumns
    batches: Ints
    speed: EstimateColumns
    fits: Bools

    def kept(self, level: ServiceLevel) -> Bools:
        """(batches,) whether TTFT and TPOT stay within the service level."""
        ttft, tpot = level.ttft_seconds, level.tpot_seconds
        late, slow = (self._factor(metric, level.confidence) for metric in ("ttft", "tpot"))
        early = self.speed.ttft_seconds[0] * late <= (np.inf if ttft is None else ttft)
        quick = self.speed.tpot_seconds[0] * slow <= (np.inf if tpot is None else tpot)
        return np.asarray(early & quick)

    def _factor(self, metric: str, confidence: float) -> float:
        """What is counted on instead of the estimate."""
        return 1.0 if confidence == EVEN_ODDS else float(self.speed.error_at(metric, confidence)[0])

    def largest(self, level: ServiceLevel) -> int | None:
        """Most requests in flight on the replica that memory and the service level allow; None when not even one."""
        allowed = np.flatnonzero(self.fits & self.kept(level))
        ranks = int(self.rows.data_parallel[0])
        return int(self.batches[allowed[-1]]) * ranks if len(allowed) else None

    def point(self, at: int, level: ServiceLevel, usd_per_gpu_hour: float | None) -> LoadPoint:
        """One load."""
        made = estimate_at(self.speed, int(self.batches[at] * self.rows.data_parallel[0]), 0, at)
        rate, gpus = made.output_tokens_per_second.value, int(self.rows.gpu_count[0])
        return LoadPoint(
            concurrency=made.concurrency,
            ttft_seconds=made.ttft_seconds.value,
            tpot_seconds=made.tpot_seconds.value,
            output_tokens_per_second=rate,
            output_tokens_per_second_per_gpu=rate / gpus,
            gpu_watts=made.power_watts,
            gpu_joules_per_output_token=None if made.power_watts is None else made.power_watts / rate,
            usd_per_million_output_tokens=usd_per_million(usd_per_gpu_hour, gpus, rate),
            fits=bool(self.fits[at]),
            keeps_service_level=bool(self.kept(level)[at]),
        )

    def points(self, asked: int, level: ServiceLevel, usd_per_gpu_hour: float | None) -> tuple[LoadPoint, ...]:
        """Powers of two as far as memory holds them, what was asked (per rank), and the most that is allowed."""
        most = int(self.batches[self.fits][-1]) if self.fits.any() else 1
        shown = {1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most, asked}
        largest = self.largest(level)
        if largest is not None:
            shown.add(largest // int(self.rows.data_parallel[0]))
        places = np.searchsorted(self.batches, sorted(shown))
        return tuple(self.point(int(at), level, usd_per_gpu_hour) for at in places)


def usd_per_million(usd_per_gpu_hour: float | None, gpus: int, output_tokens_per_second: float) -> float | None:
    """Price over throughput; None without a price.

    >>> round(usd_per_million(2.0, 4, 2000), 3)
    1.111
    """
    if usd_per_gpu_hour is None:
        return None
    return usd_per_gpu_hour * gpus / SECONDS_PER_HOUR / output_tokens_per_second * MILLION


def swept(asked: int) -> Ints:
    """Requests per rank that are looked at: every number up to the most, and what was asked."""
    return np.unique(np.append(np.arange(1, MOST_PER_RANK + 1), asked)).astype(np.int64)


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
    decoded = none + per_rank / rows.pipeline_parallel[0]

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
