"""Tables from strangers: a CSV of any shape becomes rows of text and sentences about what was wrong with it.

Nothing here knows what columns mean. Every good row survives its bad neighbours.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuplan.measuring.errors import BadTable

MOST_BYTES = 512 << 20
MOST_COLUMNS = 512
MOST_ROWS = 200_000
LONGEST_CELL = 32_767
"""Characters; what spreadsheets take."""

DELIMITERS = (",", ";", "\t", "|")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """A CSV's rows by column name.

    Attributes:
        columns: names in their order, each once.
        rows: one text per column; cells that the file does not have are empty.
        lines: number in the file of each row, from 2 on (1 is the header).
        problems: one sentence for each thing that was wrong.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    problems: tuple[str, ...]


def read_table(path: str | Path, wanted: Iterable[str]) -> Table:
    """Read a CSV that anyone may have written.

    Args:
        path: of the file.
        wanted: column names that mean something; they are kept however many others there are, and they tell which
            delimiter the file uses.

    Raises:
        BadTable: there is no such file, it is too large, or it has no header.
    """
    text, problems = _decoded(Path(path))
    known = frozenset(wanted)
    delimiter = _delimiter(text, known)
    records = _records(text, delimiter)
    try:
        header = next(records, [])
        columns, places, complaints = _columns(header, known)
        rows, lines, more = _rows(records, columns, places, len(header))
    except csv.Error as error:
        raise BadTable(f"{path} is not a CSV: {error}.") from error
    return Table(tuple(columns), tuple(rows), tuple(lines), (*problems, *complaints, *more))


def _decoded(path: Path) -> tuple[str, list[str]]:
    """Text of a file in whatever encoding, and what was wrong with it."""
    try:
        if not path.is_file():
            raise BadTable(f"{path} is no file; give a CSV with one measured start of a server per row.")
        if path.stat().st_size > MOST_BYTES:
            raise BadTable(f"{path} is larger than {MOST_BYTES >> 20} MiB; split it.")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise BadTable(f"{str(path)[:200]} cannot be read: {error}.") from error
    problems: list[str] = []
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = raw.decode("utf-16", errors="replace")
        problems.append("The file is in UTF-16; it was read as such.")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            text = raw.decode("utf-8-sig", errors="replace")
            problems.append(f"The file is not UTF-8 (byte {error.start}); what could not be read is shown as �.")
    if "\0" in text:
        text = text.replace("\0", "")
        problems.append("The file holds NUL characters; they were dropped.")
    if not text.strip():
        raise BadTable(f"{path} is empty; its first line must name the columns.")
    return text, problems


def _delimiter(text: str, known: frozenset[str]) -> str:
    """The delimiter that finds most known names in the first line."""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    return max(DELIMITERS, key=lambda mark: sum(_name(cell) in known for cell in first.split(mark)))


def _name(cell: str) -> str:
    return cell.strip().strip('"').strip().lower()


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    """Records of a CSV whose cells may be as long as the file."""
    before = csv.field_size_limit(len(text) + 1)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    finally:
        csv.field_size_limit(before)


def _columns(header: Sequence[str], known: frozenset[str]) -> tuple[list[str], list[int], list[str]]:
    """Names of the columns that are kept, their places, and what was wrong with the header."""
    names = [_name(cell)[:LONGEST_CELL] for cell in header]
    problems = [
        f"Column {name!r} stands {count} times in the header; the first one is read."
        for name, count in Counter(names).items()
        if count > 1 and name in known
    ]
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if name:
            first.setdefault(name, place)
    strange = [name for name in first if name not in known]
    if len(strange) > MOST_COLUMNS:
        problems.append(
            f"The file has {len(names):,} columns; {len(strange) - MOST_COLUMNS:,} unknown ones are left out."
        )
        left_out = frozenset(strange[MOST_COLUMNS:])
        first = {name: place for name, place in first.items() if name not in left_out}
    return list(first), list(first.values()), problems


def _rows(
    records: Iterator[list[str]], columns: Sequence[str], places: Sequence[int], width: int
) -> tuple[list[Row], list[int], list[str]]:
    """Rows by name, their numbers in the file, and what was wrong with them."""
    rows: list[Row] = []
    lines: list[int] = []
    problems: list[str] = []
    for number, record in enumerate(records, start=2):
        if not any(map(str.strip, record)):
            continue
        if len(rows) == MOST_ROWS:
            problems.append(f"The file has more than {MOST_ROWS:,} rows; the rest is left out.")
            break
        if len(record) != width:
            problems.append(f"Row {number} has {len(record):,} cells where the header has {width:,}.")
        cells = {
            name: record[place] if place < len(record) else "" for name, place in zip(columns, places, strict=True)
        }
        problems += [
            f"Row {number}: the cell {name[:40]!r} has {len(cell):,} characters; it is cut to {LONGEST_CELL:,}."
            for name, cell in cells.items()
            if len(cell) > LONGEST_CELL
        ]
        rows.append({name: cell[:LONGEST_CELL] for name, cell in cells.items()})
        lines.append(number)
    return rows, lines, problems


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """A CSV in which no cell starts a formula when a spreadsheet opens it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([harmless(name) for name in columns])
    writer.writerows([harmless(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write `csv_text` to a file.

    Raises:
        BadTable: the file cannot be written.
    """
    try:
        Path(path).write_text(csv_text(columns, rows), encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        raise BadTable(f"{str(path)[:200]} cannot be written: {error}.") from error


def harmless(cell: str) -> str:
    """A cell that spreadsheets show as text: one that could start a formula gets an apostrophe; numbers stay numbers.

    >>> harmless("=1+1"), harmless("-0.42"), harmless("@SUM(A1)"), harmless("Qwen/Qwen3-8B")
    ("'=1+1", '-0.42', "'@SUM(A1)", 'Qwen/Qwen3-8B')
    """
    if not cell.lstrip(" ").startswith(FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
