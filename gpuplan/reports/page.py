"""A report as one HTML file: nothing is loaded, charts answer the pointer, tables say the same to those who cannot see.

Everything that came from outside (names, notes, sources) is escaped; the page's own policy forbids any connection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from gpuplan.cli.console import clean
from gpuplan.reports.charts import live_library, specification, svg
from gpuplan.reports.document import Chart, Column, Report, Section, Table
from gpuplan.reports.words import said

HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data:"
"""Vega compiles its expressions, hence unsafe-eval; what is forbidden is every connection."""


def html(report: Report) -> str:
    """The whole page.

    Raises:
        BadReport: the drawing library is not installed.
    """
    body = [*_head(report), *_navigation(report), '<main id="report">']
    for section in report.sections:
        body += _section(section)
    charts = any(section.charts for section in report.sections)
    scripts = [f"<script>{live_library()}</script>", f"<script>{_file('page.js')}</script>"] if charts else []
    return "\n".join([*body, "</main>", *scripts, "</body>", "</html>", ""])


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _head(report: Report) -> Iterator[str]:
    title = shown(report.title)
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield '<head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>"
    yield '<link rel="icon" href="data:,">'
    yield f"<style>{_file('page.css')}</style></head>"
    yield '<body><a class="skip" href="#report">Skip to the report</a>'
    yield f'<header><h1>{title}</h1><p class="when">{shown(report.subtitle)}</p></header>'


def _navigation(report: Report) -> Iterator[str]:
    yield '<nav aria-label="Sections"><ul>'
    yield from (f'<li><a href="#{_id(part.title)}">{shown(part.title)}</a></li>' for part in report.sections)
    yield "</ul></nav>"


def _id(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.casefold()).strip("-")


def shown(text: str) -> str:
    """Text that is only shown, whatever is in it.

    >>> shown("<img src=x onerror=alert(1)>")
    '&lt;img src=x onerror=alert(1)&gt;'
    """
    return escape(clean(text), quote=True)


def _section(section: Section) -> Iterator[str]:
    name = _id(section.title)
    yield f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{shown(section.title)}</h2>'
    yield from (f"<p>{shown(paragraph)}</p>" for paragraph in section.paragraphs)
    for chart in section.charts:
        yield from _figure(chart)
    for table in section.tables:
        yield from _table(table)
    yield "</section>"


def _figure(chart: Chart) -> Iterator[str]:
    name = f"chart-{chart.name}"
    yield f'<figure aria-labelledby="{name}-says">'
    yield f'<figcaption id="{name}-says"><strong>{shown(chart.table.title)}.</strong> {shown(chart.says)}</figcaption>'
    yield f'<div class="chart" id="{name}">{_still(chart, name)}</div>'
    yield f'<script type="application/json" id="{name}-data">{_data(chart)}</script>'
    yield f"<details><summary>Numbers of the chart “{shown(chart.table.title)}”</summary>"
    yield from _table(chart.table)
    yield "</details></figure>"


def _still(chart: Chart, name: str) -> str:
    """The picture as it is without scripts; its inner names are made its own."""
    picture = re.sub(r'(\bid="|url\(#)', rf"\1{name}-", svg(chart))
    label = shown(f"{chart.table.title}. {chart.says}")
    return picture.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _data(chart: Chart) -> str:
    """JSON that cannot end its script element."""
    text = json.dumps(specification(chart), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _table(table: Table) -> Iterator[str]:
    label = shown(table.title)
    yield f'<div class="wide" role="region" tabindex="0" aria-label="{label}">'
    yield f'<table style="--columns: {len(table.columns)}"><caption>{label}</caption>'
    rows = [[said(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
    kinds = [_class(column, [row[at] for row in rows]) for at, column in enumerate(table.columns)]
    yield f"<thead><tr>{''.join(map(_header, table.columns, kinds))}</tr></thead><tbody>"
    yield from (f"<tr>{_cells(row, kinds)}</tr>" for row in rows)
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{shown(table.note)}</p>'


def _header(column: Column, kind: str) -> str:
    return f'<th scope="col"{kind}>{shown(column.name)}</th>'


def _cells(cells: list[str], kinds: list[str]) -> str:
    first, *others = cells
    rest = (f"<td{kind}>{shown(cell)}</td>" for cell, kind in zip(others, kinds[1:], strict=True))
    return f'<th scope="row"{kinds[0]}>{shown(first)}</th>' + "".join(rest)


SHORT_LETTERS = 12
"""Text of no more letters stays on its line: a day, a way of paying, a part of a command."""


def _class(column: Column, cells: list[str]) -> str:
    if column.kind != "text":
        return ' class="number"'
    return ' class="short"' if all(len(cell) <= SHORT_LETTERS for cell in cells) else ""
