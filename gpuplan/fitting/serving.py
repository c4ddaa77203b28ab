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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares  # type: ignore[import-untyped]

from gpu_db.load import load_gpus
from gpuplan.fitting.bench import Bench, NothingToFit, build, predict, reasons, select
from gpuplan.fitting.intervals import (
    COVERAGES,
    LeftOut,
    Mark,
    Split,
    by_group,
    by_source,
    coverage_table,
    crossed,
    even_folds,
    levels_when_left_out,
    marks_of,
    measured_in,
    setting_folds,
    spreads,
)
from gpuplan.fitting.power import fit_power, heat_of, power_record
from gpuplan.fitting.runs import Run, read_runs
from gpuplan.fitting.shapes import find_measured_model, shape_name
from optimizer.performance.certainty import SAME, SHARED, Measured
from optimizer.performance.factors import Factors, from_records
from optimizer.performance.operations import KERNELS
from optimizer.replica_columns import Bools, Floats

Bounds = tuple[float, float, float]
"""Where the search starts, and between what it stays."""

SHARED_FACTORS: dict[str, Bounds] = {
    "compute.bf16": (0.7, 0.05, 1.0),
    "compute.fp8": (0.6, 0.05, 1.0),
    "compute.fp8_block": (0.5, 0.05, 1.0),
    "compute.int8": (0.5, 0.05, 1.0),
    "compute.fp4": (0.45, 0.05, 1.0),
    "compute.weight_only": (0.5, 0.05, 1.0),
    "compute.mxfp4": (0.4, 0.05, 1.0),
    "compute.mxfp4_unpacked": (0.4, 0.05, 1.0),
    "memory.bf16": (0.85, 0.1, 1.0),
    "memory.fp8": (0.8, 0.1, 1.0),
    "memory.fp8_block": (0.8, 0.1, 1.0),
    "memory.int8": (0.8, 0.1, 1.0),
    "memory.fp4": (0.7, 0.1, 1.0),
    "memory.weight_only": (0.7, 0.1, 1.0),
    "memory.mxfp4": (0.6, 0.1, 1.0),
    "memory.mxfp4_unpacked": (0.6, 0.1, 1.0),
    "compute.experts": (0.7, 0.05, 1.0),
    "memory.experts": (0.8, 0.1, 1.0),
    "memory.values": (0.6, 0.03, 1.0),
    "memory.kv": (0.7, 0.1, 1.0),
    "compute.attention_decode": (0.4, 0.05, 1.0),
    "compute.attention_prefill": (0.5, 0.05, 1.0),
    "launch.bf16": (1e-9, 0.9e-9, 1.1e-9),
    "launch.fp8": (2e-6, 1e-8, 4e-5),
    "launch.fp8_block": (4e-6, 1e-8, 4e-5),
    "launch.int8": (2e-6, 1e-8, 4e-5),
    "launch.fp4": (3e-6, 1e-8, 4e-5),
    "launch.weight_only": (2e-6, 1e-8, 4e-5),
    "launch.mxfp4": (3e-6, 1e-8, 4e-5),
    "launch.mxfp4_unpacked": (4e-6, 1e-8, 4e-5),
    "bandwidth_exponent": (0.05, 1e-3, 0.4),
    "collective": (1.0, 0.5, 4.0),
    "exposed": (0.3, 0.01, 1.0),
    "half_tokens": (30.0, 1.0, 300.0),
    "expert_half_tokens": (16.0, 1.0, 300.0),
    "imbalance": (0.3, 0.001, 3.0),
    "spread": (1.0, 0.5, 2.0),
    "burst": (0.05, 1e-4, 0.5),
}
ENGINE_FACTORS: dict[str, Bounds] = {
    "step_seconds": (1e-3, 1e-5, 2e-2),
    "layer_seconds": (1.5e-5, 1e-6, 6e-5),
    "expert_layer_seconds": (1e-5, 1e-7, 2e-4),
    "latent_layer_seconds": (1e-5, 1e-7, 2e-4),
    "recurrent_layer_seconds": (1e-5, 1e-7, 2e-4),
    "sequence_seconds": (5e-6, 1e-8, 3e-4),
    "request_seconds": (2e-2, 1e-3, 0.5),
    "wait_steps": (2.0, 0.01, 40.0),
}
SOURCE_FACTORS: dict[str, Bounds] = {"slower": (1.0, 0.5, 2.0)}
"""How much slower a source's runs are than the reference source's on equal terms: older builds, other clients. It keeps
such habits out of the physical factors, and no estimate uses it."""

GPU_FACTORS: dict[str, Bounds] = {"memory": (1.0, 0.5, 1.8), "compute": (1.0, 0.5, 1.8)}

KIN = (("mxfp4", "fp4"), ("mxfp4_unpacked", "weight_only"))
"""Kernels that do nearly the same: block-scaled 4-bit products, and 4-bit weights unpacked to 16 bit."""

BANDWIDTH_REFERENCE = 3.35e12
"""Bytes per second of an H100, at which the shared memory efficiencies are as they stand."""

CHUNK_TOKENS = dict.fromkeys(("vllm", "vllm V0", "sglang", "tensorrt-llm", "tensorrt-llm C++"), 8192.0)
"""Prompt tokens of one step: the engines' defaults on data-center GPUs (max_num_batched_tokens, chunked_prefill_size,
max_num_tokens)."""

MOST_CHUNK = 8192.0

METRIC_WEIGHTS = {"tpot": 1.0, "ttft": 0.4, "step": 0.5, "request": 0.4, "throughput": 0.2}
FEWEST_IN_GROUP = 5
STATIC_SHARE = 0.2
"""Weight of a static batch: nobody serves like that, but it tells what a step of an older engine costs."""

ROBUST_SCALE = 0.15
REFERENCE_SOURCES = frozenset({"inferencex_aic", "redhat_hf", "rocmvllm", "trtllm_0.17.0"})
"""One per era of an engine and per vendor: against them the others are slower or faster."""
SOURCE_PULL, REFERENCE_PULL = 1.5, 1e3
GPU_PULL, KERNEL_PULL, KIN_PULL, START_PULL, CENTER_PULL = 4.0, 1.0, 0.3, 0.05, 100.0
EVALUATIONS, REFIT_EVALUATIONS = 20, 8
EDGE, DIFFERENCE = 1e-6, 1e-6
REFERENCE_ENGINE = "vllm"
NETWORK = {
    "latency_seconds": 1.05e-4,
    "efficiency": 0.74,
    "hop_latency_seconds": 1e-5,
    "source": "floor of a small all-gather over 2 AWS EFA nodes (bottlerocket-kernel-kit#313) and NIC share of 4 nodes "
    "(stas00/ml-engineering network README); hop: aiconfigurator 0.12 P2P term",
}


@dataclass(frozen=True)
class Solution:
    """Factors as `predict` takes them."""

    shared: dict[str, float]
    engines: dict[str, dict[str, float]]
    gpus: dict[str, dict[str, float]]
    sources: dict[str, float]

    def without_gpus(self) -> Solution:
        """As for GPUs that were never measured."""
        return replace(self, gpus={})


class Search:
    """The vector that the optimizer moves, and what it means: logarithms of shared, engine, GPU and source factors."""

    def __init__(self, bench: Bench, prior: Factors | None = None) -> None:
        self.bench, self.prior = bench, prior
        bounds = [*SHARED_FACTORS.values()]
        parts = [slice(0, len(bounds))]
        blocks = ((bench.engines, ENGINE_FACTORS), (bench.gpus, GPU_FACTORS), (bench.sources, SOURCE_FACTORS))
        for names, factors in blocks:
            bounds += [b for _ in names for b in factors.values()]
            parts.append(slice(parts[-1].stop, len(bounds)))
        self.start, self.low, self.high = np.log(np.array(bounds)).T
        self.shared_part, self.engine_part, self.gpu_part, self.source_part = parts
        if prior is not None:
            self.start = self._known(prior)
        self.pulls = self._pulls() if prior is None else self._prior_pulls(prior)

    def solution(self, vector: Floats) -> Solution:
        """Named factors of a vector."""
        values = iter(np.exp(vector).tolist())
        shared = {name: next(values) for name in SHARED_FACTORS} | {"bandwidth_reference": BANDWIDTH_REFERENCE}
        bench = self.bench
        engines = {
            engine: {name: next(values) for name in ENGINE_FACTORS}
            | {"chunk_tokens": CHUNK_TOKENS.get(engine, MOST_CHUNK)}
            for engine in bench.engines
        }
        gpus = {gpu: {name: next(values) for name in GPU_FACTORS} for gpu in bench.gpus}
        sources = {source: next(values) for source in bench.sources}
        return Solution(shared, engines, gpus, sources)

    def _known(self, prior: Factors) -> Floats:
        """The vector of fitted factors; what they lack stays in the middle of what is plausible."""
        bench = self.bench
        known = [prior.shared.get(name, b[0]) for name, b in SHARED_FACTORS.items()]
        known += [prior.engines.get(e, {}).get(n, b[0]) for e in bench.engines for n, b in ENGINE_FACTORS.items()]
        known += [prior.gpus.get(g, {}).get(n, b[0]) for g in bench.gpus for n, b in GPU_FACTORS.items()]
        known += [1.0] * len(bench.sources)
        return np.asarray(np.log(np.maximum(known, np.exp(self.low))))

    def _prior_pulls(self, prior: Factors) -> Floats:
        """Holds what fitted factors say: only GPUs' multipliers, and engines that they lack, may move."""
        pull = np.full(len(self.start), REFERENCE_PULL)
        for place, engine in enumerate(self.bench.engines):
            if engine not in prior.engines:
                begin = self.engine_part.start + place * len(ENGINE_FACTORS)
                pull[begin : begin + len(ENGINE_FACTORS)] = START_PULL
        pull[self.gpu_part] = GPU_PULL
        return np.diag(pull)

    def _pulls(self) -> Floats:
        """(pulls, parameters): what draws factors together, times (vector - start), is one more residual each."""
        size = len(self.start)
        everything = START_PULL * np.eye(size)
        gpus = GPU_PULL * np.eye(size)[self.gpu_part]
        fixed = [REFERENCE_PULL if name in REFERENCE_SOURCES else SOURCE_PULL for name in self.bench.sources]
        sources = np.array(fixed)[:, None] * np.eye(size)[self.source_part]
        together = [self._together(kind) for kind in ("compute", "memory")] + [self._centered()]
        return np.concatenate([everything, gpus, sources, *together, self._kin()])

    def _centered(self) -> Floats:
        """Draws the mean of the GPUs' multipliers to 1, so that a GPU without its own is a usual one."""
        rows = np.zeros((len(GPU_FACTORS), len(self.start)))
        for offset, row in enumerate(rows):
            row[self.gpu_part.start + offset : self.gpu_part.stop : len(GPU_FACTORS)] = CENTER_PULL
        return rows / max(len(self.bench.gpus), 1)

    def _kin(self) -> Floats:
        """Draws a kernel's factors towards those of its kin."""
        names = list(SHARED_FACTORS)
        pairs = [(f"{kind}.{a}", f"{kind}.{b}") for kind in ("compute", "memory", "launch") for a, b in KIN]
        rows = np.zeros((len(pairs), len(self.start)))
        for row, (one, other) in zip(rows, pairs, strict=True):
            row[names.index(one)], row[names.index(other)] = KIN_PULL, -KIN_PULL
        return rows

    def _together(self, kind: str) -> Floats:
        """Draws the kernels' efficiencies towards their mean."""
        names = list(SHARED_FACTORS)
        members = np.array([names.index(f"{kind}.{kernel}") for kernel in KERNELS])
        rows = np.zeros((len(members), len(self.start)))
        rows[np.arange(len(members)), members] = KERNEL_PULL
        rows[:, members] -= KERNEL_PULL / len(members)
        return rows

    def columns_at_once(self) -> list[tuple[list[int], list[Bools]]]:
        """Parameters that touch different runs, to be moved together: their indices, and whose runs are whose."""
        bench, groups = self.bench, []
        for part, names, owner, factors in (
            (self.engine_part, bench.engines, bench.engine, ENGINE_FACTORS),
            (self.gpu_part, bench.gpus, bench.gpu, GPU_FACTORS),
            (self.source_part, bench.sources, bench.source, SOURCE_FACTORS),
        ):
            for offset in range(len(factors)):
                indices = [part.start + i * len(factors) + offset for i in range(len(names))]
                groups.append((indices, [owner == i for i in range(len(names))]))
        everyone = np.ones(len(bench.runs), dtype=np.bool_)
        return [([index], [everyone]) for index in range(self.shared_part.stop)] + groups


class Misfit:
    """Residuals of a vector and how they change with it."""

    def __init__(self, bench: Bench, prior: Factors | None = None) -> None:
        self.search = Search(bench, prior)
        self.bench = bench
        weights = group_weights(bench.runs) * [STATIC_SHARE if run.kind == "static" else 1.0 for run in bench.runs]
        self.targets = {metric: measured(bench, metric) for metric in METRIC_WEIGHTS}
        self.known = {metric: ~np.isnan(target) for metric, target in self.targets.items()}
        self.weights = {metric: (weight * weights)[self.known[metric]] for metric, weight in METRIC_WEIGHTS.items()}

    def residuals(self, vector: Floats) -> Floats:
        """Weighted logarithms of predicted over measured, then the pulls."""
        return np.concatenate([self._logs(vector), self.search.pulls @ (vector - self.search.start)])

    def _logs(self, vector: Floats) -> Floats:
        solution = self.search.solution(vector)
        predicted = predict(self.bench, solution.shared, solution.engines, solution.gpus)
        slower = vector[self.search.source_part][self.bench.source]
        parts = []
        for metric, target in self.targets.items():
            known = self.known[metric]
            habit = -slower[known] if metric == "throughput" else slower[known]
            parts.append(self.weights[metric] * (np.log(predicted.of(metric)[known] / target[known]) + habit))
        return np.concatenate(parts)

    def jacobian(self, vector: Floats) -> Floats:
        """By finite differences, moving parameters that touch different runs at the same time."""
        here = self._logs(vector)
        slopes = np.zeros((len(here), len(vector)))
        for indices, owners in self.search.columns_at_once():
            moved = vector.copy()
            moved[indices] += DIFFERENCE
            slope = (self._logs(moved) - here) / DIFFERENCE
            for index, owner in zip(indices, owners, strict=True):
                mine = np.concatenate([owner[known] for known in self.known.values()])
                slopes[:, index] = np.where(mine, slope, 0.0)
        return np.concatenate([slopes, self.search.pulls])


def fit(
    bench: Bench, start: Floats | None = None, evaluations: int = EVALUATIONS, prior: Factors | None = None
) -> tuple[Solution, Floats]:
    """Factors that meet the runs best, and the vector behind them.

    Args:
        bench: the runs.
        start: a vector to begin from; None = the middle of what is plausible.
        evaluations: how often the optimizer may look.
        prior: fitted factors that stay as they are, but for GPUs' multipliers; None = nothing is known.
    """
    misfit = Misfit(bench, prior)
    search = misfit.search
    found = least_squares(
        misfit.residuals,
        np.clip(search.start if start is None else start, search.low + EDGE, search.high - EDGE),
        jac=misfit.jacobian,
        bounds=(search.low, search.high),
        loss="soft_l1",
        f_scale=ROBUST_SCALE,
        max_nfev=evaluations,
        ftol=1e-5,
    )
    return search.solution(found.x), found.x


def measured(bench: Bench, metric: str) -> Floats:
    """(runs,), NaN where a run has no such figure."""
    return np.array([run.measured.get(metric, np.nan) for run in bench.runs])


def group_weights(runs: Sequence[Run]) -> Floats:
    """Weights under which a group of source, GPU and model counts as one, small groups as less; their mean is 1."""
    groups = [(run.source, run.gpu, run.model) for run in runs]
    sizes = Counter(groups)
    weights = np.array([max(sizes[group], FEWEST_IN_GROUP) ** -0.5 for group in groups])
    return np.asarray(weights / weights.mean())


def ratios(bench: Bench, solution: Solution) -> dict[str, Floats]:
    """Measured over predicted by metric, (runs,), NaN where nothing was measured.

    "throughput" of a closed loop is by Little's law: requests in flight over the measured time of one.
    """
    predicted = predict(bench, solution.shared, solution.engines, solution.gpus)
    found = {metric: measured(bench, metric) / predicted.of(metric) for metric in METRIC_WEIGHTS}
    took = measured(bench, "ttft") + measured(bench, "tpot") * (bench.output_tokens[:, 0] - 1)
    together = np.array([run.kind == "static" for run in bench.runs])
    alone, static = (np.where(use, found["request"], np.nan) for use in (~together, together))
    return found | {"closed throughput": predicted.request / took, "request": alone, "static": static}


def left_out_ratios(bench: Bench, start: Floats, splits: Sequence[Split], keep_gpus: bool) -> dict[str, Floats]:
    """Ratios of left-out runs under factors fitted on the others.

    Args:
        bench: the runs.
        start: the vector of the fit on all of them; the refits begin there and move away from what was left out.
        splits: which runs are left out, and on which the factors are fitted.
        keep_gpus: whether a GPU's own multipliers may be used (False when the GPU itself is left out).
    """
    ratio: dict[str, Floats] = {}
    for out, keep in splits:
        solution, _ = fit(select(bench, keep), start, REFIT_EVALUATIONS)
        judged = solution if keep_gpus else solution.without_gpus()
        found = ratios(bench, judged) | heat_ratios(bench, judged, keep)
        for metric, values in found.items():
            ratio.setdefault(metric, np.full(len(bench.runs), np.nan))[out] = values[out]
    return ratio


def heat_ratios(bench: Bench, solution: Solution, use: Bools | None = None) -> dict[str, Floats]:
    """Measured over predicted watts and joules per token, the power law fitted on the runs in use (None = all)."""
    heat = heat_of(bench, solution.shared, solution.engines, solution.gpus, solution.sources, load_gpus())
    return heat.ratios(fit_power(bench, heat, use))


FEWEST_ALONE, FOLDS = 40, 4
"""Shapes with fewer runs are left out some at a time."""


def model_groups(runs: Sequence[Run]) -> list[str]:
    """Per run its model's shape, whatever checkpoint or size of GPU; rarely measured shapes share a fold."""
    shapes = [shape_name(run.model) for run in runs]
    sizes = Counter(shapes)
    rare = sorted(shape for shape, size in sizes.items() if size < FEWEST_ALONE)
    fold = {shape: f"fold {i % FOLDS}" for i, shape in enumerate(rare)}
    return [fold.get(shape, shape) for shape in shapes]


def error_table(ratio: Mapping[str, Floats], chosen: Bools | None = None) -> dict[str, dict[str, float]]:
    """Median, mean and bias of |predicted / measured - 1| by metric, in per cent, as peers report them."""
    table = {}
    for metric, values in ratio.items():
        use = ~np.isnan(values) if chosen is None else ~np.isnan(values) & chosen
        if use.any():
            error = 1 / values[use] - 1
            table[metric] = {
                "runs": int(use.sum()),
                "median_percent": round(100 * float(np.median(np.abs(error))), 1),
                "mean_percent": round(100 * float(np.mean(np.abs(error))), 1),
                "bias_percent": round(100 * float(np.median(error)), 1),
            }
    return table


def _rounded(value: float) -> float:
    """Four digits: more are noise, and fewer make the file depend less on the machine that fitted it."""
    return float(f"{value:.4g}")


def rounded_all(values: Mapping[str, float]) -> dict[str, float]:
    """Each value with four digits."""
    return {name: _rounded(value) for name, value in values.items()}


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
    bench, unresolved = build(runs, find_measured_model, load_gpus(), curves_only())
    solution, vector = fit(bench)
    tables = {"all runs, in sample": error_table(ratios(bench, solution) | heat_ratios(bench, solution))}
    marks = marks_of(bench, find_measured_model)
    left_out: dict[str, LeftOut] = {}
    if held_out:
        left_out = leave_out(bench, vector, marks)
        tables |= {way: error_table(left_out[way].ratios) for way in left_out if way.startswith("each")}
    bars = [*left_out.values()] or [LeftOut(ratios(bench, solution), [SAME] * len(marks), model_groups(bench.runs))]
    near, far = (dict(left_out[f"each {what} left out"].ratios) if held_out else {} for what in ("model", "GPU"))
    gpus = load_gpus()
    heat = heat_of(bench, solution.shared, solution.engines, solution.gpus, solution.sources, gpus)
    return {
        "birth": birth_certificate(bench, skipped + unresolved, tables, solution.sources, date)
        | {"coverage": coverage_table(bars)},
        "shared": rounded_all(solution.shared),
        "engines": {name: rounded_all(engine) for name, engine in sorted(solution.engines.items())},
        "gpus": {name: rounded_all(gpu) for name, gpu in sorted(solution.gpus.items())},
        "vendors": sorted({gpus[run.gpu].vendor for run in bench.runs}),
        "coverages": list(COVERAGES),
        "errors": spreads(bars),
        "measured": measured_record(measured_in(marks)),
        "power": power_record(bench, heat, [near, far] if held_out else [], gpus),
    }


def leave_out(bench: Bench, start: Floats, marks: Sequence[Mark]) -> dict[str, LeftOut]:
    """Runs left out in every way: settings, models, GPUs, GPUs with models, and sources."""
    models, gpus, sources = model_groups(bench.runs), [run.gpu for run in bench.runs], [r.source for r in bench.runs]
    weights = [CLOSED_WEIGHT if run.kind in ("closed", "step") else 1.0 for run in bench.runs]
    folds = crossed(even_folds(gpus, weights, GPU_FOLDS), even_folds(models, weights, FOLDS))
    ways = {
        "some settings left out": (by_group(setting_folds(bench.runs, SETTING_FOLDS)), True),
        "each model left out": (by_group(models), True),
        "each GPU left out": (by_group(gpus), False),
        "GPU and model left out": (folds, False),
        "each source left out": (by_source(bench.runs), True),
    }
    left_out = {}
    for way, (splits, keep_gpus) in ways.items():
        levels = levels_when_left_out(marks, splits)
        together = [gpu if level == SHARED else model for level, gpu, model in zip(levels, gpus, models, strict=True)]
        groups = sources if way == "each source left out" else together
        left_out[way] = LeftOut(left_out_ratios(bench, start, splits, keep_gpus), levels, groups)
    return left_out


SETTING_FOLDS, GPU_FOLDS = 4, 3
CLOSED_WEIGHT = 1000.0
"""GPUs and models with closed loops are spread over the folds first: only they tell TTFT and TPOT."""


def measured_record(measured: Measured) -> dict[str, Any]:
    """What was measured, as `Measured` reads it."""
    return {
        "parts": sorted(measured.parts),
        "cells": {gpu: sorted(cells) for gpu, cells in sorted(measured.cells.items())},
    }


def curves_only() -> Factors:
    """The measured collectives, before anything else is fitted."""
    folder = Path(__file__).parents[2] / "optimizer" / "performance" / "data"
    curves = json.loads((folder / "collectives.json").read_text(encoding="utf-8"))
    nothing: dict[str, Any] = {"birth": {"network": NETWORK}, "vendors": [], "errors": {}, "coverages": []}
    nothing |= {"measured": {"parts": [], "cells": {}}}
    return from_records(nothing | {"shared": {}, "engines": {}, "gpus": {}, "power": {}}, curves)


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
