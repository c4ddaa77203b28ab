"""Factors that measurements gave: efficiencies and overheads as data, with the certificate of their birth.

A factor is fitted by `gpuplan/fitting/serving.py` and read here; nobody writes one by hand. An engine that was never
measured takes the factors of the reference engine and says so through its calibration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from optimizer.errors import OptimizerError
from optimizer.performance.certainty import Measured, Spread
from optimizer.performance.collectives import Curve


class BadFactors(OptimizerError):
    """A factor file is missing something or holds what cannot be."""


@dataclass(frozen=True)
class Factors:
    """Everything fitted.

    Attributes:
        birth: samples, errors, sources, versions and date: what the file says about itself.
        shared: factors of all GPUs and engines, by name.
        engines: per engine, overheads in seconds and how it schedules.
        gpus: per GPU, multipliers of the shared memory and compute efficiency.
        vendors: vendors of whose GPUs some were measured.
        measured: what was measured, which tells how near a case is.
        errors: per level of nearness and metric, how measured / predicted scatters in runs that were left out.
        power: idle and load terms.
        curves: measured all-reduces by (gpu, engine, ranks).
        expert_kernels: per engine and kernel, how much faster its experts multiply than the shared efficiency says.
    """

    birth: Mapping[str, Any]
    shared: Mapping[str, float]
    engines: Mapping[str, Mapping[str, float]]
    gpus: Mapping[str, Mapping[str, float]]
    vendors: tuple[str, ...]
    measured: Measured
    errors: Mapping[str, Mapping[str, Spread]]
    power: Mapping[str, Any]
    curves: tuple[Curve, ...]
    expert_kernels: Mapping[str, Mapping[str, float]]

    def engine(self, name: str) -> Mapping[str, float]:
        """Factors of an engine, or of the reference engine when it was never measured."""
        return self.engines.get(name, self.engines[self.birth["reference_engine"]])

    def planning_ahead(self, name: str, steps: int) -> Factors:
        """With an engine whose host looks at its requests only every so many decode steps."""
        if steps == 1 or name not in self.engines:
            return self
        engine = self.engines[name]
        return replace(
            self, engines={**self.engines, name: {**engine, **{key: engine[key] / steps for key in PLANNED}}}
        )


PLANNED = ("step_seconds", "sequence_seconds")
"""What the host does once per look at its requests."""


def load_factors(path: Path | None = None) -> Factors:
    """Read fitted factors.

    Args:
        path: a folder with `serving.json` and `collectives.json`; None reads the bundled ones.

    Raises:
        BadFactors: a file is not there or is not what the fit writes.
    """
    return _bundled() if path is None else _read(path)


def bundled_folder() -> Path:
    """Where the factors that come with the program lie."""
    return Path(__file__).parent / "data"


@cache
def _bundled() -> Factors:
    with resources.as_file(resources.files("optimizer.performance") / "data") as folder:
        return _read(folder)


def _read(folder: Path) -> Factors:
    serving, curves = _json(folder / "serving.json"), _json(folder / "collectives.json")
    try:
        return from_records(serving, curves)
    except (KeyError, TypeError, ValueError) as wrong:
        raise BadFactors(
            f"The factors in {folder} are not readable ({wrong!r}); write them anew with `plan fit serving`."
        ) from wrong


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise BadFactors(f"No factors can be read from {path}: {wrong}.") from wrong


def from_records(serving: Mapping[str, Any], curves: list[dict[str, Any]]) -> Factors:
    """Factors from the parsed files."""
    return Factors(
        birth=serving["birth"],
        shared=serving["shared"],
        engines=serving["engines"],
        gpus=serving["gpus"],
        vendors=tuple(serving["vendors"]),
        measured=Measured(
            {gpu: frozenset(cells) for gpu, cells in serving["measured"]["cells"].items()},
            frozenset(serving["measured"]["parts"]),
        ),
        errors={
            level: {metric: _spread(serving["coverages"], factors) for metric, factors in each}
            for level, each in ((level, metrics.items()) for level, metrics in serving["errors"].items())
        },
        power=_power(serving["power"]),
        curves=tuple(Curve.from_record(record) for record in curves),
        expert_kernels=serving["expert_kernels"],
    )


def _spread(coverages: list[float], record: Any) -> Spread:
    """One list of factors for both sides, or one for each."""
    sides = [record["above"], record["below"]] if isinstance(record, Mapping) else [record]
    return Spread(tuple(coverages), *(tuple(map(float, side)) for side in sides))


POWER_TERMS = ("idle_share", "busy", "exponent")


def _power(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The terms of power, checked; before anything is fitted there are none."""
    if record and not all(0 <= float(record[name]) <= LARGEST_POWER_TERM for name in POWER_TERMS):
        raise ValueError(f"power terms lie between 0 and {LARGEST_POWER_TERM:g}")
    return record


LARGEST_POWER_TERM = 2.0
