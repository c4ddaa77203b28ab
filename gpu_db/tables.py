"""Reading a bundled CSV row: a cell becomes a number in base units or an absence; a broken cell names its place."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cache
from pathlib import Path

from gpu_db.errors import BadGpuDb

DATA = Path(__file__).parent / "data"
GIGA = 1e9
TERA = 1e12
MIB = 2**20
GIB = 2**30

Row = dict[str, str]


def read_table(name: str, columns: Sequence[str], folder: Path = DATA) -> Iterator[Row]:
    """Yield the rows of a bundled table; `columns` are those that the caller relies on.

    Raises:
        BadGpuDb: the file is missing, lacks a column, or a row has more or fewer cells than its header.
    """
    lines = read_cells(name, folder)
    header = next(lines, [])
    missing = [column for column in columns if column not in header]
    if missing:
        raise BadGpuDb(f"{name} lacks the columns {missing}; write it again with gpu_db.import_tables.")
    for cells in lines:
        yield dict(zip(header, cells, strict=False))  # their lengths are equal


def read_cells(name: str, folder: Path = DATA) -> Iterator[list[str]]:
    """Yield the header of a bundled table, then its rows, all of one length.

    Raises:
        BadGpuDb: the file is missing, or a row has more or fewer cells than its header.
    """
    try:
        with (folder / name).open(encoding="utf-8", newline="") as stream:
            yield from _of_one_width(name, stream)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadGpuDb(f"{name} cannot be read: {error}.") from error


def _of_one_width(name: str, lines: Iterable[str]) -> Iterator[list[str]]:
    reader = csv.reader(lines, strict=True)
    width = 0
    for cells in reader:
        width = width or len(cells)
        if len(cells) != width:
            raise BadGpuDb(f"{name} line {reader.line_num}: {len(cells)} cells, the header has {width}.")
        yield cells


def broken(name: str, cells: Iterable[str], error: BadGpuDb) -> BadGpuDb:
    """Return the error with the place where it stands: the first three cells of its row."""
    return BadGpuDb(f"{name}, row {', '.join(list(cells)[:3])!r}: {error}")


# The conversions are cached: the same few cells ("8", "", "2026-09-19") stand in hundreds of rows.


@cache
def number(cell: str, unit: float = 1.0) -> float | None:
    """Return a cell times its unit; None when the source left it empty.

    >>> number("450", GIGA), number("")
    (450000000000.0, None)
    """
    return required_number(cell, unit) if cell else None


@cache
def required_number(cell: str, unit: float = 1.0) -> float:
    """Return a cell that must not be empty times its unit."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise BadGpuDb(f"{cell!r} stands where a number >= 0 is required.")
    return value * unit


@cache
def whole(cell: str) -> int | None:
    """Return a cell as a whole number; None when it is empty."""
    value = number(cell)
    if value is not None and value != int(value):
        raise BadGpuDb(f"{cell!r} stands where a whole number is required.")
    return None if value is None else int(value)


def required_text(cell: str, what: str) -> str:
    """Return a cell that must not be empty: a fact without a source does not load."""
    if not cell:
        raise BadGpuDb(f"its {what} is empty; a fact needs it.")
    return cell


@cache
def day(cell: str) -> date | None:
    """Return a cell as a date; None when it is empty."""
    return required_day(cell) if cell else None


@cache
def required_day(cell: str) -> date:
    """Return a cell as a date; a fact without a date does not load."""
    try:
        return date.fromisoformat(cell)
    except ValueError as error:
        raise BadGpuDb(f"{cell!r} stands where a date YYYY-MM-DD is required.") from error
