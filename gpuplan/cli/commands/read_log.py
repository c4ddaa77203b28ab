"""`plan read-log`: a server's start-up log -> a measured row for `plan check memory`."""

from __future__ import annotations

from typing import Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, flag, option

SUMMARY = "What a server's start-up log says of its memory, as a row for `plan check memory`."
EXAMPLES = ("plan read-log server.log > measured.csv", "plan read-log server.log --json")

File = Annotated[str, argument("The log of vLLM, SGLang or TensorRT-LLM, from its start on", words.name, "FILE")]
Rows = Annotated[str | None, option("--rows", "Write the rows to this CSV instead", words.name, "FILE", PRINTING)]
Json = Annotated[bool, flag("--json", "A list of objects, one per start; empty text = the log does not say", PRINTING)]


def command(context: typer.Context, file: File, rows: Rows = None, json: Json = False) -> int:
    """What a server's start-up log says of its memory, as a row for `plan check memory`.

    Prints a CSV with one row per start of a server that the log tells of, per GPU, of the poorest rank. Colour codes,
    timestamps, several ranks and a torn end do no harm. What the log does not say is left empty: fill in the model,
    the GPU and the parallelism if it lacks them.

    Exit status: 0 something was read, 2 bad input.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the rows of the log that was named."""
    from gpuplan.measuring.logs import COLUMNS, read_log_file
    from gpuplan.measuring.tables import csv_text, write_table

    found = read_log_file(asked.file)
    if asked.rows is not None:
        write_table(asked.rows, COLUMNS, found)
    if asked.json:
        import json

        console.show_json(json.dumps(found, indent=2, ensure_ascii=False))
    elif asked.rows is None:
        console.show_csv(csv_text(COLUMNS, found))
    return 0
