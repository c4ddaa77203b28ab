"""Charts of a report as Vega-Lite specifications: one for the live chart in a page and the still one on paper.

Colours are mid-tones, so that marks keep 3:1 contrast on white and on near-black; text takes the page's own colour.
Lines are told apart by dashes too, and bars by their labels, not by colour alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from gpuplan.reports.document import Chart
from gpuplan.reports.errors import BadReport
from gpuplan.reports.live_charts import kept_bundle
from gpuplan.reports.words import said

COLOURS = ("#2f7fd1", "#c2571a", "#2a8f5a", "#a05cc4", "#8a7a1f")
DASHES = ((1, 0), (8, 3), (3, 3), (10, 3, 2, 3), (2, 2))
LOW_COLOUR, HIGH_COLOUR = "#2f7fd1", "#c2571a"
WIDTH, ROW_HEIGHT, LINES_HEIGHT = 640, 30, 320
LONGEST_LABEL = 44
ROOM_FOR_WORDS = 0.12
"""What an axis leaves free for the words beside its bars, over its length."""

Specification = dict[str, Any]


def specification(chart: Chart) -> Specification:
    """A chart in Vega-Lite's words.

    >>> from gpuplan.reports.document import Column, Table
    >>> table = Table("Cost", (Column("GPU"), Column("USD/h", "usd_per_hour")), (("A", 1.0), ("B", 2.0)))
    >>> made = specification(Chart("bars", "cost", table, "A costs less.", "USD per hour"))
    >>> made["data"]["values"][0]
    {'label': 'A', 'value': 1.0, 'said': '1.00', 'order': 0}
    """
    made = {"bars": _bars, "lines": _lines, "tornado": _tornado}[chart.kind](chart)
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": f"{chart.table.title}. {chart.says}",
        "width": WIDTH,
        "background": None,
        "config": _CONFIG,
        **made,
    }


_CONFIG: Specification = {
    "font": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 260, "grid": True},
    "legend": {"labelFontSize": 12, "orient": "bottom", "title": None, "symbolSize": 400, "columns": 3},
}


def _bars(chart: Chart) -> Specification:
    kind = chart.table.columns[1].kind
    values = [
        {"label": _short(str(label)), "value": value, "said": said(value, kind), "order": order}
        for order, (label, value) in enumerate(chart.table.rows)
    ]
    rows = _rows(values)
    tip = [
        {"field": "label", "title": chart.table.columns[0].name},
        {"field": "said", "title": chart.table.columns[1].name},
    ]
    room = [0, (1 + ROOM_FOR_WORDS) * max(float(value or 0) for _, value in chart.table.rows)]
    colour = {"condition": {"test": "datum.order === 0", "value": HIGH_COLOUR}, "value": COLOURS[0]}
    return {
        "data": {"values": values},
        "height": ROW_HEIGHT * len(chart.table.rows),
        "encoding": {"y": rows},
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.7}},
                "encoding": {"x": _number("value", chart.unit, room), "color": colour, "tooltip": tip},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 4, "aria": False},
                "encoding": {"x": {"field": "value", "type": "quantitative"}, "text": {"field": "said"}},
            },
        ],
    }


def _lines(chart: Chart) -> Specification:
    x, *series = chart.table.columns
    values = [
        {"x": row[0], "series": column.name, "value": row[at], "said": said(row[at], column.kind)}
        for row in chart.table.rows
        for at, column in enumerate(series, start=1)
        if row[at] is not None
    ]
    names = [column.name for column in series]
    tip = [
        {"field": "series", "title": "paid"},
        {"field": "x", "title": x.name},
        {"field": "said", "title": chart.unit},
    ]
    by = {"field": "series", "type": "nominal", "legend": {"symbolType": "stroke"}}
    dashes = {**by, "scale": {"domain": names, "range": [list(dash) for dash in DASHES]}}
    colours = {**by, "scale": {"domain": names, "range": list(COLOURS)}}
    return {
        "data": {"values": values},
        "height": LINES_HEIGHT,
        "mark": {"type": "line", "strokeWidth": 2.5, "point": {"size": 40, "filled": True}},
        "params": [{"name": "shown", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}],
        "encoding": {
            "opacity": {"condition": {"param": "shown", "value": 1}, "value": 0.15},
            "x": {"field": "x", "type": "quantitative", "title": x.name, "axis": {"tickMinStep": 1, "format": "d"}},
            "y": _number("value", chart.unit),
            "color": colours,
            "strokeDash": dashes,
            "tooltip": tip,
        },
    }


def _tornado(chart: Chart) -> Specification:
    values = _ends(chart)
    rows = _rows(values)
    tip = [
        {"field": "label", "title": "changes"},
        {"field": "to", "title": "to"},
        {"field": "said", "title": chart.unit},
    ]
    ends = {"domain": ["lower end", "upper end"], "range": [LOW_COLOUR, HIGH_COLOUR]}
    colours = {"field": "end", "type": "nominal", "scale": ends}
    x = _number("value", chart.unit, _span([float(each["value"]) for each in values]))
    bars = {"y": rows, "x": x, "x2": {"field": "base"}, "color": colours, "tooltip": tip}
    middle = {"mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 1.5, "aria": False}}
    return {
        "data": {"values": values},
        "height": ROW_HEIGHT * len(chart.table.rows),
        "layer": [
            {"mark": {"type": "bar", "height": {"band": 0.6}}, "encoding": bars},
            *(_end_words(side, rows) for side in ("left", "right")),
            {**middle, "encoding": {"x": {"datum": chart.base}}},
        ],
    }


def _ends(chart: Chart) -> list[Specification]:
    """Both ends of every bar, with the words that stand beside them."""
    made = []
    for order, (name, low, high, low_says, high_says) in enumerate(chart.table.rows):
        for end, value, to in (("lower end", low, low_says), ("upper end", high, high_says)):
            side = "left" if float(value or 0) < chart.base else "right"
            made.append(
                {
                    "label": _short(str(name)),
                    "base": chart.base,
                    "value": value,
                    "end": end,
                    "said": said(value, "usd"),
                    "to": to,
                    "order": order,
                    "side": "none" if value == chart.base else side,
                }
            )
    return made


def _span(values: list[float]) -> list[float]:
    """From the least to the most, with room for words on both sides."""
    low, high = min(values), max(values)
    room = 2 * ROOM_FOR_WORDS * (high - low or abs(high) or 1.0)
    return [low - room, high + room]


def _end_words(side: str, rows: Specification) -> Specification:
    """What a bar's end stands for, beside it."""
    align, away = ("right", -4) if side == "left" else ("left", 4)
    return {
        "transform": [{"filter": f"datum.side === '{side}'"}],
        "mark": {"type": "text", "align": align, "dx": away, "fontSize": 11, "aria": False},
        "encoding": {
            "y": rows,
            "x": {"field": "value", "type": "quantitative"},
            "text": {"field": "to"},
        },
    }


def _rows(values: list[Specification]) -> Specification:
    """One row per label, in the order of the table."""
    order = list(dict.fromkeys(each["label"] for each in values))
    return {"field": "label", "type": "nominal", "sort": None, "scale": {"domain": order}, "axis": _LABELS}


_LABELS: Specification = {"title": None, "grid": False, "domain": False, "ticks": False}


def _number(field: str, unit: str, span: list[float] | None = None) -> Specification:
    scale = {"scale": {"domain": span, "nice": False}} if span else {}
    return {"field": field, "type": "quantitative", "title": unit, "axis": {"format": "~s", "tickCount": 6}, **scale}


def _short(label: str) -> str:
    """A label that leaves room for the bars."""
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


# ── drawn ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def library() -> Any:
    """What draws the charts.

    Raises:
        BadReport: it is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise BadReport("Charts need the library vl-convert-python: pip install 'gpuplan[report]'.") from error
    return vl_convert


def svg(chart: Chart) -> str:
    """The still chart as SVG.

    Raises:
        BadReport: the drawing library is not installed.
    """
    return str(library().vegalite_to_svg(specification(chart)))


def png(chart: Chart) -> bytes:
    """The still chart as PNG on white, for paper.

    Raises:
        BadReport: the drawing library is not installed.
    """
    return bytes(library().vegalite_to_png({**specification(chart), "background": "white"}, scale=2))


def live_library() -> str:
    """The JavaScript that draws live charts: Vega, Vega-Lite and vega-embed in one text."""
    return kept_bundle(library())
