"""A user's own runs -> factors in which their hardware counts as they measured it; everything else stays as bundled.

Their rows are read as `plan check serving` reads them. A few runs cannot tell a kernel's efficiency from an engine's
overhead, so shared factors and known engines are held, and the multipliers of the measured GPUs move.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from gpuplan.fitting.bench import NothingToFit, build, reasons
from gpuplan.fitting.fit import fit
from gpuplan.fitting.intervals import marks_of, measured_in
from gpuplan.fitting.left_out import error_table, ratios, rounded_all
from gpuplan.fitting.runs import Kind, Run
from gpuplan.fitting.serving import measured_record
from gpuplan.measuring.cells import number
from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.serving_predict import METRICS, TOTAL, TPOT, TTFT
from gpuplan.measuring.serving_rows import Case, read_case
from gpuplan.measuring.tables import read_table
from optimizer.performance.factors import bundled_folder, from_records
from optimizer.performance.shortcuts import NONE

SETTINGS = (
    "run", "source_date", "engine", "engine_version", "model", "weights_quant", "kv_dtype", "gpu", "num_gpus", "tp",
    "pp", "ep", "dp", "isl", "osl", "load", "avg_batch_size", "speculative", "acceptance_rate",
    "prefix_hit_rate", "note",
)  # fmt: skip
MOST = 1e12


@dataclass(frozen=True)
class OwnRuns:
    """Usable runs of a user's files, with the models and cards that they name, and why others are not usable."""

    runs: tuple[Run, ...]
    specs: Mapping[tuple[str, str], ModelSpec]
    cards: Mapping[str, Gpu]
    left_out: Counter[str]


def read_own(paths: Sequence[Path], configs_dir: Path | None = None) -> OwnRuns:
    """Rows of all files that a fit can use.

    Raises:
        BadTable: a file cannot be read.
    """
    runs: list[Run] = []
    specs: dict[tuple[str, str], ModelSpec] = {}
    cards: dict[str, Gpu] = {}
    left_out: Counter[str] = Counter()
    for path in paths:
        table = read_table(path, {*SETTINGS, *METRICS})
        for row, line in zip(table.rows, table.lines, strict=True):
            try:
                case = _only(read_case(row, configs_dir))
                run = _run(row, f"{path.name} line {line}", case)
            except Unpredictable as reason:
                left_out[str(reason)] += 1
                continue
            runs.append(run)
            specs[run.model, run.weights] = case.spec
            cards[case.gpu] = case.card
    return OwnRuns(tuple(runs), specs, cards, left_out)


def _only(cases: Sequence[Case]) -> Case:
    if len(cases) > 1:
        raise Unpredictable("its layout is not recorded")
    if cases[0].shortcuts != NONE:
        raise Unpredictable("it guessed tokens or shared prefixes, which the fit does not use")
    return cases[0]


def _run(row: Mapping[str, str], name: str, case: Case) -> Run:
    """A row as the fit takes it."""
    kind, measured = _measured(row, case)
    if not measured:
        raise Unpredictable("it has no metric that a fit uses")
    batch = math.nan if kind == "offline" else case.load.amount / (case.replicas * case.data_parallel)
    return Run(
        run=name,
        source="own",
        engine=case.engine,
        model=f"{row.get('model', '').strip()} {case.kv_format}",
        weights=case.spec.weight_format,
        gpu=case.gpu,
        kind=kind,
        tensor_parallel=case.tensor_parallel,
        pipeline_parallel=case.pipeline_parallel,
        data_parallel=case.data_parallel,
        expert_parallel=case.expert_parallel,
        kv_format=case.kv_format,
        batch=batch if math.isnan(batch) else max(batch, 1.0),
        input_tokens=case.input_tokens,
        output_tokens=case.output_tokens,
        measured=measured,
        planned_steps=case.planned_steps,
    )


def _measured(row: Mapping[str, str], case: Case) -> tuple[Kind, dict[str, float]]:
    """What was measured, in seconds and tokens per second of one replica."""
    throughput = number(row, "output_tps_total", 1e-9, MOST)
    if throughput is None and (per_gpu := number(row, "output_tps_per_gpu", 1e-9, MOST)):
        throughput = per_gpu * case.gpus * case.replicas
    if case.load.kind == "offline":
        return "offline", {"throughput": throughput / case.replicas} if throughput else {}
    if case.load.kind == "rate":
        raise Unpredictable("it was measured at a request rate, which the fit does not use")
    times = {"tpot": _seconds(row, TPOT), "ttft": _seconds(row, TTFT)}
    if case.load.kind == "closed" and case.load.amount > 1:
        return "closed", {metric: seconds for metric, seconds in times.items() if seconds}
    total = _seconds(row, TOTAL)
    if total is None and throughput:
        total = case.load.amount * case.output_tokens / throughput
    kind: Kind = "static" if case.load.amount > 1 else "single"
    return kind, {"request": total} if total else {m: s for m, s in times.items() if s}


def _seconds(row: Mapping[str, str], columns: Sequence[str]) -> float | None:
    """The first of several columns in milliseconds that holds a number."""
    values = (number(row, column, 1e-6, MOST) for column in columns)
    return next((value * 1e-3 for value in values if value is not None), None)


def adapted(own: OwnRuns, date: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The bundled factors with a user's runs taken in: what serving.json and collectives.json hold.

    Args:
        own: from `read_own`.
        date: of the fit, as ISO text.

    Raises:
        NothingToFit: no run can be used.
    """
    if not own.runs:
        raise NothingToFit(f"No run can be used: {reasons(own.left_out)}.")
    base, curves = (json.loads((bundled_folder() / name).read_text(encoding="utf-8")) for name in _FILES)
    prior = from_records(base, curves)

    def find(model: str, weights: str) -> ModelSpec:
        return own.specs[model, weights]

    bench, unresolved = build(own.runs, find, own.cards, prior)
    solution, _ = fit(bench, prior=prior)
    birth = base["birth"] | {
        "date": date,
        "own_runs": len(bench.runs),
        "own_runs_by_gpu": dict(sorted(Counter(run.gpu for run in bench.runs).items())),
        "own_models": sorted({run.model for run in bench.runs}),
        "own_rows_left_out": dict(sorted((own.left_out + unresolved).items())),
        "own_errors": error_table(ratios(bench, solution)),
    }
    engines = {name: rounded_all(engine) for name, engine in solution.engines.items() if name not in base["engines"]}
    return base | {
        "birth": birth,
        "engines": base["engines"] | engines,
        "gpus": base["gpus"] | {name: rounded_all(gpu) for name, gpu in sorted(solution.gpus.items())},
        "vendors": sorted({*base["vendors"], *(card.vendor for card in own.cards.values())}),
        "measured": measured_record(measured_in(marks_of(bench, find), prior.measured)),
    }, curves


_FILES = ("serving.json", "collectives.json")


def write_own(fitted: Mapping[str, Any], curves: list[dict[str, Any]], folder: Path) -> None:
    """Write both files of a factor folder.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILES[0]).write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")
    text = ",\n".join(json.dumps(curve) for curve in curves)
    (folder / _FILES[1]).write_text(f"[\n{text}\n]\n", encoding="utf-8")
