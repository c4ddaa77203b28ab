"""A table of questions becomes a table of answers: read, understood, solved on all cores, written as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from gpuplan.batch import answers as made
from gpuplan.batch.columns import Column, understand_columns
from gpuplan.batch.errors import BadQuestions, BadRow
from gpuplan.batch.tables import Row, Table
from gpuplan.batch.workers import AHEAD, answers

if TYPE_CHECKING:
    from gpuplan.batch.output import Record
    from gpuplan.batch.workers import Hand
    from optimizer.requirements import Requirements

Reader = Callable[[Row], "Requirements"]
"""Reads one row, or raises BadRow."""


@dataclass(frozen=True)
class Job:
    """A table that is understood.

    Attributes:
        table: its rows; one that names what nobody knows has a problem.
        columns: what its columns mean.
    """

    table: Table
    columns: tuple[Column, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Titles that are handed through, in order."""
        return tuple(column.title for column in self.columns if column.option is None)

    @property
    def output_columns(self) -> tuple[str, ...]:
        """Columns of the output: the row's number, what is handed through, the answer."""
        first, *rest = made.COLUMNS
        return (first, *(f"asked_{name}" if name in made.COLUMNS else name for name in self.kept), *rest)


def understood(table: Table, keep: Sequence[str]) -> Job:
    """What a table asks, column by column.

    Raises:
        BadQuestions: a column means nothing, or two mean the same, or --keep names none.
    """
    missing = [name for name in keep if name not in table.columns]
    if missing:
        raise BadQuestions(f"--keep {missing[0][:60]!r}: the table has no such column, only {_few(table.columns)}.")
    if not table.ragged:
        return Job(table, understand_columns(table.columns, keep))
    wrong: dict[str, str] = {}
    known: list[str] = []
    for title in table.columns:
        try:
            understand_columns([*known, title], keep)
            known.append(title)
        except BadQuestions as error:
            wrong[title] = str(error).rstrip(".")
    rows = tuple(_with_problem(row, wrong) for row in table.rows)
    return Job(replace(table, rows=rows), understand_columns(known, keep))


def _with_problem(row: Row, wrong: dict[str, str]) -> Row:
    named = next((title for title in row.cells if title in wrong), None)
    return row if named is None or row.problem else replace(row, problem=wrong[named])


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def records(job: Job, read: Reader, hand: Hand, jobs: int, done: int = 0) -> Iterator[Record]:
    """The rows of the output, in order.

    Args:
        job: the table.
        read: turns a row into a question.
        hand: gives a question away to be answered.
        jobs: how many are answered at a time.
        done: so many rows are written already.
    """
    rows = job.table.rows[done:]
    asked = (_question(row, read) for row in rows)
    waiting = 0 if jobs == 1 else jobs * AHEAD
    for row, answer in zip(rows, answers(asked, hand, waiting), strict=True):
        yield recorded(job, row, answer)


def _question(row: Row, read: Reader) -> Requirements | made.Answer:
    try:
        return read(row)
    except BadRow as error:
        return made.refused(str(error).rstrip(".") + ".")


def recorded(job: Job, row: Row, answer: made.Answer) -> Record:
    """An answer as a row of the output."""
    model = next((row.cells.get(each.title) for each in job.columns if each.option == "model"), None)
    kept = {f"asked_{name}" if name in made.COLUMNS else name: row.cells.get(name, "") for name in job.kept}
    return {**answer, "row": row.number, "model": model or answer["model"], **kept}


def digest(*parts: bytes) -> str:
    """A short hash of what a run rests on."""
    whole = blake2b(digest_size=16)
    for part in parts:
        whole.update(f"{len(part)}\0".encode() + part)
    return whole.hexdigest()


def in_words(counts: Counter[str]) -> str:
    """How many rows ended how.

    >>> in_words(Counter(optimal=3, error=1))
    '4 rows: 3 optimal, 1 error'
    """
    order = ("optimal", "within gap", "feasible", "infeasible", "unknown", "not served", "error")
    said = [f"{counts[status]:,} {status}" for status in order if counts[status]]
    return f"{counts.total():,} row{'s' * (counts.total() != 1)}: {', '.join(said)}"
