"""What is to be least or most: one function per goal, and the order in which goals break each other's ties."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from optimizer.cp_sat import integers
from optimizer.cp_sat.library import cp_model
from optimizer.errors import SolverFailed
from optimizer.pruning import Columns
from optimizer.replica_columns import Ints
from optimizer.requirements import Objective

if TYPE_CHECKING:
    from optimizer.cp_sat.program import Program


class Goal(StrEnum):
    """One quantity to make least or most."""

    COST = "least cost"
    THROUGHPUT = "most output tokens per second"
    POWER = "least power"
    GPUS = "fewest GPUs"
    CONCURRENCY = "most requests in flight"
    NAMES = "fewest machines, then by name"


GOALS: dict[Objective, tuple[Goal, ...]] = {
    Objective.COST: (Goal.COST, Goal.THROUGHPUT, Goal.NAMES),
    Objective.LATENCY: (Goal.COST, Goal.THROUGHPUT, Goal.NAMES),
    Objective.THROUGHPUT: (Goal.THROUGHPUT, Goal.COST, Goal.NAMES),
    Objective.ENERGY: (Goal.POWER, Goal.COST, Goal.NAMES),
}
"""The goals of each objective; `latency` first finds the fastest service level that can be kept (see solve)."""


WANTS_MUCH = frozenset({Goal.THROUGHPUT, Goal.CONCURRENCY})
"""Goals of which more is better."""


def state(program: Program, goal: Goal) -> cp_model.LinearExpr:
    """Make the goal the model's objective; returns its expression."""
    expression = _EXPRESSIONS[goal](program)
    program.model.clear_objective()  # type: ignore[no-untyped-call]
    if goal in WANTS_MUCH:
        program.model.maximize(expression)
    else:
        program.model.minimize(expression)
    return expression


def hold(program: Program, goal: Goal, expression: cp_model.LinearExpr, value: int) -> None:
    """Later goals may not give up what this one has reached."""
    program.model.add(expression >= value if goal in WANTS_MUCH else expression <= value)


def prices_micro_usd(columns: Columns) -> Ints:
    """Price of each machine type, shape (machines,)."""
    return np.asarray([integers.micro_usd(offer.price_usd_per_hour) for offer in columns.offers], dtype=np.int64)


def cost(program: Program) -> cp_model.LinearExpr:
    """Micro-dollars per hour of all machines: sum of price x count."""
    return weighted(program.machines, prices_micro_usd(program.columns))


def throughput(program: Program) -> cp_model.LinearExpr:
    """Output tokens per second of all replicas, in thousandths, rounded down per replica."""
    return weighted(program.replicas, integers.capacity_milli(program.columns.output_tokens_per_second))


def concurrency(program: Program) -> cp_model.LinearExpr:
    """Requests in flight on all replicas."""
    return weighted(program.replicas, program.columns.concurrency)


def power(program: Program) -> cp_model.LinearExpr:
    """Watts of all GPUs of all machines, those that idle beside replicas included; GPUs and replicas round up."""
    columns = program.columns
    idle = weighted(program.machines, columns.machine_watts.astype(np.int64))
    return idle + weighted(program.replicas, columns.added_watts.astype(np.int64))


def gpus(program: Program) -> cp_model.LinearExpr:
    """GPUs of all machines."""
    counts = np.asarray([offer.gpu_count for offer in program.columns.offers], dtype=np.int64)
    return weighted(program.machines, counts)


def names(program: Program) -> cp_model.LinearExpr:
    """Fewest machines; among equals the machine types and columns that come first, so that ties end the same way.

    A machine weighs more than all rank terms together can.
    """
    columns = program.columns
    machine_ranks = np.argsort(np.argsort([offer.offer_id for offer in columns.offers])).astype(np.int64)
    replica_ranks = np.arange(len(columns), dtype=np.int64)
    weight = int((replica_ranks * program.replica_bounds).sum() + machine_ranks.max(initial=0) + 1)
    if weight * int(program.machine_bounds.sum()) > 1 << 60:
        weight = len(columns) * len(columns.offers) + 1
    return weighted(program.machines, machine_ranks + weight) + weighted(program.replicas, replica_ranks)


def weighted(variables: list[cp_model.IntVar], weights: Ints) -> cp_model.LinearExpr:
    """Sum of weight x variable."""
    if not variables:
        raise SolverFailed("A program without variables has nothing to sum; this is a bug of ours.")
    return cp_model.LinearExpr.weighted_sum(variables, weights.tolist())


_EXPRESSIONS = {
    Goal.COST: cost,
    Goal.THROUGHPUT: throughput,
    Goal.CONCURRENCY: concurrency,
    Goal.POWER: power,
    Goal.GPUS: gpus,
    Goal.NAMES: names,
}
