"""Plans of one machine type and one replica shape: what each column does alone, for all columns at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat import integers
from optimizer.cp_sat.objectives import Goal
from optimizer.pruning import Columns
from optimizer.replica_columns import Bools, Floats, Ints
from optimizer.requirements import Limits, Objective, Requirements

CENT_OF_MICRO = 5e-7
"""Half of what prices are rounded to."""


@dataclass(frozen=True)
class UniformPlans:
    """What each column gives when everything is served by it alone; arrays have shape (columns,)."""

    columns: Columns
    replicas: Ints
    machines: Ints
    cost_usd_per_hour: Floats

    @property
    def power_watts(self) -> Floats:
        """Of all GPUs that are bought, those that serve and those that idle beside them, shape (columns,)."""
        columns = self.columns
        watts: Floats = self.replicas * columns.added_watts + self.machines * columns.machine_watts[columns.machine]
        return watts

    def gpu(self, column: int) -> str:
        """Name of the GPU that a column's machine has."""
        return self.columns.offers[int(self.columns.machine[column])].gpu


def uniform_plans(columns: Columns, requirements: Requirements) -> UniformPlans:
    """The cheapest plan of one machine type and one replica shape, for every column at once.

    With the objective `throughput` it is the largest such plan that the limits allow.
    """
    gpu_count = np.asarray([offer.gpu_count for offer in columns.offers], dtype=np.int64)[columns.machine]
    prices = np.asarray([offer.price_usd_per_hour for offer in columns.offers], dtype=np.float64)[columns.machine]
    per_machine = np.maximum(gpu_count // columns.gpus, 1)
    nodes = -(-columns.gpus // gpu_count)
    if requirements.objective is Objective.THROUGHPUT:
        most = np.minimum(_machines_within(requirements.limits, prices, gpu_count), _to_be_had(columns))
        machines = most // nodes * nodes
        replicas = machines // nodes * per_machine
    else:
        replicas = _replicas_needed(columns, requirements)
        machines = -(-replicas // per_machine) * nodes
    least = np.asarray([offer.minimum_count for offer in columns.offers], dtype=np.int64)[columns.machine]
    machines = np.where(machines > 0, np.maximum(machines, least), 0)
    return UniformPlans(columns, replicas, machines, machines * prices)


def _replicas_needed(columns: Columns, requirements: Requirements) -> Ints:
    demand, tokens = requirements.demand, integers.capacity_milli(columns.output_tokens_per_second)
    wanted = integers.demand_milli(requirements.wanted_output_tokens_per_second)
    for_tokens = -(-wanted // np.maximum(tokens, 1))
    for_requests = -(-(demand.concurrency or 0) // np.maximum(columns.concurrency, 1))
    replicas: Ints = np.maximum(np.maximum(for_tokens, for_requests), 1).astype(np.int64)
    return replicas


def _machines_within(limits: Limits, prices: Floats, gpu_count: Ints) -> Ints:
    most = np.full(len(prices), float(integers.MACHINES_MOST))
    if limits.budget_usd_per_hour is not None:
        most = np.minimum(most, limits.budget_usd_per_hour / np.maximum(prices, 1e-9) + 1e-9)
    if limits.gpus is not None:
        most = np.minimum(most, limits.gpus // gpu_count)
    return most.astype(np.int64)


def _to_be_had(columns: Columns) -> Ints:
    """Machines of each column's type that can be had, shape (columns,)."""
    counts = [integers.MACHINES_MOST if one.available_count is None else one.available_count for one in columns.offers]
    return np.asarray(counts, dtype=np.int64)[columns.machine]


def keep_limits(plans: UniformPlans, requirements: Requirements) -> Bools:
    """Which of these plans stay within every limit, shape (columns,)."""
    limits, columns = requirements.limits, plans.columns
    gpus = plans.machines * np.asarray([offer.gpu_count for offer in columns.offers], dtype=np.int64)[columns.machine]
    kept = (plans.replicas > 0) & (plans.machines <= _to_be_had(columns))
    if limits.budget_usd_per_hour is not None:
        kept &= plans.cost_usd_per_hour <= limits.budget_usd_per_hour
    if limits.gpus is not None:
        kept &= gpus <= limits.gpus
    if limits.power_watts is not None:
        kept &= plans.power_watts <= limits.power_watts
    return kept


def affordable_columns(columns: Columns, requirements: Requirements, known_usd_per_hour: float = np.inf) -> Columns:
    """The columns that a cheapest plan may use, whose watts the question may limit.

    Args:
        columns: what could be bought.
        requirements: the question.
        known_usd_per_hour: of a plan that keeps its rules; plans of one kind are tried too.
    """
    plans = uniform_plans(columns, requirements)
    best = float(plans.cost_usd_per_hour[keep_limits(plans, requirements)].min(initial=known_usd_per_hour))
    kept = usable(columns, requirements, Goal.COST, best + CENT_OF_MICRO)
    if requirements.limits.power_watts is not None:
        kept &= usable(columns, requirements, Goal.POWER, requirements.limits.power_watts)
    return with_columns(columns, kept)


def worthwhile(columns: Columns, requirements: Requirements, goal: Goal = Goal.COST) -> Bools:
    """Which columns a plan no worse than the best of one kind may use, shape (columns,); no best one uses others."""
    plans = uniform_plans(columns, requirements)
    known = plans.power_watts if goal is Goal.POWER else plans.cost_usd_per_hour
    best = float(known[keep_limits(plans, requirements)].min(initial=np.inf)) + CENT_OF_MICRO
    # Without a mix a plan is of one kind: what a column alone does at its best is all that it can do.
    return usable(columns, requirements, goal, best) if requirements.choices.mix else known <= best


def usable(columns: Columns, requirements: Requirements, goal: Goal, most: float) -> Bools:
    """Which columns a plan of at most so many USD per hour, or watts, may use, shape (columns,).

    Machines cost no less than the GPUs that replicas take on them at the machine's price per GPU, and the demand D no
    less than r D, with r the least of any column for a unit of demand (USD per hour). So a plan with counts x costs at
    least

        r D + sum of x (GPUs * price per GPU - r * capacity)

    in which no term is negative: a column whose own term is more than what `most` leaves beyond r D is in no such plan.
    The same holds of watts: machines draw no less than the replicas on them. Source: Lagrangian relaxation of the
    demand, variables fixed by reduced cost.
    """
    alone, own = _watts_of_one(columns) if goal is Goal.POWER else _usd_of_one(columns)
    kept: Bools = alone <= most
    for wanted, capacity in _demands(columns, requirements):
        rate = float((own / np.maximum(capacity, 1)).min(initial=np.inf))
        kept &= own - rate * capacity <= (most - rate * wanted) + ROUNDING * most
    return kept


def _usd_of_one(columns: Columns) -> tuple[Floats, Floats]:
    """USD per hour of one machine of each column, and of the GPUs of one replica, each (columns,)."""
    prices = np.asarray([offer.price_usd_per_hour for offer in columns.offers], dtype=np.float64)
    counts = np.asarray([offer.gpu_count for offer in columns.offers], dtype=np.float64)
    return prices[columns.machine], columns.gpus * (prices / counts)[columns.machine]


def _watts_of_one(columns: Columns) -> tuple[Floats, Floats]:
    """Watts of the machines of one replica with nothing else on them, and of the replica alone, each (columns,)."""
    counts = np.asarray([offer.gpu_count for offer in columns.offers], dtype=np.int64)[columns.machine]
    idle = -(-columns.gpus // counts) * columns.machine_watts[columns.machine]
    return idle + columns.added_watts, np.ceil(columns.power_watts)


ROUNDING = 1e-9
"""Of a price: what sums of floats may be off by, given away so that no column is lost to it."""


def _demands(columns: Columns, requirements: Requirements) -> Iterator[tuple[int, Ints]]:
    """What is asked for, with how much of it one replica of each column gives."""
    tokens = integers.demand_milli(requirements.wanted_output_tokens_per_second)
    if tokens:
        yield tokens, integers.capacity_milli(columns.output_tokens_per_second)
    if requirements.demand.concurrency:
        yield requirements.demand.concurrency, columns.concurrency


def with_columns(columns: Columns, kept: Bools) -> Columns:
    """Only some columns, and the machines that they are on."""
    used = np.zeros(len(columns.offers), dtype=bool)
    used[columns.machine[kept]] = True
    number = np.cumsum(used) - 1
    taken = columns.take(kept)
    return replace(
        taken,
        offers=tuple(offer for offer, use in zip(columns.offers, used, strict=True) if use),
        machine=number[taken.machine],
        idle_watts=columns.idle_watts[used],
    )
