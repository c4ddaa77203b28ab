"""A report as a spreadsheet: a sheet per section, native charts, and rent against purchase in live formulas.

Words from outside are written as strings, never parsed: no name can become a formula or a link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, time
from functools import partial
from io import BytesIO
from typing import Any

from gpuplan.cli.console import clean
from gpuplan.reports import formulas
from gpuplan.reports.charts import COLOURS
from gpuplan.reports.document import Calculation, Cell, Chart, Kind, Report, Section, Table
from gpuplan.reports.errors import BadReport
from gpuplan.reports.money import CHART_STEP_MONTHS

LONGEST_CELL = 32_767
"""Characters that a cell of a spreadsheet holds."""
LONGEST_SHEET_NAME = 31
COLUMNS = 8
"""Of the widest table; charts keep their numbers to the right of them."""
NARROWEST, WIDEST = 14, 46
CHART_ROWS = 21
LINE_POINTS = 15
PARAGRAPH_WIDTH = 130
MOST_LINES = 20
INPUTS_SHEET = "Inputs"

Live = Callable[[int, int], str | None]
"""(row, column) of a table -> its formula, None for a plain value."""

_FORMATS: dict[Kind, str] = {
    "text": "General",
    "usd": "#,##0.00",
    "usd_per_hour": "#,##0.00##",
    "share": "0.0%",
    "count": "#,##0",
    "quantity": "#,##0.###",
    "duration": "0.000",
    "signed_usd": "+#,##0.00;-#,##0.00;0.00",
}


def workbook(report: Report) -> bytes:
    """The whole .xlsx file.

    Raises:
        BadReport: the library that writes it is not installed.
    """
    file = BytesIO()
    book = _Book(file, report)
    for section in report.sections:
        book.section(section)
    if report.calculation is not None:
        book.inputs(report.calculation)
        book.months(report.calculation)
    book.close()
    return file.getvalue()


def library() -> Any:
    """What writes spreadsheets.

    Raises:
        BadReport: it is not installed.
    """
    try:
        import xlsxwriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise BadReport("Spreadsheets need the library xlsxwriter: pip install 'gpuplan[report]'.") from error
    return xlsxwriter


class _Book:
    """A workbook that is being written: its styles, and where the next table goes."""

    def __init__(self, file: BytesIO, report: Report) -> None:
        options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
        self.report = report
        self.book: Any = library().Workbook(file, {**options, "in_memory": True})
        made = datetime.combine(report.made_on, time())
        self.book.set_properties({"title": clean(report.title)[:255], "created": made})
        self.styles = {
            kind: self.book.add_format({"num_format": text, "valign": "top"}) for kind, text in _FORMATS.items()
        }
        wrap = {"text_wrap": True, "valign": "top"}
        self.wrapped = self.book.add_format(wrap)
        self.beside = self.book.add_format({**wrap, "indent": 1})
        self.title = self.book.add_format({"bold": True, "font_size": 15})
        self.bold = self.book.add_format({"bold": True})
        self.heading = self.book.add_format({"bold": True, "bottom": 1, **wrap})
        self.number_heading = self.book.add_format({"bold": True, "bottom": 1, "align": "right", **wrap})
        self.whole = self.book.add_format({"num_format": "#,##0", "valign": "top"})
        self.small = self.book.add_format({"num_format": "0.000", "valign": "top"})
        self.changeable = self.book.add_format({"bg_color": "#FFF4CC", "border": 1, "num_format": "#,##0.00##"})

    def close(self) -> None:
        self.book.close()

    def sheet(self, title: str, widths: tuple[int, ...]) -> Any:
        """A new sheet with its title on top."""
        sheet = self.book.add_worksheet(title[:LONGEST_SHEET_NAME])
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        sheet.set_landscape()
        sheet.set_paper(9)
        sheet.fit_to_pages(1, 0)
        sheet.write_string(0, 0, clean(title), self.title)
        return sheet

    def section(self, section: Section) -> None:
        """One sheet: paragraphs, then each chart beside nothing, then tables."""
        widths = _widths(section.tables)
        sheet, row = self.sheet(section.title, widths), 2
        if section is self.report.sections[0]:
            sheet.write_string(0, 0, clean(self.report.title)[:LONGEST_CELL], self.title)
            sheet.write_string(1, 0, clean(self.report.subtitle))
        for paragraph in section.paragraphs:
            sheet.merge_range(row, 0, row, 5, "", self.wrapped)
            sheet.write_string(row, 0, clean(paragraph)[:LONGEST_CELL], self.wrapped)
            sheet.set_row(row, LINE_POINTS * (1 + len(paragraph) // PARAGRAPH_WIDTH))
            row += 1
        for chart in section.charts:
            row = self.chart(sheet, chart, row + 1)
        for table in section.tables:
            row = self.table(sheet, table, row + 1, widths)
        sheet.print_area(0, 0, row, COLUMNS - 1)

    def live(self, table: Table) -> Live:
        """The formulas of a table on rent and purchase."""
        said = self.report.calculation
        makers = {
            "Cost over 1 to 5 years, USD": formulas.over_years,
            "What owning costs": formulas.owning,
            "When buying pays": formulas.break_even,
            "What an hour in use costs": formulas.useful_hours,
        }
        if said is None or table.title not in makers:
            return _plain
        return partial(makers[table.title], said)

    def table(self, sheet: Any, table: Table, row: int, widths: tuple[int, ...]) -> int:
        """A table from `row` on; returns the row after it."""
        live = self.live(table)
        sheet.write_string(row, 0, clean(table.title), self.bold)
        sheet.set_row(row + 1, LINE_POINTS * _lines(tuple(column.name for column in table.columns), widths))
        for at, column in enumerate(table.columns):
            style = self.heading if column.kind == "text" else self.number_heading
            sheet.write_string(row + 1, at, clean(column.name), style)
        for down, cells in enumerate(table.rows):
            sheet.set_row(row + 2 + down, LINE_POINTS * _lines(cells, widths))
            for at, (cell, column) in enumerate(zip(cells, table.columns, strict=True)):
                self.cell(sheet, (row + 2 + down, at), cell, column.kind, live(down, at))
        after = row + 2 + len(table.rows)
        if table.note:
            sheet.write_string(after, 0, clean(table.note))
            after += 1
        return after

    def cell(self, sheet: Any, place: tuple[int, int], cell: Cell, kind: Kind, formula: str | None) -> None:
        """One cell: a formula with what it comes to, a number, or words that stay words."""
        style = self.styles[kind] if kind != "quantity" else self.quantity(cell)
        if formula is not None:
            sheet.write_formula(*place, formula, style, "–" if cell is None else cell)
        elif isinstance(cell, str):
            sheet.write_string(*place, clean(cell)[:LONGEST_CELL], self.beside if place[1] else self.wrapped)
        elif cell is not None:
            sheet.write_number(*place, cell, style)

    def quantity(self, cell: Cell) -> Any:
        """Whole numbers and large ones without decimals."""
        return self.whole if isinstance(cell, int) or (cell is not None and abs(float(cell)) >= 100) else self.small

    def chart(self, sheet: Any, chart: Chart, row: int) -> int:
        """A native chart over its own table, which stands to the right; returns the row after the chart."""
        left = COLUMNS + 1
        self.chart_data(sheet, chart, row, left)
        drawn = {"bars": self.bars, "lines": self.lines, "tornado": self.tornado}[chart.kind](sheet, chart, row, left)
        drawn.set_title({"name": clean(chart.table.title), "name_font": {"size": 12}})
        drawn.set_size({"width": 900, "height": CHART_ROWS * 20})
        sheet.write_string(row, 0, clean(chart.says))
        sheet.insert_chart(row + 1, 0, drawn, {"description": clean(f"{chart.table.title}. {chart.says}")})
        return row + CHART_ROWS + 2

    def chart_data(self, sheet: Any, chart: Chart, row: int, left: int) -> None:
        """The numbers that a chart is drawn over."""
        said = self.report.calculation
        for at, column in enumerate(chart.table.columns):
            sheet.write_string(row, left + at, clean(column.name), self.heading)
        for down, cells in enumerate(chart.table.rows, start=row + 1):
            for at, (cell, column) in enumerate(zip(cells, chart.table.columns, strict=True)):
                live = None
                if chart.kind == "lines" and said is not None:
                    live = formulas.cash(said, down, at, f"{_letters(left)}{down + 1}")
                if isinstance(cell, str):
                    sheet.write_string(down, left + at, clean(cell)[:LONGEST_CELL])
                else:
                    self.cell(sheet, (down, left + at), cell, column.kind, live)

    def bars(self, sheet: Any, chart: Chart, row: int, left: int) -> Any:
        """One bar per row, the first on top."""
        drawn = self.book.add_chart({"type": "bar"})
        first = {"fill": {"color": "#C2571A"}}
        drawn.add_series({**_series(sheet, chart, row, left, 1), "points": [first], "gap": 40})
        drawn.set_legend({"none": True})
        drawn.set_y_axis({"reverse": True, "label_position": "low"})
        drawn.set_x_axis({"name": chart.unit, "min": 0, "num_format": "0.00", "label_position": "high"})
        return drawn

    def lines(self, sheet: Any, chart: Chart, row: int, left: int) -> Any:
        """One line per column."""
        drawn = self.book.add_chart({"type": "line"})
        dashes = ("solid", "dash", "round_dot", "dash_dot", "long_dash")
        for at in range(1, len(chart.table.columns)):
            drawn.add_series(
                {
                    **_series(sheet, chart, row, left, at),
                    "line": {"width": 2, "dash_type": dashes[at - 1], "color": COLOURS[at - 1]},
                }
            )
        drawn.set_x_axis({"name": chart.table.columns[0].name, "interval_unit": 12 // CHART_STEP_MONTHS})
        drawn.set_y_axis({"name": chart.unit, "num_format": "#,##0"})
        drawn.set_legend({"position": "bottom"})
        return drawn

    def tornado(self, sheet: Any, chart: Chart, row: int, left: int) -> Any:
        """Two bars per row that begin where nothing moves."""
        drawn = self.book.add_chart({"type": "bar"})
        for at in (1, 2):
            drawn.add_series({**_series(sheet, chart, row, left, at), "overlap": 100, "gap": 40})
        drawn.set_y_axis({"reverse": True, "label_position": "low"})
        drawn.set_x_axis({"name": chart.unit, "num_format": "#,##0", "crossing": chart.base, "label_position": "high"})
        drawn.set_legend({"position": "bottom"})
        return drawn

    def inputs(self, said: Calculation) -> None:
        """The named cells that a buyer may change, and what follows from them at once."""
        sheet, row = self.sheet(INPUTS_SHEET, (WIDEST, NARROWEST, WIDEST)), 3
        sheet.write_string(1, 0, "Change the yellow cells: the sheet Rent or buy computes anew. Words elsewhere stay.")
        for each in formulas.inputs(said):
            sheet.write_string(row, 0, each.label)
            sheet.write_number(row, 1, each.value, self.changeable)
            sheet.write_string(row, 2, each.unit)
            self.book.define_name(each.name, f"={INPUTS_SHEET}!$B${row + 1}")
            row += 1
        row += 1
        for name, (label, formula, value) in formulas.derived(said.owned).items():
            sheet.write_string(row, 0, label)
            sheet.write_formula(row, 1, formula, self.styles["usd"], value)
            sheet.write_string(row, 2, "USD")
            self.book.define_name(name, f"={INPUTS_SHEET}!$B${row + 1}")
            row += 1
        self.over_horizon(sheet, said, row + 1)

    def over_horizon(self, sheet: Any, said: Calculation, row: int) -> None:
        """What each way of paying costs over the horizon."""
        sheet.write_string(row, 0, "Over the horizon", self.heading)
        sheet.write_string(row, 1, "USD", self.heading)
        rows = list(_over_horizon(said))
        for down, (name, formula, value) in enumerate(rows, start=row + 1):
            sheet.write_string(down, 0, name)
            sheet.write_formula(down, 1, formula, self.styles["usd"], value)
        span, names = f"B{row + 2}:B{row + 1 + len(rows)}", f"A{row + 2}:A{row + 1 + len(rows)}"
        least = min(rows, key=lambda each: each[2])[0] if rows else ""
        after = row + 1 + len(rows)
        sheet.write_string(after, 0, "Cheapest", self.bold)
        if rows:
            sheet.write_formula(after, 1, f"=INDEX({names},MATCH(MIN({span}),{span},0))", self.bold, least)

    def months(self, said: Calculation) -> None:
        """A helper sheet: in which months owning has taken no more cash than each rent."""
        if said.owned is None:
            return
        sheet = self.book.add_worksheet(formulas.MONTHS_SHEET)
        sheet.hide()  # it is computed with, neither read nor printed
        heads = ("month", "bought, cash", *(f"month, if no more than {paid}" for paid, _ in said.rents))
        for at, head in enumerate(heads):
            sheet.write_string(0, at, head, self.heading)
        for month in range(1, formulas.SEARCHED_MONTHS + 1):
            sheet.write_number(month, 0, month)
            values = (said.owned.cash_usd(month), *_even(said, month))
            for at, (formula, value) in enumerate(zip(formulas.month_row(said, month), values, strict=True), start=1):
                sheet.write_formula(month, at, formula, self.whole, value)


def _widths(tables: tuple[Table, ...]) -> tuple[int, ...]:
    """Each column as wide as its longest words, within reason."""
    widths = [NARROWEST] * COLUMNS
    for table in tables:
        for at in range(len(table.columns)):
            cells = (row[at] for row in table.rows)
            longest = max((len(clean(cell)) for cell in cells if isinstance(cell, str)), default=0)
            widths[at] = max(widths[at], min(longest + 3, WIDEST))
    return tuple(widths)


def _lines(cells: tuple[Cell, ...], widths: tuple[int, ...]) -> int:
    """How many lines the longest words of a row take in their columns.

    >>> _lines(("short", "x" * 60, None, 3.5), (14, 26, 14, 14))
    3
    """
    words = ((len(clean(cell)), width) for cell, width in zip(cells, widths, strict=False) if isinstance(cell, str))
    return min(max((-(-length // width) for length, width in words), default=1) or 1, MOST_LINES)


def _plain(row: int, column: int) -> str | None:
    """No formula anywhere."""
    return None


def _letters(column: int) -> str:
    """A column's name as formulas have it; charts' data never stands beyond Z.

    >>> _letters(0), _letters(9)
    ('A', 'J')
    """
    return chr(ord("A") + column)


def _series(sheet: Any, chart: Chart, row: int, left: int, at: int) -> dict[str, Any]:
    """Where a series' name, labels and numbers stand."""
    first, last = row + 1, row + len(chart.table.rows)

    colour = {"color": COLOURS[(at - 1) % len(COLOURS)]}
    return {
        "name": [sheet.get_name(), row, left + at],
        "categories": [sheet.get_name(), first, left, last, left],
        "values": [sheet.get_name(), first, left + at, last, left + at],
        **({"line": colour} if chart.kind == "lines" else {"fill": colour}),
    }


def _over_horizon(said: Calculation) -> Iterator[tuple[str, str, float]]:
    for number, (paid, rent) in enumerate(said.rents, start=1):
        yield paid, formulas.rent_cost(said, number, "Horizon"), rent.cost_usd(said.years, said.utilization)
    if said.owned is not None:
        yield "bought", formulas.owned_cost("Horizon"), said.owned.cost_usd(said.years)


def _even(said: Calculation, month: int) -> Iterator[int | str]:
    assert said.owned is not None
    cash = said.owned.cash_usd(month)
    yield from (month if cash <= rent.paid_usd(month, said.utilization) else "" for _, rent in said.rents)
