"""Error bars from what the fit did not see: how measured / predicted scatters, by how near the case was.

Runs are left out five ways (some settings of a model on a GPU, a model, a GPU, both, a source), predicted by factors
fitted on the rest, and sorted by how near each was to that rest. Of each nearness the error bar is a quantile of
|log(measured / predicted)|, alike on both sides, all left-out runs pooled (conformal prediction by group: Dunn,
Wasserman and Ramdas 2022, arXiv:1809.07441; as no run was seen by the factors that predict it, the pooled quantile is
that of cross-conformal prediction: Vovk 2015, arXiv:1208.0806), times an allowance for the groups being few.

Of vendors that nobody measured, whole vendors tell: their runs under factors fitted on another vendor's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.model import ModelSpec
from gpuplan.fitting.bench import Bench
from gpuplan.fitting.runs import Run
from optimizer.performance.certainty import (
    FOREIGN,
    LEVELS,
    METRICS,
    NEITHER,
    SHARED,
    UNCALIBRATED,
    Measured,
    cell_name,
    names_of,
    parts_in_use,
    shape_name,
)
from optimizer.replica_columns import Bools, Floats

COVERAGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
TARGET = 0.9
"""The share of left-out runs that the allowance is set for."""

RATIO_OF_METRIC = {
    "tpot": ("tpot", "step"),
    "ttft": ("ttft",),
    "throughput": ("closed throughput", "throughput", "request"),
}
"""Whose left-out ratios bound a planned metric."""

TIMES_AS_THROUGHPUT = frozenset({"request"})
"""A single request's time is a throughput of one: twice the time is half of it."""


NOTHING = Measured({}, frozenset())


@dataclass(frozen=True)
class Mark:
    """What a run says was measured, in the words of `optimizer.performance.certainty`.

    `cell` is "" for a static batch: nobody serves like that, so it makes no case one that was measured.
    """

    gpu: str
    cell: str
    parts: frozenset[str]


def marks_of(bench: Bench, find: Callable[[str, str], ModelSpec]) -> list[Mark]:
    """One mark per run."""
    used = parts_in_use(bench.work, bench.sheet, np.arange(len(bench.runs)))
    parts = [names_of(row) for row in used]
    shapes = [shape_name(find(run.model, run.weights)) for run in bench.runs]
    return [
        Mark(run.gpu, "" if run.kind == "static" else cell_name(run.engine, shape, part), part)
        for run, shape, part in zip(bench.runs, shapes, parts, strict=True)
    ]


def measured_in(marks: Sequence[Mark], before: Measured = NOTHING) -> Measured:
    """All marks together, and what was measured before."""
    cells = {gpu: set(names) for gpu, names in before.cells.items()}
    for mark in marks:
        cells.setdefault(mark.gpu, set()).update({mark.cell} - {""})
    parts = before.parts.union(*(mark.parts for mark in marks))
    return Measured({gpu: frozenset(names) for gpu, names in cells.items()}, parts)


# ── leaving out ──────────────────────────────────────────────────────────────────────────────────────────────────────

Split = tuple[Bools, Bools]
"""Which runs are predicted, and on which the factors are fitted."""


def by_group(groups: Sequence[str]) -> list[Split]:
    """Each group left out once."""
    names = np.array(groups)
    return [(names == name, names != name) for name in sorted(set(groups))]


def by_source(runs: Sequence[Run]) -> list[Split]:
    """Each source left out once; predicted are its runs of kinds that other sources measured too.

    Nothing is learnt from leaving out the only closed loops that there are.
    """
    kinds = np.array([run.kind for run in runs])
    splits = by_group([run.source for run in runs])
    known = [(out & np.isin(kinds, kinds[keep]), keep) for out, keep in splits]
    return [(out, keep) for out, keep in known if out.any()]


def crossed(first: Sequence[int], second: Sequence[int]) -> list[Split]:
    """Each pair of folds: predicted are the runs in both, fitted on are those in neither."""
    one, other = np.array(first), np.array(second)
    pairs = [(i, j) for i in sorted(set(first)) for j in sorted(set(second))]
    splits = [((one == i) & (other == j), (one != i) & (other != j)) for i, j in pairs]
    return [(out, keep) for out, keep in splits if out.any() and keep.any()]


def setting_folds(runs: Sequence[Run], folds: int) -> list[str]:
    """Settings (source, GPU, model, layout, lengths) dealt out in turn: neighbours in batch size stay together."""
    settings = [
        (r.source, r.gpu, r.model, r.tensor_parallel, r.data_parallel, r.input_tokens, r.output_tokens) for r in runs
    ]
    fold = {setting: str(place % folds) for place, setting in enumerate(sorted(set(settings), key=repr))}
    return [fold[setting] for setting in settings]


def even_folds(groups: Sequence[str], weights: Sequence[float], folds: int) -> list[int]:
    """Whole groups dealt out so that the folds weigh about the same; the heaviest first."""
    total: dict[str, float] = {}
    for group, weight in zip(groups, weights, strict=True):
        total[group] = total.get(group, 0.0) + weight
    loads, fold = [0.0] * folds, {}
    for group in sorted(total, key=lambda name: (-total[name], name)):
        fold[group] = loads.index(min(loads))
        loads[fold[group]] += total[group]
    return [fold[group] for group in groups]


def levels_when_left_out(marks: Sequence[Mark], splits: Sequence[Split]) -> list[str]:
    """How near each run was to what its factors were fitted on; "" for a run that was never left out."""
    levels = [""] * len(marks)
    for out, keep in splits:
        known = measured_in([mark for mark, use in zip(marks, keep.tolist(), strict=True) if use])
        for place in np.flatnonzero(out).tolist():
            mark = marks[place]
            levels[place] = known.level(mark.gpu, mark.cell, mark.parts)
    return levels


# ── what was left out ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LeftOut:
    """One way of leaving out: measured / predicted by metric, how near each run was, and which runs err together."""

    ratios: Mapping[str, Floats]
    levels: Sequence[str]
    groups: Sequence[str]


@dataclass(frozen=True)
class Sample:
    """Log errors of one level and metric, and the group of each."""

    errors: Floats
    groups: np.ndarray[Any, np.dtype[np.str_]]


NOBODY = Sample(np.empty(0), np.empty(0, dtype=np.str_))


def sample_of(left_out: Sequence[LeftOut], level: str, metric: str) -> Sample:
    """All errors of one level and metric, however they were left out."""
    errors, groups = [np.empty(0)], [np.empty(0, dtype=np.str_)]
    for one in left_out:
        for values, names in _ratios(one, metric):
            use = ~np.isnan(values) & (np.array(one.levels) == level)
            errors.append(np.log(values[use]))
            groups.append(names[use])
    return Sample(np.concatenate(errors), np.concatenate(groups))


def _ratios(one: LeftOut, metric: str) -> Iterator[tuple[Floats, np.ndarray[Any, np.dtype[np.str_]]]]:
    for name in RATIO_OF_METRIC[metric]:
        if name not in one.ratios:  # nothing could be left out in this way
            continue
        values = one.ratios[name]
        yield (1 / values if name in TIMES_AS_THROUGHPUT else values), np.array(one.groups)


def reach_of(sample: Sample, coverage: float | Sequence[float]) -> Floats:
    """The |log error| below which this share of the sample lies."""
    errors = np.sort(np.abs(sample.errors))
    return np.asarray(np.interp(coverage, np.arange(1, len(errors) + 1) / len(errors), errors))


def without(sample: Sample, group: str) -> tuple[Sample, Sample]:
    """One group, and the rest."""
    out = sample.groups == group
    return Sample(sample.errors[out], sample.groups[out]), Sample(sample.errors[~out], sample.groups[~out])


def allowance_of(sample: Sample) -> float:
    """What the reach is multiplied with because groups are few: of k seen and one to come, that one may miss as well.

    So bars for 90% are where 90% + 10% / (k + 1) of the left-out runs lie: 92.5% of three groups', 90.5% of twenty's.

    >>> errors = np.arange(1, 1001) / 1000
    >>> round(allowance_of(Sample(errors, np.array(["a"] * 1000))), 3)
    1.056
    """
    groups = len(set(sample.groups.tolist()))
    within, beyond = reach_of(sample, (TARGET, TARGET + (1 - TARGET) / (groups + 1)))
    return float(beyond / within) if within else 1.0


def held_share(sample: Sample) -> float:
    """The share of runs inside error bars that were learnt, allowance included, without their group."""
    names = sorted(set(sample.groups.tolist()))
    inside = 0
    for name in names:
        left, rest = without(sample, name)
        if not len(rest.errors):
            return float("nan")
        inside += int((np.abs(left.errors) <= allowance_of(rest) * reach_of(rest, TARGET)).sum())
    return inside / len(sample.errors)


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────────────


def spreads(left_out: Sequence[LeftOut], vendors: Sample = NOBODY) -> dict[str, dict[str, Any]]:
    """By level and metric the factors of a `Spread` at COVERAGES; farther is never narrower, and NaN where unknown.

    Args:
        left_out: what each way of leaving out gave.
        vendors: log(measured / predicted) of the times of vendors that were left out whole, a group each.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for metric in METRICS:
        reach = np.zeros(len(COVERAGES))
        for level in NEAR:
            sample = sample_of(left_out, level, metric)
            if len(sample.errors):
                reach = np.maximum(reach, allowance_of(sample) * reach_of(sample, COVERAGES))
            found.setdefault(level, {})[metric] = _factors(reach if reach.any() else np.full(len(reach), np.nan))
    nearest = {metric: _uncalibrated(found, metric) for metric in METRICS}
    return found | {UNCALIBRATED: nearest, FOREIGN: foreign(vendors, nearest) if len(vendors.errors) else nearest}


NEAR = LEVELS[: LEVELS.index(UNCALIBRATED)]
"""Levels of which runs that were left out tell."""


def foreign(vendors: Sample, nearest: Mapping[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """Bars of a vendor nobody measured, each side on its own: some are several times slower and none twice as fast.

    The estimate stays the middle: two vendors that err differently tell of no common shift. How much slower decoding
    is says TPOT and throughput; TTFT scatters as it does elsewhere, and independently by that (logarithms add as
    squares). No side is narrower than that of what is merely uncalibrated.
    """
    slower, faster = (sides(vendors, end) for end in (1, -1))
    made = {}
    for metric, factors in nearest.items():
        meet = np.hypot if metric == "ttft" else np.maximum
        ends = (faster, slower) if metric == "throughput" else (slower, faster)
        above, below = (_factors(meet(np.log(factors), end)) for end in ends)
        made[metric] = {"above": above, "below": below}
    return made


def vendor_table(vendors: Sample) -> dict[str, dict[str, float]]:
    """By vendor that was left out whole: its runs, and measured / predicted of their times."""
    table = {}
    for name in sorted(set(vendors.groups.tolist())):
        errors = without(vendors, name)[0].errors
        low, middle, high = np.exp(np.quantile(errors, [0.05, 0.5, 0.95])).tolist()
        table[name] = {"runs": len(errors), "low": round(low, 2), "median": round(middle, 2), "high": round(high, 2)}
    return table


def sides(sample: Sample, end: int) -> Floats:
    """How far beyond 0 the central shares COVERAGES of the errors reach, above (end 1) or below (-1).

    Each group weighs the same, however many runs it has.

    >>> even = Sample(np.linspace(-1, 3, 4001), np.array(["a"] * 4001))
    >>> [round(float(sides(even, end)[COVERAGES.index(0.8)]), 2) for end in (1, -1)]
    [2.6, 0.6]
    """
    names, sizes = np.unique(sample.groups, return_counts=True)
    weights = 1 / sizes[np.searchsorted(names, sample.groups)]
    order = np.argsort(sample.errors, kind="stable")
    share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    reach = end * np.interp((1 + end * np.array(COVERAGES)) / 2, share, sample.errors[order])
    reach[0] = 0.0
    return np.asarray(reach.clip(min=0))


def _factors(reach: Floats) -> list[float]:
    factors = np.exp(reach - reach[0])  # the estimate itself is the middle
    return [float(f"{factor:.4g}") for factor in factors]


def _uncalibrated(found: Mapping[str, Mapping[str, list[float]]], metric: str) -> list[float]:
    """Twice as wide in logarithms as another GPU: hardware of a kind of which nothing tells how far off it is."""
    pairs = zip(found[SHARED][metric], found[NEITHER][metric], strict=True)
    return [float(f"{max(shared**2, neither):.4g}") for shared, neither in pairs]


def coverage_table(left_out: Sequence[LeftOut]) -> dict[str, dict[str, dict[str, float]]]:
    """By level and metric: runs, groups, the share that bars learnt without their group hold, and the bars' width."""
    made, table = spreads(left_out), {}
    for level in NEAR:
        table[level] = {
            metric: _coverage(sample_of(left_out, level, metric), made[level][metric][COVERAGES.index(TARGET)])
            for metric in METRICS
        }
    return table


def _coverage(sample: Sample, factor: float) -> dict[str, float]:
    """`held_percent` with the final bars, `held_left_out_percent` with bars that did not see the group."""
    if not len(sample.errors):
        return {"runs": 0}
    inside = float((np.abs(sample.errors) <= np.log(factor)).mean())
    row = {
        "runs": len(sample.errors),
        "groups": len(set(sample.groups.tolist())),
        "factor": round(factor, 3),
        "held_percent": round(100 * inside, 1),
    }
    outer = held_share(sample)
    return row if np.isnan(outer) else row | {"held_left_out_percent": round(100 * outer, 1)}
