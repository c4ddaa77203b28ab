"""Answers as a spreadsheet: it cannot be written row by row, so rows wait in JSON Lines until the last is there."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from gpuplan.batch.errors import BadOutput

LONGEST_CELL = 32_767
"""Letters that a cell of a spreadsheet holds."""
LARGEST_PROPERTIES = 65_536
TITLE = "answers of plan batch"
_WIDE = {"message": 60, "warnings": 60, "command": 60, "model": 40, "instance_type": 28}
_WIDTH = 16


def write_workbook(rows: Path, place: Path, columns: Sequence[str], made_on: date) -> None:
    """Write rows of JSON Lines as one sheet; the same rows and day give the same bytes.

    Args:
        rows: one object per line.
        place: of the workbook; it is replaced whole or not at all.
        columns: of the sheet, in order.
        made_on: written into its properties.

    Raises:
        BadOutput: the library that writes spreadsheets is not installed.
    """
    beside = place.with_name(f"{place.name}.new")
    book = _library().Workbook(
        str(beside),
        {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    book.set_properties({"title": TITLE, "created": datetime.combine(made_on, time())})
    _fill(book, rows, columns)
    try:
        book.close()
    except _library().exceptions.XlsxWriterException as error:
        raise BadOutput(f"{str(place)!r} cannot be written: {str(error)[:100]}.") from error
    beside.replace(place)


def check_installed() -> None:
    """Refuse before anything is planned.

    Raises:
        BadOutput: the library that writes spreadsheets is not installed.
    """
    _library()


def _library() -> Any:
    try:
        import xlsxwriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise BadOutput("Spreadsheets need xlsxwriter: pip install 'gpuplan[report]', or write .csv.") from error
    return xlsxwriter


def _fill(book: Any, rows: Path, columns: Sequence[str]) -> None:
    sheet, bold = book.add_worksheet("answers"), book.add_format({"bold": True, "bottom": 1})
    for at, name in enumerate(columns):
        sheet.set_column(at, at, _WIDE.get(name, max(_WIDTH, len(name) + 2)))
        sheet.write_string(0, at, _shown(name), bold)
    sheet.freeze_panes(1, 2)
    number = 0
    for number, record in enumerate(_records(rows), 1):
        for at, name in enumerate(columns):
            _write(sheet, number, at, record.get(name))
    sheet.autofilter(0, 0, number, len(columns) - 1)


def _records(rows: Path) -> Iterator[dict[str, Any]]:
    with rows.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _write(sheet: Any, row: int, column: int, value: str | int | float | None) -> None:
    """A number as a number, words as words: nothing is ever read as a formula or a link."""
    if isinstance(value, str):
        sheet.write_string(row, column, _shown(value))
    elif value is not None:
        sheet.write_number(row, column, value)


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)[:LONGEST_CELL]


def is_ours(place: Path) -> bool:
    """Whether a file is a workbook that this module wrote."""
    try:
        with zipfile.ZipFile(place) as book, book.open("docProps/core.xml") as properties:
            return f"<dc:title>{TITLE}</dc:title>".encode() in properties.read(LARGEST_PROPERTIES)
    except (OSError, KeyError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False
