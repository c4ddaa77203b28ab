"""A table of questions as anybody may have written it -> its rows as text: CSV, XLSX or JSON Lines, told by content.

Nothing is guessed that could turn a number into another: text that is not UTF-8 or UTF-16 is refused, not read as
something else. Files are bounded before they are read.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gpuplan.batch.errors import BadQuestions

LARGEST_BYTES = 256 << 20
LARGEST_UNPACKED_BYTES = 512 << 20
LARGEST_RATIO = 200
"""A workbook of numbers packs 5 to 20 times; a bomb a thousand times."""
MOST_ROWS = 1_000_000
MOST_COLUMNS = 500
LONGEST_CELL = 20_000
_ZIP = b"PK\x03\x04"

Cells = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        number: as a spreadsheet counts, the header being row 1; of JSON Lines, the line.
        cells: by the column's name as it is written; "" where there is nothing.
        problem: why the row cannot be read; "" if it can.
    """

    number: int
    cells: Cells
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """All rows that are not blank.

    Attributes:
        columns: all names, in the order in which they first stand.
        rows: in order.
        ragged: whether each row names its own columns (JSON Lines): a wrong name is then a matter of its row.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    ragged: bool = False


def read_table(content: bytes, name: str) -> Table:
    """Read a table.

    Args:
        content: of the file.
        name: what errors call it.

    Raises:
        BadQuestions: it is empty, too large, a bomb, not text, or has no usable header.
    """
    if len(content) > LARGEST_BYTES:
        raise BadQuestions(f"{name} has {len(content):,} bytes; at most {LARGEST_BYTES:,} are read: split it.")
    if not content.strip(b"\x00 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise BadQuestions(f"{name} is empty; write a header such as model,min_tps,budget and a row per question.")
    if content.startswith(_ZIP):
        return _of_grid(_sheet(content, name), name)
    text = _text(content, name)
    if text.lstrip().startswith("{"):
        return _of_objects(text, name)
    return _of_grid(_csv(text, name), name)


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(content: bytes, name: str) -> str:
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadQuestions(
            f"{name} is not UTF-8 text: byte {error.start} (line {line}) is {content[error.start]:#04x}, as in Latin-1 "
            "or Windows text; save it as CSV UTF-8."
        ) from error


def _csv(text: str, name: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        yield from reader
    except csv.Error as error:
        raise BadQuestions(f"{name}: line {reader.line_num} is not CSV: {error}.") from error


def _delimiter(text: str) -> str:
    """What parts the columns of the header: a comma, or a semicolon or tab where there are more of them."""
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=lambda each: (header.count(each), each == ","))


def _of_grid(grid: Iterator[list[str]], name: str) -> Table:
    """Rows of cells, the first that is not blank being the header."""
    header: tuple[str, ...] | None = None
    rows = []
    for number, line in enumerate(grid, 1):
        if not any(cell.strip() for cell in line):
            continue
        if header is None:
            header = _header(line, name)
        else:
            rows.append(_row(number, header, line))
            _check_count(rows, name)
    if header is None or not rows:
        raise BadQuestions(f"{name} has a header and no rows; write one row per question below it.")
    return Table(tuple(each for each in header if each), tuple(rows))


def _header(line: list[str], name: str) -> tuple[str, ...]:
    last = max(at for at, cell in enumerate(line) if cell.strip())
    names = tuple(cell.strip() for cell in line[: last + 1])
    if len(names) > MOST_COLUMNS:
        raise BadQuestions(f"{name} has {len(names):,} columns; at most {MOST_COLUMNS} are read.")
    twice = next((each for each in names if each and names.count(each) > 1), None)
    if twice is not None:
        raise BadQuestions(f"{name}: the column {twice[:60]!r} stands twice; keep one.")
    return names


def _row(number: int, header: tuple[str, ...], line: list[str]) -> Row:
    cells = {name: cell.strip() for name, cell in zip(header, line, strict=False) if name}
    beyond = [cell for cell in line[len(header) :] if cell.strip()]
    nameless = [cell for name, cell in zip(header, line, strict=False) if not name and cell.strip()]
    if beyond or nameless:
        stray = (beyond + nameless)[0][:40]
        return Row(number, cells, f"{stray!r} stands in no named column; put a cell that holds a comma in quotes")
    return Row(number, cells, _too_long(cells))


def _too_long(cells: Cells) -> str:
    long = next((name for name, cell in cells.items() if len(cell) > LONGEST_CELL), None)
    return "" if long is None else f"{long[:60]!r} has {len(cells[long]):,} letters; at most {LONGEST_CELL:,} are read"


def _check_count(rows: list[Row], name: str) -> None:
    if len(rows) > MOST_ROWS:
        raise BadQuestions(f"{name} has more than {MOST_ROWS:,} rows; split it.")


# ── JSON Lines ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_objects(text: str, name: str) -> Table:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows.append(_object(number, line))
            _check_count(rows, name)
    columns = dict.fromkeys(column for row in rows for column in row.cells)
    if len(columns) > MOST_COLUMNS:
        raise BadQuestions(f"{name} has {len(columns):,} different keys; at most {MOST_COLUMNS} are read.")
    return Table(tuple(columns), tuple(rows), ragged=True)


def _object(number: int, line: str) -> Row:
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            return Row(number, {}, 'the line is no JSON object such as {"model": "llama-3.1-8b", "min_tps": 500}')
        cells = {str(key).strip(): _said(value) for key, value in record.items()}
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"the line is not JSON that can be read: {str(error)[:100]}")
    return Row(number, cells, _too_long(cells))


def _said(value: Any) -> str:
    """A JSON or spreadsheet value as one types it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        return ";".join(_said(each) for each in value)
    if isinstance(value, dict | list):
        raise ValueError("a value is neither text nor a number nor a list of them")
    return str(value).strip()


# ── spreadsheets ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _sheet(content: bytes, name: str) -> Iterator[list[str]]:
    """The rows of a workbook's first sheet, formulas as their last values."""
    try:
        import openpyxl
    except ImportError as error:
        raise BadQuestions(
            f"{name} is a spreadsheet: pip install 'gpuplan[xlsx]' reads it, or save it as CSV."
        ) from error
    _check_packing(content, name)
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # what a file says of its size is not believed
        for row in sheet.iter_rows(values_only=True):
            if len(row) > MOST_COLUMNS and any(value is not None for value in row[MOST_COLUMNS:]):
                raise BadQuestions(f"{name} has {len(row):,} columns; at most {MOST_COLUMNS} are read.")
            yield [_said(value) for value in row]
    except BadQuestions:
        raise
    except Exception as error:  # openpyxl raises whatever its parsers raise; every one means that the file is broken
        said = " ".join(str(error).split())[:100]
        raise BadQuestions(f"{name} is no spreadsheet that can be read: {said}; save it as CSV.") from error


def _check_packing(content: bytes, name: str) -> None:
    """Refuse what unpacks to far more than questions take; `zipfile` reads no more than a member says it holds."""
    try:
        members = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except Exception as error:  # zipfile, too, raises whatever a broken file makes it raise
        raise BadQuestions(f"{name} is a broken zip file: {str(error)[:100]}.") from error
    unpacked = sum(member.file_size for member in members)
    if unpacked > LARGEST_UNPACKED_BYTES or unpacked > LARGEST_RATIO * max(len(content), 1 << 20):
        raise BadQuestions(
            f"{name} unpacks from {len(content):,} to {unpacked:,} bytes, so it is not opened; save it as CSV."
        )
