"""`plan compare`: saved plans side by side, or one and the same question asked otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, saved, words
from gpuplan.cli.options import OFFLINE_HELP, PRINTING, Asked, arguments, asked_in, flag, several
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.compare import Comparison, Named
    from gpuplan.saving.plan_file import PlanFile
    from optimizer.fleet.calendar import Calendar
    from optimizer.fleet.plan import FleetPlan

SUMMARY = "Saved plans side by side: what differs, and why."
EXAMPLES = (
    "plan compare monday.json friday.json",
    "plan compare plan.json --prices-as-of 2026-09-01",
    "plan compare plan.json --engine sglang --engine vllm==0.32.0 --all",
)
OTHERWISE = "The first plan's question, asked again"
MOST_PLANS = 8

Files = Annotated[list[str], arguments("Plans that --save wrote, or `plan --json` printed", words.name, "FILE")]
Days = Annotated[
    list[str] | None,
    several("--prices-as-of", "With the prices that were known on this day", "YYYY-MM-DD", OTHERWISE),
]
Engines = Annotated[
    list[str] | None, several("--engine", "On this engine or version: sglang, vllm==0.32.0", "NAME", OTHERWISE)
]
Now = Annotated[bool, flag("--now", "With the data of now", OTHERWISE)]
Offline = Annotated[bool, flag("--offline", OFFLINE_HELP, OTHERWISE)]
All = Annotated[bool, flag("--all", "What is the same, too", PRINTING)]
Json = Annotated[bool, flag("--json", "One JSON object on stdout", PRINTING)]


def command(
    context: typer.Context,
    files: Files,
    prices_as_of: Days = None,
    engine: Engines = None,
    now: Now = False,
    offline: Offline = False,
    all: All = False,
    json: Json = False,
) -> int:
    """Saved plans side by side: what differs, and why.

    Shows what the plans say differently (--all: everything), and for each plan after the first what changed under it:
    a rule of the question, the model, a price, the data, the program. With --prices-as-of, --engine or --now, the first
    plan's question is asked again with that one change, and the answers stand beside it.

    Exit status: 0 compared, 2 bad input.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print what differs."""
    from gpuplan.saving.fleet_plan import read_saved

    found = _compared([read_saved(file) for file in asked.files], asked)
    console.show_answer(found, lambda ink: page(found, ink, whole=asked.all), as_json=asked.json)
    return 0


def _compared(saved: list[PlanFile | FleetPlan | Calendar], asked: Asked) -> Comparison:
    """Plans of one model, or of fleets: never of both, and no calendars."""
    from gpuplan.saving.plan_file import PlanFile
    from optimizer.fleet.plan import FleetPlan

    files = [each for each in saved if isinstance(each, PlanFile)]
    if len(files) == len(saved):
        return _of_one_model(files, asked)
    fleets = [each for each in saved if isinstance(each, FleetPlan)]
    if len(fleets) < len(saved):
        raise BadWord("Plans of one model stand beside each other, or plans of fleets; calendars cannot be compared.")
    return _of_fleets(fleets, asked)


def _of_fleets(plans: list[FleetPlan], asked: Asked) -> Comparison:
    from gpuplan.fleets.compare import NamedFleet, compare_fleets

    if asked.now or asked.prices_as_of or asked.engine:
        raise BadWord(
            "--now, --prices-as-of and --engine ask one model's question again; run `plan fleet` for a fleet."
        )
    if not 2 <= len(plans) <= MOST_PLANS:
        raise BadWord(f"Name 2 to {MOST_PLANS} plans of fleets; these are {len(plans)}.")
    return compare_fleets([NamedFleet(name, plan) for name, plan in zip(asked.files, plans, strict=True)])


def _of_one_model(files: list[PlanFile], asked: Asked) -> Comparison:
    from gpuplan.compare import compare

    plans = [*map(_named, asked.files, files), *_asked_again(asked, files[0])]
    if len(plans) < 2:
        raise BadWord(
            "One plan alone differs from nothing: name another, or say --now, --prices-as-of DAY or --engine NAME."
        )
    if len(plans) > MOST_PLANS:
        raise BadWord(f"At most {MOST_PLANS} plans stand side by side; these are {len(plans)}.")
    return compare(plans)


def _named(name: str, file: PlanFile) -> Named:
    from gpuplan.cli.question_words import words_of
    from gpuplan.compare import Named

    asked: dict[str, str] = {}
    for option, word in words_of(file.plan.question, file.sources.place):
        asked[option] = f"{asked[option]},{word}" if option in asked else word
    return Named(name, file, asked)


def _asked_again(asked: Asked, first: PlanFile) -> list[Named]:
    """The first plan's question with one thing otherwise each."""
    base = vars(saved.asked_of(first)) | {"offline": asked.offline}
    changes: list[tuple[str, dict[str, object]]] = [("now", {})] if asked.now else []
    changes += [(f"prices of {day}", {"prices_as_of": words.day(day)}) for day in asked.prices_as_of or ()]
    changes += [(f"on {name}", {"engine": [name]}) for name in asked.engine or ()]
    return [_named(name, saved.planned(Asked(**(base | change)))) for name, change in changes]


def page(found: Comparison, ink: console.Ink, *, whole: bool) -> list[console.Line]:
    """Facts as a table per group, then the reasons."""
    facts = found.facts if whole else found.differences
    if not facts:
        return [("They say the same.",)]
    width = max(12, (ink.width - 30) // len(found.names) - 2)
    lines: list[console.Line] = []
    head: list[console.Part] = ["", *(console.Styled(_cut(name, width), "bold") for name in found.names)]
    rows: list[list[console.Part]] = [head]
    for fact in facts:
        rows.append([fact.name, *(_cut(value or "-", width) for value in fact.values)])
    lines += console.aligned(rows, indent=0)
    for at, name in enumerate(found.names[1:], 1):
        reasons = [reason for reason in found.reasons if reason.plan == at]
        if reasons:
            lines += [(), (console.Styled(f"Why {name} differs from {found.names[0]}", "bold"),)]
            lines += [
                line
                for reason in reasons
                for line in console.wrapped(f"{reason.kind}: {reason.sentence}", ink.width, 2, mark="- ")
            ]
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
