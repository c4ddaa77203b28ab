"""Demand that changes by month, commitments that last: what to reserve, rent and buy when.

Every service wants its demand of each month covered, with machines of that month. What is rented by the month gives
slots of one month; a commitment gives them in every month of its term, at its price for the whole term, also for what
lies beyond the last month. Demand that is known only as several scenarios has each its own months; commitments are
made once for all of them, and the plan costs what the dearest scenario costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import Field

from optimizer.answer import HOURS_PER_MONTH, offered
from optimizer.cp_sat.integers import MICRO, budget_micro_usd, micro_usd
from optimizer.cp_sat.library import SOLVER_VERSION
from optimizer.errors import BadRequirements
from optimizer.fleet.answer import solvers_of
from optimizer.fleet.dominance import needed
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.fleet import (
    Demands,
    machines_of,
    places_of,
    pool_label,
    replicas_on_a_machine,
    standing_of,
)
from optimizer.fleet.market import PURCHASED, Market, Supply, spot_share, term_months
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.replicas import Replicas
from optimizer.fleet.services import Fleet, MonthDemand, Service
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.plan import OfferedMachine
from optimizer.replica_columns import Ints
from optimizer.requirements import Frozen


@dataclass(frozen=True)
class Period:
    """One month of one scenario.

    Attributes:
        month: from 0.
        scenario: number of the scenario.
        services: the fleet's services with their demand of that month; None where a service asks for nothing.
    """

    month: int
    scenario: int
    services: tuple[Service | None, ...]


@dataclass(frozen=True)
class Contract:
    """A column of supply: one offer, from one month on.

    Attributes:
        supply: number in the market.
        month: in which it begins, from 0.
        months: it lasts.
        scenario: in which it is rented; None = in all of them (a commitment).
    """

    supply: int
    month: int
    months: int
    scenario: int | None


@dataclass(frozen=True)
class CalendarProgram:
    """The integer program over months, and what its numbers mean.

    Attributes:
        months, scenarios: their names, in order.
        contracts: column number -> what is had.
        running: (service, period, replicas, column numbers, replica rows, pools).
    """

    fleet: Fleet
    market: Market
    problem: FleetProblem
    months: tuple[str, ...]
    scenarios: tuple[str, ...]
    periods: tuple[Period, ...]
    contracts: dict[int, Contract]
    running: tuple[tuple[int, Period, Replicas, Ints, Ints, Ints], ...]


def periods_of(fleet: Fleet, only: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Period, ...]]:
    """Names of the months and scenarios, and each month of each scenario with its demand.

    A service keeps its own demand in months that do not name it. `only` is a scenario to plan for alone.

    Raises:
        BadRequirements: no demand by month was given, or it names a service that the fleet does not have.
    """
    if not fleet.demand_by_month:
        raise BadRequirements("A calendar needs demand by month: give a CSV with month, service and min_tps.")
    known = {service.name for service in fleet.services}
    unknown = [row.service for row in fleet.demand_by_month if row.service not in known]
    if unknown:
        raise BadRequirements(f"The demand by month names {unknown[0]!r}, which is no service of the fleet.")
    months = tuple(sorted({row.month for row in fleet.demand_by_month}, key=_month_order))
    scenarios = tuple(dict.fromkeys(row.scenario for row in fleet.demand_by_month))
    if only is not None:
        scenarios = (only,)
    rows = {(row.scenario, row.month, row.service): row for row in fleet.demand_by_month}
    periods = tuple(
        Period(
            at,
            number,
            tuple(_in_month(service, rows.get((scenario, month, service.name))) for service in fleet.services),
        )
        for number, scenario in enumerate(scenarios)
        for at, month in enumerate(months)
    )
    return months, scenarios, periods


def _month_order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (0, name)


def _in_month(service: Service, row: MonthDemand | None) -> Service | None:
    if row is None:
        return service
    return None if row.demand is None else service.model_copy(update={"demand": row.demand})


def build_calendar(
    fleet: Fleet, market: Market, replicas: Sequence[Sequence[Replicas]], only: str | None = None
) -> CalendarProgram:
    """The program of a fleet over its months.

    Args:
        fleet: with demand by month.
        market: what may be had, commitments among it.
        replicas: of each service, of each of its models.
        only: a scenario to plan for alone.

    Raises:
        BadRequirements: see `periods_of`.
    """
    return _Builder(fleet, market, replicas, only).program()


class _Builder:
    """The program in the making."""

    def __init__(self, fleet: Fleet, market: Market, replicas: Sequence[Sequence[Replicas]], only: str | None) -> None:
        self.fleet, self.market, self.replicas = fleet, market, replicas
        self.machines = machines_of(market, uncommitted=fleet)
        self.months, self.scenarios, self.periods = periods_of(fleet, only)
        self.draft = FleetDraft()
        self.number = {(period.scenario, period.month): at for at, period in enumerate(self.periods)}
        self.contracts: dict[int, Contract] = {}
        self.slots: dict[tuple[int, int], int] = {}
        self.limits: dict[tuple[str, int], int] = {}
        self.spent: dict[int, int] = {}

    def program(self) -> CalendarProgram:
        demands = {
            (number, at): Demands.of(service, spot_share(service, self.fleet), self.draft, f" in {self._name(period)}")
            for at, period in enumerate(self.periods)
            for number, service in enumerate(period.services)
            if service is not None
        }
        where = self._needed(demands)
        self._add_limits()
        pools = np.unique(np.concatenate([pool for each in where for _, pool in each])).tolist()
        for at in range(len(self.periods)):
            for pool in pools:
                label = pool_label(self.market.pools[pool])
                self.slots[at, pool] = self.draft.add_resource(f"slots {pool} {self._name(self.periods[at])}: {label}")
        for number, supply in enumerate(self.market.supplies):
            if supply.pool in pools:
                self._add_supply(number, supply)
        self._add_money()
        running = tuple(
            self._add_replicas(number, at, demands[number, at], one, *places)
            for number, at in demands
            for one, places in zip(self.replicas[number], where[number], strict=True)
        )
        return CalendarProgram(
            self.fleet,
            self.market,
            self.draft.build(),
            self.months,
            self.scenarios,
            self.periods,
            self.contracts,
            running,
        )

    def _name(self, period: Period) -> str:
        scenario = self.scenarios[period.scenario]
        return f"{self.months[period.month]}{f' ({scenario})' if scenario else ''}"

    def _needed(self, demands: dict[tuple[int, int], Demands]) -> list[list[tuple[Ints, Ints]]]:
        """(replica, pool) pairs of each service and model that a cheapest plan of any month may need."""
        asking = sorted({number for number, _ in demands})
        where, standing = {}, []
        for number in asking:
            models = self.replicas[number]
            where[number] = [places_of(self.fleet, self.market, number, one) for one in models]
            mine = [demand for (service, _), demand in demands.items() if service == number]
            standing.append(standing_of(self.fleet, self.market, number, models, where[number], mine))
        nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        found = [[nothing for _ in models] for models in self.replicas]
        for number, mask in zip(asking, needed(standing, self.machines) if standing else (), strict=True):
            parts = np.split(mask, np.cumsum([len(pool) for _, pool in where[number]])[:-1])
            found[number] = [
                (replica[kept], pool[kept]) for (replica, pool), kept in zip(where[number], parts, strict=True)
            ]
        return found

    def _add_limits(self) -> None:
        limits = self.fleet.limits
        for at, period in enumerate(self.periods):
            asked = {
                "budget": None
                if limits.budget_usd_per_hour is None
                else budget_micro_usd(limits.budget_usd_per_hour) * HOURS_PER_MONTH,
                "gpus": limits.gpus,
                "power": None if limits.power_watts is None else int(limits.power_watts),
                **{f"{quota.kind} {quota.name}": quota.most for quota in limits.quotas},
            }
            for name, most in asked.items():
                if most is not None:
                    self.limits[name, at] = self.draft.add_resource(f"{name} {self._name(period)}", most)

    def _add_supply(self, number: int, supply: Supply) -> None:
        """One offer: rented by the month, or committed to for a term that may begin in any month."""
        term = term_months(self.fleet, supply.offer)
        for month in range(len(self.months)):
            if term is not None:
                self._add_contract(Contract(number, month, term, None), supply)
                continue
            for scenario in range(len(self.scenarios)):
                self._add_contract(Contract(number, month, 1, scenario), supply)

    def _add_contract(self, contract: Contract, supply: Supply) -> None:
        offer, quotas = supply.offer, self.fleet.limits.quotas
        monthly = micro_usd(offer.price_usd_per_hour) * HOURS_PER_MONTH
        scenarios = range(len(self.scenarios)) if contract.scenario is None else (contract.scenario,)
        last = min(contract.month + contract.months, len(self.months))
        covered = [self.number[scenario, month] for scenario in scenarios for month in range(contract.month, last)]
        amounts = {"budget": monthly, "gpus": offer.gpu_count} | {
            f"{quotas[quota].kind} {quotas[quota].name}": amount
            for quota, amount in zip(supply.quotas, supply.amounts, strict=True)
        }
        uses = {
            self.limits[name, at]: amount
            for at in covered
            for name, amount in amounts.items()
            if (name, at) in self.limits
        }
        price = monthly * contract.months
        rented_late = contract.scenario is not None and len(self.scenarios) > 1
        if rented_late:
            uses[self._spent(contract.scenario or 0)] = price
        columns = self.draft.add_supply(
            price_micro_usd=0 if rented_late else price,
            gives={self.slots[at, supply.pool]: offer.gpu_count for at in covered},
            uses=uses,
            most=self.fleet.machines_most if offer.available_count is None else offer.available_count,
            least=max(offer.minimum_count, 1),
        )
        self.contracts[int(columns[0])] = contract

    def _spent(self, scenario: int) -> int:
        """The row that says what is rented in a scenario; the money of all scenarios pays each of them."""
        if scenario not in self.spent:
            self.spent[scenario] = self.draft.add_resource(f"rented in scenario {self.scenarios[scenario]}")
        return self.spent[scenario]

    def _add_money(self) -> None:
        """Dollars that are paid once and are there in every scenario: as many as the dearest one rents for."""
        if self.spent:
            self.draft.add_supply(
                price_micro_usd=MICRO, gives=dict.fromkeys(self.spent.values(), MICRO), most=MOST_DOLLARS
            )

    def _add_replicas(
        self, number: int, at: int, demands: Demands, replicas: Replicas, replica: Ints, pool: Ints
    ) -> tuple[int, Period, Replicas, Ints, Ints, Ints]:
        gpus = replicas.gpus[replica]
        slots = np.asarray([self.slots.get((at, one), -1) for one in range(len(self.market.pools))], dtype=np.int64)
        uses: dict[int, Ints] = {}
        if ("power", at) in self.limits:
            uses[self.limits["power", at]] = np.ceil(replicas.power_watts[replica]).astype(np.int64)
        numbers = self.draft.add_columns(
            demands.service,
            price_micro_usd=np.zeros(len(replica), dtype=np.int64),
            covers=demands.given(replicas.take(replica), self.machines.spot[pool]),
            uses=uses,
            stands=(slots[pool], gpus),
            most=self.fleet.machines_most,
            lost_replicas=replicas_on_a_machine(self.market, gpus, pool),
        )
        return number, self.periods[at], replicas, numbers, replica, pool


MOST_DOLLARS = 10_000_000_000


def without_commitments(program: CalendarProgram) -> FleetProblem | None:
    """The same problem with nothing but what is rented by the month; None when there is no commitment to leave out."""
    columns = [column for column, contract in program.contracts.items() if contract.scenario is None]
    if not columns:
        return None
    most, least = program.problem.column_most.copy(), program.problem.column_least.copy()
    most[columns], least[columns] = 0, 1
    return replace(program.problem, column_most=most, column_least=least)


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
