"""CP-SAT against brute force: every purchase of a small market is written down, and none beats the solver's."""

import itertools
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from gpu_db.offer import Offer
from optimizer.cp_sat import integers
from optimizer.cp_sat.objectives import GOALS, Goal
from optimizer.cp_sat.program import solve_program
from optimizer.packing import share_machines
from optimizer.pruning import Columns
from optimizer.requirements import Choices, Demand, Limits, Objective, Requirements
from optimizer.uniform import affordable_columns, keep_limits, uniform_plans, with_columns, worthwhile

INSTANCES = 400


def offer(name: str, gpu_count: int, price: float, available: int) -> Offer:
    return Offer(
        offer_id=name,
        provider="test",
        instance_type=name,
        gpu="G",
        gpu_count=gpu_count,
        region="x",
        region_class="any",
        billing="on-demand",
        price_usd_per_hour=price,
        as_of=date(2026, 11, 1),
        source="made up",
        confidence="high",
        available_count=available,
    )


def market(rng: np.random.Generator) -> Columns:
    offers = tuple(
        offer(f"o{i}", int(rng.choice([1, 2, 4])), float(rng.integers(50, 900)) / 100, int(rng.integers(1, 3)))
        for i in range(int(rng.integers(1, 4)))
    )
    machine, gpus = [], []
    for number, one in enumerate(offers):
        sizes = [size for size in (1, 2, 4) if size <= one.gpu_count] + [2 * one.gpu_count]
        for size in rng.choice(sizes, size=min(2, len(sizes)), replace=False):
            machine.append(number)
            gpus.append(int(size))
    count = len(machine)
    return Columns(
        offers=offers,
        machine=np.asarray(machine),
        candidate=np.arange(count),
        gpus=np.asarray(gpus),
        output_tokens_per_second=rng.integers(50, 1000, count) * np.sqrt(gpus) / 3,
        concurrency=rng.integers(1, 64, count),
        power_watts=rng.integers(100, 700, count).astype(float),
        idle_watts=rng.integers(0, 60, len(offers)).astype(float),
    )


def question(rng: np.random.Generator, columns: Columns) -> Requirements:
    tokens = float(rng.integers(20, 2500)) if rng.random() < 0.7 else None
    return Requirements(
        model="m",
        demand=Demand(
            output_tokens_per_second=tokens,
            requests_per_second=float(rng.integers(1, 4)) if rng.random() < 0.2 else None,
            concurrency=int(rng.integers(1, 150)) if rng.random() < 0.4 else None,
        ),
        limits=Limits(
            budget_usd_per_hour=float(rng.integers(100, 4000)) / 100 if rng.random() < 0.6 else None,
            gpus=int(rng.integers(1, 14)) if rng.random() < 0.4 else None,
        ),
        choices=Choices(mix=bool(rng.random() < 0.8)),
    )


def loads(columns: Columns, number: int) -> list[tuple[int, tuple[int, ...]]]:
    """Every (machines, replicas per column) of one offer, built machine by machine without any packing theory."""
    one = columns.offers[number]
    mine = np.flatnonzero(columns.machine == number)
    inside = [c for c in mine if columns.gpus[c] <= one.gpu_count]
    across = [c for c in mine if columns.gpus[c] > one.gpu_count]
    ranges = [range(one.gpu_count // columns.gpus[c] + 1) for c in inside]
    single = [
        counts
        for counts in itertools.product(*ranges)
        if sum(n * columns.gpus[c] for n, c in zip(counts, inside, strict=True)) <= one.gpu_count
    ]
    found = set()
    for machines in range(one.available_count + 1):
        for spanning in range(machines // 2 + 1 if across else 1):
            for pick in itertools.combinations_with_replacement(single, machines - 2 * spanning):
                replicas = dict.fromkeys(mine.tolist(), 0)
                for counts in pick:
                    for n, c in zip(counts, inside, strict=True):
                        replicas[int(c)] += n
                for c in across:
                    replicas[int(c)] += spanning
                found.add((machines, tuple(replicas.values())))
    return sorted(found)


def all_purchases(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Every purchase: machines (purchases, offers) and replicas (purchases, columns)."""
    options = [loads(columns, number) for number in range(len(columns.offers))]
    grid = np.stack(np.meshgrid(*[np.arange(len(o)) for o in options], indexing="ij"), axis=-1).reshape(
        -1, len(options)
    )
    machines = np.column_stack([np.asarray([m for m, _ in o])[grid[:, i]] for i, o in enumerate(options)])
    replicas = np.column_stack([np.asarray([r for _, r in o])[grid[:, i]] for i, o in enumerate(options)])
    return machines, replicas


def watts_of(columns: Columns, machines: np.ndarray, replicas: np.ndarray) -> np.ndarray:
    """What serves, and every GPU beside it that idles, shape (purchases,)."""
    watts = replicas @ columns.power_watts
    for number, one in enumerate(columns.offers):
        mine = columns.machine == number
        idle = machines[:, number] * one.gpu_count - replicas[:, mine] @ columns.gpus[mine]
        watts = watts + idle * columns.idle_watts[number]
    return watts.astype(np.int64)


def keep_the_rules(columns: Columns, asked: Requirements, machines: np.ndarray, replicas: np.ndarray) -> np.ndarray:
    tokens = replicas @ np.floor(columns.output_tokens_per_second * 1000).astype(np.int64)
    cost = machines @ np.asarray([round(o.price_usd_per_hour * 1_000_000) for o in columns.offers])
    gpus = machines @ np.asarray([o.gpu_count for o in columns.offers])
    ok = replicas.sum(axis=1) >= 1
    if asked.demand.output_tokens_per_second is not None:
        ok &= tokens >= asked.demand.output_tokens_per_second * 1000
    if asked.demand.requests_per_second is not None:
        ok &= tokens >= asked.demand.requests_per_second * asked.workload.output_tokens * 1000
    if asked.demand.concurrency is not None:
        ok &= replicas @ columns.concurrency >= asked.demand.concurrency
    if asked.limits.budget_usd_per_hour is not None:
        ok &= cost <= integers.budget_micro_usd(asked.limits.budget_usd_per_hour)
    if asked.limits.gpus is not None:
        ok &= gpus <= asked.limits.gpus
    if asked.limits.power_watts is not None:
        ok &= watts_of(columns, machines, replicas) <= asked.limits.power_watts
    if not asked.choices.mix:
        ok &= ((replicas > 0).sum(axis=1) == 1) & ((machines > 0).sum(axis=1) == 1)
    return ok


@pytest.mark.parametrize("seed", range(INSTANCES))
def test_no_purchase_is_better_than_the_solvers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = market(rng)
    asked = question(rng, columns)
    objective = [Objective.COST, Objective.COST, Objective.THROUGHPUT, Objective.ENERGY][seed % 4]
    if objective is Objective.THROUGHPUT and asked.limits.budget_usd_per_hour is None and asked.limits.gpus is None:
        objective = Objective.COST
    asked = asked.model_copy(update={"objective": objective})
    machines, replicas = all_purchases(columns)
    ok = keep_the_rules(columns, asked, machines, replicas)
    purchase = solve_program(asked, columns, GOALS[objective])
    if not ok.any():
        assert purchase is None
        return
    assert purchase is not None
    assert purchase.optimal
    worth = {
        Goal.COST: machines @ np.asarray([round(o.price_usd_per_hour * 1_000_000) for o in columns.offers]),
        Goal.THROUGHPUT: -(replicas @ np.floor(columns.output_tokens_per_second * 1000).astype(np.int64)),
        Goal.POWER: watts_of(columns, machines, replicas),
    }[purchase.goal]
    assert abs(purchase.value) == abs(int(worth[ok].min()))
    assert keep_the_rules(columns, asked, purchase.machines[None, :], purchase.replicas[None, :])[0]
    shares = share_machines(purchase)
    assert sum(share.machines for share in shares) <= purchase.machines.sum()
    for column in range(len(columns)):
        assert sum(share.replicas for share in shares if share.column == column) == purchase.replicas[column]


@pytest.mark.parametrize("seed", range(120))
def test_a_limit_of_power_is_kept_and_costs_no_more_than_it_must(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    columns = market(rng)
    asked = question(rng, columns)
    limits = asked.limits.model_copy(update={"power_watts": float(rng.integers(300, 4000))})
    asked = asked.model_copy(update={"limits": limits, "objective": Objective.COST})
    machines, replicas = all_purchases(columns)
    ok = keep_the_rules(columns, asked, machines, replicas)
    purchase = solve_program(asked, affordable_columns(columns, asked), GOALS[Objective.COST])
    assert (purchase is None) == (not ok.any())
    if purchase is not None:
        cost = machines @ np.asarray([round(o.price_usd_per_hour * 1_000_000) for o in columns.offers])
        assert purchase.value == int(cost[ok].min())
        assert purchase.power_watts <= limits.power_watts


@pytest.mark.parametrize("seed", range(120))
def test_no_best_purchase_uses_a_column_that_is_not_worthwhile(seed: int) -> None:
    objective = [Objective.COST, Objective.ENERGY][seed % 2]
    goal = GOALS[objective][0]
    rng = np.random.default_rng(3000 + seed)
    columns = market(rng)
    asked = question(rng, columns)
    machines, replicas = all_purchases(columns)
    ok = keep_the_rules(columns, asked, machines, replicas)
    kept = worthwhile(columns, asked, goal)
    if not ok.any():
        return
    cost = machines @ np.asarray([round(o.price_usd_per_hour * 1_000_000) for o in columns.offers])
    worth = cost if goal is Goal.COST else watts_of(columns, machines, replicas)
    best = ok & (worth == worth[ok].min())
    assert replicas[best][:, ~kept].sum() == 0
    purchase = solve_program(asked, with_columns(columns, kept), GOALS[objective])
    assert purchase is not None
    told = purchase.among(columns, kept)
    assert told.value == worth[ok].min()
    assert told.power_watts == watts_of(columns, told.machines[None, :], told.replicas[None, :])[0]
    assert keep_the_rules(columns, asked, told.machines[None, :], told.replicas[None, :])[0]


@pytest.mark.parametrize("seed", range(20))
def test_the_most_of_one_kind_takes_no_more_machines_than_can_be_had(seed: int) -> None:
    columns = market(np.random.default_rng(9000 + seed))
    limits = Limits(budget_usd_per_hour=1000)
    plans = uniform_plans(columns, Requirements(model="m", limits=limits, objective=Objective.THROUGHPUT))
    most = np.asarray([one.available_count for one in columns.offers])[columns.machine]
    assert (plans.machines <= most).all()
    assert (keep_limits(plans, Requirements(model="m", limits=limits)) == (plans.replicas > 0)).all()


def test_most_columns_of_a_market_are_not_worthwhile() -> None:
    """Of machines at one price per GPU only those that give nearly the most are left, at a demand that fits exactly."""
    columns = Columns(
        offers=(offer("small", 1, 1.0, 9), offer("slow", 1, 1.0, 9), offer("large", 4, 4.0, 9)),
        machine=np.asarray([0, 1, 2, 2]),
        candidate=np.arange(4),
        gpus=np.asarray([1, 1, 1, 4]),
        output_tokens_per_second=np.asarray([100.0, 60.0, 100.0, 390.0]),
        concurrency=np.full(4, 8),
        power_watts=np.full(4, 300.0),
        idle_watts=np.zeros(3),
    )
    asked = Requirements(model="m", demand=Demand(output_tokens_per_second=400))
    assert worthwhile(columns, asked).tolist() == [True, False, True, False]
    more = asked.model_copy(update={"demand": Demand(output_tokens_per_second=410)})  # best: 5 small ones, 0.9 USD over
    assert worthwhile(columns, more).tolist() == [True, True, True, True]


def test_the_same_question_is_answered_the_same_way_twice() -> None:
    columns = market(np.random.default_rng(5))
    asked = Requirements(model="m", demand=Demand(output_tokens_per_second=300))
    first, second = (solve_program(asked, columns, GOALS[Objective.COST]) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.machines.tolist() == second.machines.tolist()
    assert first.replicas.tolist() == second.replicas.tolist()


def test_an_offer_with_a_minimum_is_bought_whole_or_not_at_all() -> None:
    few = Columns(
        offers=(offer("single", 1, 3.0, 9), replace(offer("bulk", 1, 1.0, 9), minimum_count=4)),
        machine=np.asarray([0, 1]),
        candidate=np.arange(2),
        gpus=np.asarray([1, 1]),
        output_tokens_per_second=np.asarray([100.0, 100.0]),
        concurrency=np.asarray([8, 8]),
        power_watts=np.asarray([300.0, 300.0]),
        idle_watts=np.zeros(2),
    )
    for tokens, bought in ((100, [1, 0]), (200, [0, 4]), (450, [0, 5])):
        asked = Requirements(model="m", demand=Demand(output_tokens_per_second=tokens))
        purchase = solve_program(asked, few, GOALS[Objective.COST])
        assert purchase is not None
        assert purchase.machines.tolist() == bought
    short = Requirements(model="m", demand=Demand(output_tokens_per_second=450), limits=Limits(gpus=3))
    assert solve_program(short, few, GOALS[Objective.COST]) is None
