"""Where answers go: one line per row, written as it is made, so that a kill leaves whole lines and at most one torn.

Beside an unfinished output stands `<name>.unfinished`: what it was made of. A run is continued only from the same
table, options, data and program, and counts prices' ages from the same day: the result is the same bytes. Rows of a
spreadsheet wait in `<name>.rows` until the last is there.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

from gpuplan.batch import spreadsheet
from gpuplan.batch.answers import Value
from gpuplan.batch.errors import BadOutput

_FORMULA = re.compile(r"^[=+\-@\t\r|]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
Record = dict[str, Value]
SPREADSHEET = ".xlsx"
FORMATS = (".csv", ".jsonl", SPREADSHEET)
"""What the name of an output may end with."""


@dataclass(frozen=True)
class Basis:
    """What an output is made of.

    Attributes:
        table: a hash of the questions.
        options: a hash of what was typed beside them, own files included.
        data: fingerprint of the bundled data.
        gpuplan_version: of the program.
        today: the day that prices' ages are counted from.
    """

    table: str
    options: str
    data: str
    gpuplan_version: str
    today: date

    def differs_in(self, other: Basis) -> list[str]:
        """What is otherwise, in words; the day may be."""
        words = {
            "table": "the table",
            "options": "the options",
            "data": "the bundled data",
            "gpuplan_version": "gpuplan itself",
        }
        return [word for field, word in words.items() if getattr(self, field) != getattr(other, field)]


def as_line(record: Record, columns: Sequence[str], path_suffix: str) -> str:
    """One record as it is written, its newline included; no value holds another newline."""
    if path_suffix != ".csv":
        return json.dumps({name: record.get(name) for name in columns}, ensure_ascii=False, allow_nan=False) + "\n"
    return csv_line([cell(record.get(name)) for name in columns])


def csv_line(cells: Sequence[str]) -> str:
    """Cells -> a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def cell(value: Value) -> str:
    """A value as a cell of CSV: on one line, and never what a spreadsheet would run.

    >>> cell("=cmd|' /C calc'!A0"), cell(None), cell(0.25), cell("-3.5"), cell("a" + chr(10) + "b")
    ("'=cmd|' /C calc'!A0", '', '0.25', '-3.5', 'a b')
    """
    if value is None:
        return ""
    text = str(value)
    if not isinstance(value, str) or _NUMBER.fullmatch(text):
        return text
    text = "".join(each if each.isprintable() else " " for each in text)
    return f"'{text}" if _FORMULA.match(text.lstrip()) else text


@dataclass
class Output:
    """An open output.

    Attributes:
        done: rows that it holds already.
        today: the day that its first row was made.
    """

    path: Path
    file: IO[bytes]
    columns: tuple[str, ...]
    done: int
    today: date

    def write(self, record: Record) -> None:
        """Add one row, whole."""
        line = as_line(record, self.columns, self.path.suffix).encode("utf-8", "replace")
        with _places_named(self.path):
            self.file.write(line)
            self.file.flush()


@contextmanager
def opened(path: Path, columns: tuple[str, ...], basis: Basis, *, resume: bool) -> Iterator[Output]:
    """An output to write to, new or continued; it is marked as unfinished until this is left without an error.

    Raises:
        BadOutput: the place cannot be written, holds something else, or what it holds was made of something else.
    """
    mark, rows = marked(path), rows_of(path)
    with _places_named(path):
        today = _continued(path, mark, basis) if resume and mark.exists() else _begun(path, mark, columns, basis)
        done = _mend(rows, columns)
        file = rows.open("ab")
    with file:
        yield Output(path, file, columns, done, today)
    with _places_named(path):
        if rows != path:
            spreadsheet.write_workbook(rows, path, columns, today)
        mark.unlink()
        if rows != path:
            rows.unlink()


@contextmanager
def _places_named(path: Path) -> Iterator[None]:
    """What the disk refuses, in one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)[:100]
        raise BadOutput(f"{str(path)!r} cannot be written: {reason}.") from error


def marked(path: Path) -> Path:
    """What stands beside an output that is not finished."""
    return path.with_name(path.name + ".unfinished")


def rows_of(path: Path) -> Path:
    """Where the rows of an output are written: the output itself, or beside one that is written when all are there."""
    return path.with_name(path.name + ".rows") if path.suffix == SPREADSHEET else path


def is_finished(path: Path) -> bool:
    """Whether an output stands there that nobody is making."""
    return path.exists() and not marked(path).exists()


def _begun(path: Path, mark: Path, columns: tuple[str, ...], basis: Basis) -> date:
    """A new output: its mark first, so that a kill between the two loses nothing."""
    if mark.exists():
        raise BadOutput(f"{str(path)!r} is not finished: --resume continues it; remove {mark.name!r} to begin anew.")
    if path.exists() and path.stat().st_size and not _is_ours(path, columns):
        raise BadOutput(
            f"{str(path)!r} is there and is no output of `plan batch`, so it is not overwritten; name another."
        )
    record = {**basis.__dict__, "today": basis.today.isoformat()}
    beside = mark.with_name(mark.name + ".new")
    beside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    rows_of(path).write_bytes(b"")
    beside.replace(mark)
    return basis.today


def _is_ours(path: Path, columns: tuple[str, ...]) -> bool:
    if path.suffix == SPREADSHEET:
        return spreadsheet.is_ours(path)
    with path.open("rb") as file:
        start = file.read(16)
    return start.startswith((b'{"row": ', f"{columns[0]},".encode()))


def _continued(path: Path, mark: Path, basis: Basis) -> date:
    """The day of the output that is continued, if it was made of the same."""
    try:
        record = json.loads(mark.read_text(encoding="utf-8"))
        before = Basis(**{**record, "today": date.fromisoformat(record["today"])})
    except (ValueError, TypeError, KeyError) as error:
        raise BadOutput(f"{str(mark)!r} is broken; remove it and begin anew without --resume.") from error
    changed = before.differs_in(basis)
    if changed:
        raise BadOutput(
            f"{str(path)!r} was begun with other things: {', '.join(changed)} changed since; remove {mark.name!r} to "
            "begin anew."
        )
    return before.today


def _mend(path: Path, columns: tuple[str, ...]) -> int:
    """Cut a torn last line, write the header if it is not there, and count the rows.

    Raises:
        BadOutput: what is there does not begin with these columns.
    """
    header = csv_line(columns).encode() if path.suffix == ".csv" else b""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole and not whole.startswith(header):
        raise BadOutput(f"{str(path)!r} has other columns than this run; begin anew without --resume.")
    if whole != content or not whole:
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(len(whole))
            if not whole:
                file.write(header)
    return max(whole.count(b"\n") - (1 if header else 0), 0)
