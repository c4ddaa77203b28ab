"""A CSV of request lengths -> a histogram. Everything in the file is checked before it counts."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gpuplan.cli import words
from gpuplan.errors import BadWord

LARGEST_FILE_BYTES = 256 << 20
LONGEST_CELL = 32
MOST_LENGTHS = 1000
COLUMNS = "`tokens`, or `input_tokens` and `output_tokens`, and if wanted `weight`"


def read_lengths(file: str) -> tuple[tuple[int, float], ...]:
    """Lengths of whole requests with their weights, the shortest first.

    One row is one request, or as many as its `weight` says. More than MOST_LENGTHS different lengths are rounded up to
    a common step, so that no request is counted shorter than it is.

    Raises:
        BadWord: the file cannot be read, lacks its columns, or a cell is no length.
    """
    counted: Counter[int] = Counter()
    for tokens, weight in _rows(Path(file)):
        counted[tokens] += weight  # type: ignore[assignment] # weights need not be whole
    if not counted:
        raise BadWord(f"{file} has no rows; one row is one length, in the columns {COLUMNS}")
    step = -(-max(counted) // MOST_LENGTHS) if len(counted) > MOST_LENGTHS else 1
    rounded: Counter[int] = Counter()
    for tokens, weight in counted.items():
        rounded[-(-tokens // step) * step] += weight
    return tuple((tokens, float(weight)) for tokens, weight in sorted(rounded.items()))


def _rows(path: Path) -> Iterator[tuple[int, float]]:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise BadWord(f"{path} is larger than {LARGEST_FILE_BYTES >> 20} MiB; give a histogram of it")
        with path.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines)
            wanted = _columns(path, table.fieldnames or ())
            for number, row in enumerate(table, start=2):
                yield _row(path, number, row, wanted)
    except (OSError, UnicodeDecodeError, csv.Error) as wrong:
        raise BadWord(f"{path} cannot be read as a CSV of lengths: {wrong}") from None


def _columns(path: Path, names: object) -> tuple[str, ...]:
    known = {str(name).strip() for name in names} if isinstance(names, list | tuple) else set()
    for wanted in (("tokens",), ("input_tokens", "output_tokens")):
        if known.issuperset(wanted):
            return wanted
    raise BadWord(f"{path} lacks its columns: {COLUMNS}")


def _row(path: Path, number: int, row: dict[str, str | None], wanted: tuple[str, ...]) -> tuple[int, float]:
    cells = {name.strip(): (cell or "")[: LONGEST_CELL + 1] for name, cell in row.items() if isinstance(name, str)}
    try:
        total = sum(words.tokens(cells[name]) for name in wanted)
        if total > words.MOST_TOKENS:
            raise BadWord(f"{total} tokens are more than {words.MOST_TOKENS}")
        return total, words.rate(cells["weight"]) if cells.get("weight") else 1.0
    except BadWord as wrong:
        raise BadWord(f"{path}, line {number}: {wrong}") from None
