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
    NOBODY,
    LeftOut,
    Mark,
    Sample,
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
    vendor_table,
)
from gpuplan.fitting.power import fit_power, heat_of, power_record
from gpuplan.fitting.priors import (
    engine_priors,
    expert_kernels,
    gpu_priors,
    kernel_laws,
    matmul_shares,
    shared_priors,
    source_priors,
)
from gpuplan.fitting.runs import JUDGED_ONLY, Run, read_runs, to_fit
from gpuplan.fitting.shapes import find_measured_model, shape_name
from optimizer.performance.certainty import SAME, SHARED, Measured
from optimizer.performance.factors import Factors, from_records
from optimizer.replica_columns import Bools, Floats

BANDWIDTH_REFERENCE = 3.35e12
"""Bytes per second of an H100, at which the shared memory efficiencies are as they stand."""

CHUNK_TOKENS = dict.fromkeys(("vllm", "vllm sync", "vllm V0", "sglang", "tensorrt-llm", "tensorrt-llm C++"), 8192.0)
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
REFERENCE_PULL, CENTER_PULL, OWN_PULL, LONE_PULL = 1e3, 100.0, 1.0, 0.3
KERNEL_PULL, GUESS_PULL, ERA_PULL = 0.5, 1.0, 0.2
"""How hard factors are drawn to their priors, and an engine's eras to each other, over the prior's spread. Runs are
many, but of few models: a kernel table two spreads away weighs as much as some tens of them. Few runs, of one
source, tell of a GPU without kernel tables: they move it half-way (`LONE_PULL`), as other sources contradict them."""

ERAS = {"vllm sync": "vllm", "vllm V0": "vllm sync", "tensorrt-llm C++": "tensorrt-llm"}
"""An engine's older eras, and what they are nearest to."""

EVALUATIONS, REFIT_EVALUATIONS = 12, 2
"""Looks of the optimizer; with two a refit takes one step, for which the slopes at its start suffice."""

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
        return replace(self, gpus=multipliers_by_matmul({}))


def multipliers_by_matmul(fitted: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Of GPUs that were not fitted: what their large products reach, times what fitted GPUs alike made of theirs.

    Alike are GPUs of one architecture.
    """
    shares, gpus = matmul_shares(), load_gpus()
    made: dict[str, list[float]] = {}
    for name in fitted.keys() & shares.keys():
        made.setdefault(gpus[name].architecture, []).append(fitted[name]["compute"] / shares[name])
    return {
        name: {"memory": 1.0, "compute": share * float(np.mean(made.get(gpus[name].architecture, [1.0])))}
        for name, share in shares.items()
        if name not in fitted
    }


class Search:
    """The vector that the optimizer moves, and what it means: logarithms of shared, engine, GPU and source factors."""

    def __init__(self, bench: Bench, prior: Factors | None = None, without: frozenset[str] = frozenset()) -> None:
        self.bench = bench
        self.shared = shared_priors(without)
        self.engine, self.gpu, self.slowness = engine_priors(without), gpu_priors(), source_priors()
        self.gpus = [gpu_priors(load_gpus().get(name)) for name in bench.gpus]
        blocks = (
            [engine_priors(without, engine) for engine in bench.engines],
            self.gpus,
            [self.slowness] * len(bench.sources),
        )
        priors = [*self.shared.values()]
        parts = [slice(0, len(priors))]
        for block in blocks:
            priors += [prior for each in block for prior in each.values()]
            parts.append(slice(parts[-1].stop, len(priors)))
        self.start, self.low, self.high = np.log([[p.start, p.low, p.high] for p in priors]).T
        self.stiffness = np.array([(KERNEL_PULL if p.measured else GUESS_PULL) / p.spread for p in priors])
        self.shared_part, self.engine_part, self.gpu_part, self.source_part = parts
        self.lone = np.repeat([each != self.gpu for each in self.gpus], len(self.gpu))
        self.stiffness[self.gpu_part][self.lone] *= LONE_PULL
        if prior is not None:
            self.start = self._known(prior)
        self.pulls = self._pulls() if prior is None else self._prior_pulls(prior)

    def solution(self, vector: Floats) -> Solution:
        """Named factors of a vector."""
        values = iter(np.exp(vector).tolist())
        shared = {name: next(values) for name in self.shared} | {"bandwidth_reference": BANDWIDTH_REFERENCE}
        bench = self.bench
        engines = {
            engine: {name: next(values) for name in self.engine}
            | {"chunk_tokens": CHUNK_TOKENS.get(engine, MOST_CHUNK)}
            for engine in bench.engines
        }
        gpus = {gpu: {name: next(values) for name in self.gpu} for gpu in bench.gpus}
        sources = {source: next(values) for source in bench.sources}
        return Solution(shared, engines, gpus, sources)

    def _known(self, prior: Factors) -> Floats:
        """The vector of fitted factors; what they lack stays in the middle of what is plausible."""
        bench = self.bench
        known = [prior.shared.get(name, p.start) for name, p in self.shared.items()]
        known += [prior.engines.get(e, {}).get(n, p.start) for e in bench.engines for n, p in self.engine.items()]
        for name, own in zip(bench.gpus, self.gpus, strict=True):
            known += [prior.gpus.get(name, {}).get(n, p.start) for n, p in own.items()]
        known += [1.0] * len(bench.sources)
        return np.asarray(np.log(np.maximum(known, np.exp(self.low))))

    def _prior_pulls(self, prior: Factors) -> Floats:
        """Holds what fitted factors say: only GPUs' multipliers, and engines that they lack, may move."""
        pull = np.full(len(self.start), REFERENCE_PULL)
        for place, engine in enumerate(self.bench.engines):
            if engine not in prior.engines:
                begin = self.engine_part.start + place * len(self.engine)
                part = slice(begin, begin + len(self.engine))
                pull[part] = self.stiffness[part]
        pull[self.gpu_part] = OWN_PULL
        return np.diag(pull)

    def _pulls(self) -> Floats:
        """(pulls, parameters): what draws factors together, times (vector - start), is one more residual each."""
        pull = self.stiffness.copy()
        for place, name in enumerate(self.bench.sources):
            if name in REFERENCE_SOURCES:
                pull[self.source_part.start + place] = REFERENCE_PULL
        return np.concatenate([np.diag(pull), self._centered(), self._eras()])

    def _eras(self) -> Floats:
        """Draws an engine's eras together."""
        engines, width, rows = self.bench.engines, len(self.engine), []
        for era, kin in ERAS.items():
            if era in engines and kin in engines:
                for place, prior in enumerate(self.engine.values()):
                    row = np.zeros(len(self.start))
                    row[self.engine_part.start + engines.index(era) * width + place] = ERA_PULL / prior.spread
                    row[self.engine_part.start + engines.index(kin) * width + place] = -ERA_PULL / prior.spread
                    rows.append(row)
        return np.array(rows).reshape(-1, len(self.start))

    def _centered(self) -> Floats:
        """Draws the mean of the GPUs' multipliers to 1, so that a GPU without its own is a usual one."""
        rows = np.zeros((len(self.gpu), len(self.start)))
        for offset, row in enumerate(rows):
            row[self.gpu_part][offset :: len(self.gpu)] = CENTER_PULL
            row[self.gpu_part][self.lone] = 0.0
        return rows / max(len(self.bench.gpus), 1)

    def columns_at_once(self) -> list[tuple[list[int], list[Bools]]]:
        """Parameters that touch different runs, to be moved together: their indices, and whose runs are whose."""
        bench, groups = self.bench, []
        for part, names, owner, factors in (
            (self.engine_part, bench.engines, bench.engine, self.engine),
            (self.gpu_part, bench.gpus, bench.gpu, self.gpu),
            (self.source_part, bench.sources, bench.source, self.slowness),
        ):
            for offset in range(len(factors)):
                indices = [part.start + i * len(factors) + offset for i in range(len(names))]
                groups.append((indices, [owner == i for i in range(len(names))]))
        everyone = np.ones(len(bench.runs), dtype=np.bool_)
        return [([index], [everyone]) for index in range(self.shared_part.stop)] + groups


class Misfit:
    """Residuals of a vector and how they change with it."""

    def __init__(self, bench: Bench, prior: Factors | None = None, without: frozenset[str] = frozenset()) -> None:
        self.search = Search(bench, prior, without)
        self.bench = bench
        weights = group_weights(bench.runs) * [STATIC_SHARE if run.kind == "static" else 1.0 for run in bench.runs]
        self.targets = {metric: measured(bench, metric) for metric in METRIC_WEIGHTS}
        self.known = {metric: ~np.isnan(target) for metric, target in self.targets.items()}
        self.weights = {metric: (weight * weights)[self.known[metric]] for metric, weight in METRIC_WEIGHTS.items()}

    def residuals(self, vector: Floats) -> Floats:
        """Weighted logarithms of predicted over measured, then the pulls."""
        return np.concatenate([self._weight() * self._errors(vector), self.search.pulls @ (vector - self.search.start)])

    def _weight(self) -> Floats:
        return np.concatenate([*self.weights.values()])

    def _errors(self, vector: Floats) -> Floats:
        solution = self.search.solution(vector)
        predicted = predict(self.bench, solution.shared, solution.engines, solution.gpus)
        slower = vector[self.search.source_part][self.bench.source]
        parts = []
        for metric, target in self.targets.items():
            known = self.known[metric]
            habit = -slower[known] if metric == "throughput" else slower[known]
            parts.append(robust(np.log(predicted.of(metric)[known] / target[known]) + habit))
        return np.concatenate(parts)

    def jacobian(self, vector: Floats) -> Floats:
        """Of the residuals."""
        return self.weighed(self.slopes(vector))

    def weighed(self, slopes: Floats) -> Floats:
        """The Jacobian, from the slopes of the errors."""
        return np.concatenate([self._weight()[:, None] * slopes, self.search.pulls])

    def slopes(self, vector: Floats) -> Floats:
        """Of each error by each parameter: finite differences, moving parameters that touch different runs at once."""
        here = self._errors(vector)
        slopes = np.zeros((len(here), len(vector)))
        for indices, owners in self.search.columns_at_once():
            moved = vector.copy()
            moved[indices] += DIFFERENCE
            slope = (self._errors(moved) - here) / DIFFERENCE
            for index, owner in zip(indices, owners, strict=True):
                mine = np.concatenate([owner[known] for known in self.known.values()])
                slopes[:, index] = np.where(mine, slope, 0.0)
        return slopes

    def inside(self, vector: Floats) -> Floats:
        """Within the bounds, as the optimizer wants it."""
        return np.clip(vector, self.search.low + EDGE, self.search.high - EDGE)


def robust(error: Floats) -> Floats:
    """What has the soft-L1 loss as its square: small errors as they are, large ones by their root."""
    scaled = np.sqrt(1 + (error / ROBUST_SCALE) ** 2)
    return np.asarray(ROBUST_SCALE * np.sign(error) * np.sqrt(2 * (scaled - 1)))


def fit(
    bench: Bench,
    start: Floats | None = None,
    evaluations: int = EVALUATIONS,
    prior: Factors | None = None,
    without: frozenset[str] = frozenset(),
) -> tuple[Solution, Floats]:
    """Factors that meet the runs best, and the vector behind them.

    Args:
        bench: the runs.
        start: a vector to begin from; None = the middle of what is plausible.
        evaluations: how often the optimizer may look.
        prior: fitted factors that stay as they are, but for GPUs' multipliers; None = nothing is known.
        without: GPUs whose kernels count as never measured.
    """
    misfit = Misfit(bench, prior, without)
    search = misfit.search
    found = least_squares(
        misfit.residuals,
        misfit.inside(search.start if start is None else start),
        jac=misfit.jacobian,
        bounds=(search.low, search.high),
        x_scale="jac",
        max_nfev=evaluations,
        ftol=1e-5,
    )
    return search.solution(found.x), found.x


class Refits:
    """Fits of parts of the runs, one step away from the fit of all.

    The slopes of a run's errors do not depend on which other runs are fitted, so those at the start are found once.
    """

    def __init__(self, bench: Bench, start: Floats) -> None:
        self.bench = bench
        whole = Misfit(bench)
        self.start = whole.inside(start)
        self.slopes = whole.slopes(self.start)
        self.known = [*whole.known.values()]

    def of(self, keep: Bools, lost: frozenset[str] = frozenset()) -> Solution:
        """Factors that some of the runs give.

        Args:
            keep: (runs,) which.
            lost: GPUs whose kernels count as never measured.
        """
        misfit = Misfit(select(self.bench, keep), without=lost)
        slopes = misfit.weighed(self.slopes[np.concatenate([keep[known] for known in self.known])])
        search = misfit.search
        found = least_squares(
            misfit.residuals,
            self.start,
            jac=lambda _: slopes,
            bounds=(search.low, search.high),
            x_scale="jac",
            max_nfev=REFIT_EVALUATIONS,
        )
        return search.solution(found.x)


def measured(bench: Bench, metric: str) -> Floats:
    """(runs,), NaN where a run has no such figure."""
    return np.array([run.measured.get(metric, np.nan) for run in bench.runs])


def group_weights(runs: Sequence[Run]) -> Floats:
    """Weights under which a group of source, GPU and model counts as one, small groups as less; their mean is 1."""
    groups = [(run.source, run.gpu, run.model) for run in runs]
    sizes = Counter(groups)
    weights = np.array([max(sizes[group], FEWEST_IN_GROUP) ** -0.5 for group in groups])
    return weights / weights.mean() if len(weights) else weights


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
    refits = Refits(bench, start)
    for out, keep in splits:
        lost = frozenset() if keep_gpus else lost_gpus(bench, out, keep)
        solution = refits.of(keep, lost)
        judged = solution if keep_gpus else solution.without_gpus()
        found = ratios(bench, judged) | heat_ratios(bench, judged, keep)
        for metric, values in found.items():
            ratio.setdefault(metric, np.full(len(bench.runs), np.nan))[out] = values[out]
    return ratio


def lost_gpus(bench: Bench, out: Bools, keep: Bools) -> frozenset[str]:
    """GPUs of which only the left-out runs are."""
    return frozenset(bench.gpus[i] for i in set(bench.gpu[out].tolist()) - set(bench.gpu[keep].tolist()))


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


def vendors_left_out(bench: Bench, start: Floats, judged: Sequence[Run]) -> Sample:
    """log(measured / predicted) of single requests' and static batches' times, under factors of one vendor alone.

    Fitted on the vendor with the most runs; all others' are predicted. Not the other way round: what the others
    measured are single requests and static batches of one engine.

    Args:
        bench: the runs that are fitted on.
        start: the vector of the fit on all of them.
        judged: runs that nothing is fitted on.
    """
    gpus = load_gpus()
    vendors = np.array([gpus[run.gpu].vendor for run in bench.runs])
    home = Counter(vendors.tolist()).most_common(1)[0][0]
    keep = vendors == home
    away = [run for run, use in zip(bench.runs, keep.tolist(), strict=True) if not use] + list(judged)
    if not away:
        return NOBODY
    solution = Refits(bench, start).of(keep, lost_gpus(bench, ~keep, keep)).without_gpus()
    strange, _ = build(away, find_measured_model, gpus, curves_only())
    found = ratios(strange, solution)
    took = np.where(np.isnan(found["request"]), found["static"], found["request"])
    names = np.array([gpus[run.gpu].vendor for run in strange.runs])
    return Sample(np.log(took[~np.isnan(took)]), names[~np.isnan(took)])


def only_sources(bench: Bench) -> dict[str, Floats]:
    """Ratios of runs of a kind that only their source measured, under factors that kernels and other kinds tell.

    Fitted from the priors on, for so much is left out that one step from the fit of all would not forget it.
    """
    told = np.zeros(len(bench.runs), dtype=np.bool_)
    for out, _ in by_source(bench.runs):
        told |= out
    ratio: dict[str, Floats] = {}
    for out, keep in by_group([run.source for run in bench.runs]):
        alone = out & ~told
        if alone.any() and keep.any():
            solution, _ = fit(select(bench, keep))
            for metric, values in ratios(bench, solution).items():
                ratio.setdefault(metric, np.full(len(bench.runs), np.nan))[alone] = values[alone]
    return ratio


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
    nothing |= {"measured": {"parts": [], "cells": {}}, "expert_kernels": expert_kernels()}
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
