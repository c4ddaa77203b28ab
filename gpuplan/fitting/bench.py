"""All measured runs side by side as one table of replicas, so that one call predicts every one of them.

The same step and serving model as `optimizer.performance.estimate`, over rows of many models, engines and lengths.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from catalog.errors import CatalogError
from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from gpuplan.fitting.runs import Run
from optimizer.performance.estimate import kv_bytes_per_value
from optimizer.performance.factors import PLANNED, Factors
from optimizer.performance.operations import Work, measure_work
from optimizer.performance.rates import Datasheet, fitted_rates, read_datasheet
from optimizer.performance.serving import Serving, closed_loop
from optimizer.performance.step import step_costs
from optimizer.replica_columns import Bools, Floats, Ints, ReplicaColumns

Find = Callable[[str, str], ModelSpec]
"""A measured model's name and weight format -> its spec."""

Table = TypeVar("Table")


@dataclass(frozen=True)
class Bench:
    """Runs and what does not depend on factors; row i of every table is run i.

    `engine`, `gpu` and `source` are indices into the names `engines`, `gpus` and `sources`.
    """

    runs: tuple[Run, ...]
    engines: tuple[str, ...]
    gpus: tuple[str, ...]
    sources: tuple[str, ...]
    engine: Ints
    gpu: Ints
    source: Ints
    work: Work
    sheet: Datasheet
    batch: Floats
    input_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True)
class Prediction:
    """Per run, (runs,): seconds and tokens per second."""

    tpot: Floats
    ttft: Floats
    step: Floats
    request: Floats
    throughput: Floats

    def of(self, metric: str) -> Floats:
        """By the name that `Run.measured` uses."""
        return np.asarray(getattr(self, metric))


def build(runs: Sequence[Run], find: Find, gpus: Mapping[str, Gpu], factors: Factors) -> tuple[Bench, Counter[str]]:
    """Resolve models and GPUs, count work; runs that cannot be resolved are counted by reason."""
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.model, run.weights, run.kv_format, run.engine, run.input_tokens, run.output_tokens].append(run)
    kept: list[Run] = []
    works, sheets, batches, most, left_out = [], [], [], [], Counter[str]()
    for (model, weights, kv_format, engine, _, _), members in groups.items():
        try:
            spec = find(model, weights)
        except (CatalogError, LookupError) as reason:
            left_out[f"{model} {weights}: {type(reason).__name__}"] += len(members)
            continue
        rows = replicas(members, gpus)
        first = members[0]
        work = measure_work(spec, rows, kv_bytes_per_value(kv_format), first.input_tokens, first.output_tokens)
        kept += members
        works.append(work)
        sheets.append(read_datasheet(rows, engine.split()[0], factors))
        most.append(_held(members, work, rows))
        batches.append(_batches(members, most[-1]))
    if not kept:
        raise NothingToFit(f"No run of the file can be used: {reasons(left_out)}.")
    column = {name: np.array([getattr(r, name) for r in kept])[:, None] for name in ("input_tokens", "output_tokens")}
    engines, gpu_names = sorted({r.engine for r in kept}), sorted({r.gpu for r in kept})
    sources = sorted({r.source for r in kept})
    table = Bench(
        runs=tuple(kept),
        engines=tuple(engines),
        gpus=tuple(gpu_names),
        sources=tuple(sources),
        source=np.array([sources.index(r.source) for r in kept]),
        engine=np.array([engines.index(r.engine) for r in kept]),
        gpu=np.array([gpu_names.index(r.gpu) for r in kept]),
        work=joined(works),
        sheet=joined(sheets),
        batch=np.concatenate(batches)[:, None],
        **column,
    )
    waves = in_waves(kept, np.concatenate(most))
    left_out += Counter({"a static batch that memory does not hold at once: it ran in waves": int(waves.sum())})
    return select(table, ~waves), left_out


def in_waves(runs: Sequence[Run], held: Floats) -> Bools:
    """Static batches of more requests than memory holds: some waited for others to end, which tells of no step."""
    return np.array([run.kind == "static" for run in runs]) & (np.array([run.batch for run in runs]) > held)


class NothingToFit(Exception):
    """No run of a file can be used; the text counts why."""


def reasons(left_out: Counter[str]) -> str:
    """The most frequent reasons, counted."""
    return "; ".join(f"{reason} ({count})" for reason, count in left_out.most_common(5)) or "it has no rows"


def joined(tables: Sequence[Table]) -> Table:
    """Dataclasses of arrays, one below the other."""
    first = tables[0]
    assert is_dataclass(first)
    columns = {}
    for field in fields(first):
        parts = [getattr(table, field.name) for table in tables]
        columns[field.name] = joined(parts) if is_dataclass(parts[0]) else np.concatenate(parts)
    kind: Any = type(first)
    return cast(Table, kind(**columns))


class Layout(Protocol):
    """What a replica is made of."""

    @property
    def gpu(self) -> str:
        """The card's name."""

    @property
    def tensor_parallel(self) -> int:
        """GPUs of a TP group."""

    @property
    def pipeline_parallel(self) -> int:
        """Stages."""

    @property
    def data_parallel(self) -> int:
        """Attention-DP ranks."""

    @property
    def expert_parallel(self) -> int:
        """GPUs over which whole experts are dealt out."""

    @property
    def gpus(self) -> int:
        """GPUs in all."""


def replicas(runs: Sequence[Layout], gpus: Mapping[str, Gpu]) -> ReplicaColumns:
    """One replica per run, each on one machine that has just its GPUs."""
    distinct = sorted({run.gpu for run in runs})
    machines = [gpus[name] for name in distinct]
    fast = [_has_fast_links(gpu) for gpu in machines]
    index = np.array([distinct.index(run.gpu) for run in runs])

    def column(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([getattr(run, name) for run in runs], dtype=np.int64)

    links = [
        (g.link_bytes_per_second if f else g.pcie_bytes_per_second) or np.nan
        for g, f in zip(machines, fast, strict=True)
    ]
    return ReplicaColumns(
        gpus=tuple(machines),
        gpu=index,
        tensor_parallel=column("tensor_parallel"),
        pipeline_parallel=column("pipeline_parallel"),
        data_parallel=column("data_parallel"),
        expert_parallel=column("expert_parallel"),
        nodes=np.ones(len(runs), dtype=np.int64),
        gpus_per_node=column("gpus"),
        link_bytes_per_second=np.array(links)[index],
        has_fast_links=np.array(fast)[index],
        internode_bytes_per_second=np.full(len(runs), np.nan),
    )


def _has_fast_links(gpu: Gpu) -> bool:
    """Boards whose GPUs all reach each other beside PCIe; a two-way bridge does not count."""
    return any(word in gpu.form_factor.upper() for word in ("SXM", "OAM", "NVL72")) or "NVL72" in gpu.name


MEMORY_SHARE = 0.9
MOST_REQUESTS = 2048
"""TensorRT-LLM's default batch limit, of each pipeline stage."""


def _held(runs: Sequence[Run], work: Work, rows: ReplicaColumns) -> Floats:
    """Requests of the mean length that the cache holds beside the weights, per attention-DP rank."""
    memory = rows.gather([float(gpu.memory_bytes or gpu.memory_marketed_bytes) for gpu in rows.gpus])
    weights = (work.dense_bytes + work.expert_bytes).sum(axis=1) + 2 * work.head_bytes
    free = (memory * MEMORY_SHARE * rows.pipeline_parallel - weights).clip(min=0)
    lengths = np.array([_reserved(run) for run in runs])
    return np.asarray(free / np.maximum(work.decode_kv_bytes * lengths, 1.0))


def _batches(runs: Sequence[Run], held: Floats) -> Floats:
    """Requests in flight: as measured; offline, what memory holds, and no more than there are slots."""
    offline = np.array([run.kind == "offline" for run in runs])
    stated = np.array([run.batch for run in runs])
    slots = np.where(np.isnan(stated), [MOST_REQUESTS * run.pipeline_parallel for run in runs], stated)
    return np.where(offline, held.clip(1, slots), stated)


def _reserved(run: Run) -> float:
    """Cache that a request holds, over that of its mean length: TensorRT-LLM admits none that might be evicted."""
    whole = run.engine.startswith("tensorrt-llm")
    return (run.input_tokens + run.output_tokens) / (run.input_tokens + run.output_tokens / 2) if whole else 1.0


def select(bench: Bench, chosen: Bools) -> Bench:
    """Some of the runs."""
    runs = tuple(run for run, use in zip(bench.runs, chosen, strict=True) if use)
    return replace(bench, runs=runs, **{name: _chosen(getattr(bench, name), chosen) for name in _PER_RUN})


_PER_RUN = ("engine", "gpu", "source", "work", "sheet", "batch", "input_tokens", "output_tokens")


def _chosen(table: Any, chosen: Bools) -> Any:
    if is_dataclass(table):
        kind: Any = type(table)
        return kind(**{f.name: _chosen(getattr(table, f.name), chosen) for f in fields(table)})
    return table[chosen]


def predict(
    bench: Bench,
    shared: Mapping[str, float],
    engines: Mapping[str, Mapping[str, float]],
    gpus: Mapping[str, Mapping[str, float]],
) -> Prediction:
    """Every run from factors.

    Args:
        bench: the runs.
        shared, engines, gpus: as in `Factors`; a GPU that is missing has multipliers 1.
    """
    run = serve(bench, shared, overheads_of(bench, engines), multipliers(bench, gpus))
    requests = bench.batch * bench.work.data_parallel[:, None] / run.cycle_seconds
    return Prediction(
        tpot=run.tpot_seconds[:, 0],
        ttft=run.ttft_seconds[:, 0],
        step=run.decode_step_seconds[:, 0],
        request=run.cycle_seconds[:, 0],
        throughput=(requests * bench.output_tokens)[:, 0],
    )


def overheads_of(bench: Bench, engines: Mapping[str, Mapping[str, float]]) -> dict[str, Floats]:
    """Each engine factor per run, (runs,); a run of an engine that was left out has those of its nearest kin."""
    kin = [engines.get(name) or engines.get(name.split()[0]) or next(iter(engines.values())) for name in bench.engines]
    found = {key: np.array([engine[key] for engine in kin])[bench.engine] for key in kin[0]}
    planned = np.array([run.planned_steps for run in bench.runs])
    found |= {key: found[key] / planned for key in PLANNED}
    return found | {"wait_steps": found["wait_steps"] + np.array([run.held_steps for run in bench.runs])}


def multipliers(bench: Bench, gpus: Mapping[str, Mapping[str, float]]) -> Floats:
    """(runs, 2): memory and compute."""
    one = {"memory": 1.0, "compute": 1.0}
    return np.array([[gpus.get(name, one)[key] for key in ("memory", "compute")] for name in bench.gpus])[bench.gpu]


def serve(bench: Bench, shared: Mapping[str, float], overheads: Mapping[str, Floats], gpus: Floats) -> Serving:
    """The closed loop of every run."""
    rates = fitted_rates(bench.sheet, gpus, shared)
    costs = step_costs(bench.work, rates, overheads, shared, bench.input_tokens[:, 0])
    columns = {key: value[:, None] for key, value in overheads.items()}
    pipeline = bench.work.pipeline_parallel[:, None]
    return closed_loop(costs, columns, pipeline, bench.batch, bench.input_tokens, bench.output_tokens)
