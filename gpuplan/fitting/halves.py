"""Half of the labs teach and the other half judges: what the factors and their bars are worth on models nobody saw.

    python -m gpuplan.fitting.halves measured.csv --out gpuplan/fitting

Leaving out one lab at a time still fits on all others, and bars are learnt from all that was left out. Here everything
(factors, levels of nearness, bars) comes from one half, and only the other half is counted: halves of labs, of GPUs and
of sources, dealt out at random. What stays as it is, is the structure: terms, priors, pulls.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from gpu_db.load import load_gpus
from gpuplan.fitting.bench import Bench, build, select
from gpuplan.fitting.fit import CLOSED_WEIGHT, curves_only, fit
from gpuplan.fitting.intervals import COVERAGES, RATIO_OF_METRIC, TARGET, Mark, levels_when_left_out, marks_of, spreads
from gpuplan.fitting.left_out import error_table, leave_out, lost_gpus, ratios
from gpuplan.fitting.runs import Run, read_runs, to_fit
from gpuplan.fitting.shapes import find_measured_model, shape_name
from optimizer.performance.certainty import METRICS
from optimizer.replica_columns import Bools, Floats

SEEDS = 3
WAYS: Mapping[str, Callable[[Run], str]] = {
    "labs": lambda run: shape_name(run.model).split("/")[0],
    "GPUs": lambda run: run.gpu,
    "sources": lambda run: run.source,
}
"""What is halved, and which of them a run is of."""


def dealt(groups: Sequence[str], weights: Sequence[float], seed: int) -> Bools:
    """One of two halves of about the same weight, whole groups in random order to the lighter one.

    >>> dealt(["a", "b", "c", "a"], [1.0, 1.0, 2.0, 1.0], 0).tolist()
    [False, False, True, False]
    """
    names = sorted(set(groups))
    Random(seed).shuffle(names)
    total = {name: sum(w for g, w in zip(groups, weights, strict=True) if g == name) for name in names}
    loads, second = [0.0, 0.0], set()
    for name in names:
        half = int(loads[1] < loads[0])
        loads[half] += total[name]
        second |= {name} if half else set()
    return np.array([group in second for group in groups])


class Judged:
    """Runs of one half under factors and bars of the other: measured / predicted, and whether it lies in its bar."""

    def __init__(self, bench: Bench, marks: Sequence[Mark], keep: Bools) -> None:
        half = select(bench, keep)
        solution, vector = fit(half, without=lost_gpus(bench, ~keep, keep))
        left_out = leave_out(half, vector, [mark for mark, use in zip(marks, keep.tolist(), strict=True) if use])
        kinds = np.array([run.kind for run in bench.runs])
        self.out = ~keep & np.isin(kinds, kinds[keep])
        self.ratios = {name: np.where(self.out, values, np.nan) for name, values in ratios(bench, solution).items()}
        levels = levels_when_left_out(marks, [(self.out, keep)])
        bars = spreads([*left_out.values()])
        place = COVERAGES.index(TARGET)
        self.reach = {m: np.log([bars[level][m][place] if level else np.nan for level in levels]) for m in METRICS}

    def held(self, metric: str) -> Floats:
        """1 or 0 of each judged figure of a planned metric that has a bar."""
        inside = []
        for name in RATIO_OF_METRIC[metric]:
            known = ~np.isnan(self.ratios[name]) & ~np.isnan(self.reach[metric])
            inside.append(np.abs(np.log(self.ratios[name][known])) <= self.reach[metric][known])
        return np.concatenate(inside).astype(np.float64)


def table(bench: Bench, seeds: int = SEEDS) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """By what was halved: errors by metric over all judged runs, and the share that bars of 90% held.

    `least_percent` is of the half in which the fewest were held.
    """
    marks = marks_of(bench, find_measured_model)
    return {way: _summary([*_judged(bench, marks, way, seeds)]) for way in WAYS}


def _judged(bench: Bench, marks: Sequence[Mark], way: str, seeds: int) -> list[Judged]:
    groups = [WAYS[way](run) for run in bench.runs]
    weights = [CLOSED_WEIGHT if run.kind in ("closed", "step") else 1.0 for run in bench.runs]
    halves = [dealt(groups, weights, seed) for seed in range(seeds)]
    return [Judged(bench, marks, keep) for half in halves for keep in (half, ~half) if keep.any() and not keep.all()]


def _summary(judged: Sequence[Judged]) -> dict[str, dict[str, dict[str, float]]]:
    names = judged[0].ratios if judged else ()
    errors = error_table({name: np.concatenate([each.ratios[name] for each in judged]) for name in names})
    held = {metric: _held([each.held(metric) for each in judged]) for metric in METRICS}
    return {"errors": errors, "held": {metric: cell for metric, cell in held.items() if cell}}


def _held(halves: Sequence[Floats]) -> dict[str, float]:
    some = [half for half in halves if len(half)]
    if not some:
        return {}
    every = np.concatenate(some)
    least = min(float(half.mean()) for half in some)
    return {
        "figures": len(every),
        "held_percent": round(100 * float(every.mean()), 1),
        "least_percent": round(100 * least, 1),
    }


def main() -> None:
    """Write halves.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    runs: list[Run] = to_fit(read_runs(arguments.csv)[0])
    bench, _ = build(runs, find_measured_model, load_gpus(), curves_only())
    found: Mapping[str, Any] = {"seeds": arguments.seeds, "ways": table(bench, arguments.seeds)}
    (arguments.out / "halves.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
