"""Fit the performance model's factors on measured runs and write them as data.

    python -m gpuplan.fitting.serving measured.csv --out DIR

Robust least squares on the logarithm of predicted over measured, so that twice too fast and twice too slow weigh the
same; each group of runs (source x GPU x model) weighs about the same however many rows it has; a GPU's own multipliers
are drawn towards 1, so that they say only what the shared factors cannot. The same file gives the same factors.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_db.load import load_gpus
from gpuplan.fitting.bench import Bench, NothingToFit, build, reasons
from gpuplan.fitting.fit import NETWORK, REFERENCE_ENGINE, curves_only, fit, multipliers_by_matmul
from gpuplan.fitting.intervals import (
    COVERAGES,
    NOBODY,
    LeftOut,
    coverage_table,
    marks_of,
    measured_in,
    spreads,
    vendor_table,
)
from gpuplan.fitting.left_out import (
    error_table,
    heat_ratios,
    leave_out,
    model_groups,
    only_sources,
    ratios,
    rounded_all,
    vendors_left_out,
)
from gpuplan.fitting.power import heat_of, power_record
from gpuplan.fitting.priors import expert_kernels, kernel_laws
from gpuplan.fitting.runs import JUDGED_ONLY, read_runs, to_fit
from gpuplan.fitting.shapes import find_measured_model
from optimizer.performance.certainty import SAME, Measured


def birth_certificate(
    bench: Bench, left_out: Mapping[str, int], tables: Mapping[str, Any], sources: Mapping[str, float], date: str
) -> dict[str, Any]:
    """What the factors came from and how well they hold."""
    counts = Counter((run.source, run.kind) for run in bench.runs)
    return {
        "date": date,
        "runs": len(bench.runs),
        "runs_by_source": {f"{source} ({kind})": n for (source, kind), n in sorted(counts.items())},
        "runs_by_gpu": dict(sorted(Counter(run.gpu for run in bench.runs).items())),
        "runs_by_engine": dict(sorted(Counter(run.engine for run in bench.runs).items())),
        "models": sorted({run.model for run in bench.runs}),
        "rows_left_out": dict(sorted(left_out.items())),
        "source_slowness": rounded_all(sources),
        "errors": tables,
        "reference_engine": REFERENCE_ENGINE,
        "network": NETWORK,
        "kernel_laws": kernel_laws(),
    }


def records(path: Path, *, date: str, held_out: bool = True) -> dict[str, Any]:
    """Fit a file of measured runs: everything that serving.json holds.

    Args:
        path: in the columns of the measured-serving format.
        date: of the fit, as ISO text; the caller's, so that the same call gives the same file.
        held_out: whether to fit again without each model and each GPU, which gives the error bounds.
    """
    runs, skipped = read_runs(path)
    if not runs:
        raise NothingToFit(f"No run of {path} can be used: {reasons(skipped)}.")
    judged = [run for run in runs if run.gpu in JUDGED_ONLY]
    skipped.update(f"{run.gpu} only judged: {JUDGED_ONLY[run.gpu]}" for run in judged)
    bench, unresolved = build(to_fit(runs), find_measured_model, load_gpus(), curves_only())
    solution, vector = fit(bench)
    tables = {"all runs, in sample": error_table(ratios(bench, solution) | heat_ratios(bench, solution))}
    marks = marks_of(bench, find_measured_model)
    left_out: dict[str, LeftOut] = {}
    if held_out:
        left_out = leave_out(bench, vector, marks)
        tables |= {way: error_table(left_out[way].ratios) for way in left_out if way.startswith("each")}
        tables["each source left out"] |= error_table(only_sources(bench))
    bars = [*left_out.values()] or [LeftOut(ratios(bench, solution), [SAME] * len(marks), model_groups(bench.runs))]
    vendors = vendors_left_out(bench, vector, judged) if held_out else NOBODY
    near, far = (dict(left_out[f"each {what} left out"].ratios) if held_out else {} for what in ("model", "GPU"))
    gpus = load_gpus()
    multipliers = {**solution.gpus, **multipliers_by_matmul(solution.gpus)}
    heat = heat_of(bench, solution.shared, solution.engines, solution.gpus, solution.sources, gpus)
    return {
        "birth": birth_certificate(bench, skipped + unresolved, tables, solution.sources, date)
        | {"coverage": coverage_table(bars), "vendors_left_out": vendor_table(vendors)},
        "shared": rounded_all(solution.shared),
        "engines": {name: rounded_all(engine) for name, engine in sorted(solution.engines.items())},
        "gpus": {name: rounded_all(gpu) for name, gpu in sorted(multipliers.items())},
        "expert_kernels": expert_kernels(),
        "vendors": sorted({gpus[run.gpu].vendor for run in bench.runs}),
        "coverages": list(COVERAGES),
        "errors": spreads(bars, vendors),
        "measured": measured_record(measured_in(marks)),
        "power": power_record(bench, heat, [near, far] if held_out else [], gpus),
    }


def measured_record(measured: Measured) -> dict[str, Any]:
    """What was measured, as `Measured` reads it."""
    return {
        "parts": sorted(measured.parts),
        "cells": {gpu: sorted(cells) for gpu, cells in sorted(measured.cells.items())},
    }


def main() -> None:
    """Write serving.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--date", required=True, help="of the fit, written into the certificate, such as 2026-11-22")
    arguments = parser.parse_args()
    fitted = records(arguments.csv, date=arguments.date)
    write(fitted, arguments.out)


def write(fitted: Mapping[str, Any], folder: Path) -> Path:
    """Write serving.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "serving.json"
    path.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
