"""How a procurement calendar looks in a terminal: what to do month by month, what each month costs, the proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpuplan.cli.console import Ink, Line, Part, Styled, aligned, header, usd, wrapped
from optimizer.fleet.calendar import Calendar, CalendarEntry


def full(calendar: Calendar, name: str, ink: Ink) -> list[Line]:
    """The whole calendar of a fleet of this name."""
    lines: list[Line] = []
    for part in (
        _cost(calendar, name),
        _entries(calendar),
        _months(calendar),
        _dropped(calendar, ink),
        _certainty(calendar, ink),
        _proof(calendar, ink),
        _warnings(calendar, ink),
    ):
        section = list(part)
        if section:
            lines += [*([()] if lines else []), *section]
    return lines


def short(calendar: Calendar, name: str) -> list[Line]:
    """The calendar in one line."""
    if calendar.cost_usd is None:
        return [(f"{name}: {calendar.status}",)]
    return [(f"{name}: {usd(calendar.cost_usd)} USD over {len(_month_names(calendar))} months, {_proven(calendar)}",)]


def _proven(calendar: Calendar) -> str:
    gap = calendar.gap or 0.0
    if calendar.status == "optimal":
        return "proven optimal"
    return f"proven within {gap:.2%} of the best" if calendar.status == "within gap" else f"feasible, gap {gap:.1%}"


def _cost(calendar: Calendar, name: str) -> Iterator[Line]:
    months = len(_month_names(calendar))
    yield (Styled(name, "bold"), *((f"  {months} months",) if months else ()))
    if calendar.cost_usd is None:
        none = calendar.status == "infeasible"
        yield (Styled("No plan serves every required service." if none else "No plan was found in time.", "red"),)
        return
    yield (Styled(f"{usd(calendar.cost_usd)} USD", "bold"), f" over all months   {_proven(calendar)}")
    if calendar.rented_only_usd is not None:
        saved = calendar.rented_only_usd - calendar.cost_usd
        yield (
            f"without any commitment {usd(calendar.rented_only_usd)} USD: commitments save {usd(max(saved, 0.0))} USD",
        )


def _dropped(calendar: Calendar, ink: Ink) -> Iterator[Line]:
    if calendar.dropped:
        yield (Styled("Not served", "bold"),)
        yield from wrapped(", ".join(calendar.dropped), ink.width, 2, mark="! ")


def _month_names(calendar: Calendar) -> list[str]:
    return list(dict.fromkeys(month.month for month in calendar.months))


def _entries(calendar: Calendar) -> Iterator[Line]:
    if calendar.entries:
        yield (Styled("What to do", "bold"),)
        rows: list[Sequence[Part]] = [header(("from", "", "", "machine", "how", "until", "USD"))]
        rows += [_row(entry) for entry in calendar.entries]
        yield from aligned(rows, right=(2, 6))


def _row(entry: CalendarEntry) -> Sequence[Part]:
    offer = entry.offer
    machine = f"{offer.provider} {offer.instance_type} ({offer.gpu_count} x {offer.gpu})"
    scenario = f" if {entry.scenario}" if entry.scenario else ""
    return (
        entry.month,
        entry.what,
        f"{entry.count} x",
        machine,
        offer.billing,
        entry.until + scenario,
        usd(entry.cost_usd),
    )


def _months(calendar: Calendar) -> Iterator[Line]:
    if calendar.months:
        yield (Styled("Month by month", "bold"),)
        rows: list[Sequence[Part]] = [header(("month", "", "machines", "GPUs", "USD"))]
        rows += [
            (month.month, month.scenario, f"{month.machines:,}", f"{month.gpus:,}", usd(month.cost_usd))
            for month in calendar.months
        ]
        yield from aligned(rows, right=(2, 3, 4))


def _certainty(calendar: Calendar, ink: Ink) -> Iterator[Line]:
    if calendar.alone_usd and calendar.cost_usd is not None:
        yield (Styled("What certainty costs", "bold"),)
        for scenario, cost in calendar.alone_usd.items():
            more = calendar.cost_usd - cost
            sentence = f"if {scenario} were certain, {usd(cost)} USD: not knowing costs {usd(max(more, 0.0))} USD"
            yield from wrapped(sentence, ink.width, 2, mark="- ")


def _proof(calendar: Calendar, ink: Ink) -> Iterator[Line]:
    yield (Styled("Proof", "bold"),)
    solver = f"{calendar.solver} {calendar.solver_version} ({calendar.engine}); {calendar.columns:,} columns"
    if calendar.bound_usd is None:
        text = "no calendar exists" if calendar.status == "infeasible" else "neither a calendar nor a proof"
    else:
        text = f"no calendar costs less than {usd(calendar.bound_usd)} USD; gap {calendar.gap or 0.0:.2%}"
    yield from wrapped(f"{text}; {solver}", ink.width, 2)


def _warnings(calendar: Calendar, ink: Ink) -> Iterator[Line]:
    if calendar.warnings:
        yield (Styled("Before you sign", "bold"),)
        for sentence in calendar.warnings:
            yield from wrapped(sentence, ink.width, 2, mark="! ")
