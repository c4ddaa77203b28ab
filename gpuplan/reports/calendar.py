"""What a report says of a procurement calendar: what to reserve, rent and buy when, and what not knowing costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from gpuplan import __version__
from gpuplan.cli.console import usd
from gpuplan.reports.content import GLOSSARY
from gpuplan.reports.document import Cell, Chart, Column, Report, Section, Table
from gpuplan.reports.sources import price_table
from gpuplan.reports.words import amount
from optimizer.fleet.calendar import Calendar, CalendarEntry

WORDS = {"on-demand", "spot", "reserved", "month"}


def calendar_report(calendar: Calendar, made_on: date) -> Report:
    """Everything that a report says of a calendar."""
    parts = [_recommendation(calendar)]
    if calendar.cost_usd is not None:
        parts += [_to_do(calendar), _by_month(calendar), _certainty(calendar)]
        offers = [entry.offer for entry in calendar.entries]
        parts.append(Section("Price sources", tables=(price_table(offers),)))
    parts += [Section("How this was found", tuple(_origin(calendar))), _glossary()]
    months = month_names(calendar)
    span = f"{months[0]} to {months[-1]}" if months else "no months"
    subtitle = f"Made on {made_on.isoformat()} by gpuplan {__version__}, months {span}"
    return Report("Procurement calendar", subtitle, made_on, tuple(parts), None)


def month_names(calendar: Calendar) -> list[str]:
    """Each month once, in order."""
    return list(dict.fromkeys(month.month for month in calendar.months))


def _recommendation(calendar: Calendar) -> Section:
    if calendar.cost_usd is None:
        return Section("Recommendation", ("No plan serves every required service in every month.",))
    return Section("Recommendation", (" ".join(_what_to_do(calendar)),))


def _what_to_do(calendar: Calendar) -> Iterator[str]:
    first = month_names(calendar)[0]
    begun = [
        f"{one.what} {one.count} x {_machine(one)} ({one.offer.billing})"
        for one in calendar.entries
        if one.month == first
    ]
    if begun:
        yield f"In month {first}: {'; '.join(begun[:5])}{'; ...' if len(begun) > 5 else ''}."
    yield f"Everything costs {amount(calendar.cost_usd or 0.0)} USD, commitments for their whole term."
    if calendar.rented_only_usd is not None:
        saved = max(calendar.rented_only_usd - (calendar.cost_usd or 0.0), 0.0)
        rented = amount(calendar.rented_only_usd)
        yield f"Without any commitment it would be {rented} USD: they save {amount(saved)} USD."
    if calendar.dropped:
        yield f"Not served: {', '.join(calendar.dropped[:10])}{' and more' if len(calendar.dropped) > 10 else ''}."


def _machine(entry: CalendarEntry) -> str:
    offer = entry.offer
    return f"{offer.provider} {offer.instance_type} ({offer.gpu_count} x {offer.gpu})"


def _to_do(calendar: Calendar) -> Section:
    columns = (
        Column("from"),
        Column("what"),
        Column("machines", "count"),
        Column("of"),
        Column("paid"),
        Column("until"),
        Column("if"),
        Column("USD, whole term", "usd"),
    )
    rows = tuple(
        (
            one.month,
            one.what,
            one.count,
            _machine(one),
            one.offer.billing,
            one.until,
            one.scenario or None,
            one.cost_usd,
        )
        for one in calendar.entries
    )
    return Section("What to do when", tables=(Table("Reserve, rent, buy", columns, rows),))


def _by_month(calendar: Calendar) -> Section:
    columns = (
        Column("month"),
        Column("scenario"),
        Column("machines", "count"),
        Column("GPUs", "count"),
        Column("USD", "usd"),
    )
    rows = tuple((one.month, one.scenario or None, one.machines, one.gpus, one.cost_usd) for one in calendar.months)
    return Section(
        "Month by month", charts=_chart(calendar), tables=(Table("Machines and cost by month", columns, rows),)
    )


def _chart(calendar: Calendar) -> tuple[Chart, ...]:
    months = month_names(calendar)
    if len(months) < 2:
        return ()
    scenarios = list(dict.fromkeys(one.scenario for one in calendar.months))[:MOST_LINES]
    cost = {(one.month, one.scenario): one.cost_usd for one in calendar.months}
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (number, *(cost.get((month, scenario)) for scenario in scenarios)) for number, month in enumerate(months, 1)
    )
    columns = (Column("month", "count"), *(Column(name or "as planned", "usd") for name in scenarios))
    dearest = max(calendar.months, key=lambda one: one.cost_usd)
    scenario = f" if {dearest.scenario}" if dearest.scenario else ""
    says = f"The dearest month is {dearest.month}{scenario}: {usd(dearest.cost_usd)} USD."
    return (Chart("lines", "months", Table("Cost by month, USD", columns, rows), says, "USD per month"),)


MOST_LINES = 5


def _certainty(calendar: Calendar) -> Section:
    if not calendar.alone_usd or calendar.cost_usd is None:
        return Section("What certainty is worth", ("Demand was given as one course, so nothing is said of others.",))
    columns = (Column("if this were certain"), Column("USD", "usd"), Column("not knowing costs, USD", "usd"))
    rows = tuple((scenario, cost, max(calendar.cost_usd - cost, 0.0)) for scenario, cost in calendar.alone_usd.items())
    text = "The calendar holds in every scenario and costs what the dearest costs."
    return Section("What certainty is worth", (text,), tables=(Table("Each scenario alone", columns, rows),))


def _origin(calendar: Calendar) -> Iterator[str]:
    if calendar.bound_usd is not None and calendar.gap is not None:
        yield (
            f"{calendar.status}: no calendar costs less than {amount(calendar.bound_usd)} USD (gap "
            f"{calendar.gap:.2%}); {calendar.columns:,} columns."
        )
    else:
        yield f"{calendar.status}: {calendar.columns:,} columns."
    yield from calendar.warnings


def _glossary() -> Section:
    rows = tuple((word, meaning) for word, meaning in GLOSSARY if word in WORDS)
    return Section("Glossary", tables=(Table("Words", (Column("word"), Column("meaning")), rows),))
