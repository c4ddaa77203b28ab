"""`plan check memory`: predictions beside what servers measured when they started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, flag, option

if TYPE_CHECKING:
    from gpuplan.measuring.report import ErrorSummary, MemoryReport

SUMMARY = "How far the memory model is from measured starts of servers, part by part."
EXAMPLES = (
    "plan check memory measured.csv",
    "plan check memory measured.csv --configs ./configs --rows compared.csv --json",
)
TABLE = "The table"

File = Annotated[str, argument("A CSV with one start per row; docs/measuring.md lists the columns", words.name, "FILE")]
Configs = Annotated[
    str | None,
    option(
        "--configs",
        "A folder of folders owner--name with a config.json, for models that are not bundled",
        words.name,
        "DIR",
        TABLE,
    ),
]
Rows = Annotated[
    str | None,
    option("--rows", "Write the rows with predictions beside them to this CSV", words.name, "FILE", PRINTING),
]
Json = Annotated[bool, flag("--json", "One JSON object: errors as shares, 0.02 is 2 %", PRINTING)]

SHOWN_GROUPS = 5
SHOWN_REASONS = 12
SHOWN_IDS = 6


def command(context: typer.Context, file: File, configs: Configs = None, rows: Rows = None, json: Json = False) -> int:
    """How far the memory model is from measured starts of servers, part by part.

    Reads start-up logs (GiB of weights, activation, non-torch, KV cache and CUDA graphs, KV tokens) or what an engine's
    own code computed (weight bytes of a rank, KV bytes per token, capacity of a pool); the columns tell which. Prints
    the error by part, engine, model family and GPU, and counts the rows that cannot be predicted, with the reason.

    Exit status: 0 compared, 2 bad input.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the comparison of the table that was named."""
    from gpuplan.measuring.memory_check import check_memory
    from gpuplan.measuring.tables import write_table

    report = check_memory(asked.file, asked.configs)
    if asked.rows is not None:
        write_table(asked.rows, report.table_columns, report.table)
    if asked.json:
        console.show_json(report.model_dump_json(indent=2))
    else:
        console.show(page(report, console.screen()))
    return 0


def page(report: MemoryReport, ink: console.Ink) -> list[console.Line]:
    """The comparison as tables."""
    what = "measured starts" if report.kind == "measured" else "rows of an engine's own arithmetic"
    lines: list[console.Line] = [(console.Styled(f"{report.predicted} of {report.rows} {what} predicted", "bold"),)]
    for problem in report.problems:
        lines += console.wrapped(problem, ink.width, 2, "yellow", "! ")
    lines += [(), *errors(report)]
    if report.worst:
        lines += [(), *worst(report)]
    if report.unpredicted:
        lines += [(), *unpredicted(report, ink)]
    return lines


def errors(report: MemoryReport) -> list[console.Line]:
    """One line per part and group."""
    names = ["part", "over", "rows", "median", "p90", "worst", "bias", "within 0.1 %", "median in its unit"]
    rows = [console.header(names)]
    shown: dict[tuple[str, str], int] = {}
    for each in report.errors:
        key = each.part, each.grouped_by
        shown[key] = shown.get(key, 0) + 1
        if shown[key] <= SHOWN_GROUPS:
            rows.append(_error_row(each))
    return console.aligned(rows, right=(2, 3, 4, 5, 6, 7, 8))


def _error_row(each: ErrorSummary) -> list[console.Part]:
    whole = each.grouped_by == "all"
    over = "all rows" if whole else f"{each.grouped_by} {each.group}".strip()
    return [
        each.part if whole else "",
        over,
        f"{each.rows:,}",
        *(_percent(value) for value in (each.median, each.p90, each.worst, each.bias, each.within_a_thousandth)),
        f"{each.median_absolute:,.4g}",
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:,.2f} %"


def worst(report: MemoryReport) -> list[console.Line]:
    """The rows that are furthest off."""
    rows = [console.header(["furthest off", "row", "model", "measured", "predicted", "error"])]
    for each in report.worst:
        if each.relative:
            numbers = [f"{each.measured:,.6g}", f"{each.predicted:,.6g}", _percent(each.relative)]
            rows.append([each.part, each.row, each.model[:40], *numbers])
    return console.aligned(rows, right=(3, 4, 5)) if len(rows) > 1 else []


def unpredicted(report: MemoryReport, ink: console.Ink) -> list[console.Line]:
    """Why rows, or parts of them, are not predicted."""
    lines: list[console.Line] = [(console.Styled("Not predicted", "bold"),)]
    for each in report.unpredicted[:SHOWN_REASONS]:
        ids = ", ".join(each.ids[:SHOWN_IDS]) + (", ..." if len(each.ids) > SHOWN_IDS else "")
        what = "rows" if each.part == "row" else each.part
        lines += console.wrapped(f"{each.rows} {what}: {each.reason} ({ids})", ink.width, 2)
    left = len(report.unpredicted) - SHOWN_REASONS
    return [*lines, (f"  and {left} more reasons; --json lists all",)] if left > 0 else lines
