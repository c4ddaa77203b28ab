"""The two terms of a GPU's power, from measured steady states; and how far energy per token is off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares  # type: ignore[import-untyped]

from gpu_db.gpu import Gpu
from gpuplan.fitting.bench import Bench, multipliers, overheads_of, serve
from optimizer.performance.power import busy_share, flop_share
from optimizer.replica_columns import Bools, Floats

TERMS = {"busy": (0.9, 0.05, 1.5), "exponent": (0.1, 0.001, 1.0)}
"""Where the search starts, and between what it stays."""

ROBUST_SCALE = 0.1
QUANTILES = (0.05, 0.95)


@dataclass(frozen=True)
class Heat:
    """What the bench's runs say about power; every array (runs,), NaN where it is not known.

    Attributes:
        flop_share: of the peak, at the pace of the run's source.
        idle, limit: watts of all GPUs of the run.
        watts: measured.
        joules_per_token: measured, per output token.
        output_tokens_per_second: predicted, at the pace of the run's source.
    """

    flop_share: Floats
    idle: Floats
    limit: Floats
    watts: Floats
    joules_per_token: Floats
    output_tokens_per_second: Floats

    def predicted(self, terms: Mapping[str, float]) -> Floats:
        """Watts by the power law, in the range that the GPUs can draw."""
        return self.idle + (self.limit - self.idle) * np.minimum(busy_share(self.flop_share, terms), 1.0)

    def ratios(self, terms: Mapping[str, float]) -> dict[str, Floats]:
        """Measured over predicted watts, and joules per output token."""
        watts = self.predicted(terms)
        return {
            "watts": self.watts / watts,
            "energy": self.joules_per_token * self.output_tokens_per_second / watts,
        }


def heat_of(
    bench: Bench,
    shared: Mapping[str, float],
    engines: Mapping[str, Mapping[str, float]],
    gpus: Mapping[str, Mapping[str, float]],
    sources: Mapping[str, float],
    known: Mapping[str, Gpu],
) -> Heat:
    """The bench's runs under fitted factors.

    Args:
        bench: the runs.
        shared, engines, gpus: as `predict` takes them.
        sources: how much slower each source's runs are; 1 for one that is missing.
        known: GPUs by name.
    """
    run = serve(bench, shared, overheads_of(bench, engines), multipliers(bench, gpus))
    share = flop_share(bench.work, bench.sheet, run, bench.batch, bench.input_tokens, bench.output_tokens)[:, 0]
    requests = (bench.batch * bench.work.data_parallel[:, None] / run.cycle_seconds)[:, 0]
    slower = np.array([sources.get(name, 1.0) for name in bench.sources])[bench.source]
    count = np.array([r.gpus for r in bench.runs])
    return Heat(
        flop_share=share / slower,
        idle=count * np.array([known[r.gpu].idle_watts or np.nan for r in bench.runs]),
        limit=count * np.array([known[r.gpu].power_watts or np.nan for r in bench.runs]),
        watts=np.array([r.watts or np.nan for r in bench.runs]),
        joules_per_token=np.array([r.measured.get("energy", np.nan) for r in bench.runs]),
        output_tokens_per_second=requests * bench.output_tokens[:, 0] / slower,
    )


def fit_power(bench: Bench, heat: Heat, use: Bools | None = None) -> dict[str, float]:
    """The terms with the least robust error of the logarithm of watts; groups of GPU and model weigh alike.

    Args:
        bench: the runs.
        heat: of the same runs.
        use: the runs to fit on; None = all whose watts are measured.

    Returns:
        The terms; of runs without watts, where the search starts.
    """
    chosen = ~np.isnan(heat.watts + heat.limit + heat.idle) & (True if use is None else use)
    start, low, high = np.array(list(TERMS.values())).T
    if not chosen.any():
        return dict(zip(TERMS, start.tolist(), strict=True))
    weights = _weights(bench, chosen)

    def misfit(values: Floats) -> Floats:
        terms = dict(zip(TERMS, values.tolist(), strict=True))
        return np.asarray(weights * np.log(heat.predicted(terms)[chosen] / heat.watts[chosen]))

    found = least_squares(misfit, start, bounds=(low, high), loss="soft_l1", f_scale=ROBUST_SCALE)
    return dict(zip(TERMS, (float(f"{value:.4g}") for value in found.x), strict=True))


def _weights(bench: Bench, chosen: Bools) -> Floats:
    groups = [(run.gpu, run.model) for run, use in zip(bench.runs, chosen, strict=True) if use]
    sizes = Counter(groups)
    return np.array([sizes[group] ** -0.5 for group in groups])


def power_record(
    bench: Bench, heat: Heat, left_out: Sequence[Mapping[str, Floats]], known: Mapping[str, Gpu]
) -> dict[str, Any]:
    """What serving.json says about power: terms, samples, and the factors between which 90% lie.

    Args:
        bench, heat: the runs.
        left_out: ratios of runs under factors that were fitted without them; when empty, the bounds are in sample.
        known: GPUs by name, whose mean idle share stands in where the idle power of one is not known.
    """
    terms = fit_power(bench, heat)
    ratios = heat.ratios(terms)
    shares = [gpu.idle_watts / gpu.power_watts for gpu in known.values() if gpu.idle_watts and gpu.power_watts]
    record = {"idle_share": float(f"{np.mean(shares):.4g}"), **terms}
    measured = ~np.isnan(ratios["watts"])
    if not measured.any():
        return record | {"samples": 0}
    runs = [run for run, use in zip(bench.runs, measured, strict=True) if use]
    return record | {
        "samples": len(runs),
        "bounds": _bounds([each["watts"] for each in left_out or (ratios,)]),
        "energy_bounds": _bounds([each["energy"] for each in left_out or (ratios,)]),
        "gpus": sorted({run.gpu for run in runs}),
        "sources": sorted({run.source for run in runs}),
    }


def _bounds(several: list[Floats]) -> list[float]:
    values = np.concatenate([ratio[~np.isnan(ratio)] for ratio in several])
    return [float(f"{bound:.4g}") for bound in np.quantile(values, QUANTILES)] if len(values) else [np.nan, np.nan]
