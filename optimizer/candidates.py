"""Every replica that could serve, as one columnar table; a reason for each shape that cannot.

Whether a replica can run, fits in memory and how fast it is are facts of the replica: they are settled here, row by
row, before the solver runs. What concerns the purchase (budget, demand, counts) is the solver's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.engine import Engine
from optimizer.memory.vram import MemoryColumns, MemorySettings, measure_memory
from optimizer.performance.estimate import EstimateColumns, estimate
from optimizer.performance.factors import Factors
from optimizer.replica_columns import Bools, Floats, Ints, ReplicaColumns, take_rows
from optimizer.requirements import Workload
from optimizer.shapes import ShapeTable

BATCHES: Ints = np.asarray(
    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024], dtype=np.int64
)
"""Concurrent requests per attention-DP rank (`max_num_seqs`) that are considered: two per octave."""

GIB = 1 << 30


@dataclass(frozen=True)
class Variant:
    """What is the same for all rows of one evaluation: stored weights, engine, KV-cache format."""

    spec: ModelSpec
    engine: Engine
    kv_format: str

    @property
    def label(self) -> str:
        """As it is shown to people."""
        return f"{self.spec.weight_format} weights, {self.kv_format} KV cache, {self.engine.name}"


@dataclass(frozen=True)
class Refusal:
    """Why a GPU's shapes cannot run: `stage` says how far they came ("facts" < "engine" < "shape" < "memory")."""

    gpu: str
    stage: str
    reason: str
    shapes: int


STAGES = ("facts", "engine", "shape", "memory", "speed")


@dataclass(frozen=True)
class Evaluation:
    """One variant on every shape that it can run; 2-d arrays have shape (rows, batches)."""

    variant: Variant
    shape: Ints
    rows: ReplicaColumns
    memory: MemoryColumns
    estimate: EstimateColumns


@dataclass(frozen=True)
class Candidates:
    """All replicas that can run, flat: one row per variant, shape and batch; arrays have shape (candidates,).

    Attributes:
        shapes: the table that `shape` points into.
        evaluations: where `evaluation`, `row` and `batch` point to.
        refusals: why the others cannot run.
        evaluated: rows x batches whose memory and speed were computed.
    """

    shapes: ShapeTable
    evaluations: tuple[Evaluation, ...]
    refusals: tuple[Refusal, ...]
    evaluated: int
    evaluation: Ints
    row: Ints
    batch: Ints
    shape: Ints
    output_tokens_per_second: Floats
    concurrency: Ints
    ttft_seconds: Floats
    tpot_seconds: Floats
    power_watts: Floats

    def __len__(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Outcome:
    """One variant tried on every shape: what can run, why the rest cannot, and how many rows were evaluated."""

    evaluation: Evaluation | None
    refusals: tuple[Refusal, ...]
    evaluated: int


def try_variant(
    variant: Variant, shapes: ShapeTable, settings: MemorySettings, workload: Workload, factors: Factors
) -> Outcome:
    """Evaluate one variant on every shape.

    Args:
        variant: stored weights, engine and KV format.
        shapes: what the machines can run.
        settings: lengths and memory utilization.
        workload: mean input and output tokens.
        factors: the fitted factors of the performance model.
    """
    able, refusals = _able_rows(variant, shapes.columns)
    if not able.any():
        return Outcome(None, tuple(refusals), 0)
    evaluation, more = _evaluate(variant, np.flatnonzero(able), shapes, settings, workload, factors)
    return Outcome(evaluation, (*refusals, *more), int(able.sum()) * len(BATCHES))


def collect(shapes: ShapeTable, outcomes: tuple[Outcome, ...]) -> Candidates:
    """The table of all variants; the first are preferred among equals. Empty when nothing can run."""
    evaluations = tuple(one.evaluation for one in outcomes if one.evaluation is not None)
    refusals = tuple(refusal for one in outcomes for refusal in one.refusals)
    return _flatten(shapes, evaluations, refusals, sum(one.evaluated for one in outcomes))


def _able_rows(variant: Variant, rows: ReplicaColumns) -> tuple[Bools, list[Refusal]]:
    """Shapes whose facts are known and that the engine can run, with a reason for each GPU's others."""
    reasons = [_gpu_refusal(variant, gpu) for gpu in rows.gpus]
    able = np.asarray([reason is None for reason in reasons], dtype=bool)[rows.gpu]
    refusals = [
        Refusal(gpu.name, reason[0], reason[1], int((rows.gpu == index).sum()))
        for index, (gpu, reason) in enumerate(zip(rows.gpus, reasons, strict=True))
        if reason is not None
    ]
    for mask, reason in variant.engine.refused_shapes(variant.spec, rows):
        refusals += _by_gpu(rows, mask & able, "shape", reason)
        able = able & ~mask
    return able, refusals


def _gpu_refusal(variant: Variant, gpu: Gpu) -> tuple[str, str] | None:
    missing = [
        name
        for name, value in (
            ("usable memory", gpu.memory_bytes),
            ("memory bandwidth", gpu.memory_bandwidth_bytes_per_second),
            ("flop rate", gpu.flop_per_second or None),
        )
        if value is None
    ]
    if missing:
        return "facts", f"its {' and '.join(missing)} is not published"
    refused = variant.engine.refuses(variant.spec, gpu, variant.kv_format)
    return None if refused is None else ("engine", refused)


def _by_gpu(rows: ReplicaColumns, mask: Bools, stage: str, reason: str) -> list[Refusal]:
    counts = np.bincount(rows.gpu[mask], minlength=len(rows.gpus))
    return [Refusal(gpu.name, stage, reason, int(count)) for gpu, count in zip(rows.gpus, counts, strict=True) if count]


def _evaluate(
    variant: Variant,
    shape: Ints,
    shapes: ShapeTable,
    settings: MemorySettings,
    workload: Workload,
    factors: Factors,
) -> tuple[Evaluation, list[Refusal]]:
    rows = shapes.columns.take(shape)
    memory = measure_memory(variant.spec, variant.engine, rows, variant.kv_format, settings, BATCHES)
    refusals = _memory_refusals(variant, rows, memory, settings)
    fitting = np.flatnonzero(memory.fits.any(axis=1))
    rows, memory = rows.take(fitting), take_rows(memory, fitting)
    speed = estimate(
        variant.spec,
        variant.engine.name,
        rows,
        variant.kv_format,
        BATCHES,
        workload.input_tokens,
        workload.output_tokens,
        factors,
    )
    return Evaluation(variant, shape[fitting], rows, memory, speed), refusals


def _memory_refusals(
    variant: Variant, rows: ReplicaColumns, memory: MemoryColumns, settings: MemorySettings
) -> list[Refusal]:
    """For each GPU on which nothing fits: by how much its best shape fails to hold one longest request."""
    fits = memory.fits.any(axis=1)
    needed = memory.kv_bytes_per_token * settings.max_model_len - memory.kv_pool_bytes[:, 0]
    refusals = []
    for index in np.setdiff1d(np.unique(rows.gpu), np.unique(rows.gpu[fits])):
        mine = np.flatnonzero(rows.gpu == index)
        best = mine[np.argmin(needed[mine])]
        short = max(float(needed[best]), 0.0) / GIB
        reason = (
            f"does not fit: {short:.1f} GiB short per GPU at best (TP{rows.tensor_parallel[best]} "
            f"PP{rows.pipeline_parallel[best]}, {variant.spec.weight_format} weights)"
        )
        refusals.append(Refusal(rows.gpus[index].name, "memory", reason, len(mine)))
    return refusals


def _flatten(
    shapes: ShapeTable, evaluations: tuple[Evaluation, ...], refusals: tuple[Refusal, ...], evaluated: int
) -> Candidates:
    parts = [_flat_columns(number, evaluation) for number, evaluation in enumerate(evaluations)]
    empty: tuple[Any, ...] = (*(np.empty(0, dtype=np.int64),) * 4, *(np.empty(0),) * 5)
    columns = tuple(np.concatenate(column) for column in zip(*parts, strict=True)) if parts else empty
    evaluation, row, batch, shape, tokens, concurrency, ttft, tpot, watts = columns
    return Candidates(
        shapes,
        evaluations,
        refusals,
        evaluated,
        evaluation,
        row,
        batch,
        shape,
        tokens,
        concurrency.astype(np.int64),
        ttft,
        tpot,
        watts,
    )


def _flat_columns(number: int, evaluation: Evaluation) -> tuple[Any, ...]:
    speed = evaluation.estimate
    known = np.isfinite(speed.ttft_seconds) & np.isfinite(speed.tpot_seconds)
    row, batch = np.nonzero(evaluation.memory.fits & known & (speed.output_tokens_per_second > 0))
    return (
        np.full(len(row), number, dtype=np.int64),
        row,
        batch,
        evaluation.shape[row],
        speed.output_tokens_per_second[row, batch],
        BATCHES[batch] * evaluation.rows.data_parallel[row],
        speed.ttft_seconds[row, batch],
        speed.tpot_seconds[row, batch],
        speed.power_watts[row, batch],
    )
