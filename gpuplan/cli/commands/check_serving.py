"""`plan check serving`: predictions beside what running servers were measured at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import comparison, console
from gpuplan.cli.comparison import TABLE, Configs, Rows, over, table_of
from gpuplan.cli.options import PRINTING, Asked, asked_in, factor_folder, flag

if TYPE_CHECKING:
    from gpuplan.measuring.serving_report import ServingErrors, ServingReport

SUMMARY = "How far the performance model is from measured serving runs, metric by metric."
EXAMPLES = (
    "plan check serving measured.csv",
    "plan check serving measured.csv --configs ./configs --rows compared.csv --json",
)

File = Annotated[str, table_of("run")]
Fitted = Annotated[str | None, factor_folder(TABLE)]
Json = Annotated[bool, flag("--json", "One JSON object: errors as shares, 0.1 is 10 %", PRINTING)]

SHOWN_IDS = 4


def command(
    context: typer.Context,
    file: File,
    configs: Configs = None,
    factors: Fitted = None,
    rows: Rows = None,
    json: Json = False,
) -> int:
    """How far the performance model is from measured serving runs, metric by metric.

    Reads runs at a concurrency, of a static batch, of all requests at once or at a request rate; predicts each metric
    that a row has (TTFT, TPOT, tokens per second, time of a request, energy) with the interval of 9 in 10. Prints the
    error by metric, load, source, engine, GPU and model, and counts the rows that cannot be predicted, with the reason.

    Exit status: 0 compared, 2 bad input.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the comparison of the table that was named."""
    from gpuplan.measuring.serving_check import check_serving

    return comparison.show(check_serving(asked.file, asked.configs, asked.factors), asked, page)


def page(report: ServingReport, ink: console.Ink) -> list[console.Line]:
    """The comparison as tables."""
    title = f"{report.predicted:,} of {report.rows:,} measured runs predicted"
    lines = [*comparison.heading(report, title, ink), (), *errors(report)]
    return [*lines, *comparison.unpredicted(report, ink, SHOWN_IDS)]


def errors(report: ServingReport) -> list[console.Line]:
    """One line per metric and group."""
    header = console.header(["metric", "over", "rows", "median", "mean", "p90", "bias", "in interval"])
    shown = comparison.largest_groups(report.errors, lambda each: each.metric)
    return console.aligned([header, *map(_error_row, shown)], right=(2, 3, 4, 5, 6, 7))


def _error_row(each: ServingErrors) -> list[console.Part]:
    numbers = each.median, each.mean, each.p90, each.bias, each.coverage
    return [
        each.metric if each.grouped_by == "all" else "",
        over(each),
        f"{each.rows:,}",
        *(comparison.percent(value, 1) for value in numbers),
    ]
