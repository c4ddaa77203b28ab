"""Rent against purchase as a spreadsheet's formulas, over named cells that a buyer may change.

The same arithmetic as `optimizer.cost`: a test recomputes a workbook in another program and compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gpuplan.reports.document import Calculation
from gpuplan.reports.money import DUTIES, YEARS
from optimizer.cost import HOURS_PER_YEAR, KILO, LONGEST_SEARCH_MONTHS, Ownership

MONTHS_SHEET = "Months"
SEARCHED_MONTHS = LONGEST_SEARCH_MONTHS

Formula = str


@dataclass(frozen=True)
class Input:
    """A named cell that may be changed."""

    name: str
    label: str
    value: float
    unit: str


def inputs(said: Calculation) -> Iterator[Input]:
    """Every number that rent and purchase are computed from."""
    yield Input("Utilization", "Share of all hours in which it is wanted", said.utilization, "share")
    yield Input("Horizon", "Horizon of the comparison", said.years, "years")
    for number, (paid, rent) in enumerate(said.rents, start=1):
        yield Input(f"Rent_{number}", f"Rent, {paid}", rent.usd_per_hour, "USD/h")
    owned = said.owned
    if owned is None:
        return
    yield Input("Servers", "Servers, once", owned.machines_usd, "USD")
    yield Input("Network", "Network on top of servers", owned.network_share, "share")
    yield Input("Life", "Life of servers", owned.life_years, "years")
    yield Input("Residual", "What is left of the capital then", owned.residual_share, "share")
    yield Input("Maintenance", "Maintenance per year on the capital", owned.maintenance_share, "share")
    yield Input("Kilowatts", "Provisioned power", said.provisioned_watts / KILO, "kW")
    yield Input("Kilowatt_year", "Power and place", said.running_rate, "USD per kW and year")
    yield Input("Staff", "Staff", said.staff_usd_per_year, "USD/year")


def derived(owned: Ownership | None) -> Mapping[str, tuple[str, Formula, float]]:
    """Name -> what it is, how it is computed, what it comes to."""
    if owned is None:
        return {}
    running = "Kilowatts*Kilowatt_year+Staff"
    return {
        "Capital": ("Capital", "=Servers*(1+Network)", owned.capital_usd),
        "Depreciation": ("Depreciation per year", "=Capital*(1-Residual)/Life", owned.depreciation_usd_per_year),
        "Upkeep": ("Upkeep per year", f"=Capital*Maintenance+{running}", owned.upkeep_usd_per_year),
        "Owning": ("Owning per year", "=Depreciation+Upkeep", owned.usd_per_year),
    }


def rent_cost(said: Calculation, number: int, years: str) -> Formula:
    """What years of use cost at one rent; numbers count from 1."""
    term = said.rents[number - 1][1].term_years
    if term:
        return f"=Rent_{number}*{HOURS_PER_YEAR}*ROUNDUP({years}/{term},0)*{term}"
    return f"=Rent_{number}*{HOURS_PER_YEAR}*Utilization*{years}"


def rent_paid(said: Calculation, number: int, months: str) -> Formula:
    """What has been paid after so many months."""
    duty = "" if said.rents[number - 1][1].term_years else "*Utilization"
    return f"=Rent_{number}*{HOURS_PER_YEAR}*{months}/12{duty}"


def owned_cost(years: str) -> Formula:
    """What years of owning cost, what is left sold at its straight-line value."""
    return f"=Owning*{years}"


def owned_cash(months: str) -> Formula:
    """What has left the purse after so many months of owning."""
    return f"=Capital*(1+MAX(ROUNDUP({months}/(Life*12),0)-1,0)*(1-Residual))+Upkeep*{months}/12"


def over_years(said: Calculation, row: int, column: int) -> Formula | None:
    """Of the table of cost over years."""
    if column == 0:
        return None
    years = str(YEARS[column - 1])
    if row < len(said.rents):
        return rent_cost(said, row + 1, years)
    return owned_cost(years) if row == len(said.rents) else owned_cash(str(12 * YEARS[column - 1]))


_OWNING: tuple[tuple[Formula, Formula | None], ...] = (
    ("=Servers", None),
    ("=Capital-Servers", '=TEXT(Network,"0 %")&" of servers"'),
    ("=Depreciation", '="straight line over "&Life&" years"'),
    ("=Capital*Maintenance", '=TEXT(Maintenance,"0 %")&" of capital"'),
    ("=Kilowatts*Kilowatt_year", None),
    ("=Staff", None),
    ("=Owning", None),
    ("=Capital*Residual", '=TEXT(Residual,"0 %")&" of capital"'),
)


def owning(said: Calculation, row: int, column: int) -> Formula | None:
    """Of the table of what owning costs."""
    return None if column == 0 else _OWNING[row][column - 1]


def break_even(said: Calculation, row: int, column: int) -> Formula | None:
    """Of the table of when buying pays."""
    number, term = row + 1, said.rents[row][1].term_years
    share = f"Owning/{HOURS_PER_YEAR}/Rent_{number}"
    hourly = (
        f'=IF({share}<=1,"owning costs less above "&TEXT({share},"0 %")&" of all hours","renting always costs less")'
    )
    always = f'=IF({share}<=1,"owning","renting")&" costs less at any utilization"'
    return (
        None,
        f"=Rent_{number}",
        f"=Owning/{HOURS_PER_YEAR}",
        None if term else f"={share}",
        first_month(number),
        always if term else hourly,
    )[column]


def first_month(number: int) -> Formula:
    """The first month at whose end owning has taken no more cash: the least of those on the sheet of months."""
    column = chr(ord("B") + number)
    span = f"{MONTHS_SHEET}!${column}$2:${column}${SEARCHED_MONTHS + 1}"
    return f'=IF(COUNT({span})=0,"–",MIN({span}))'


def month_row(said: Calculation, month: int) -> tuple[Formula, ...]:
    """Of the sheet of months from column B on: cash of owning, then the month where that is no more than a rent."""
    at = month + 1
    rents = (rent_paid(said, number, f"$A{at}")[1:] for number in range(1, len(said.rents) + 1))
    return (owned_cash(f"$A{at}"), *(f'=IF($B{at}<={rent},$A{at},"")' for rent in rents))


def useful_hours(said: Calculation, row: int, column: int) -> Formula | None:
    """Of the table of what an hour in use costs."""
    if column == 0:
        return None
    duty = DUTIES[column - 1]
    if row == len(said.rents):
        return f"=Owning/{HOURS_PER_YEAR}/{duty}"
    return f"=Rent_{row + 1}/{duty if said.rents[row][1].term_years else 1}"


def cash(said: Calculation, row: int, column: int, month_cell: str) -> Formula | None:
    """Of the table under the chart of cash."""
    if column == 0:
        return None
    return rent_paid(said, column, month_cell) if column <= len(said.rents) else owned_cash(month_cell)
