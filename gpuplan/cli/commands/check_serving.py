"""`plan check serving`: predictions beside what running servers were measured at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, factor_folder, flag, option

if TYPE_CHECKING:
    from gpuplan.measuring.serving_report import ServingErrors, ServingReport

SUMMARY = "How far the performance model is from measured serving runs, metric by metric."
EXAMPLES = (
    "plan check serving measured.csv",
    "plan check serving measured.csv --configs ./configs --rows compared.csv --json",
)
TABLE = "The table"

File = Annotated[str, argument("A CSV with one run per row; docs/measuring.md lists the columns", words.name, "FILE")]
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
Fitted = Annotated[str | None, factor_folder(TABLE)]
Rows = Annotated[
    str | None,
    option("--rows", "Write the rows with predictions beside them to this CSV", words.name, "FILE", PRINTING),
]
Json = Annotated[bool, flag("--json", "One JSON object: errors as shares, 0.1 is 10 %", PRINTING)]

SHOWN_GROUPS = 5
SHOWN_REASONS = 12
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
    from gpuplan.measuring.tables import write_table

    report = check_serving(asked.file, asked.configs, asked.factors)
    if asked.rows is not None:
        write_table(asked.rows, report.table_columns, report.table)
    if asked.json:
        console.show_json(report.model_dump_json(indent=2))
    else:
        console.show(page(report, console.screen()))
    return 0


def page(report: ServingReport, ink: console.Ink) -> list[console.Line]:
    """The comparison as tables."""
    title = f"{report.predicted:,} of {report.rows:,} measured runs predicted"
    lines: list[console.Line] = [(console.Styled(title, "bold"),)]
    for problem in report.problems:
        lines += console.wrapped(problem, ink.width, 2, "yellow", "! ")
    lines += [(), *errors(report)]
    if report.unpredicted:
        lines += [(), *unpredicted(report, ink)]
    return lines


def errors(report: ServingReport) -> list[console.Line]:
    """One line per metric and group."""
    rows = [console.header(["metric", "over", "rows", "median", "mean", "p90", "bias", "in interval"])]
    shown: dict[tuple[str, str], int] = {}
    for each in report.errors:
        key = each.metric, each.grouped_by
        shown[key] = shown.get(key, 0) + 1
        if shown[key] <= SHOWN_GROUPS:
            rows.append(_error_row(each))
    return console.aligned(rows, right=(2, 3, 4, 5, 6, 7))


def _error_row(each: ServingErrors) -> list[console.Part]:
    whole = each.grouped_by == "all"
    return [
        each.metric if whole else "",
        "all rows" if whole else f"{each.grouped_by} {each.group}".strip(),
        f"{each.rows:,}",
        *(_percent(value) for value in (each.median, each.mean, each.p90, each.bias, each.coverage)),
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:,.1f} %"


def unpredicted(report: ServingReport, ink: console.Ink) -> list[console.Line]:
    """Why rows, or metrics of them, are not predicted."""
    lines: list[console.Line] = [(console.Styled("Not predicted", "bold"),)]
    for each in report.unpredicted[:SHOWN_REASONS]:
        ids = ", ".join(each.ids[:SHOWN_IDS]) + (", ..." if len(each.ids) > SHOWN_IDS else "")
        what = "rows" if each.part == "row" else each.part
        lines += console.wrapped(f"{each.rows} {what}: {each.reason} ({ids})", ink.width, 2)
    left = len(report.unpredicted) - SHOWN_REASONS
    return [*lines, (f"  and {left} more reasons; --json lists all",)] if left > 0 else lines
