"""`plan report`: a saved plan as a procurement report, for someone who signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import OFFLINE_HELP, Asked, argument, asked_in, flag, option
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from datetime import date

    from gpuplan.reports.assumptions import Assumptions
    from gpuplan.reports.document import Report
    from gpuplan.saving.plan_file import PlanFile
    from optimizer.fleet.calendar import Calendar
    from optimizer.fleet.plan import FleetPlan

SUMMARY = "A saved plan or fleet as a procurement report: options, rent or buy, sensitivity, risk (.html, .md, .xlsx)."
EXAMPLES = (
    "plan report plan.json --out report.html",
    "plan report plan.json --out report.xlsx",
    "plan report plan.json --out report.md --utilization 40% --years 2",
    'plan report plan.json --out report.html --server "DGX H200" --server-price 410k --staff 60k',
    "plan report fleet.json --out fleet.xlsx",
)
WORK = "The report"
USE = "How long, how much"
OWNING = "Machines of one's own"
SWINGS = "What may change"

File = Annotated[
    str,
    argument("What --save or --save-fleet wrote, or `plan --json`, `plan fleet --json` printed", words.name, "FILE"),
]
Out = Annotated[
    str,
    option("--out -o", "Where to write it; the name's end is the format: .html, .md, .xlsx", words.name, "FILE", WORK),
]
Offline = Annotated[bool, flag("--offline", OFFLINE_HELP, WORK)]
Utilization = Annotated[
    float | None,
    option("--utilization", "Share of all hours in which it is wanted (default 100%)", words.duty, "SHARE", USE),
]
Years = Annotated[float | None, option("--years", "Horizon of the comparison (default 3)", words.years, "YEARS", USE)]
Server = Annotated[
    str | None,
    option("--server", "Buy this server (default the one that is cheapest over its life)", words.name, "NAME", OWNING),
]
Desktops = Annotated[bool, flag("--desktops", "Machines for desks (DGX Spark) may be bought too", OWNING)]
ServerPrice = Annotated[
    float | None, option("--server-price", "What that server costs you: 285k", words.amount, "USD", OWNING)
]
Network = Annotated[
    float | None,
    option("--network", "Network on top of servers (default 12%)", words.portion, "SHARE", OWNING),
]
Life = Annotated[
    float | None, option("--life", "Years until servers are renewed (default 4)", words.years, "YEARS", OWNING)
]
Residual = Annotated[
    float | None,
    option("--residual", "What is left of the capital then (default 0)", words.portion, "SHARE", OWNING),
]
Maintenance = Annotated[
    float | None,
    option("--maintenance", "Per year, on the capital (default 4%)", words.portion, "SHARE", OWNING),
]
Colocation = Annotated[
    float | None,
    option("--colocation", "USD per provisioned kW and month (default 180)", words.amount, "USD", OWNING),
]
Electricity = Annotated[
    float | None,
    option(
        "--electricity",
        "USD per kWh in a room of your own, instead of colocation",
        words.per_kilowatt_hour,
        "USD",
        OWNING,
    ),
]
Pue = Annotated[
    float | None,
    option("--pue", "All power of that room over that of its machines (default 1.4)", words.pue, "RATIO", OWNING),
]
Staff = Annotated[
    float | None,
    option("--staff", "USD per year for staff of your own (default not counted)", words.amount, "USD", OWNING),
]
DemandSwing = Annotated[
    float | None,
    option("--demand-swing", "How far demand may be off (default 50%)", words.portion, "SHARE", SWINGS),
]
PriceSwing = Annotated[
    float | None,
    option("--price-swing", "How far prices may move (default 30%)", words.portion, "SHARE", SWINGS),
]
LowUtilization = Annotated[
    float | None,
    option("--low-utilization", "The lowest utilization to look at (default 40%)", words.duty, "SHARE", SWINGS),
]
CarefulConfidence = Annotated[
    float | None,
    option("--careful-confidence", "Confidence of the careful plan (default 90%)", words.confidence, "CHANCE", SWINGS),
]

OPTION_KEYS = {
    "utilization": "utilization",
    "years": "years",
    "server_price": "server_price",
    "network": "network_share",
    "life": "life_years",
    "residual": "residual_share",
    "maintenance": "maintenance_share",
    "colocation": "colocation",
    "electricity": "electricity",
    "pue": "pue",
    "staff": "staff_usd_per_year",
    "demand_swing": "demand_swing",
    "price_swing": "price_swing",
    "low_utilization": "low_utilization",
    "careful_confidence": "careful_confidence",
}
"""An option -> the assumption that it changes."""


def command(
    context: typer.Context,
    file: File,
    out: Out,
    offline: Offline = False,
    utilization: Utilization = None,
    years: Years = None,
    server: Server = None,
    desktops: Desktops = False,
    server_price: ServerPrice = None,
    network: Network = None,
    life: Life = None,
    residual: Residual = None,
    maintenance: Maintenance = None,
    colocation: Colocation = None,
    electricity: Electricity = None,
    pue: Pue = None,
    staff: Staff = None,
    demand_swing: DemandSwing = None,
    price_swing: PriceSwing = None,
    low_utilization: LowUtilization = None,
    careful_confidence: CarefulConfidence = None,
) -> int:
    """A saved plan as a procurement report, for someone who signs.

    Says what is recommended and why, the cheapest on each GPU and by commitment, rent against purchase over one to five
    years, energy and carbon, what moves the cost, how sure each number is, and where each price is from. The plan is
    taken as it is; what would be otherwise (paid otherwise, bought, other demand, other prices) is planned again.

    Of a fleet's plan or calendar: what to have, who is served by what, limits and their worth, what is not served.

    The HTML file holds all it needs and loads nothing; printed, it is fit for paper. Markdown has its charts in a
    folder beside it. The spreadsheet has its own charts and computes rent against purchase anew when a number of the
    sheet Inputs is changed. Charts and spreadsheets need the extra `report`: pip install 'gpuplan[report]'.

    Exit status: 0 written, 2 bad input, 3 written, and the plan says that nothing fits.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Write the report of what was named."""
    from datetime import date

    from gpuplan.reports.assumptions import assume
    from gpuplan.reports.write import check_name, write_report
    from gpuplan.saving.fleet_plan import read_saved

    check_name(asked.out)
    given = {key: getattr(asked, name) for name, key in OPTION_KEYS.items()}
    assumptions = assume(given, asked.server, desktops=asked.desktops)
    saved, today = read_saved(asked.file), date.today()
    report, found = _report(saved, assumptions, asked, today)
    written = write_report(report, asked.out)
    console.show([(f"wrote {path}",) for path in written])
    return 0 if found else 3


def _report(
    saved: PlanFile | FleetPlan | Calendar, assumptions: Assumptions, asked: Asked, today: date
) -> tuple[Report, bool]:
    """What is to be said of a plan, a fleet or its calendar, and whether there is one."""
    from gpuplan.saving.plan_file import PlanFile

    if isinstance(saved, PlanFile):
        from gpuplan.reports.content import report
        from gpuplan.reports.studies import study

        studies = study(saved, assumptions, today=today, offline=asked.offline)
        return report(saved, studies, assumptions, today), saved.plan.status != "infeasible"
    from gpuplan.reports.calendar import calendar_report
    from gpuplan.reports.fleet import USED, fleet_report
    from optimizer.fleet.plan import FleetPlan

    fleet = isinstance(saved, FleetPlan)
    _refuse_unused(asked, USED if fleet else ())
    if isinstance(saved, FleetPlan):
        return fleet_report(saved, assumptions, today), all(each.served for each in saved.services)
    return calendar_report(saved, today), saved.cost_usd is not None and not saved.dropped


def _refuse_unused(asked: Asked, used: tuple[str, ...]) -> None:
    """Nobody types in vain."""
    for name in (*OPTION_KEYS, "server", "desktops"):
        if name not in used and getattr(asked, name) not in (None, False):
            raise BadWord(f"--{name.replace('_', '-')} is about one plan; the report of a fleet does not read it.")
