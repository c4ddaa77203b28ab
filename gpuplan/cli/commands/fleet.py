"""`plan fleet`: many services that share machines and limits, from one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import words
from gpuplan.cli.options import OFFLINE_HELP, PRINTING, Asked, argument, factor_folder, flag, option, several
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.fleets.file import FleetFile
    from optimizer.fleet.plan import FleetPlan

ASKED = "What is asked"
LIMITS = "Limits (they replace those of the file)"
EXPLAINED = "What is explained"
SOLVING = "How long to look"
STOPPED = 130
"""Exit status of a program that Ctrl-C ended, as shells have it."""

SUMMARY = "The cheapest plan of many services that share machines, quotas and a budget."
EXAMPLES = (
    "plan fleet fleet.yaml",
    "plan fleet services.csv --budget 200 --max-gpus 64 --json",
    "plan fleet fleet.yaml --why-not MI300X --sensitivity plan",
    "plan fleet fleet.yaml --demand demand.csv",
    "plan fleet fleet.yaml --gap 0 --time-limit 60 --verbose",
)

File = Annotated[str, argument("A fleet: .yaml, .json or .csv (docs/fleet.md)", words.name, "FILE")]
Budget = Annotated[float | None, option("--budget", "USD per hour for everything", words.price, "USD", LIMITS)]
MaxGpus = Annotated[int | None, option("--max-gpus", "GPUs in all", words.count_or_none, "COUNT", LIMITS)]
MaxPower = Annotated[
    float | None, option("--max-power", "Watts of all GPUs that serve: 5000, 5kW", words.watts, "WATTS", LIMITS)
]
Offers = Annotated[
    str | None,
    option(
        "--offers", "A CSV of your own machines and prices: they add to or override ours", words.name, "FILE", ASKED
    ),
]
Demand = Annotated[
    str | None,
    option(
        "--demand", "A CSV of demand by month (and scenario), for a procurement calendar", words.name, "FILE", ASKED
    ),
]
SkipBad = Annotated[
    bool, flag("--skip-bad", "Leave services with problems out, and say so, instead of refusing the file", ASKED)
]
Offline = Annotated[bool, flag("--offline", OFFLINE_HELP, ASKED)]
Fitted = Annotated[str | None, factor_folder(ASKED)]
Gap = Annotated[
    float, option("--gap", "Distance to the proven bound at which to stop: 0.001, 0.1%", words.gap, "SHARE", SOLVING)
]
TimeLimit = Annotated[float, option("--time-limit", "Time that the solver may take", words.seconds, "SECONDS", SOLVING)]
Seed = Annotated[
    int, option("--seed", "Of the solver; the same seed gives the same plan", words.count_or_none, "NUMBER", SOLVING)
]
WhyNots = Annotated[
    list[str] | None,
    several("--why-not", "GPUs that are forced into the plan, to see what that costs", "GPU", EXPLAINED),
]
Edges = Annotated[
    list[str] | None,
    several(
        "--sensitivity", "GPUs whose price to enter or leave is found; `plan` = those in the plan", "GPU", EXPLAINED
    ),
]
Brief = Annotated[bool, flag("--brief", "Do not solve again for what each binding limit is worth", EXPLAINED)]
Json = Annotated[bool, flag("--json", "One JSON object on stdout (its schema: `plan schema fleet`)", PRINTING)]
Quiet = Annotated[bool, flag("--quiet -q", "The plan in one line", PRINTING)]
Verbose = Annotated[bool, flag("--verbose -v", "What each machine carries, and every command", PRINTING)]


def command(
    context: typer.Context,
    file: File,
    budget: Budget = None,
    max_gpus: MaxGpus = None,
    max_power: MaxPower = None,
    offers: Offers = None,
    demand: Demand = None,
    skip_bad: SkipBad = False,
    offline: Offline = False,
    factors: Fitted = None,
    gap: Gap = 0.001,
    time_limit: TimeLimit = 30.0,
    seed: Seed = 7,
    why_not: WhyNots = None,
    sensitivity: Edges = None,
    brief: Brief = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """The cheapest plan of many services that share machines, quotas, power and a budget.

    Prints the machines to have, what serves each service on them, how much of each limit is used, what was dropped by
    priority, and the proof: how far the plan can at most be from the cheapest.

    Ctrl-C ends the search with the best plan so far and how far it is proven; a second one ends it without.

    Exit status: 0 every service is served, 2 bad input or an unknown name, 3 something is not served, 130 cut short by
    Ctrl-C.
    """
    from gpuplan.cli.options import asked_in

    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Answer what was typed."""
    from gpuplan.fleets.explained import Wishes
    from gpuplan.fleets.file import read_fleet
    from gpuplan.fleets.planning import Effort, plan_fleet
    from optimizer.cp_sat.interruption import run_until_interrupted

    read = _with_limits(read_fleet(asked.file, skip_bad=asked.skip_bad), asked)
    from gpuplan.cli import console

    if asked.demand or read.demand_file:
        return _calendar(read, asked)
    progress, notice = (None, None) if asked.quiet else (console.progress(), console.notice())
    answer, stopped = run_until_interrupted(
        lambda: plan_fleet(
            read.fleet,
            offers_file=asked.offers or read.offers_file,
            factors_dir=asked.factors,
            offline=asked.offline,
            effort=Effort(asked.gap, asked.time_limit, asked.seed),
            wishes=Wishes(not asked.brief, tuple(asked.why_not or ()), tuple(asked.sensitivity or ())),
            progress=progress,
            notice=notice,
        )
    )
    console.hush()
    answer = answer.model_copy(update={"warnings": (*_stopped(stopped), *read.skipped, *answer.warnings)})
    _show(answer, asked)
    return STOPPED if stopped else 0 if all(service.served for service in answer.services) else 3


def _stopped(stopped: bool) -> tuple[str, ...]:
    return ("Ctrl-C ended the search: this is the best that was found until then.",) if stopped else ()


def _calendar(read: FleetFile, asked: Asked) -> int:
    """What to reserve, rent and buy when."""
    from gpuplan.cli import calendar_page, console
    from gpuplan.fleets.file import read_demand
    from gpuplan.fleets.planning import Effort, plan_calendar
    from optimizer.cp_sat.interruption import run_until_interrupted

    if asked.why_not or asked.sensitivity:
        raise BadWord(
            "--why-not and --sensitivity explain the plan of one month; leave them or the demand by month out."
        )
    rows = read_demand(asked.demand or str(read.demand_file))
    fleet, progress = read.fleet.model_copy(update={"demand_by_month": rows}), None
    if not asked.quiet:
        progress = console.progress("USD")
    answer, stopped = run_until_interrupted(
        lambda: plan_calendar(
            fleet,
            offers_file=asked.offers or read.offers_file,
            factors_dir=asked.factors,
            offline=asked.offline,
            effort=Effort(asked.gap, asked.time_limit, asked.seed),
            progress=progress,
        )
    )
    console.hush()
    answer = answer.model_copy(update={"warnings": (*_stopped(stopped), *read.skipped, *answer.warnings)})

    def page(ink: console.Ink) -> list[console.Line]:
        name = read.fleet.name
        return calendar_page.short(answer, name) if asked.quiet else calendar_page.full(answer, name, ink)

    console.show_answer(answer, page, as_json=asked.json)
    return STOPPED if stopped else 0 if answer.cost_usd is not None and not answer.dropped else 3


def _with_limits(read: FleetFile, asked: Asked) -> FleetFile:
    """The same with the limits that were typed."""
    from dataclasses import replace

    places = {"budget": "budget_usd_per_hour", "max_gpus": "gpus", "max_power": "power_watts"}
    typed = {place: getattr(asked, name) for name, place in places.items() if getattr(asked, name) is not None}
    limits = read.fleet.limits.model_copy(update=typed)
    return replace(read, fleet=read.fleet.model_copy(update={"limits": limits}))


def _show(answer: FleetPlan, asked: Asked) -> None:
    from gpuplan.cli import console, fleet_page

    def page(ink: console.Ink) -> list[console.Line]:
        return fleet_page.short(answer) if asked.quiet else fleet_page.full(answer, ink, verbose=asked.verbose)

    console.show_answer(answer, page, as_json=asked.json)
