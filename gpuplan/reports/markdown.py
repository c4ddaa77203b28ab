"""A report as Markdown (GitHub's), its charts as pictures beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpuplan.cli.console import clean
from gpuplan.reports.document import Chart, Column, Report, Section, Table
from gpuplan.reports.words import said

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")
_NUMBERS = frozenset({"usd", "usd_per_hour", "share", "count", "quantity", "duration", "signed_usd"})


def markdown(report: Report, pictures: str) -> str:
    """The whole report; chart `name` is at `pictures/name.png`.

    Args:
        report: what is said.
        pictures: the folder of the charts, as a link from the report.
    """
    lines = [f"# {escaped(report.title)}", "", escaped(report.subtitle), ""]
    for section in report.sections:
        lines += _section(section, pictures)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, pictures: str) -> Iterator[str]:
    yield from (f"## {escaped(section.title)}", "")
    for paragraph in section.paragraphs:
        yield from (escaped(paragraph), "")
    for chart in section.charts:
        yield from (_picture(chart, pictures), "")
    for table in section.tables:
        yield from _table(table)


def _picture(chart: Chart, pictures: str) -> str:
    return f"![{escaped(chart.table.title)}. {escaped(chart.says)}]({pictures}/{chart.name}.png)"


def _table(table: Table) -> Iterator[str]:
    yield from (f"**{escaped(table.title)}**", "")
    yield _row([escaped(column.name) for column in table.columns])
    yield _row([_rule(column) for column in table.columns])
    for row in table.rows:
        yield _row([escaped(said(cell, column.kind)) for cell, column in zip(row, table.columns, strict=True)])
    yield ""
    if table.note:
        yield from (escaped(table.note), "")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(column: Column) -> str:
    return "---:" if column.kind in _NUMBERS else "---"


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is, in one line and without effect, whoever wrote it.

    >>> escaped("a|b <script> [x](y)")
    'a\\|b \\<script\\> \\[x\\](y)'
    """
    one_line = clean(text)
    safe = _SPECIAL.sub(r"\\\1", one_line).replace("&", "&amp;")
    # bare addresses must not become links that nobody checked
    return re.sub(r"(?i)\b(https?|ftp|www)(?=[:.])", lambda found: f"{found[1][:-1]}&#{ord(found[1][-1])};", safe)
