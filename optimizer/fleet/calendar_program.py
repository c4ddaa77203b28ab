"""Demand that changes by month, commitments that last: the integer program of a fleet over its months.

Every service wants its demand of each month covered, with machines of that month. What is rented by the month gives
slots of one month; a commitment gives them in every month of its term, at its price for the whole term, also for what
lies beyond the last month. Demand that is known only as several scenarios has each its own months; commitments are
made once for all of them, and the plan costs what the dearest scenario costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.answer import HOURS_PER_MONTH
from optimizer.cp_sat.integers import MICRO, budget_micro_usd, micro_usd
from optimizer.errors import BadRequirements
from optimizer.fleet.demands import Demands
from optimizer.fleet.dominance import needed
from optimizer.fleet.fleet import Builder
from optimizer.fleet.market import Market, Supply, spot_share, term_months
from optimizer.fleet.places import machines_of, places_of, pool_label, standing_of
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.replicas import Replicas
from optimizer.fleet.services import Fleet, MonthDemand, Service
from optimizer.fleet.variations import without_columns
from optimizer.replica_columns import Ints

MOST_DOLLARS = 10_000_000_000


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
    """

    fleet: Fleet
    market: Market
    problem: FleetProblem
    months: tuple[str, ...]
    scenarios: tuple[str, ...]
    periods: tuple[Period, ...]
    contracts: dict[int, Contract]


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


class _Builder(Builder):
    """The program in the making."""

    def __init__(self, fleet: Fleet, market: Market, replicas: Sequence[Sequence[Replicas]], only: str | None) -> None:
        super().__init__(fleet, market, replicas, machines_of(market, uncommitted=fleet))
        self.months, self.scenarios, self.periods = periods_of(fleet, only)
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
        for (number, at), asked in demands.items():
            slots = {pool: self.slots[at, pool] for pool in pools}
            for one, places in zip(self.replicas[number], where[number], strict=True):
                self.add_replicas(asked, one, places, slots, self.limits.get(("power", at)))
        return CalendarProgram(
            self.fleet,
            self.market,
            self.draft.build(),
            self.months,
            self.scenarios,
            self.periods,
            self.contracts,
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


def without_commitments(program: CalendarProgram) -> FleetProblem | None:
    """The same problem with nothing but what is rented by the month; None when there is no commitment to leave out."""
    columns = [column for column, contract in program.contracts.items() if contract.scenario is None]
    if not columns:
        return None
    return without_columns(program.problem, np.asarray(columns, dtype=np.int64))
