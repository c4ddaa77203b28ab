"""The rules of a purchase: one function per rule, each with its inequality and the direction of rounding.

A rule that the question does not ask for adds nothing. Every rule here has its check in `optimizer/audit.py`.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from optimizer.cp_sat import integers, objectives
from optimizer.cp_sat.objectives import Goal
from optimizer.pruning import Columns
from optimizer.replica_columns import Floats, Ints
from optimizer.requirements import Requirements

if TYPE_CHECKING:
    from optimizer.cp_sat.program import Program


def pack_replicas_on_machines(program: Program) -> None:
    """GPUs of the replicas on one machine type <= GPUs of the machines bought.

    Exact because sizes up to the machine form a divisibility chain that ends in it, and larger ones take whole machines
    (see `optimizer/shapes.py`). Sizes that do not (only a forced TP or PP gives those) get one size per machine.
    """
    for machine, offer in enumerate(program.columns.offers):
        mine = np.flatnonzero(program.columns.machine == machine)
        sizes = frozenset(program.columns.gpus[mine].tolist())
        bought = program.machines[machine]
        if is_gapless(sizes, offer.gpu_count):
            used = sum(int(program.columns.gpus[c]) * program.replicas[c] for c in mine)
            program.model.add(used <= offer.gpu_count * bought)
        else:
            _pack_one_size_per_machine(program, machine, mine)


@cache
def is_gapless(sizes: frozenset[int], gpu_count: int) -> bool:
    """Whether replicas of these sizes pack machines of `gpu_count` GPUs without gaps.

    >>> [is_gapless(frozenset(sizes), count) for sizes, count in (((1, 2, 8, 16, 24), 8), ((3,), 8), ((2, 3), 6))]
    [True, False, False]
    """
    chain = sorted({gpu_count, *(size for size in sizes if size <= gpu_count)})
    divides = all(large % small == 0 for small, large in pairwise(chain))
    return divides and all(size % gpu_count == 0 for size in sizes if size > gpu_count)


def _pack_one_size_per_machine(program: Program, machine: int, mine: Ints) -> None:
    gpu_count = program.columns.offers[machine].gpu_count
    most = int(program.machine_bounds[machine])
    hosts = []
    for size in np.unique(program.columns.gpus[mine]):
        replicas = sum(program.replicas[c] for c in mine[program.columns.gpus[mine] == size])
        host = program.model.new_int_var(0, most, "")
        per_machine, nodes = gpu_count // int(size), -(-int(size) // gpu_count)
        program.model.add(replicas <= per_machine * host if per_machine else nodes * replicas <= host)
        hosts.append(host)
    program.model.add(sum(hosts) <= program.machines[machine])


def meet_throughput(program: Program) -> None:
    """Sum of output tokens/s >= asked. Replicas round down, the demand rounds up."""
    asked = program.requirements.demand.output_tokens_per_second
    if asked is not None:
        tokens = integers.capacity_milli(program.columns.output_tokens_per_second)
        _cover(program, tokens, integers.demand_milli(asked))


def meet_request_rate(program: Program) -> None:
    """Sum of output tokens/s >= requests/s x output tokens per request."""
    asked = program.requirements.demand.requests_per_second
    if asked is not None:
        tokens = integers.capacity_milli(program.columns.output_tokens_per_second)
        _cover(program, tokens, integers.demand_milli(asked * program.requirements.workload.output_tokens))


def meet_concurrency(program: Program) -> None:
    """Sum of requests in flight >= asked."""
    asked = program.requirements.demand.concurrency
    if asked is not None:
        _cover(program, program.columns.concurrency, min(asked, integers.LARGEST_DEMAND))


def _cover(program: Program, gives: Ints, wanted: int) -> None:
    """Sum of gives x replicas >= wanted, with no replica counted for more than all that is wanted.

    Cutting a coefficient at the right-hand side leaves the integer solutions as they are and tightens the relaxation.
    """
    program.model.add(objectives.weighted(program.replicas, np.minimum(gives, wanted)) >= wanted)


def serve_at_least_one_request(program: Program) -> None:
    """Buying nothing is no plan: at least one replica runs."""
    program.model.add(sum(program.replicas) >= 1)


def stay_within_budget(program: Program) -> None:
    """Sum of prices <= budget. Prices are exact, the budget rounds down."""
    budget = program.requirements.limits.budget_usd_per_hour
    if budget is not None:
        program.model.add(objectives.cost(program) <= integers.budget_micro_usd(budget))


def stay_within_gpu_count(program: Program) -> None:
    """GPUs of all machines, idle ones included, <= asked."""
    most = program.requirements.limits.gpus
    if most is not None:
        program.model.add(objectives.gpus(program) <= min(most, integers.LARGEST_DEMAND))


def stay_within_power(program: Program) -> None:
    """Watts of all GPUs, idle ones included, <= asked. Replicas round up, the limit rounds down."""
    most = program.requirements.limits.power_watts
    if most is not None:
        program.model.add(objectives.power(program) <= min(math.floor(most), integers.LARGEST_DEMAND))


def stay_within_availability(program: Program) -> None:
    """Machines of one offer <= what can be had."""
    for bought, offer in zip(program.machines, program.columns.offers, strict=True):
        if offer.available_count is not None:
            program.model.add(bought <= min(offer.available_count, integers.MACHINES_MOST))


def buy_no_less_than_is_sold(program: Program) -> None:
    """Machines of an offer with a minimum purchase: none, or at least that many."""
    for machine, offer in enumerate(program.columns.offers):
        if offer.minimum_count > 1:
            taken, bought = program.model.new_bool_var(""), program.machines[machine]
            program.model.add(bought >= min(offer.minimum_count, integers.MACHINES_MOST + 1) * taken)
            program.model.add(bought <= int(program.machine_bounds[machine]) * taken)


def do_not_mix(program: Program) -> None:
    """With `--no-mix`: one machine type and one replica shape in the whole plan."""
    if program.requirements.choices.mix:
        return
    chosen = [program.model.new_bool_var("") for _ in program.replicas]
    for one, replicas, most in zip(chosen, program.replicas, program.replica_bounds, strict=True):
        program.model.add(replicas <= int(most) * one)
    program.model.add_exactly_one(chosen)
    for machine, bought in enumerate(program.machines):
        mine = [chosen[c] for c in np.flatnonzero(program.columns.machine == machine)]
        program.model.add(bought <= int(program.machine_bounds[machine]) * sum(mine))


RULES = (
    pack_replicas_on_machines,
    meet_throughput,
    meet_request_rate,
    meet_concurrency,
    serve_at_least_one_request,
    stay_within_budget,
    stay_within_gpu_count,
    stay_within_power,
    stay_within_availability,
    buy_no_less_than_is_sold,
    do_not_mix,
)


def useful_machines(requirements: Requirements, columns: Columns, goal: Goal) -> Ints:
    """The most machines of each type that a best plan can use, shape (machines,).

    For a goal that wants little (cost, GPUs), machines of one type that meet every demand alone make any further one of
    that type waste; for power, and under a limit of it, it is the replicas of one column that do, so its slowest column
    counts. For a goal that wants much, budget and GPU count end it. All are cut at what can be had.
    """
    if goal in objectives.WANTS_MUCH:
        bounds = np.full(len(columns.offers), integers.MACHINES_MOST, dtype=np.int64)
    else:
        frugal = goal is Goal.POWER or requirements.limits.power_watts is not None
        bounds = _machines_that_suffice(requirements, columns, slowest=frugal)
    for index, offer in enumerate(columns.offers):
        bounds[index] = max(int(bounds[index]), offer.minimum_count)
        bounds[index] = min(int(bounds[index]), _affordable(requirements, offer.price_usd_per_hour, offer.gpu_count))
        if offer.available_count is not None:
            bounds[index] = min(int(bounds[index]), max(offer.available_count, 0))
    return np.clip(bounds, 0, integers.MACHINES_MOST)


def _affordable(requirements: Requirements, price_usd_per_hour: float, gpu_count: int) -> int:
    limits, most = requirements.limits, integers.MACHINES_MOST
    if limits.budget_usd_per_hour is not None and price_usd_per_hour > 0:
        budget = integers.budget_micro_usd(limits.budget_usd_per_hour)
        most = min(most, budget // max(integers.micro_usd(price_usd_per_hour), 1))
    if limits.gpus is not None:
        most = min(most, limits.gpus // gpu_count)
    return most


def _machines_that_suffice(requirements: Requirements, columns: Columns, *, slowest: bool) -> Ints:
    """Machines of each type that meet every demand alone, the demands added up; its best (or slowest) column each."""
    gpu_count = np.asarray([offer.gpu_count for offer in columns.offers], dtype=np.int64)[columns.machine]
    per_machine = np.maximum(gpu_count // columns.gpus, 1)
    nodes = -(-columns.gpus // gpu_count)
    total = nodes.astype(np.float64) if slowest else np.zeros(len(columns))
    for asked, rate in _demands(requirements, columns):
        total += np.ceil(np.ceil(asked / np.maximum(rate, 1e-9)) / per_machine) * nodes
    machines = np.full(len(columns.offers), 0.0 if slowest else np.inf)
    (np.maximum if slowest else np.minimum).at(machines, columns.machine, np.maximum(total, nodes))
    if slowest:
        machines += np.bincount(columns.machine, minlength=len(columns.offers))
    bounds: Ints = np.minimum(machines, integers.MACHINES_MOST).astype(np.int64)
    return bounds


def _demands(requirements: Requirements, columns: Columns) -> list[tuple[float, Floats]]:
    """(what is asked, what one replica gives) in the integers that the rules compare."""
    demand, tokens = requirements.demand, integers.capacity_milli(columns.output_tokens_per_second).astype(np.float64)
    asked: list[tuple[float, Floats]] = []
    if demand.output_tokens_per_second is not None:
        asked.append((float(integers.demand_milli(demand.output_tokens_per_second)), tokens))
    if demand.requests_per_second is not None:
        rate = demand.requests_per_second * requirements.workload.output_tokens
        asked.append((float(integers.demand_milli(rate)), tokens))
    if demand.concurrency is not None:
        asked.append((float(demand.concurrency), columns.concurrency.astype(np.float64)))
    return asked
