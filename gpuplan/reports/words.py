"""Cells of a report as people read them, the same in every format that is text."""

from __future__ import annotations

from gpuplan.cli.console import clean, duration, quantity, usd
from gpuplan.reports.document import Cell, Kind
from optimizer.plan import Plan

NOTHING = "–"


def planned_gpus(plan: Plan) -> str:
    """The kinds of GPU that a plan buys."""
    return " and ".join(dict.fromkeys(line.offer.gpu for line in plan.lines))


def said(cell: Cell, kind: Kind = "text") -> str:
    """A cell in words.

    >>> said(1.96, "usd_per_hour"), said(17169.6, "usd"), said(0.15, "share"), said(None, "usd")
    ('1.96', '17,170', '15 %', '–')
    """
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return clean(cell)
    return _NUMBERS[kind](float(cell))


def amount(value: float) -> str:
    """USD without cents from 1,000 on.

    >>> amount(999.5), amount(1000.4)
    ('999.50', '1,000')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else usd(value)


def percent(share: float) -> str:
    """A share as a percentage, whole from 10 % on.

    >>> percent(0.1234), percent(0.0123), percent(0)
    ('12 %', '1.2 %', '0 %')
    """
    value = 100 * share
    return f"{value:,.0f} %" if abs(value) >= 10 or value == round(value) else f"{value:.1f} %"


def signed(value: float) -> str:
    """A change with its sign."""
    return f"{'+' if value > 0 else ''}{amount(value)}"


_NUMBERS = {
    "text": quantity,
    "usd": amount,
    "usd_per_hour": usd,
    "share": percent,
    "count": lambda value: f"{value:,.0f}",
    "quantity": quantity,
    "duration": duration,
    "signed_usd": signed,
}
