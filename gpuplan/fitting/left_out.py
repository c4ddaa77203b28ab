"""How far off the fitted factors are: on what was fitted, and on models, GPUs and vendors that were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gpu_db.load import load_gpus
from gpuplan.fitting.bench import Bench, build, predict, select
from gpuplan.fitting.fit import CLOSED_WEIGHT, METRIC_WEIGHTS, Refits, Solution, curves_only, fit, measured
from gpuplan.fitting.intervals import (
    NOBODY,
    LeftOut,
    Mark,
    Sample,
    Split,
    by_group,
    by_source,
    crossed,
    even_folds,
    levels_when_left_out,
    setting_folds,
)
from gpuplan.fitting.power import fit_power, heat_of
from gpuplan.fitting.runs import Run
from gpuplan.fitting.shapes import find_measured_model, shape_name
from optimizer.performance.certainty import SHARED
from optimizer.replica_columns import Bools, Floats


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


def rounded(value: float) -> float:
    """Four digits: more are noise, and fewer make the file depend less on the machine that fitted it."""
    return float(f"{value:.4g}")


def rounded_all(values: Mapping[str, float]) -> dict[str, float]:
    """Each value with four digits."""
    return {name: rounded(value) for name, value in values.items()}


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
