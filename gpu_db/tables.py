"""Reading a bundled CSV row: a cell becomes a number in base units or an absence; a broken cell names its place."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import date
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
    try:
        with (folder / name).open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            missing = [column for column in columns if column not in header]
            if missing:
                raise BadGpuDb(f"{name} lacks the columns {missing}; write it again with gpu_db.import_tables.")
            for cells in reader:
                if len(cells) != len(header):
                    raise BadGpuDb(f"{name} line {reader.line_num}: {len(cells)} cells, the header has {len(header)}.")
                yield dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadGpuDb(f"{name} cannot be read: {error}.") from error


def number(row: Row, column: str, unit: float = 1.0) -> float | None:
    """Return a cell times its unit; None when the source left it empty.

    >>> number({"link_gb_per_second": "450"}, "link_gb_per_second", GIGA)
    450000000000.0
    """
    text = row[column]
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise BadGpuDb(f"{column} is {text!r} in the row {_first_cells(row)}; it must be a number >= 0 or empty.")
    return value * unit


def required_number(row: Row, column: str, unit: float = 1.0) -> float:
    """Return a cell that must not be empty."""
    value = number(row, column, unit)
    if value is None:
        raise BadGpuDb(f"{column} is empty in the row {_first_cells(row)}; this fact is required.")
    return value


def whole(row: Row, column: str) -> int | None:
    """Return a cell as a whole number; None when it is empty."""
    value = number(row, column)
    if value is not None and value != int(value):
        raise BadGpuDb(f"{column} is {row[column]!r} in the row {_first_cells(row)}; it must be a whole number.")
    return None if value is None else int(value)


def required_text(row: Row, column: str) -> str:
    """Return a cell that must not be empty: a fact without a source does not load."""
    if not row[column]:
        raise BadGpuDb(f"{column} is empty in the row {_first_cells(row)}; a fact needs it.")
    return row[column]


def day(row: Row, column: str) -> date | None:
    """Return a cell as a date; None when it is empty."""
    if not row[column]:
        return None
    try:
        return date.fromisoformat(row[column])
    except ValueError as error:
        raise BadGpuDb(f"{column} is {row[column]!r} in the row {_first_cells(row)}; write YYYY-MM-DD.") from error


def required_day(row: Row, column: str) -> date:
    """Return a cell as a date; a fact without a date does not load."""
    value = day(row, column)
    if value is None:
        raise BadGpuDb(f"{column} is empty in the row {_first_cells(row)}; a fact needs its date.")
    return value


def _first_cells(row: Row) -> str:
    return repr(", ".join(list(row.values())[:3]))
