"""`plan show`: a saved plan, as it was printed when it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, flag

if TYPE_CHECKING:
    from gpuplan.saving.plan_file import PlanFile
    from optimizer.fleet.calendar import Calendar
    from optimizer.fleet.plan import FleetPlan

SUMMARY = "A saved plan or fleet, as it was printed when it was made."
EXAMPLES = ("plan show plan.json", "plan show plan.json --verbose")

File = Annotated[
    str,
    argument("What --save or --save-fleet wrote, or `plan --json`, `plan fleet --json` printed", words.name, "FILE"),
]
Json = Annotated[bool, flag("--json", "The plan alone, as `plan --json` prints it", PRINTING)]
Quiet = Annotated[bool, flag("--quiet -q", "The plan in one line, and the command that serves it", PRINTING)]
Verbose = Annotated[bool, flag("--verbose -v", "All alternatives and rejections", PRINTING)]


def command(
    context: typer.Context, file: File, json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> int:
    """A saved plan, as it was printed when it was made.

    Nothing is planned again and no price is newer than the plan: `plan --from FILE` asks the same question of today's
    data. Says at the end which program and which data made the plan, and whether they are those of now.

    Exit status: 0 a plan, 2 no plan can be read, 3 the plan says that nothing fits.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print what was named."""
    from gpuplan.saving.fleet_plan import read_saved
    from gpuplan.saving.plan_file import PlanFile

    saved = read_saved(asked.file)
    if not isinstance(saved, PlanFile):
        return _show_fleet(saved, asked)
    console.show_answer(saved.plan, lambda ink: page(saved, asked, ink), as_json=asked.json)
    return 3 if saved.plan.status == "infeasible" else 0


def _show_fleet(saved: FleetPlan | Calendar, asked: Asked) -> int:
    """A fleet's plan or its calendar."""
    from gpuplan.cli import calendar_page, fleet_page, plan_page
    from optimizer.fleet.plan import FleetPlan

    if not isinstance(saved, FleetPlan):
        console.show_answer(
            saved, lambda ink: calendar_page.full(saved, "Procurement calendar", ink), as_json=asked.json
        )
        return 0 if saved.cost_usd is not None and not saved.dropped else 3

    def page(ink: console.Ink) -> list[console.Line]:
        if asked.quiet:
            return fleet_page.short(saved)
        made = made_by(saved.gpuplan_version, saved.data_fingerprint)
        full = fleet_page.full(saved, ink, verbose=asked.verbose)
        return [*full, (), plan_page.title("Made by"), *console.wrapped(made, ink.width, 2)]

    console.show_answer(saved, page, as_json=asked.json)
    return 0 if all(service.served for service in saved.services) else 3


def page(file: PlanFile, asked: Asked, ink: console.Ink) -> list[console.Line]:
    """The plan's page, with its origin below."""
    from gpuplan.cli import plan_page

    if asked.quiet:
        return plan_page.short(file.plan)
    full = plan_page.full(file.plan, ink, verbose=asked.verbose)
    return [*full, (), plan_page.title("Made by"), *console.wrapped(origin(file), ink.width, 2)]


def origin(file: PlanFile) -> str:
    """Which program and which data made the plan, and what of them is otherwise now."""
    from gpuplan.saving.fingerprints import KINDS, fingerprints

    plan, now = file.plan, fingerprints()
    if file.fingerprints is None:
        return made_by(plan.gpuplan_version, plan.data_fingerprint)
    changed = [kind for kind in KINDS if getattr(file.fingerprints, kind) != getattr(now, kind)]
    return made_by(plan.gpuplan_version, plan.data_fingerprint, changed)


def made_by(gpuplan_version: str, data_fingerprint: str, changed: list[str] | None = None) -> str:
    """A program and data in words, beside those of now; `changed` are the kinds of data that are known to be other."""
    from gpuplan import __version__, planning

    if changed is None:
        changed = [] if data_fingerprint == planning.data_fingerprint() else ["data"]
    news = f"; since then changed: {', '.join(changed)}" if changed else "; the data is that of now"
    program = "" if gpuplan_version == __version__ else f" (this is {__version__})"
    return f"gpuplan {gpuplan_version}{program}, data {data_fingerprint}{news}"
