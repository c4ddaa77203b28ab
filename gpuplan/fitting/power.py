"""The three terms of a GPU's power, from measured steady states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]

from gpu_db.gpu import Gpu
from gpuplan.fitting.bench import Bench, multipliers, overheads_of, serve
from optimizer.performance.power import shares_of_peak
from optimizer.replica_columns import Floats


def fit_power(
    bench: Bench,
    shared: Mapping[str, float],
    engines: Mapping[str, Mapping[str, float]],
    gpus: Mapping[str, Mapping[str, float]],
    known: Mapping[str, Gpu],
) -> dict[str, Any]:
    """Non-negative awake, compute and memory terms with the least squared relative error.

    Returns:
        The terms, the mean idle share of GPUs whose idle power is known, samples, median error, and the factors
        (low, high) between which 90% of measured / predicted watts lie, in sample.
    """
    watts = np.array([run.watts or np.nan for run in bench.runs])
    use = ~np.isnan(watts) & np.array(
        [bool(known[run.gpu].power_watts and known[run.gpu].idle_watts) for run in bench.runs]
    )
    shares = [gpu.idle_watts / gpu.power_watts for gpu in known.values() if gpu.idle_watts and gpu.power_watts]
    terms: dict[str, Any] = {"idle_share": float(f"{np.mean(shares):.4g}")}
    if not use.any():
        return terms | {"awake": 0.0, "compute": 0.0, "memory": 0.0, "samples": 0}
    run = serve(bench, shared, overheads_of(bench, engines), multipliers(bench, gpus))
    flop, byte = shares_of_peak(bench.work, bench.sheet, run, bench.batch, bench.input_tokens, bench.output_tokens)
    limits = np.array([known[r.gpu].power_watts or np.nan for r in bench.runs]) * _gpus(bench)
    idles = np.array([known[r.gpu].idle_watts or np.nan for r in bench.runs]) * _gpus(bench)
    columns = np.stack([np.ones(len(watts)), flop[:, 0], byte[:, 0]], axis=1)[use]
    span = (limits - idles)[use] / watts[use]
    found, _ = nnls(columns * span[:, None], 1 - (idles / watts)[use])
    predicted = idles[use] / watts[use] + span * np.minimum(columns @ found, 1.0)
    names = ("awake", "compute", "memory")
    fitted = {name: float(f"{value:.4g}") for name, value in zip(names, found, strict=True)}
    bounds = [float(f"{bound:.4g}") for bound in np.quantile(1 / predicted, (0.05, 0.95))]
    error = {"samples": int(use.sum()), "median_error": round(float(np.median(np.abs(predicted - 1))), 3)}
    sources = sorted({r.source for r, u in zip(bench.runs, use, strict=True) if u})
    return terms | fitted | error | {"bounds": bounds, "sources": sources}


def _gpus(bench: Bench) -> Floats:
    return np.array([run.gpus for run in bench.runs], dtype=np.float64)
