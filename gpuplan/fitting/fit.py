"""The fit itself: factors as a vector, what pulls them, and the least distance from measurements."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares  # type: ignore[import-untyped]

from gpu_db.load import load_gpus
from gpuplan.fitting.bench import Bench, predict, select
from gpuplan.fitting.priors import (
    engine_priors,
    expert_kernels,
    gpu_priors,
    matmul_shares,
    shared_priors,
    source_priors,
)
from gpuplan.fitting.runs import Run
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
LATER_ERA = {"vllm sync": "vllm", "vllm V0": "vllm sync", "tensorrt-llm C++": "tensorrt-llm"}
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
        for era, kin in LATER_ERA.items():
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


CLOSED_WEIGHT = 1000.0
"""GPUs and models with closed loops are spread over the folds first: only they tell TTFT and TPOT."""


def curves_only() -> Factors:
    """The measured collectives, before anything else is fitted."""
    folder = Path(__file__).parents[2] / "optimizer" / "performance" / "data"
    curves = json.loads((folder / "collectives.json").read_text(encoding="utf-8"))
    nothing: dict[str, Any] = {"birth": {"network": NETWORK}, "vendors": [], "errors": {}, "coverages": []}
    nothing |= {"measured": {"parts": [], "cells": {}}, "expert_kernels": expert_kernels()}
    return from_records(nothing | {"shared": {}, "engines": {}, "gpus": {}, "power": {}}, curves)
