"""The procurement calendar of a fleet: what to reserve, rent and buy when, and what each month costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from optimizer.answer import HOURS_PER_MONTH, offered
from optimizer.cp_sat.integers import MICRO
from optimizer.cp_sat.library import SOLVER_VERSION
from optimizer.fleet.answer import solvers_of
from optimizer.fleet.calendar_program import CalendarProgram, Contract
from optimizer.fleet.market import PURCHASED
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.plan import OfferedMachine
from optimizer.requirements import Frozen

CALENDAR_SCHEMA_VERSION: Literal["1"] = "1"


class CalendarEntry(Frozen):
    """One thing to do.

    Attributes:
        month: in which it begins.
        what: "reserve", "buy", "rent", "use" (machines that are owned).
        until: the last month of it.
        scenario: for which it is; "" = for all.
        cost_usd: over its whole term.
    """

    month: str
    what: str
    count: int
    offer: OfferedMachine
    until: str
    scenario: str
    cost_usd: float


class MonthSum(Frozen):
    """One month of one scenario: machines at work and what is paid for them.

    Attributes:
        cost_usd: of that month, commitments by the month.
    """

    month: str
    scenario: str
    machines: int
    gpus: int
    cost_usd: float


class Calendar(Frozen):
    """The procurement calendar of a fleet.

    Attributes:
        cost_usd: over all months, of the dearest scenario; commitments for their whole term.
        bound_usd: no calendar costs less.
        rented_only_usd: what it would cost without any commitment; None when that was not solved.
        dropped: services with the months in which they are not served.
        alone_usd: scenario -> what it would cost to be sure of it: certainty costs the difference to `cost_usd`.
        solver, engine: what found it.
    """

    schema_version: Literal["1"] = CALENDAR_SCHEMA_VERSION
    status: str
    cost_usd: float | None
    bound_usd: float | None
    gap: float | None
    months: tuple[MonthSum, ...]
    entries: tuple[CalendarEntry, ...]
    dropped: tuple[str, ...] = ()
    rented_only_usd: float | None = None
    alone_usd: dict[str, float] = Field(default_factory=dict)
    columns: int
    solver: str = ""
    solver_version: str = ""
    engine: str = ""
    seconds: float
    warnings: tuple[str, ...] = ()


def write_calendar(program: CalendarProgram, solution: FleetSolution) -> Calendar:
    """The calendar of a solution; renting of neighbouring months is one entry."""
    found = solution.status not in (FleetStatus.INFEASIBLE, FleetStatus.UNKNOWN)
    return Calendar(
        status=solution.status.value,
        solver=solvers_of(solution.engine),
        solver_version=SOLVER_VERSION,
        engine=solution.engine,
        cost_usd=solution.cost_micro_usd / MICRO if found else None,
        bound_usd=solution.lower_bound_micro_usd / MICRO if found else None,
        gap=solution.gap if found else None,
        months=tuple(_sums(program, solution)) if found else (),
        entries=tuple(sorted(_entries(program, solution), key=lambda one: _entry_order(program, one))),
        dropped=tuple(
            name
            for name, served in zip(program.problem.service_names, solution.served.tolist(), strict=True)
            if not served
        ),
        columns=program.problem.columns,
        seconds=solution.seconds,
    )


def _entry_order(program: CalendarProgram, entry: CalendarEntry) -> tuple[int, str, str, str]:
    return (program.months.index(entry.month), entry.scenario, entry.what, entry.offer.offer_id)


def _had(program: CalendarProgram, solution: FleetSolution) -> list[tuple[Contract, int]]:
    """(contract, how many) of all that is had."""
    counts = ((contract, int(solution.counts[column])) for column, contract in program.contracts.items())
    return [(contract, count) for contract, count in counts if count]


def _sums(program: CalendarProgram, solution: FleetSolution) -> Iterator[MonthSum]:
    had = _had(program, solution)
    for period in program.periods:
        mine = [
            (program.market.supplies[contract.supply].offer, count)
            for contract, count in had
            if contract.scenario in (None, period.scenario)
            and contract.month <= period.month < contract.month + contract.months
        ]
        yield MonthSum(
            month=program.months[period.month],
            scenario=program.scenarios[period.scenario],
            machines=sum(count for _, count in mine),
            gpus=sum(count * offer.gpu_count for offer, count in mine),
            cost_usd=sum(count * offer.price_usd_per_hour * HOURS_PER_MONTH for offer, count in mine),
        )


def _entries(program: CalendarProgram, solution: FleetSolution) -> Iterator[CalendarEntry]:
    """Commitments one by one; what is rented by the month in layers, each from its first month to its last."""
    rented: dict[tuple[int, int], dict[int, int]] = {}
    for contract, count in _had(program, solution):
        if contract.scenario is None:
            what = "buy" if program.market.supplies[contract.supply].offer.provider == PURCHASED else "reserve"
            yield _entry(program, what, contract, count)
        else:
            rented.setdefault((contract.supply, contract.scenario), {})[contract.month] = count
    for (supply, scenario), by_month in rented.items():
        what = "use" if program.market.supplies[supply].offer.billing == "owned" else "rent"
        for first, last, count in _layers(by_month, len(program.months)):
            yield _entry(program, what, Contract(supply, first, last - first + 1, scenario), count)


def _layers(by_month: dict[int, int], months: int) -> Iterator[tuple[int, int, int]]:
    """Counts by month as (first, last, count) of what is had without a break.

    >>> list(_layers({0: 1, 1: 3, 2: 2}, 4))
    [(1, 1, 1), (1, 2, 1), (0, 2, 1)]
    """
    begun: list[int] = []
    for month in range(months + 1):
        count = by_month.get(month, 0)
        ended: dict[int, int] = {}
        while len(begun) > count:
            first = begun.pop()
            ended[first] = ended.get(first, 0) + 1
        for first, number in ended.items():
            yield first, month - 1, number
        begun += [month] * (count - len(begun))


def _entry(program: CalendarProgram, what: str, contract: Contract, count: int) -> CalendarEntry:
    offer = program.market.supplies[contract.supply].offer
    last = min(contract.month + contract.months, len(program.months)) - 1
    beyond = contract.month + contract.months - len(program.months)
    return CalendarEntry(
        month=program.months[contract.month],
        what=what,
        count=count,
        offer=offered(offer),
        until=program.months[last] + (f" and {beyond} months more" if beyond > 0 else ""),
        scenario="" if contract.scenario is None else program.scenarios[contract.scenario],
        cost_usd=round(count * offer.price_usd_per_hour * HOURS_PER_MONTH * contract.months, 2),
    )
