"""How far predictions are from measurements: by part, and by family, engine and GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field

from gpuplan.measuring.tables import Row
from optimizer.requirements import Frozen

SHOWN_WORST = 5


class Deviation(Frozen):
    """One measured number beside its prediction.

    Attributes:
        part: the column.
        relative: (predicted - measured) / measured; None unless more than nothing was measured (a pool that did not fit
            is negative).
        settings_known: whether the row names its model, its GPU or total, TP and utilization itself.
    """

    row: str
    line: int
    part: str
    family: str
    engine: str
    gpu: str
    model: str
    measured: float
    predicted: float
    relative: float | None
    settings_known: bool


class ErrorSummary(Frozen):
    """Errors of one part over one group of rows.

    Attributes:
        grouped_by: "all", "settings known", "family", "engine" or "gpu"; `group` is its value.
        rows: with a measured and a predicted number.
        median, p90, worst: of |predicted - measured| / measured, over the rows where measured is above 0.
        bias: mean of (predicted - measured) / measured, over the rows whose error is at most 100 %.
        median_absolute, worst_absolute: of |predicted - measured|, in the part's unit.
        worst_row: id of the row of `worst`.
    """

    part: str
    grouped_by: str
    group: str
    rows: int
    median: float | None
    p90: float | None
    worst: float | None
    bias: float | None
    within_a_thousandth: float
    median_absolute: float
    worst_absolute: float
    worst_row: str


class Unpredicted(Frozen):
    """Rows that measured a part which is not predicted, for one reason."""

    part: str
    reason: str
    rows: int
    ids: tuple[str, ...]


class MemoryReport(Frozen):
    """A table of measurements beside predictions.

    Attributes:
        kind: "measured" for start-up logs, "truth" for what an engine's own code computed.
        rows: of the table.
        predicted: rows with at least one predicted part.
        problems: what was wrong with the file, one sentence each.
        errors: by part and group.
        unpredicted: by part and reason; part "row" for rows of which nothing is predicted.
        worst: the largest relative errors of each part.
        table_columns, table: the file's columns with the predicted ones, as text.
    """

    kind: Literal["measured", "truth"]
    rows: int
    predicted: int
    problems: tuple[str, ...]
    errors: tuple[ErrorSummary, ...]
    unpredicted: tuple[Unpredicted, ...]
    worst: tuple[Deviation, ...]
    table_columns: tuple[str, ...] = Field(exclude=True, repr=False)
    table: tuple[Row, ...] = Field(exclude=True, repr=False)

    def of(self, part: str, grouped_by: str = "all", group: str = "") -> ErrorSummary:
        """One line of `errors`.

        Raises:
            KeyError: no row of that group has both numbers.
        """
        for summary in self.errors:
            if (summary.part, summary.grouped_by, summary.group) == (part, grouped_by, group):
                return summary
        raise KeyError((part, grouped_by, group))


@dataclass(frozen=True)
class Missing:
    """A measured part of one row without prediction."""

    row: str
    part: str
    reason: str


Key = tuple[str, str, str]
Measured = TypeVar("Measured")


def grouped(
    deviations: Iterable[Measured],
    part: Callable[[Measured], str],
    groups: Callable[[Measured], Mapping[str, str | None]],
) -> Iterator[tuple[Key, list[Measured]]]:
    """Deviations by (part, kind of group, group): parts as they come, kinds as `groups` orders them, largest first.

    Args:
        deviations: what is grouped.
        part: of one.
        groups: of one: kind -> group; None where it belongs to no group of that kind.
    """
    members: dict[Key, list[Measured]] = defaultdict(list)
    parts, kinds = dict[str, int](), dict[str, int]()
    for each in deviations:
        parts.setdefault(part(each), len(parts))
        for kind, group in groups(each).items():
            kinds.setdefault(kind, len(kinds))
            if group is not None:
                members[part(each), kind, group].append(each)
    for key in sorted(members, key=lambda key: (parts[key[0]], kinds[key[1]], -len(members[key]), key[2])):
        yield key, members[key]


def summaries(deviations: Sequence[Deviation]) -> tuple[ErrorSummary, ...]:
    """Every part over all rows, over those whose settings are known, then by engine, family and GPU."""
    return tuple(_summary(*key, members) for key, members in grouped(deviations, lambda each: each.part, _groups))


def _groups(each: Deviation) -> dict[str, str | None]:
    named = {kind: getattr(each, kind) or "not stated" for kind in ("engine", "family", "gpu")}
    return {"all": "", "settings known": "" if each.settings_known else None, **named}


def _summary(part: str, grouped_by: str, group: str, members: Sequence[Deviation]) -> ErrorSummary:
    relative = np.array([each.relative for each in members if each.relative is not None])
    absolute = np.array([abs(each.predicted - each.measured) for each in members])
    size, some = np.abs(relative), relative.size > 0
    usual = relative[size <= 1]
    exact = [
        (each.relative is not None and abs(each.relative) <= 1e-3) or each.predicted == each.measured
        for each in members
    ]
    worst = max(members, key=lambda each: (abs(each.relative or 0), abs(each.predicted - each.measured)))
    return ErrorSummary(
        part=part,
        grouped_by=grouped_by,
        group=group,
        rows=len(members),
        median=float(np.median(size)) if some else None,
        p90=float(np.quantile(size, 0.9)) if some else None,
        worst=float(size.max()) if some else None,
        bias=float(usual.mean()) if usual.size else None,
        within_a_thousandth=float(np.mean(exact)),
        median_absolute=float(np.median(absolute)),
        worst_absolute=float(absolute.max()),
        worst_row=worst.row,
    )


def reasons(missing: Iterable[Missing]) -> tuple[Unpredicted, ...]:
    """Unpredicted parts counted by reason, the commonest first."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in missing:
        groups[each.part, each.reason].append(each.row)
    return tuple(
        Unpredicted(part=part, reason=reason, rows=len(ids), ids=tuple(ids))
        for (part, reason), ids in sorted(
            groups.items(), key=lambda item: (item[0][0] != "row", -len(item[1]), item[0])
        )
    )


def worst_of(deviations: Sequence[Deviation], shown: int = SHOWN_WORST) -> tuple[Deviation, ...]:
    """The largest relative errors of each part."""
    parts = dict.fromkeys(each.part for each in deviations)
    ordered = sorted(deviations, key=lambda each: -abs(each.relative or 0))
    return tuple(each for part in parts for each in [d for d in ordered if d.part == part][:shown])
