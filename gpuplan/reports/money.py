"""Rent against purchase over years: the part of a report that a spreadsheet computes anew."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gpuplan.cli.console import usd
from gpuplan.reports.assumptions import COLOCATION, ELECTRICITY, PUE, Assumptions
from gpuplan.reports.document import Calculation, Cell, Chart, Column, Section, Table
from gpuplan.reports.studies import Studies
from gpuplan.reports.words import percent
from optimizer.cost import (
    HOURS_PER_YEAR,
    MONTHS_PER_YEAR,
    Ownership,
    Rent,
    break_even_month,
    break_even_utilization,
    useful_hour_usd,
)
from optimizer.plan import Plan

YEARS = (1, 2, 3, 4, 5)
CHART_STEP_MONTHS = 3
DUTIES = (0.2, 0.4, 0.6, 0.8, 1.0)
TERMS = {"on-demand": 0, "spot": 0, "reserved-1y": 1, "reserved-3y": 3}
"""Ways of paying -> the years that one commits to."""
BY_THE_HOUR = frozenset({"on-demand", "spot"})


def calculation_of(studies: Studies, assumptions: Assumptions) -> Calculation:
    """The numbers that rent and purchase are compared by."""
    rents = tuple(
        (billing, Rent(found.cost_usd_per_hour, TERMS[billing]))
        for billing, found in studies.by_commitment.items()
        if found.cost_usd_per_hour is not None
    )
    bought = studies.purchase
    return Calculation(
        rents=rents,
        owned=bought.owned if bought else None,
        provisioned_watts=bought.provisioned_watts if bought else 0.0,
        running_rate=bought.running_rate if bought else 0.0,
        running_says=running_in_words(assumptions),
        staff_usd_per_year=assumptions.value("staff_usd_per_year"),
        utilization=assumptions.value("utilization"),
        years=assumptions.value("years"),
    )


def running_in_words(assumptions: Assumptions) -> str:
    """What the power of bought machines costs."""
    if assumptions.own_room:
        price, pue = assumptions.value(ELECTRICITY), assumptions.value(PUE)
        return f"a room of one's own: PUE {pue:g}, {price:g} USD per kWh; the room's rent is not in it"
    return f"colocation at {assumptions.value(COLOCATION):g} USD per kW and month, electricity in it"


def money(studies: Studies, said: Calculation) -> Section:
    """The section on cost over years."""
    tables = [_over_years(said)]
    if said.owned is not None:
        tables += [_owning(said, said.owned), _break_even(said, said.owned), _useful_hours(said, said.owned)]
    return Section("Rent or buy", tuple(_in_words(studies, said)), charts=(_cash_chart(said),), tables=tuple(tables))


def _in_words(studies: Studies, said: Calculation) -> Iterator[str]:
    yield (
        f"Rent by the hour is paid for {percent(said.utilization)} of all hours (--utilization), a reservation for all "
        "of them and to the end of a term that has begun."
    )
    if said.owned is None or studies.purchase is None:
        yield "No server with a known price serves this, so nothing is said of buying."
        yield from _left_out(studies)
        return
    bought = " and ".join(f"{count} x {system.name}" for system, count in studies.purchase.systems)
    yield (
        f"To buy: {bought}, {usd(said.owned.machines_usd)} USD, and {percent(said.owned.network_share)} for the "
        f"network; {said.provisioned_watts / 1000:,.3g} kW at {said.running_says}. Not counted: cost of capital, "
        f"storage, spares, software{'' if said.staff_usd_per_year else ', staff (--staff)'}; 20 to 35 % "
        "on top of owning is quoted for "
        "these together."
    )
    yield from _left_out(studies)
    if said.owned.life_years < YEARS[-1]:
        yield "What is even in a month can be lost again when servers are bought anew at the end of their life."
    weak = sorted({system.name for system, _ in studies.purchase.systems if system.confidence == "low"})
    if weak:
        yield f"The price of {' and '.join(weak)} is an estimate that nobody has quoted: ask for an offer first."


def _left_out(studies: Studies) -> Iterator[str]:
    if studies.desktops_left_out:
        yield f"Machines for desks ({', '.join(studies.desktops_left_out)}) are bought only when asked for: --desktops."


def _over_years(said: Calculation) -> Table:
    columns = (Column("USD in all after"), *(Column(f"{year} year{'s' * (year > 1)}", "usd") for year in YEARS))
    rows: list[tuple[Cell, ...]] = [
        (name, *(rent.cost_usd(year, said.utilization) for year in YEARS)) for name, rent in said.rents
    ]
    if said.owned is not None:
        rows.append(("bought, what is left sold at its straight-line value", *map(said.owned.cost_usd, YEARS)))
        rows.append(("bought, cash that has left", *(said.owned.cash_usd(12 * year) for year in YEARS)))
    return Table(f"Cost over 1 to {YEARS[-1]} years, USD", columns, tuple(rows))


def _owning(said: Calculation, owned: Ownership) -> Table:
    capital = owned.capital_usd
    power = owned.running_usd_per_year - said.staff_usd_per_year
    rows = (
        ("Servers, once", owned.machines_usd, "list of prices below"),
        ("Network, once", capital - owned.machines_usd, f"{percent(owned.network_share)} of servers"),
        ("Depreciation per year", owned.depreciation_usd_per_year, f"straight line over {owned.life_years:g} years"),
        ("Maintenance per year", capital * owned.maintenance_share, f"{percent(owned.maintenance_share)} of capital"),
        ("Power and place per year", power, said.running_says),
        ("Staff per year", said.staff_usd_per_year, "--staff"),
        ("Owning per year", owned.usd_per_year, "the four above"),
        (
            "Residual value after its life",
            capital * owned.residual_share,
            f"{percent(owned.residual_share)} of capital",
        ),
    )
    return Table("What owning costs", (Column("part"), Column("USD", "usd"), Column("how")), rows)


def _break_even(said: Calculation, owned: Ownership) -> Table:
    columns = (
        Column("owning against"),
        Column("rent, USD/h", "usd_per_hour"),
        Column("owning, USD/h of every hour", "usd_per_hour"),
        Column("break-even utilization", "share"),
        Column("break-even month", "count"),
        Column("in words"),
    )
    return Table("When buying pays", columns, tuple(_against(said, owned, name, rent) for name, rent in said.rents))


def _against(said: Calculation, owned: Ownership, name: str, rent: Rent) -> tuple[Cell, ...]:
    share = break_even_utilization(owned.usd_per_year, rent.usd_per_hour)
    month = break_even_month(owned, rent, said.utilization)
    if rent.term_years:  # it is paid in every hour, so hours in use decide nothing
        words = "owning costs less" if share <= 1 else "renting costs less"
        return (name, rent.usd_per_hour, owned.usd_per_hour, None, month, f"{words} at any utilization")
    words = f"owning costs less above {percent(share)} of all hours" if share <= 1 else "renting always costs less"
    return (name, rent.usd_per_hour, owned.usd_per_hour, share if math.isfinite(share) else None, month, words)


def _useful_hours(said: Calculation, owned: Ownership) -> Table:
    columns = (Column("USD per hour in use, utilization"), *(Column(percent(duty), "usd_per_hour") for duty in DUTIES))
    rows: list[tuple[Cell, ...]] = []
    for name, rent in said.rents:
        hours = [rent.usd_per_hour / (duty if rent.term_years else 1) for duty in DUTIES]
        rows.append((name, *hours))
    rows.append(("bought", *(useful_hour_usd(owned.usd_per_year, duty) for duty in DUTIES)))
    return Table("What an hour in use costs", columns, tuple(rows))


def _cash_chart(said: Calculation) -> Chart:
    names = [name for name, _ in said.rents] + ([] if said.owned is None else ["bought"])
    months = range(0, YEARS[-1] * MONTHS_PER_YEAR + 1, CHART_STEP_MONTHS)
    rows = tuple((month, *_cash_at(said, month)) for month in months)
    columns = (Column("month", "count"), *(Column(name, "usd") for name in names))
    table = Table("Cash paid, by month, USD", columns, rows)
    return Chart("lines", "cash", table, _chart_says(said), "USD paid so far")


def _cash_at(said: Calculation, month: int) -> Iterator[float]:
    yield from (rent.paid_usd(month, said.utilization) for _, rent in said.rents)
    if said.owned is not None:
        yield said.owned.cash_usd(month)


def _chart_says(said: Calculation) -> str:
    rents = dict(said.rents)
    if said.owned is None or "on-demand" not in rents:
        return "What has been paid after each month, for each way of paying."
    month = break_even_month(said.owned, rents["on-demand"], said.utilization)
    first = f"Buying takes {usd(said.owned.capital_usd)} USD on the first day"
    later = (
        f"has cost no more than on-demand rent from month {month}" if month else "never catches up with on-demand rent"
    )
    return f"{first} and {later}; worn-out servers are bought anew after {said.owned.life_years:g} years."


def yearly_hours(said: Calculation) -> float:
    """Hours in use per year."""
    return HOURS_PER_YEAR * said.utilization


def paid_usd_per_year(plan: Plan, utilization: float) -> float:
    """What a plan's machines cost per year: those that are paid by the hour only in hours in use."""
    hours = (
        line.cost_usd_per_hour * (utilization if line.offer.billing in BY_THE_HOUR else 1.0) for line in plan.lines
    )
    return math.fsum(hours) * HOURS_PER_YEAR
