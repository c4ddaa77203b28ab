"""One row of a table of questions -> Requirements, by the same options and words as on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from gpuplan.batch.cells import words_for
from gpuplan.batch.columns import Column
from gpuplan.batch.errors import BadRow
from gpuplan.cli.options import Asked, given_in
from gpuplan.cli.saved import without_contrary
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.batch.tables import Row
    from optimizer.requirements import Requirements


class RowReader:
    """Reads rows; the options are built once.

    Args:
        columns: what the cells mean.
        defaults: what the command line says of every row; a cell that is not empty replaces it.
    """

    def __init__(self, columns: Sequence[Column], defaults: Asked) -> None:
        from gpuplan.cli.app import MAIN_JOB, program

        self._columns = tuple(columns)
        self._defaults = defaults
        self._program: Any = program()
        self._name = MAIN_JOB
        self._read: dict[tuple[str, ...], Requirements | str] = {}

    def question(self, row: Row) -> Requirements:
        """What a row asks.

        Raises:
            BadRow: a sentence that says what is wrong with it.
        """
        if row.problem:
            raise BadRow(f"{row.problem}.")
        cells = [(each, row.cells.get(each.title, "")) for each in self._columns if each.option is not None]
        typed = tuple(word for each, cell in cells if cell for word in words_for(each.option or "", cell, each.unit))
        if typed not in self._read:
            self._read[typed] = self._understood(typed)
        known = self._read[typed]
        if isinstance(known, str):
            raise BadRow(known)
        return known

    def _understood(self, typed: tuple[str, ...]) -> Requirements | str:
        from gpuplan.cli.app import sentence
        from gpuplan.cli.question import requirements_of

        try:
            context = self._program.make_context(self._name, list(typed))
            given = {name: context.params[name] for name in given_in(context)}
            return requirements_of(Asked(**(without_contrary(vars(self._defaults), given) | given)))
        except typer.TyperException as error:
            return sentence(error).removeprefix("--")  # a spreadsheet takes a leading dash for a formula
        except BadWord as error:
            return str(error).removeprefix("--")
