"""What `plan check memory` and `plan check serving` print alike: errors by group, and the rows without prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, config_folder, option

if TYPE_CHECKING:
    from gpuplan.measuring.report import ErrorSummary, MemoryReport
    from gpuplan.measuring.serving_report import ServingErrors, ServingReport

TABLE = "The table"
Configs = Annotated[str | None, config_folder(TABLE)]
Rows = Annotated[
    str | None,
    option("--rows", "Write the rows with predictions beside them to this CSV", words.name, "FILE", PRINTING),
]

SHOWN_GROUPS = 5
SHOWN_REASONS = 12


def table_of(what: str) -> object:
    """The file that is compared, with one `what` per row."""
    return argument(f"A CSV with one {what} per row; docs/measuring.md lists the columns", words.name, "FILE")


Report = TypeVar("Report", "MemoryReport", "ServingReport")
Errors = TypeVar("Errors", "ErrorSummary", "ServingErrors")


def show(report: Report, asked: Asked, page: Callable[[Report, console.Ink], Sequence[console.Line]]) -> int:
    """Write the rows where asked, print the comparison, and give the exit status."""
    from gpuplan.measuring.tables import write_table

    if asked.rows is not None:
        write_table(asked.rows, report.table_columns, report.table)
    console.show_answer(report, lambda ink: page(report, ink), as_json=asked.json)
    return 0


def heading(report: MemoryReport | ServingReport, title: str, ink: console.Ink) -> list[console.Line]:
    """The title and what was wrong with the file."""
    lines: list[console.Line] = [(console.Styled(title, "bold"),)]
    for problem in report.problems:
        lines += console.wrapped(problem, ink.width, 2, "yellow", "! ")
    return lines


def largest_groups(errors: Iterable[Errors], name: Callable[[Errors], str]) -> Iterator[Errors]:
    """The first groups of each part and kind: reports name the largest first."""
    shown: Counter[tuple[str, str]] = Counter()
    for each in errors:
        key = name(each), each.grouped_by
        shown[key] += 1
        if shown[key] <= SHOWN_GROUPS:
            yield each


def over(each: ErrorSummary | ServingErrors) -> str:
    """Which rows one line of errors is about."""
    return "all rows" if each.grouped_by == "all" else f"{each.grouped_by} {each.group}".strip()


def percent(share: float | None, digits: int) -> str:
    """A share in percent, nothing where there is none.

    >>> percent(0.02161, 2), percent(None, 2)
    ('2.16 %', '')
    """
    return "" if share is None else f"{100 * share:,.{digits}f} %"


def unpredicted(report: MemoryReport | ServingReport, ink: console.Ink, ids_shown: int) -> list[console.Line]:
    """Why rows, or parts of them, are not predicted; nothing where all are."""
    if not report.unpredicted:
        return []
    lines: list[console.Line] = [(), (console.Styled("Not predicted", "bold"),)]
    for each in report.unpredicted[:SHOWN_REASONS]:
        ids = ", ".join(each.ids[:ids_shown]) + (", ..." if len(each.ids) > ids_shown else "")
        what = "rows" if each.part == "row" else each.part
        lines += console.wrapped(f"{each.rows} {what}: {each.reason} ({ids})", ink.width, 2)
    left = len(report.unpredicted) - SHOWN_REASONS
    return [*lines, (f"  and {left} more reasons; --json lists all",)] if left > 0 else lines
