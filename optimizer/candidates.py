"""Every replica that could serve, as one columnar table; a reason for each shape that cannot.

Whether a replica can run, fits in memory and how fast it is are facts of the replica: they are settled here, row by
row, before the solver runs. What concerns the purchase (budget, demand, counts) is the solver's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.engine import Engine
from optimizer.engines.shape_refusals import RefusedShape
from optimizer.memory.distinct import first_columns
from optimizer.memory.pools import context_refusals
from optimizer.memory.vram import Loaded, MemoryColumns, MemorySettings, as_started, load_model, measure_memory
from optimizer.performance.estimate import EstimateColumns, Prepared, estimate, prepare
from optimizer.performance.factors import Factors
from optimizer.performance.power import idle_watts
from optimizer.performance.rates import Hardware
from optimizer.performance.shortcuts import Shortcuts
from optimizer.replica_columns import Bools, Floats, Ints, ReplicaColumns, take_rows
from optimizer.requirements import Workload
from optimizer.settings import launch_of
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
    """Why a GPU's shapes cannot run: `stage` says how far they came ("facts" < "engine" < "shape" < "memory").

    Attributes:
        shapes: how many.
        short_bytes: what the best of them lacks on each GPU, where it is memory that is lacking.
    """

    gpu: str
    stage: str
    reason: str
    shapes: int
    short_bytes: float = 0.0


STAGES = ("facts", "engine", "shape", "memory", "speed")


@dataclass(frozen=True)
class Evaluation:
    """One variant on every shape that it can run.

    Attributes:
        variant: stored weights, engine and KV format.
        shape: in the table of shapes, shape (rows,).
        rows: replicas on which something fits.
        seats: memory of the rows that it can tell apart; `seat` says which one is a row's, shape (rows,).
        estimate: of all rows.
    """

    variant: Variant
    shape: Ints
    rows: ReplicaColumns
    seats: MemoryColumns
    seat: Ints
    estimate: EstimateColumns

    @property
    def memory(self) -> MemoryColumns:
        """Of all rows, in their order; spread anew whenever it is asked for."""
        return take_rows(self.seats, self.seat)


@dataclass(frozen=True)
class Candidates:
    """All replicas that can run, flat: one row per variant, shape and batch; arrays have shape (candidates,).

    Attributes:
        shapes: the table that `shape` points into.
        evaluations: where `evaluation`, `row` and `batch` point to.
        refusals: why the others cannot run.
        evaluated: rows x batches whose memory and speed were computed.
        idle_watts: of one GPU with nothing to do, in the order of the shapes' GPUs; NaN where it is not known.
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
    idle_watts: Floats

    def __len__(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Outcome:
    """One variant tried on every shape: what can run, why the rest cannot, and how many rows were evaluated."""

    evaluation: Evaluation | None
    refusals: tuple[Refusal, ...]
    evaluated: int


@dataclass(frozen=True)
class Placed:
    """Stored weights on the shapes that an engine can start: what is found once for all formats of the KV cache.

    Attributes:
        spec: the model in the weight format that is served.
        engine: which serves it.
        columns: all shapes.
        hardware: of all shapes, under this engine.
        settings: lengths and memory utilization.
        workload: mean input and output tokens.
        factors: the fitted factors of the performance model.
        shortcuts: cached prefixes and guessed tokens.
    """

    spec: ModelSpec
    engine: Engine
    columns: ReplicaColumns
    hardware: Hardware
    settings: MemorySettings
    workload: Workload
    factors: Factors
    shortcuts: Shortcuts

    @cached_property
    def missing(self) -> tuple[tuple[str, ...], ...]:
        """Of each GPU, the facts that nobody published."""
        return tuple(_missing_facts(gpu) for gpu in self.columns.gpus)

    @cached_property
    def weight_refusals(self) -> list[tuple[str, str]]:
        """Of each GPU, why the engine cannot run these weights on it; see `Engine.weight_refusals`."""
        return self.engine.weight_refusals(self.spec, self.columns.gpus)

    @cached_property
    def refused(self) -> tuple[RefusedShape, ...]:
        """Shapes that the engine cannot start, with the reasons."""
        return tuple(self.engine.refused_shapes(self.spec, self.columns))

    @cached_property
    def shape(self) -> Ints:
        """Shapes that are left, shape (rows,)."""
        able = [not (facts or any(refused)) for facts, refused in zip(self.missing, self.weight_refusals, strict=True)]
        return np.flatnonzero(np.asarray(able, dtype=bool)[self.columns.gpu] & ~self.refused_anyway)

    @cached_property
    def refused_anyway(self) -> Bools:
        """Shape (shapes,): whether some reason refuses it on any GPU."""
        refused: Bools = np.zeros(self.columns.rows, dtype=bool)
        for mask, _ in self.refused:
            refused |= mask
        return refused

    @cached_property
    def rows(self) -> ReplicaColumns:
        """The shapes that are left."""
        return self.columns.take(self.shape)

    @cached_property
    def _memory_rows(self) -> tuple[Ints, Ints]:
        return _memory_rows(self.rows)

    @property
    def seat(self) -> Ints:
        """Which of the seats is each row's, shape (rows,)."""
        return self._memory_rows[1]

    @cached_property
    def seats(self) -> ReplicaColumns:
        """One of the rows that memory cannot tell apart."""
        return self.rows.take(self._memory_rows[0])

    @cached_property
    def loaded(self) -> Loaded:
        """Memory of the seats as far as it does not depend on the KV format."""
        return load_model(self.spec, self.engine, self.seats, self.settings, BATCHES)

    @cached_property
    def prepared(self) -> Prepared:
        """Speed of the rows as far as it does not depend on the KV format."""
        lengths, hardware = self.workload, take_rows(self.hardware, self.shape)
        asked = lengths.input_tokens, lengths.output_tokens, self.factors, hardware, self.shortcuts
        return prepare(self.spec, self.engine.name, self.rows, *asked)


def try_variant(placed: Placed, kv_format: str) -> Outcome:
    """Evaluate one variant on every shape."""
    variant = Variant(placed.spec, placed.engine, kv_format)
    able, refusals = _able_rows(variant, placed)
    if not able.any():
        return Outcome(None, tuple(refusals), 0)
    evaluation, more = _evaluate(variant, placed, able)
    return Outcome(evaluation, (*refusals, *more), int(able.sum()) * len(BATCHES))


def collect(shapes: ShapeTable, outcomes: tuple[Outcome, ...], factors: Factors) -> Candidates:
    """The table of all variants; the first are preferred among equals. Empty when nothing can run."""
    evaluations = tuple(one.evaluation for one in outcomes if one.evaluation is not None)
    refusals = tuple(refusal for one in outcomes for refusal in one.refusals)
    idle = np.asarray([idle_watts(gpu, factors) for gpu in shapes.columns.gpus])
    return _flatten(shapes, evaluations, refusals, sum(one.evaluated for one in outcomes), idle)


def _able_rows(variant: Variant, placed: Placed) -> tuple[Bools, list[Refusal]]:
    """Shapes whose facts are known and that the engine can run, with a reason for each GPU's others."""
    rows, reasons = placed.columns, _gpu_refusals(variant, placed)
    able = np.asarray([reason is None for reason in reasons], dtype=bool)[rows.gpu]
    counts = np.bincount(rows.gpu, minlength=len(rows.gpus)).tolist()
    refusals = [
        Refusal(gpu.name, *reason, count)
        for gpu, reason, count in zip(rows.gpus, reasons, counts, strict=True)
        if reason is not None
    ]
    for mask, reason in (*placed.refused, *_undivided(variant, rows, placed.settings)):
        newly = mask & able
        if newly.any():
            refusals += _by_gpu(rows, newly, "shape", reason)
            able = able ^ newly
    return able, refusals


def _undivided(variant: Variant, rows: ReplicaColumns, settings: MemorySettings) -> Iterator[tuple[Bools, str]]:
    """Shapes whose ranks cannot divide the tokens of a request among them, where that is asked for."""
    if settings.decode_context_parallel > 1:
        spec, engine = as_started(variant.spec, settings), variant.engine
        rule = engine.block_rule(spec, rows.gpus[0], variant.kv_format)
        plan = engine.cache_plan(spec, 1, variant.kv_format, rule)
        yield from context_refusals(spec, rows, (plan,), settings.decode_context_parallel)


def _gpu_refusals(variant: Variant, placed: Placed) -> list[tuple[str, str] | None]:
    """Of each GPU, how far it came and why no further; None when it can run."""
    spec, kv_format, gpus = variant.spec, variant.kv_format, placed.columns.gpus
    launch = launch_of(spec, variant.engine, placed.settings, weight_format=spec.weight_format, kv_format=kv_format)
    everywhere = variant.engine.refuses_launch(launch)
    engine = [everywhere for _ in gpus]
    if everywhere is None:
        engine = variant.engine.refusals(spec, gpus, kv_format, placed.weight_refusals)
    return [
        ("facts", f"its {' and '.join(names)} is not published") if names else ("engine", reason) if reason else None
        for names, reason in zip(placed.missing, engine, strict=True)
    ]


def _missing_facts(gpu: Gpu) -> tuple[str, ...]:
    known = {
        "usable memory": gpu.memory_bytes,
        "memory bandwidth": gpu.memory_bandwidth_bytes_per_second,
        "flop rate": gpu.flop_per_second or None,
    }
    return tuple(name for name, value in known.items() if value is None)


def _by_gpu(rows: ReplicaColumns, mask: Bools, stage: str, reason: str) -> list[Refusal]:
    counts = np.bincount(rows.gpu[mask], minlength=len(rows.gpus))
    return [Refusal(gpu.name, stage, reason, int(count)) for gpu, count in zip(rows.gpus, counts, strict=True) if count]


def _evaluate(variant: Variant, placed: Placed, able: Bools) -> tuple[Evaluation, list[Refusal]]:
    kv_format, settings = variant.kv_format, placed.settings
    mine = np.flatnonzero(able[placed.shape])
    rows = placed.rows.take(mine)
    places = np.flatnonzero(np.bincount(placed.seat[mine], minlength=placed.seats.rows))
    seat = np.searchsorted(places, placed.seat[mine])
    seats = placed.seats.take(places)
    memory = measure_memory(placed.spec, placed.engine, seats, kv_format, settings, BATCHES, placed.loaded, places)
    fits = np.logical_or.reduce(memory.fits, axis=1)
    refusals = _memory_refusals(variant, rows, seats, memory, fits, settings)
    fitting = np.flatnonzero(fits[seat])
    rows, mine = rows.take(fitting), mine[fitting]
    speed = estimate(
        placed.spec,
        placed.engine.name,
        rows,
        kv_format,
        BATCHES,
        placed.workload.input_tokens,
        placed.workload.output_tokens,
        placed.factors,
        placed.shortcuts,
        placed.prepared,
        mine,
    )
    return Evaluation(variant, placed.shape[mine], rows, memory, seat[fitting], speed), refusals


def _memory_rows(rows: ReplicaColumns) -> tuple[Ints, Ints]:
    """Rows that memory can tell apart (how fast their links are does not matter), and which of them each row is."""
    division = (rows.tensor_parallel, rows.pipeline_parallel, rows.data_parallel, rows.expert_parallel)
    first, seat = first_columns(np.stack([rows.gpu, *division, rows.has_fast_links]))
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[seat]


def _memory_refusals(
    variant: Variant,
    rows: ReplicaColumns,
    seats: ReplicaColumns,
    memory: MemoryColumns,
    fits: Bools,
    settings: MemorySettings,
) -> list[Refusal]:
    """For each GPU on which nothing fits: by how much its best shape fails to hold one longest request."""
    fitting = np.bincount(seats.gpu[fits], minlength=len(seats.gpus))
    shapes = np.bincount(rows.gpu, minlength=len(rows.gpus))
    needed = memory.kv_bytes_per_token * settings.max_model_len - memory.kv_pool_bytes[:, 0]
    refusals = []
    for index in np.flatnonzero(fitting == 0):
        mine = np.flatnonzero(seats.gpu == index)
        best = mine[np.argmin(needed[mine])]
        short = max(float(needed[best]), 0.0)
        reason = (
            f"does not fit: {short / GIB:.1f} GiB short per GPU at best (TP{seats.tensor_parallel[best]} "
            f"PP{seats.pipeline_parallel[best]}, {variant.spec.weight_format} weights)"
        )
        refusals.append(Refusal(seats.gpus[index].name, "memory", reason, int(shapes[index]), short))
    return refusals


def _flatten(
    shapes: ShapeTable,
    evaluations: tuple[Evaluation, ...],
    refusals: tuple[Refusal, ...],
    evaluated: int,
    idle: Floats,
) -> Candidates:
    """One column after the other, each filled part by part: copying them together would cost as much as the search."""
    cells = [_cells_that_run(evaluation) for evaluation in evaluations]
    edges = np.cumsum([0, *map(len, cells)])
    whole = {
        name: np.empty(edges[-1], dtype=np.int64) for name in ("evaluation", "row", "batch", "shape", "concurrency")
    }
    rates = {name: np.empty(edges[-1]) for name in _RATES}
    for number, (evaluation, cell) in enumerate(zip(evaluations, cells, strict=True)):
        part = slice(edges[number], edges[number + 1])
        row, batch = whole["row"][part], whole["batch"][part]
        np.floor_divide(cell, len(BATCHES), out=row)
        np.subtract(cell, row * len(BATCHES), out=batch)
        whole["evaluation"][part] = number
        np.take(evaluation.shape, row, out=whole["shape"][part], mode="clip")  # other modes would copy
        np.multiply(BATCHES[batch], evaluation.rows.data_parallel[row], out=whole["concurrency"][part])
        for name, column in rates.items():
            getattr(evaluation.estimate, name).take(cell, out=column[part], mode="clip")
    return Candidates(shapes, evaluations, refusals, evaluated, **whole, **rates, idle_watts=idle)


_RATES = ("output_tokens_per_second", "ttft_seconds", "tpot_seconds", "power_watts")
"""Columns that candidates have from the estimate."""


def _cells_that_run(evaluation: Evaluation) -> Ints:
    """Where something fits and its speed is known: places in the flattened table of rows x batches."""
    speed = evaluation.estimate
    known = np.isfinite(speed.ttft_seconds) & np.isfinite(speed.tpot_seconds)
    return np.flatnonzero(evaluation.seats.fits[evaluation.seat] & known & (speed.output_tokens_per_second > 0))
