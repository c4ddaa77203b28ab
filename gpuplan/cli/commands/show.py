"""`plan show`: a saved plan, as it was printed when it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, flag

if TYPE_CHECKING:
    from gpuplan.saving.plan_file import PlanFile

SUMMARY = "A saved plan, as it was printed when it was made."
EXAMPLES = ("plan show plan.json", "plan show plan.json --verbose")

File = Annotated[str, argument("What --save wrote, or `plan --json` printed", words.name, "FILE")]
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
    """Print the plan that was named."""
    from gpuplan.saving.plan_file import read_plan_file

    file = read_plan_file(asked.file)
    console.show_answer(file.plan, lambda ink: page(file, asked, ink), as_json=asked.json)
    return 3 if file.plan.status == "infeasible" else 0


def page(file: PlanFile, asked: Asked, ink: console.Ink) -> list[console.Line]:
    """The plan's page, with its origin below."""
    from gpuplan.cli import plan_page

    if asked.quiet:
        return plan_page.short(file.plan)
    full = plan_page.full(file.plan, ink, verbose=asked.verbose)
    return [*full, (), plan_page.title("Made by"), *console.wrapped(origin(file), ink.width, 2)]


def origin(file: PlanFile) -> str:
    """Which program and which data made the plan, and what of them is otherwise now."""
    from gpuplan import __version__
    from gpuplan.planning import data_fingerprint
    from gpuplan.saving.fingerprints import KINDS, fingerprints

    plan, now = file.plan, fingerprints()
    if file.fingerprints is None:
        same = plan.data_fingerprint == data_fingerprint()
        changed = [] if same else ["data"]
    else:
        changed = [kind for kind in KINDS if getattr(file.fingerprints, kind) != getattr(now, kind)]
    news = f"; since then changed: {', '.join(changed)}" if changed else "; the data is that of now"
    program = "" if plan.gpuplan_version == __version__ else f" (this is {__version__})"
    return f"gpuplan {plan.gpuplan_version}{program}, data {plan.data_fingerprint}{news}"
