"""The master of the decomposition: how much of which plan and of what supply, and what each resource is worth by that.

Plans of single services consume resources, supply produces them. The linear program over the plans found so far prices
the resources; at those prices new plans are sought (see `pricing`), until none is better. At any prices at least 0,

    sum of each service's cheapest plan + sum of min(0, price of supply) x most - sum of prices x limits

is a proven lower bound (Lagrange), whatever the linear program did and however far its numbers were rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat.fleet_linear import NO_LIMIT, LinearAnswer, LinearProgram, LinearSolver, solve_linear
from optimizer.cp_sat.integers import MICRO
from optimizer.fleet.bounds import row_hashes, useful_most
from optimizer.fleet.pricing import Priced, Wanted
from optimizer.fleet.problem import SUPPLY, FleetProblem
from optimizer.fleet.sparse import SparseRows, sparse_rows
from optimizer.replica_columns import Bools, Floats, Ints

SIMPLEX_UNTIL = 20_000
"""Services up to which GLOP is the quicker linear solver (measured: by a third at 10,000; at 100,000 HiGHS by half)."""
UNLIMITED = 1e15
"""A limit beyond every sum that can come up has no price."""


@dataclass(frozen=True)
class Separable:
    """A fleet problem seen as services that meet only in resources; money in dollars as floats.

    Attributes:
        column: shape (entries,): the problem's column of each entry; entries of one service stand together.
        wanted: what services want.
        price: shape (entries,): of one replica.
        uses: (entries x resources).
        supply: shape (supply,): the problem's columns that serve no service.
        supply_price, supply_most: shape (supply,).
        supply_uses: (supply x resources).
        limit: shape (resources,).
    """

    column: Ints
    wanted: Wanted
    price: Floats
    uses: SparseRows
    supply: Ints
    supply_price: Floats
    supply_most: Floats
    supply_uses: SparseRows
    limit: Floats

    @property
    def services(self) -> int:
        """How many services."""
        return len(self.wanted.demand)

    def take(self, services: Ints, limit: Floats) -> Separable:
        """Some of the services, all supply, and other limits."""
        wanted, entries = self.wanted.take(services)
        return replace(
            self,
            column=self.column[entries],
            wanted=wanted,
            price=self.price[entries],
            uses=self.uses.take(entries),
            limit=limit,
        )


def separable(problem: FleetProblem) -> Separable | None:
    """The problem so seen; None when a service wants more than one demand covered and a number of copies.

    Nor are buckets or a least number of replicas seen so. Minimum purchases of supply are: the bound holds anyway.
    """
    column = np.flatnonzero(problem.column_service != SUPPLY)
    column = column[np.argsort(problem.column_service[column], kind="stable")]
    main, copies = _main_covers(problem, column)
    if main is None or (problem.column_least[column] > 1).any():
        return None
    supply = np.flatnonzero(problem.column_service == SUPPLY)
    covers = problem.column_covers.take(column)
    own = covers.index == main[problem.column_service[column]][covers.row]
    gives = np.zeros(len(column), dtype=np.int64)
    gives[covers.row[own]] = covers.value[own]
    idle = (problem.cover_demand[main] < 1) & (copies < 1)
    if idle.any() or ((gives < 1) & (copies[problem.column_service[column]] > 0)).any():
        return None
    demand = np.maximum(problem.cover_demand[main], 1)
    service = problem.column_service[column]
    kept = gives > 0
    column, service, gives = column[kept], service[kept], gives[kept]
    start = np.searchsorted(service, np.arange(problem.services + 1)).astype(np.int64)
    survives = problem.cover_survives[main][service]
    lost = np.where(survives, problem.column_lost_replicas[column], 0) if survives.any() else None
    wanted = Wanted(start, np.minimum(gives, demand[service]), demand, copies, lost=lost)
    if (np.diff(start) == 0).any() or (problem.column_most[column] < wanted.enough).any():
        return None
    return Separable(
        column,
        wanted,
        problem.column_price_micro_usd[column] / MICRO,
        problem.column_uses.take(column),
        supply,
        problem.column_price_micro_usd[supply] / MICRO,
        useful_most(problem)[supply].astype(np.float64),
        problem.column_uses.take(supply),
        problem.resource_limit.astype(np.float64),
    )


def _main_covers(problem: FleetProblem, column: Ints) -> tuple[Ints | None, Ints]:
    """Each service's one cover of a demand, and its number of copies (a cover to which every column gives 1)."""
    matrix = problem.column_covers
    ones = np.bincount(matrix.index, weights=matrix.value == 1, minlength=problem.covers)
    columns = np.bincount(problem.column_service[column], minlength=problem.services)
    is_count = (ones == columns[problem.cover_service]) & (problem.cover_demand > 0)
    counted = np.bincount(problem.cover_service[is_count], minlength=problem.services)
    covers = np.bincount(problem.cover_service, minlength=problem.services)
    odd = problem.cover_is_bucket.any() or (covers == 0).any()
    if odd or (covers > 2).any() or (covers - counted > 1).any():
        return None, np.empty(0, dtype=np.int64)
    main = np.full(problem.services, -1)
    copies = np.zeros(problem.services, dtype=np.int64)
    for cover in np.flatnonzero(is_count).tolist():
        service = problem.cover_service[cover]
        copies[service] = max(copies[service], problem.cover_demand[cover])
        main[service] = cover
    rest = np.flatnonzero(~is_count)
    main[problem.cover_service[rest]] = rest
    lost = problem.cover_survives.copy()
    lost[main] = False
    return (None if lost.any() else main), copies


@dataclass(frozen=True)
class Plans:
    """Plans found for services, one or none per service and round.

    Attributes:
        service, price: shape (plans,).
        uses: (plans x resources).
        entries: (plans x entries): replicas of each.
    """

    service: Ints
    price: Floats
    uses: SparseRows
    entries: SparseRows

    def take(self, plans: Ints | Bools) -> Plans:
        """Only these."""
        return Plans(self.service[plans], self.price[plans], self.uses.take(plans), self.entries.take(plans))


def plans_of(view: Separable, priced: Priced) -> Plans:
    """The plan of each service that pricing found."""
    services = view.services
    entries = sparse_rows(services, priced.service, priced.entry, priced.count)
    uses = view.uses.take(entries.index)
    sizes = np.diff(uses.start)
    total = sparse_rows(
        services, np.repeat(entries.row, sizes), uses.index, uses.value * np.repeat(entries.value, sizes)
    )
    spent = entries.value * view.price[entries.index]
    price = np.bincount(entries.row, weights=spent, minlength=services).astype(np.float64)
    return Plans(np.arange(services), price, total, entries)


def join(parts: list[Plans]) -> Plans:
    """All plans of several rounds."""
    return Plans(
        np.concatenate([part.service for part in parts]),
        np.concatenate([part.price for part in parts]),
        _stack([part.uses for part in parts]),
        _stack([part.entries for part in parts]),
    )


def _stack(parts: list[SparseRows]) -> SparseRows:
    ends = np.cumsum([0, *(len(part.index) for part in parts)])
    start = np.concatenate([[0], *(part.start[1:] + end for part, end in zip(parts, ends[:-1], strict=True))])
    return SparseRows(
        start.astype(np.int64),
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


@dataclass(frozen=True)
class MasterAnswer:
    """What the linear program says.

    Attributes:
        feasible: it has an answer within the time.
        cost: its optimum, dollars.
        weight: shape (plans,): how much of each plan.
        supply: shape (supply,): how much of each is bought.
        unserved: shape (services,): how much of each service no plan serves.
        worth: shape (services,): the price of serving each; a plan that costs less is new.
        prices: shape (resources,): at least 0.
    """

    feasible: bool
    cost: float
    weight: Floats
    supply: Floats
    unserved: Floats
    worth: Floats
    prices: Floats


def distinct(plans: Plans) -> Plans:
    """Each plan once."""
    key = np.stack((plans.service.astype(np.uint64), row_hashes(plans.entries)))
    first = np.unique(key, axis=1, return_index=True)[1]
    return plans.take(np.sort(first))


def solve_master(
    view: Separable, plans: Plans, unserved_price: Floats, *, times: Floats, time_limit_seconds: float
) -> MasterAnswer:
    """The cheapest mix of plans and supply within the limits; a service without plan costs `unserved_price`.

    `times`, shape (services,): how many services like itself each stands for.
    """
    solver = LinearSolver.GLOP if view.services <= SIMPLEX_UNTIL else LinearSolver.HIGHS
    program = mixture(view, plans, unserved_price, times)
    answer = solve_linear(program, time_limit_seconds=time_limit_seconds, solver=solver)
    return _read(answer, len(plans.service), len(view.supply), view.services)


def mixture(view: Separable, plans: Plans, unserved_price: Floats, times: Floats) -> LinearProgram:
    """The master's program: variables are the plans' weights, supply, and of each service what no plan serves."""
    found, supply, services = len(plans.service), len(view.supply), view.services
    variables = np.arange(found + supply + services)
    entries = (
        (plans.service, variables[:found], np.ones(found)),
        (np.arange(services), variables[found + supply :], np.ones(services)),
        (services + plans.uses.index, plans.uses.row, plans.uses.value.astype(np.float64)),
        (services + view.supply_uses.index, found + view.supply_uses.row, view.supply_uses.value.astype(np.float64)),
    )
    row, variable, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    resources = len(view.limit)
    return LinearProgram(
        cost=np.concatenate((plans.price, view.supply_price, unserved_price)),
        most=np.concatenate((np.full(found, NO_LIMIT), view.supply_most, np.full(services, NO_LIMIT))),
        row=row,
        variable=variable,
        value=value,
        low=np.concatenate((times, np.full(resources, -NO_LIMIT))),
        high=np.concatenate((np.full(services, NO_LIMIT), np.where(view.limit < UNLIMITED, view.limit, NO_LIMIT))),
    )


def _read(answer: LinearAnswer, plans: int, supply: int, services: int) -> MasterAnswer:
    return MasterAnswer(
        answer.optimal,
        answer.bound,
        answer.values[:plans],
        answer.values[plans : plans + supply],
        answer.values[plans + supply :],
        answer.duals[:services],
        np.maximum(-answer.duals[services:], 0.0),
    )


def lift(view: Separable, prices: Floats) -> Floats:
    """Raise the price of what only supply gives to what the cheapest supply asks for it.

    The linear program leaves the price of what no plan of it uses anywhere between 0 and there; with the lower one,
    plans that use it look better than they are.
    """
    prices = prices.copy()
    margin = view.supply_price + view.supply_uses.times(prices)
    gives = np.flatnonzero((view.supply_uses.value < 0) & (view.limit[view.supply_uses.index] <= 0))
    gives = gives[np.argsort(view.supply_uses.index[gives], kind="stable")]
    resource, by = view.supply_uses.index[gives], view.supply_uses.row[gives]
    given = -view.supply_uses.value[gives]
    ends = np.flatnonzero(np.diff(resource, prepend=-1, append=len(view.limit)))
    for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        mine = slice(begin, end)
        step = float((margin[by[mine]] / given[mine]).min())
        if step > 0:
            prices[resource[begin]] += step
            margin[by[mine]] -= step * given[mine]
    return prices


def lower_bound(view: Separable, priced: Priced, prices: Floats, times: Floats | None = None) -> float:
    """The Lagrangian bound, dollars; `times` as in `solve_master`."""
    margin = view.supply_price + view.supply_uses.times(prices)
    limited = view.limit < UNLIMITED
    return float(
        (priced.bound.sum() if times is None else priced.bound @ times)
        + (np.minimum(margin, 0.0) * view.supply_most).sum()
        - (prices[limited] * view.limit[limited]).sum()
        - UNLIMITED * float(prices[~limited].sum())
    )
