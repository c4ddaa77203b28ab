"""What a report assumes beyond its plan: bundled defaults with their source, each changed by one named option."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from gpu_db.ownership import EnergyFact, electricity_price, load_energy, power_usage_effectiveness
from gpuplan.reports.errors import BadReport

TABLE = Path(__file__).parent / "data" / "assumptions.csv"
COLOCATION = "colocation"
PUE = "pue"
ELECTRICITY = "electricity"
SERVER_PRICE = "server_price"
LONGEST_YEARS = 50.0
DEAREST_USD = 1e12

_MOST = {"share": 1.0, "years": LONGEST_YEARS, "ratio": 3.0}
_ABOVE_ZERO = frozenset({"utilization", "years", "life_years", "low_utilization"})


@dataclass(frozen=True)
class Assumption:
    """One number that a reader may want otherwise.

    Attributes:
        key: "life_years".
        value: in `unit`: "share", "years", "USD/year", "USD/kW-month", "USD/kWh", "ratio", "USD".
        option: what changes it.
        given: whether it was.
    """

    key: str
    value: float
    unit: str
    option: str
    label: str
    as_of: str
    source: str
    given: bool = False


@dataclass(frozen=True)
class Assumptions:
    """All of them, by key, and which server is to be bought.

    Attributes:
        rows: by key.
        server: name of a server in data/systems.csv; None = the one that is cheapest over its life.
        desktops: whether machines that stand on desks may be bought without being named.
    """

    rows: Mapping[str, Assumption]
    server: str | None = None
    desktops: bool = False

    def value(self, key: str) -> float:
        """The number behind a key."""
        return self.rows[key].value

    @property
    def own_room(self) -> bool:
        """Whether bought machines stand in a room of one's own, not in colocation: a price of electricity was given."""
        return self.rows[ELECTRICITY].given


def assume(given: Mapping[str, float | None], server: str | None = None, *, desktops: bool = False) -> Assumptions:
    """The bundled assumptions with those that were given in their place.

    Raises:
        BadReport: a number is out of range, or a price is given for a server that is not named.

    >>> assume({"life_years": 5}).value("life_years"), assume({}).value("network_share")
    (5, 0.12)
    """
    rows = dict(bundled())
    for key, value in given.items():
        if value is not None:
            rows[key] = _given(rows[key], value)
    if rows[SERVER_PRICE].given and server is None:
        raise BadReport("--server-price needs --server, to know whose price it is.")
    if rows["careful_confidence"].value < 1 / 2:
        raise BadReport("--careful-confidence is a chance from 0.5 on: a careful plan counts on less, not on more.")
    return Assumptions(rows=rows, server=server, desktops=desktops)


def _given(row: Assumption, value: float) -> Assumption:
    most = _MOST.get(row.unit, DEAREST_USD)
    least = 1.0 if row.unit == "ratio" else 0.0
    fits = least <= value <= most and (value > 0 or row.key not in _ABOVE_ZERO)
    if not (math.isfinite(value) and fits):
        low = f"above {least:g}" if row.key in _ABOVE_ZERO else f"from {least:g}"
        raise BadReport(f"{row.option} {value:g} is out of range; {row.label.lower()} is {low} to {most:g} {row.unit}.")
    return replace(row, value=value, given=True, source="given", as_of="")


@cache
def bundled() -> Mapping[str, Assumption]:
    """Every assumption that nobody has changed.

    >>> bundled()["colocation"].value, bundled()["pue"].value
    (180.0, 1.4)
    """
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = {row["key"]: _row(row) for row in csv.DictReader(file)}
    colocation = next(fact for fact in load_energy() if fact.kind == COLOCATION and "liquid" in fact.key)
    rows[COLOCATION] = _fact(
        COLOCATION, colocation, "--colocation", "Colocation on provisioned power, electricity in it"
    )
    rows[PUE] = _fact(PUE, power_usage_effectiveness("colo"), "--pue", "PUE of a room of one's own")
    price = electricity_price("us")
    rows[ELECTRICITY] = _fact(
        ELECTRICITY,
        price,
        "--electricity",
        "Electricity in a room of one's own; given, it takes the place of colocation",
    )
    rows[SERVER_PRICE] = Assumption(
        SERVER_PRICE, 0.0, "USD", "--server-price", "Price of the server that --server names", "", "data/systems.csv"
    )
    return rows


def _row(row: Mapping[str, str]) -> Assumption:
    return Assumption(
        key=row["key"],
        value=float(row["value"]),
        unit=row["unit"],
        option=row["option"],
        label=row["label"],
        as_of=row["as_of"],
        source=row["source"],
    )


def _fact(key: str, fact: EnergyFact, option: str, label: str) -> Assumption:
    return Assumption(key, fact.value, fact.unit, option, label, fact.as_of.isoformat(), fact.source)
