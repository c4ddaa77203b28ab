"""How far serving predictions are from measurements: by metric, and by source, load, engine, GPU and model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from gpuplan.measuring.report import Key, Unpredicted, grouped
from gpuplan.measuring.tables import Row
from optimizer.requirements import Frozen

SHOWN_WORST = 5
GROUPINGS = ("all", "load", "source", "engine", "gpu", "model", "calibration")


class ServingDeviation(Frozen):
    """One measured number beside its prediction.

    Attributes:
        relative: (predicted - measured) / measured.
        inside: whether the interval holds the measurement; None when there is no interval.
    """

    row: str
    line: int
    metric: str
    source: str
    load: str
    engine: str
    gpu: str
    model: str
    calibration: str
    measured: float
    predicted: float
    relative: float
    inside: bool | None


class ServingErrors(Frozen):
    """Errors of one metric over one group of rows.

    Attributes:
        grouped_by: one of GROUPINGS; `group` is its value.
        rows: with a measured and a predicted number.
        median, mean, p90: of |predicted - measured| / measured.
        bias: median of (predicted - measured) / measured.
        coverage: share of the measurements that lie in their 90% interval; None when none has one.
    """

    metric: str
    statistic: str
    grouped_by: str
    group: str
    rows: int
    median: float
    mean: float
    p90: float
    bias: float
    coverage: float | None


class ServingReport(Frozen):
    """A table of measured runs beside predictions.

    Attributes:
        rows: of the table.
        predicted: rows with at least one metric that is measured and predicted.
        problems: what was wrong with the file, one sentence each.
        errors: by metric and group.
        unpredicted: by metric and reason; part "row" for rows of which nothing is predicted.
        worst: the largest errors of each metric.
        table_columns, table: the file's columns with the predicted ones, as text.
    """

    rows: int
    predicted: int
    problems: tuple[str, ...]
    errors: tuple[ServingErrors, ...]
    unpredicted: tuple[Unpredicted, ...]
    worst: tuple[ServingDeviation, ...]
    table_columns: tuple[str, ...] = Field(exclude=True, repr=False)
    table: tuple[Row, ...] = Field(exclude=True, repr=False)

    def of(self, metric: str, grouped_by: str = "all", group: str = "") -> ServingErrors:
        """One line of `errors`.

        Raises:
            KeyError: no row of that group has both numbers.
        """
        for each in self.errors:
            if (each.metric, each.grouped_by, each.group) == (metric, grouped_by, group):
                return each
        raise KeyError((metric, grouped_by, group))


def summaries(deviations: Sequence[ServingDeviation], statistic: dict[str, str]) -> tuple[ServingErrors, ...]:
    """Every metric over all rows, then by load, source, engine, GPU, model and calibration."""
    by_group = grouped(deviations, lambda each: each.metric, _groups)
    return tuple(_summary(key, members, statistic[key[0]]) for key, members in by_group)


def _groups(each: ServingDeviation) -> dict[str, str | None]:
    return {"all": "", **{kind: getattr(each, kind) for kind in GROUPINGS[1:]}}


def _summary(key: Key, members: Sequence[ServingDeviation], statistic: str) -> ServingErrors:
    relative = np.array([each.relative for each in members])
    size = np.abs(relative)
    inside = [each.inside for each in members if each.inside is not None]
    return ServingErrors(
        metric=key[0],
        statistic=statistic,
        grouped_by=key[1],
        group=key[2],
        rows=len(members),
        median=float(np.median(size)),
        mean=float(size.mean()),
        p90=float(np.quantile(size, 0.9)),
        bias=float(np.median(relative)),
        coverage=float(np.mean(inside)) if inside else None,
    )


def worst_of(deviations: Sequence[ServingDeviation], shown: int = SHOWN_WORST) -> tuple[ServingDeviation, ...]:
    """The largest errors of each metric, as factors: twice too fast and twice too slow are alike."""
    metrics = dict.fromkeys(each.metric for each in deviations)
    ordered = sorted(deviations, key=lambda each: -abs(np.log(each.predicted / each.measured)))
    return tuple(each for metric in metrics for each in [d for d in ordered if d.metric == metric][:shown])
