"""`plan check memory`: predictions beside what servers measured when they started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import comparison, console
from gpuplan.cli.comparison import Configs, Rows, over, table_of
from gpuplan.cli.options import PRINTING, Asked, asked_in, flag

if TYPE_CHECKING:
    from gpuplan.measuring.report import ErrorSummary, MemoryReport

SUMMARY = "How far the memory model is from measured starts of servers, part by part."
EXAMPLES = (
    "plan check memory measured.csv",
    "plan check memory measured.csv --configs ./configs --rows compared.csv --json",
)

File = Annotated[str, table_of("start")]
Json = Annotated[bool, flag("--json", "One JSON object: errors as shares, 0.02 is 2 %", PRINTING)]

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

    return comparison.show(check_memory(asked.file, asked.configs), asked, page)


def page(report: MemoryReport, ink: console.Ink) -> list[console.Line]:
    """The comparison as tables."""
    what = "measured starts" if report.kind == "measured" else "rows of an engine's own arithmetic"
    lines = comparison.heading(report, f"{report.predicted} of {report.rows} {what} predicted", ink)
    lines += [(), *errors(report)]
    if report.worst:
        lines += [(), *worst(report)]
    return [*lines, *comparison.unpredicted(report, ink, SHOWN_IDS)]


def errors(report: MemoryReport) -> list[console.Line]:
    """One line per part and group."""
    names = ["part", "over", "rows", "median", "p90", "worst", "bias", "within 0.1 %", "median in its unit"]
    shown = comparison.largest_groups(report.errors, lambda each: each.part)
    return console.aligned([console.header(names), *map(_error_row, shown)], right=(2, 3, 4, 5, 6, 7, 8))


def _error_row(each: ErrorSummary) -> list[console.Part]:
    return [
        each.part if each.grouped_by == "all" else "",
        over(each),
        f"{each.rows:,}",
        *(_percent(value) for value in (each.median, each.p90, each.worst, each.bias, each.within_a_thousandth)),
        f"{each.median_absolute:,.4g}",
    ]


def _percent(share: float | None) -> str:
    return comparison.percent(share, 2)


def worst(report: MemoryReport) -> list[console.Line]:
    """The rows that are furthest off."""
    rows = [console.header(["furthest off", "row", "model", "measured", "predicted", "error"])]
    for each in report.worst:
        if each.relative:
            numbers = [f"{each.measured:,.6g}", f"{each.predicted:,.6g}", _percent(each.relative)]
            rows.append([each.part, each.row, each.model[:40], *numbers])
    return console.aligned(rows, right=(3, 4, 5)) if len(rows) > 1 else []
