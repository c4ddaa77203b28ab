"""Where prices in a report are from: of machines that are rented, of servers that are bought."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_db.ownership import System
from gpuplan.reports.document import Column, Table
from optimizer.plan import OfferedMachine


def price_table(offers: Iterable[OfferedMachine]) -> Table:
    """Where the price of each machine is from."""
    columns = (
        Column("offer"),
        Column("USD/h", "usd_per_hour"),
        Column("read on"),
        Column("confidence"),
        Column("source"),
        Column("notes"),
    )
    named = {one.offer_id: one for one in offers}
    rows = tuple(
        (one.offer_id, one.price_usd_per_hour, one.as_of.isoformat(), one.confidence, one.source, one.notes or None)
        for one in named.values()
    )
    return Table("Prices of the machines that are named here", columns, rows)


def server_table(systems: Iterable[System]) -> Table:
    """Where the price of each server is from."""
    columns = (
        Column("server"),
        Column("USD, typical", "usd"),
        Column("USD, low", "usd"),
        Column("USD, high", "usd"),
        Column("nameplate W", "count"),
        Column("read on"),
        Column("confidence"),
        Column("source"),
    )
    rows = tuple(
        (
            system.name,
            system.price_typical_usd,
            system.price_low_usd,
            system.price_high_usd,
            system.power_watts,
            system.as_of.isoformat(),
            system.confidence,
            f"{system.source}. {system.notes}".strip(),
        )
        for system in systems
    )
    return Table("Prices of servers", columns, rows)
