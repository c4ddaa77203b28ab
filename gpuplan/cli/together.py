"""`plan batch --fleet`: the rows of a table as services of one fleet, planned once and answered row by row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuplan.batch.together import NOT_IN_A_FLEET, Rows, fleet_of, records_of, services_of, understood_together
from gpuplan.cli import console
from gpuplan.cli.options import Asked
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.batch.output import Basis, Record
    from gpuplan.batch.tables import Table
    from optimizer.fleet.plan import FleetPlan

NOT_BESIDE = {"resume": False, "jobs": None, "ray": None, "prices_as_of": None}
"""Options of a batch that say nothing of a fleet -> their defaults."""
LIMITS = {"budget": "budget_usd_per_hour", "max_gpus": "gpus", "max_power": "power_watts"}
BUYING = {"billing": "billings", "allow": "allowed_restrictions"}
GOAL = {"objective": "cost", "alternatives": 0, "no_mix": False}


def planned_together(table: Table, asked: Asked, place: Path | None, basis: Basis) -> int:
    """Plan all rows of a table at once and write their answers.

    Args:
        table: the rows.
        asked: what was typed.
        place: where answers go; None = CSV on stdout.
        basis: what the output is made of.

    Raises:
        BadWord: an option was typed that a fleet does not know.
    """
    from gpuplan.cli.rows import RowReader

    _check(asked)
    job = understood_together(table, asked.keep or ())
    shared: dict[str, None] = dict.fromkeys((*LIMITS, *BUYING))
    reader = RowReader(job.columns, Asked(**(vars(asked) | shared)))
    rows = services_of(job, reader.question, offline=asked.offline)
    rows, plan = _plan(rows, asked)
    records = list(records_of(job, rows, plan))
    if asked.save_fleet is not None and plan is not None:
        _save(asked.save_fleet, plan)
    if place is None:
        _print(records, job.output_columns)
    else:
        _write(records, job.output_columns, place, basis)
        _summarize(records, plan, place)
    return 0


def _check(asked: Asked) -> None:
    """Refuse what was typed in vain."""
    if not asked.fleet:
        raise BadWord("--limits and --save-fleet are of rows that are planned together: add --fleet.")
    for name, default in {**dict.fromkeys(NOT_IN_A_FLEET), **GOAL, **NOT_BESIDE}.items():
        if getattr(asked, name) not in (default, None):
            raise BadWord(f"--{name.replace('_', '-')} says nothing of rows that are planned together; leave it out.")


def _plan(rows: Rows, asked: Asked) -> tuple[Rows, FleetPlan | None]:
    """The plan of all rows that can be planned, and which those are."""
    from gpuplan.errors import known_errors
    from gpuplan.fleets.explained import Wishes
    from gpuplan.fleets.planning import Effort, plan_fleet, unplannable

    terms, offers_file = _terms(asked)
    files: dict[str, Any] = {"offers_file": offers_file, "factors_dir": asked.factors, "offline": asked.offline}
    effort, wishes = Effort(time_limit_seconds=asked.time_limit), Wishes(worth=False)
    while rows.services:
        fleet = fleet_of(rows.services, terms, Path(asked.file).stem.strip("-"))
        try:
            plan = plan_fleet(fleet, **files, effort=effort, wishes=wishes, progress=console.progress())
            console.hush()
            return rows, plan
        except known_errors():
            wrong = unplannable(fleet, **files)
            if not wrong:
                raise
            rows = rows.without(wrong)
    return rows, None


def _terms(asked: Asked) -> tuple[dict[str, Any], str | Path | None]:
    """What the rows share, and a file of own offers: as the file says, and what was typed in its place."""
    from gpuplan.fleets.file import read_terms
    from optimizer.fleet.services import Buying, FleetLimits

    terms, offers = ({}, None) if asked.limits is None else read_terms(asked.limits)
    limits = terms.get("limits") or FleetLimits()
    terms["limits"] = limits.model_copy(update=_typed(asked, LIMITS))
    terms["buying"] = Buying(**{**terms.get("buying", {}), **_typed(asked, BUYING)})
    return terms, asked.offers or offers


def _typed(asked: Asked, fields: dict[str, str]) -> dict[str, Any]:
    """Field -> value of the options that were typed."""
    return {field: getattr(asked, name) for name, field in fields.items() if getattr(asked, name) is not None}


def _save(name: str, plan: FleetPlan) -> None:
    from gpuplan.saving.fleet_plan import write_fleet_plan

    write_fleet_plan(name, plan)


def _print(records: list[Record], columns: tuple[str, ...]) -> None:
    from gpuplan.batch.output import as_line, csv_line

    console.show_csv(csv_line(columns))
    for record in records:
        console.show_csv(as_line(record, columns, ".csv"))


def _write(records: list[Record], columns: tuple[str, ...], place: Path, basis: Basis) -> None:
    from gpuplan.batch.output import opened

    with opened(place, columns, basis, resume=False) as out:
        for record in records:
            out.write(record)


def _summarize(records: list[Record], plan: FleetPlan | None, place: Path) -> None:
    from gpuplan.batch.run import in_words
    from gpuplan.batch.together import IN_ALL
    from gpuplan.cli import fleet_page

    counts = Counter(str(record["status"]) for record in records if record["row"] != IN_ALL)
    console.show([(f"{place}: {in_words(counts)}",)])
    if plan is not None:
        console.show(fleet_page.short(plan))
