"""The spreadsheet: the plan's numbers, formulas that another program recomputes, and words that stay words."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import openpyxl
import pytest

from gpuplan.reports import charts, formulas
from gpuplan.reports.assumptions import assume
from gpuplan.reports.document import Table
from gpuplan.reports.errors import BadReport
from gpuplan.reports.workbook import workbook
from gpuplan.reports.write import check_name
from optimizer.cost import Ownership

LIVE = (
    "Cost over 1 to 5 years, USD",
    "What owning costs",
    "When buying pays",
    "What an hour in use costs",
)
SOFFICE = shutil.which("soffice")
RECALCULATE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load">
<prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item></oor:items>"""


def table_in(book: openpyxl.Workbook, sheet: str, table: Table) -> list[list[object]]:
    """The cells under a table's title."""
    rows = list(book[sheet].iter_rows(values_only=True))
    at = next(number for number, row in enumerate(rows) if row[0] == table.title)
    return [list(row[: len(table.columns)]) for row in rows[at + 2 : at + 2 + len(table.rows)]]


def opened(content: bytes, *, values: bool = True) -> openpyxl.Workbook:
    return openpyxl.load_workbook(BytesIO(content), data_only=values)


def numbers(rows: list[list[object]]) -> list[list[float | None]]:
    return [[cell if isinstance(cell, int | float) else None for cell in row] for row in rows]


def test_every_table_holds_the_numbers_that_the_report_has(made):
    book = opened(workbook(made.report))
    for section in made.report.sections:
        for table in section.tables:
            assert numbers(table_in(book, section.title, table)) == [
                pytest.approx([cell if isinstance(cell, int | float) else None for cell in row]) for row in table.rows
            ]


def test_words_that_look_like_formulas_stay_words(hostile, hostile_text):
    content = workbook(hostile.report)
    book = opened(content, values=False)
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert any(str(cell.value).startswith("=HYPERLINK") and cell.data_type == "s" for cell in cells)
    live = [str(cell.value) for cell in cells if cell.data_type == "f"]
    assert live
    assert not any("evil" in formula or "HYPERLINK" in formula for formula in live)
    names = zipfile.ZipFile(BytesIO(content)).namelist()
    assert not [name for name in names if "externalLink" in name]
    assert b"evil" not in b"".join(zipfile.ZipFile(BytesIO(content)).read(name) for name in names if ".rels" in name)


def test_the_same_report_gives_the_same_bytes(made):
    assert workbook(made.report) == workbook(made.report)


def test_each_chart_is_native_and_has_words_for_those_who_do_not_see_it(made):
    book = zipfile.ZipFile(BytesIO(workbook(made.report)))
    charts = [chart for section in made.report.sections for chart in section.charts]
    assert len([name for name in book.namelist() if name.startswith("xl/charts/chart")]) == len(charts) == 3
    drawings = b"".join(book.read(name) for name in book.namelist() if name.startswith("xl/drawings/drawing"))
    assert drawings.count(b"descr=") == 3


def test_a_report_of_nothing_has_no_inputs(infeasible):
    book = opened(workbook(infeasible.report))
    assert "Inputs" not in book.sheetnames
    assert book["Why nothing fits"]["A1"].value == "Why nothing fits"


def test_names_of_inputs_are_no_cells():
    """`Rent1` would be a cell of a large sheet; every name must read as a name."""
    import re

    made_names = {"Utilization", "Horizon", "Rent_1", *formulas.derived(Ownership(1, 0, 1, 0, 0, 0))}
    assert not [name for name in made_names if re.fullmatch(r"[A-Z]{1,3}\d+", name.upper())]


def recomputed(book: openpyxl.Workbook, folder: Path) -> openpyxl.Workbook:
    """The workbook after LibreOffice has computed every formula: openpyxl saves none of their values."""
    source, profile = folder / "changed.xlsx", folder / "profile"
    (profile / "user").mkdir(parents=True)
    (profile / "user" / "registrymodifications.xcu").write_text(RECALCULATE)
    book.save(source)
    out = folder / "out"
    order = ["soffice", f"-env:UserInstallation=file://{profile}", "--headless", "--convert-to", "xlsx"]
    subprocess.run([*order, "--outdir", str(out), str(source)], check=True, capture_output=True, timeout=180)
    return openpyxl.load_workbook(out / "changed.xlsx", data_only=True)


CHANGES = {
    "nothing": {},
    "a buyer's numbers": {
        "utilization": 0.45,
        "years": 2,
        "life_years": 3,
        "residual_share": 0.25,
        "network_share": 0.15,
        "maintenance_share": 0.05,
        "staff_usd_per_year": 1200,
    },
}
CELLS = {
    "utilization": "Utilization",
    "years": "Horizon",
    "life_years": "Life",
    "residual_share": "Residual",
    "network_share": "Network",
    "maintenance_share": "Maintenance",
    "staff_usd_per_year": "Staff",
}


def reckoned(made, reported, change):
    """The report of the same studies with other assumptions: what the spreadsheet must come to."""
    from dataclasses import replace

    from gpuplan.reports.studies import ownership

    assumptions = assume(change)
    bought = made.studies.purchase
    price = bought.owned.machines_usd
    staff = assumptions.value("staff_usd_per_year")
    owned = ownership(price, bought.provisioned_watts, assumptions, staff)
    return reported(made.file, replace(made.studies, purchase=replace(bought, owned=owned)), assumptions)


@pytest.mark.slow
@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice (soffice) is not installed")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_libreoffice_comes_to_the_same_numbers_when_inputs_change(made, reported, change, tmp_path):
    book = opened(workbook(made.report), values=False)
    for key, value in change.items():
        _, cell = book.defined_names[CELLS[key]].attr_text.split("!")
        book["Inputs"][cell.replace("$", "")].value = value
    computed = recomputed(book, tmp_path)
    other = reckoned(made, reported, change)
    for title in LIVE:
        table = other.table(title)
        mine = [[cell if isinstance(cell, int | float) else None for cell in row] for row in table.rows]
        assert numbers(table_in(computed, "Rent or buy", table)) == [pytest.approx(row) for row in mine]
    said = other.report.calculation
    costs = {name: rent.cost_usd(said.years, said.utilization) for name, rent in said.rents}
    costs["bought"] = said.owned.cost_usd(said.years)
    rows = {row[0]: row[1] for row in computed["Inputs"].iter_rows(values_only=True) if row[0]}
    assert {name: rows[name] for name in costs} == pytest.approx(costs)
    assert rows["Cheapest"] == min(costs, key=lambda name: costs[name])


@pytest.mark.parametrize(
    ("name", "library"), [("r.xlsx", "xlsxwriter"), ("r.html", "vl_convert"), ("r.md", "vl_convert")]
)
def test_a_library_that_is_missing_is_named_before_any_work(name, library, monkeypatch):
    charts.library.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BadReport, match=r"pip install 'gpuplan\[report\]'"):
        check_name(name)
    monkeypatch.undo()
    check_name(name)
