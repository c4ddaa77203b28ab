"""Pruning never changes what the best plan is worth: solved with and without it on random markets."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from gpu_db.gpu import Gpu
from gpu_db.offer import Offer
from optimizer.candidates import Candidates
from optimizer.cp_sat.objectives import GOALS
from optimizer.cp_sat.program import solve_program
from optimizer.pruning import Reads, cheapest_offers, front_of_two, prune, unpruned
from optimizer.requirements import Choices, Demand, Limits, Objective, Requirements
from optimizer.shapes import enumerate_shapes
from optimizer.uniform import affordable_columns

BATCHES = 3


def random_candidates(rng: np.random.Generator) -> tuple[Candidates, tuple[Offer, ...]]:
    gpus = {
        name: Gpu(name, "NVIDIA", "Hopper", "9.0", 80 << 30, 80 << 30, 3e12, {"bf16": 1e15}, 4.5e11, 6e10, 700, 70, 8,
                  "SXM", False, 2022, None, None, "made up", "high")
        for name in ("A", "B")
    }  # fmt: skip
    offers = tuple(
        Offer(
            f"o{number}", "p", "i", str(rng.choice(["A", "B"])), int(count := rng.choice([1, 2, 4])), "x", "any",
            "on-demand", float(rng.integers(50, 800)) / 100, date(2026, 1, 1), "made up", "high",
            scaleup_domain_gpus=int(count), link_bytes_per_second=4e11,
            internode_bytes_per_second=5e10 if rng.random() < 0.3 else None,
            available_count=int(rng.integers(1, 4)) if rng.random() < 0.4 else None,
        )
        for number in range(int(rng.integers(2, 6)))
    )  # fmt: skip
    shapes = enumerate_shapes(offers, gpus, experts=False, tensor_parallel=None, pipeline_parallel=None)
    shape = np.repeat(np.arange(shapes.columns.rows), BATCHES)
    count = len(shape)
    size = shapes.columns.gpu_count[shape]
    zero = np.zeros(count, dtype=np.int64)
    candidates = Candidates(
        shapes, (), (), count, zero, zero, np.tile(np.arange(BATCHES), shapes.columns.rows), shape,
        output_tokens_per_second=rng.integers(40, 400, count) * size**0.9,
        concurrency=rng.integers(1, 5, count) * 8,
        ttft_seconds=rng.random(count),
        tpot_seconds=rng.random(count),
        power_watts=rng.integers(200, 700, count) * size.astype(float),
        idle_watts=rng.integers(0, 60, len(shapes.columns.gpus)).astype(float),
    )  # fmt: skip
    return candidates, offers


@pytest.mark.parametrize("seed", range(200))
def test_the_best_plan_is_worth_the_same_without_pruning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidates, offers = random_candidates(rng)
    allowed = candidates.tpot_seconds < 0.8
    objective = [Objective.COST, Objective.THROUGHPUT, Objective.ENERGY][seed % 3]
    counted = bool(rng.random() < 0.5)
    limited = objective is Objective.THROUGHPUT or bool(rng.random() < 0.6)
    asked = Requirements(
        model="m",
        demand=Demand(
            output_tokens_per_second=float(rng.integers(50, 1500)),
            concurrency=int(rng.integers(1, 60)) if counted else None,
        ),
        limits=Limits(gpus=int(rng.integers(2, 12))) if limited else Limits(),
        choices=Choices(mix=bool(rng.random() < 0.7)),
        objective=objective,
    )
    asked_tokens = asked.demand.output_tokens_per_second or 0.0
    reads = Reads(
        concurrency=counted,
        power=objective is Objective.ENERGY,
        tokens_enough=asked_tokens + 1,
    )
    pruned = prune(candidates, cheapest_offers(offers), allowed, reads)
    every = unpruned(candidates, offers, allowed)
    assert len(pruned) <= len(every)
    goals = GOALS[objective][:1]
    with_pruning, without = (solve_program(asked, columns, goals) for columns in (pruned, every))
    assert (with_pruning is None) == (without is None)
    if with_pruning is not None and without is not None:
        assert with_pruning.value == without.value


@pytest.mark.parametrize("seed", range(100))
def test_under_a_limit_of_power_the_best_plan_costs_the_same_without_pruning(seed: int) -> None:
    rng = np.random.default_rng(5000 + seed)
    candidates, offers = random_candidates(rng)
    allowed = candidates.tpot_seconds < 0.8
    counted = bool(rng.random() < 0.5)
    asked = Requirements(
        model="m",
        demand=Demand(
            output_tokens_per_second=float(rng.integers(50, 1500)),
            concurrency=int(rng.integers(1, 60)) if counted else None,
        ),
        limits=Limits(power_watts=float(rng.integers(500, 6000))),
        choices=Choices(mix=bool(rng.random() < 0.7)),
    )
    tokens = asked.demand.output_tokens_per_second or 0.0
    reads = Reads(concurrency=counted, power=True, tokens_enough=tokens + 1)
    pruned = affordable_columns(prune(candidates, cheapest_offers(offers), allowed, reads), asked)
    every = unpruned(candidates, offers, allowed)
    goals = GOALS[Objective.COST][:1]
    with_pruning, without = (solve_program(asked, columns, goals) for columns in (pruned, every))
    assert (with_pruning is None) == (without is None)
    if with_pruning is not None and without is not None:
        assert with_pruning.value == without.value


def test_a_dearer_offer_at_an_equal_place_is_left_out_unless_the_cheaper_one_runs_out() -> None:
    base = Offer("a", "p", "i", "A", 8, "x", "any", "on-demand", 2.0, date(2026, 1, 1), "made up", "high")
    dearer = replace(base, offer_id="b", price_usd_per_hour=3.0)
    assert [one.offer_id for one in cheapest_offers((dearer, base))] == ["a"]
    scarce = replace(base, available_count=1)
    assert [one.offer_id for one in cheapest_offers((dearer, scarce))] == ["a", "b"]
    elsewhere = replace(dearer, scaleup_domain_gpus=8)
    assert {one.offer_id for one in cheapest_offers((elsewhere, base))} == {"a", "b"}


def test_the_front_keeps_exactly_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 30))
        group, first, second = (
            rng.integers(0, 3, count),
            rng.integers(0, 6, count) * 1.0,
            rng.integers(0, 6, count) * 1.0,
        )
        kept = set(front_of_two(group, first, second).tolist())
        for i in range(count):
            beaten = any(
                group[j] == group[i]
                and first[j] >= first[i]
                and second[j] >= second[i]
                and (first[j] > first[i] or second[j] > second[i])
                for j in range(count)
            )
            equal = {j for j in range(count) if (group[j], first[j], second[j]) == (group[i], first[i], second[i])}
            assert (not beaten) == bool(kept & equal)
            assert len(kept & equal) <= 1
