"""`plan report`: a saved plan as a procurement report, for someone who signs."""

from __future__ import annotations

from typing import Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import OFFLINE_HELP, Asked, argument, asked_in, flag, option

SUMMARY = "A saved plan as a procurement report: options, rent or buy, sensitivity, risk (.html, .md, .xlsx)."
EXAMPLES = (
    "plan report plan.json --out report.html",
    "plan report plan.json --out report.xlsx",
    "plan report plan.json --out report.md --utilization 40% --years 2",
    'plan report plan.json --out report.html --server "DGX H200" --server-price 410k --staff 60k',
)
WORK = "The report"
USE = "How long, how much"
OWNING = "Machines of one's own"
SWINGS = "What may change"

File = Annotated[str, argument("What --save wrote, or `plan --json` printed", words.name, "FILE")]
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

    The HTML file holds all it needs and loads nothing; printed, it is fit for paper. Markdown has its charts in a
    folder beside it. The spreadsheet has its own charts and computes rent against purchase anew when a number of the
    sheet Inputs is changed. Charts and spreadsheets need the extra `report`: pip install 'gpuplan[report]'.

    Exit status: 0 written, 2 bad input, 3 written, and the plan says that nothing fits.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Write the report of the plan that was named."""
    from datetime import date

    from gpuplan.reports.assumptions import assume
    from gpuplan.reports.content import report
    from gpuplan.reports.studies import study
    from gpuplan.reports.write import check_name, write_report
    from gpuplan.saving.plan_file import read_plan_file

    check_name(asked.out)
    given = {key: getattr(asked, name) for name, key in OPTION_KEYS.items()}
    assumptions = assume(given, asked.server)
    file, today = read_plan_file(asked.file), date.today()
    studies = study(file, assumptions, today=today, offline=asked.offline)
    written = write_report(report(file, studies, assumptions, today), asked.out)
    console.show([(f"wrote {path}",) for path in written])
    return 3 if file.plan.status == "infeasible" else 0
