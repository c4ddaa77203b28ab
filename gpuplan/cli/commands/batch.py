"""`plan batch`: a table of questions, one answer per row."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuplan.cli import console, words
from gpuplan.cli.commands import plan as main_job
from gpuplan.cli.options import Asked, argument, asked_in, flag, option, several
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import date

    from gpuplan.batch.desk import Desk
    from gpuplan.batch.on_ray import Cluster
    from gpuplan.batch.output import Basis
    from gpuplan.batch.run import Job
    from gpuplan.batch.workers import Here, Pool

SUMMARY = "A table of questions (CSV, XLSX, JSON Lines), one answer per row."
EXAMPLES = (
    "plan batch models.csv --out plans.csv",
    "plan batch models.csv --out plans.csv --min-tps 500 --max-tpot 25ms --budget 10",
    "plan batch models.xlsx --out plans.jsonl --resume --keep cost_centre",
    "plan batch models.csv --fleet --budget 60 --max-gpus 64 --out plans.xlsx",
)
TABLE = "The table and its answers"
TOGETHER = "All rows together"
OF_ALL_ROWS = ("offers", "prices_as_of", "factors", "offline")
"""Options of the main job that hold for all rows and are no column: they read files, or the network."""
BATCH_DEFAULTS = {"alternatives": 0}
"""Where a row has no place for what the main job shows by default."""

File = Annotated[str, argument("The table; - reads it from stdin", words.name, "FILE")]
Out = Annotated[
    str | None,
    option("--out", "Where answers go: .csv, .jsonl or .xlsx (default CSV on stdout)", words.name, "FILE", TABLE),
]
Resume = Annotated[bool, flag("--resume", "Continue an unfinished --out; a finished one is left as it is", TABLE)]
Keep = Annotated[list[str] | None, several("--keep", "Columns to hand through to the answers", "NAME", TABLE)]
Jobs = Annotated[
    int | None, option("--jobs", "Processes that solve (default one per core)", words.count, "COUNT", TABLE)
]

Ray = Annotated[
    str | None, option("--ray", "Solve on the Ray cluster at this address instead", words.name, "ADDRESS", TABLE)
]
Fleet = Annotated[
    bool, flag("--fleet", "Plan all rows together: --budget, --max-gpus and --max-power hold for their sum", TOGETHER)
]
LimitsFile = Annotated[
    str | None,
    option(
        "--limits", "What rows share: limits, buying, owned of a fleet file (YAML, JSON)", words.name, "FILE", TOGETHER
    ),
]
SaveFleet = Annotated[
    str | None,
    option(
        "--save-fleet",
        "Write the plan of all rows here: `plan report` and `plan show` read it",
        words.name,
        "FILE",
        TOGETHER,
    ),
]


def command(
    context: typer.Context,
    file: File,
    out: Out = None,
    resume: Resume = False,
    keep: Keep = None,
    jobs: Jobs = None,
    ray: Ray = None,
    fleet: Fleet = False,
    limits: LimitsFile = None,
    save_fleet: SaveFleet = None,
    **question: Any,
) -> int:
    """A table of questions (CSV, XLSX, JSON Lines), one answer per row.

    Each column is an option of `plan` by any of its usual names, in any order, with its unit in the header or in the
    cell: "max TPOT (ms)", "25 ms", "$10/h", "4k". What the command line says holds for every row whose cell is empty.
    A row that cannot be asked is answered by a sentence in its own row. Answers are written as they are made; a run
    that was ended is continued with --resume to the same bytes. With --fleet rows share machines and limits, and a
    last row holds the sum.

    Exit status: 0 every row has its answer, 2 the table cannot be read or the answers not be written.
    """
    return run(asked_in(context))


def _with_the_question() -> inspect.Signature:
    """The command's own parameters, and the main job's as defaults for all rows."""
    from gpuplan.batch.cells import KINDS

    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "question"]
    asked = inspect.signature(main_job.command, eval_str=True).parameters
    shared = [each.replace(default=BATCH_DEFAULTS.get(name, each.default)) for name, each in asked.items()]
    said = [each for each in shared if each.name in KINDS or each.name in OF_ALL_ROWS]
    return inspect.Signature([*own, *said], return_annotation=int)


def run(asked: Asked) -> int:
    """Answer the table that was named."""
    from gpuplan.batch.run import understood
    from gpuplan.batch.tables import read_table

    if asked.resume and asked.out is None:
        raise BadWord("--resume continues a file: name it with --out.")
    content = _content(asked.file)
    if asked.fleet or asked.limits is not None or asked.save_fleet is not None:
        from gpuplan.cli.together import planned_together

        place = None if asked.out is None else checked_place(asked)
        return planned_together(read_table(content, repr(asked.file)), asked, place, basis(asked, content))
    job = understood(read_table(content, repr(asked.file)), asked.keep or ())
    if asked.out is None:
        return _to_stdout(job, asked)
    return _to_file(job, asked, content, checked_place(asked))


def _content(name: str) -> bytes:
    from gpuplan.batch.errors import BadQuestions
    from gpuplan.batch.tables import LARGEST_BYTES

    try:
        if name == "-":
            return sys.stdin.buffer.read(LARGEST_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadQuestions(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or 'not a path'}.") from error


def checked_place(asked: Asked) -> Path:
    """Where answers go, if they can go there."""
    from gpuplan.batch.errors import BadOutput
    from gpuplan.batch.output import FORMATS, SPREADSHEET
    from gpuplan.batch.spreadsheet import check_installed

    place = Path(asked.out)
    if place.suffix not in FORMATS:
        raise BadOutput(f"--out {asked.out!r}: answers are written as {', '.join(FORMATS)}; name one of these.")
    if place.suffix == SPREADSHEET:
        check_installed()
    if asked.file != "-" and place.exists() and place.samefile(asked.file):
        raise BadOutput(f"--out {asked.out!r} is the table itself; name another file.")
    return place


def _desk(asked: Asked, today: date) -> Desk:
    from gpuplan.batch.desk import Desk
    from gpuplan.cli.place import place_of

    return Desk(
        today=today,
        offers_file=asked.offers,
        factors_dir=asked.factors,
        offline=asked.offline,
        place=place_of(asked),
        prices_as_of=asked.prices_as_of,
    )


def _to_stdout(job: Job, asked: Asked) -> int:
    from datetime import date

    from gpuplan.batch.output import as_line, csv_line
    from gpuplan.batch.run import records
    from gpuplan.cli.rows import RowReader

    columns = job.output_columns
    reader = RowReader(job.columns, asked)
    with _team(asked, date.today(), len(job.table.rows)) as team:
        console.show_csv(csv_line(columns))
        for record in records(job, reader.question, team.hand, team.jobs):
            console.show_csv(as_line(record, columns, ".csv"))
    return 0


def _to_file(job: Job, asked: Asked, content: bytes, place: Path) -> int:
    from gpuplan.batch.output import is_finished, opened
    from gpuplan.batch.run import in_words, records
    from gpuplan.cli.progress import progress
    from gpuplan.cli.rows import RowReader

    if asked.resume and is_finished(place):
        console.show([(f"{place} is finished; leave out --resume to plan again.",)])
        return 0
    counts: Counter[str] = Counter()
    reader = RowReader(job.columns, asked)
    with opened(place, job.output_columns, basis(asked, content), resume=asked.resume) as out:
        total = len(job.table.rows)
        with (
            _team(asked, out.today, total - out.done) as team,
            progress(total, out.done, "rows") as step,
        ):
            for record in records(job, reader.question, team.hand, team.jobs, out.done):
                out.write(record)
                counts[str(record["status"])] += 1
                step()
    before = f", {out.done:,} rows of before" if out.done else ""
    console.show([(f"{place}: {in_words(counts)}{before}",)])
    return 0


def basis(asked: Asked, content: bytes) -> Basis:
    """What the output is made of: everything that could change a byte of it."""
    from datetime import date

    from gpuplan import __version__
    from gpuplan.batch.output import Basis
    from gpuplan.batch.run import digest
    from gpuplan.planning import data_fingerprint
    from gpuplan.saving.fingerprints import digest_of

    said = {key: value for key, value in vars(asked).items() if key not in {"file", "out", "resume", "jobs", "ray"}}
    own = (digest_of(asked.offers), digest_of(asked.factors))
    return Basis(
        table=digest(content),
        options=digest(repr(sorted(said.items())).encode(), repr(own).encode()),
        data=data_fingerprint(),
        gpuplan_version=__version__,
        today=date.today(),
    )


def _team(asked: Asked, today: date, rows: int) -> AbstractContextManager[Here | Pool | Cluster]:
    """Who answers."""
    from gpuplan.batch.on_ray import cluster
    from gpuplan.batch.workers import staff

    desk = _desk(asked, today)
    return staff(desk, _jobs(asked, rows)) if asked.ray is None else cluster(desk, asked.ray)


def _jobs(asked: Asked, rows: int) -> int:
    """Processes: as many as were asked for; else one per core, and none of its own for a few rows."""
    from gpuplan.batch.workers import cores

    fewest_worth_a_process = 8
    return int(asked.jobs or (cores() if rows >= fewest_worth_a_process else 1))


vars(command)["__signature__"] = _with_the_question()
command.__annotations__ = {
    name: each.annotation for name, each in vars(command)["__signature__"].parameters.items()
} | {"return": int}
