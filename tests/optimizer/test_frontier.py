"""Fronts: no plan of one is beaten by any other plan, nothing that is not beaten is missing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optimizer.frontier import frontier, skyline
from optimizer.requirements import Choices, Demand, Limits, Requirements, ServiceLevel
from optimizer.search import Search

MODEL = "llama-3.1-8b"


@given(arrays(np.int64, st.tuples(st.integers(0, 40), st.integers(1, 4)), elements=st.integers(0, 5)))
def test_a_skyline_is_what_comparing_every_pair_leaves(rows):
    rows = rows.astype(float)
    expected = {
        tuple(row)
        for row in rows.tolist()
        if not any(all(a <= b for a, b in zip(o, row, strict=True)) and o != row for o in rows.tolist())
    }
    found = [tuple(rows[at].tolist()) for at in skyline(rows)]
    assert set(found) == expected
    assert len(found) == len(set(found))
    assert [row[0] for row in found] == sorted(row[0] for row in found)


@pytest.fixture(scope="module")
def search(knowledge_of):
    return Search(knowledge_of(MODEL))


def asked(tps=4000.0, tpot=None, budget=None, **choices):
    return Requirements(
        model=MODEL,
        demand=Demand(output_tokens_per_second=tps),
        service_level=ServiceLevel(tpot_seconds=tpot),
        limits=Limits(budget_usd_per_hour=budget),
        choices=Choices(gpus=("H100", "L40S", "RTX A4000", "MI300X"), **choices),
    )


def test_along_a_front_of_two_each_dollar_buys_something(search):
    points = frontier(search, asked(), ("cost", "latency")).points
    assert len(points) > 5
    costs, seconds = ([getattr(p, name) for p in points] for name in ("cost_usd_per_hour", "request_seconds"))
    assert all(before < after for before, after in pairwise(costs))
    assert all(before > after for before, after in pairwise(seconds))


def test_no_point_of_a_front_of_many_axes_is_dominated(search):
    axes = ("cost", "tpot", "throughput", "energy", "quality")
    points = frontier(search, asked(weight_formats=("bf16", "fp8")), axes).points
    merits = np.asarray(
        [
            (
                p.cost_usd_per_hour,
                p.tpot_seconds,
                -p.output_tokens_per_second,
                p.joules_per_output_token,
                -p.weight_bits,
            )
            for p in points
        ]
    )
    beats = (merits[:, None] <= merits[None]).all(axis=2) & (merits[:, None] < merits[None]).any(axis=2)
    assert not beats.any()
    assert {p.weight_bits for p in points} == {8, 16}


def test_the_cheapest_of_a_front_is_the_best_plan_of_one_kind(search):
    question = asked()
    purchase = search.purchase(
        question.model_copy(update={"choices": question.choices.model_copy(update={"mix": False})})
    )
    points = frontier(search, question, ("cost", "latency")).points
    assert points[0].cost_usd_per_hour == pytest.approx(purchase.cost_usd_per_hour)


def at_most(point, axis, **more):
    """The question that a point answers, as `plan` would be asked: the cheapest that is no slower."""
    limit = {f"{axis}_seconds": getattr(point, f"{axis}_seconds") * (1 + 1e-9)}
    question = asked(**more)
    return question.model_copy(update={"service_level": ServiceLevel(**limit)})


@pytest.mark.parametrize("axis", ["tpot", "ttft"])
def test_each_point_costs_what_the_solver_proves_for_plans_of_its_kind_that_are_no_slower(axis, search):
    points = frontier(search, asked(), ("cost", axis)).points
    assert len(points) > 5
    for point in points:
        assert search.purchase(at_most(point, axis, mix=False)).cost_usd_per_hour == pytest.approx(
            point.cost_usd_per_hour
        )


@pytest.mark.parametrize("axis", ["tpot", "ttft"])
def test_what_a_mix_costs_at_each_point_is_what_the_solver_proves_for_any_plan(axis, search):
    points = frontier(search, asked(), ("cost", axis)).points
    for point in points:
        assert search.purchase(at_most(point, axis)).cost_usd_per_hour == pytest.approx(point.mixed_usd_per_hour)
    assert any(point.mixed_usd_per_hour < point.cost_usd_per_hour - 1e-6 for point in points)


def test_at_each_quality_nothing_of_that_precision_costs_less(search):
    points = frontier(search, asked(weight_formats=("bf16", "fp8")), ("cost", "quality")).points
    assert {point.weight_bits for point in points} == {8, 16}
    for point in points:
        formats = ("bf16",) if point.weight_bits == 16 else ("bf16", "fp8")
        best = search.purchase(asked(weight_formats=formats, mix=False))
        assert point.cost_usd_per_hour >= best.cost_usd_per_hour - 1e-9
        assert search.purchase(asked(weight_formats=formats)).cost_usd_per_hour <= point.mixed_usd_per_hour + 1e-9
    cheapest = search.purchase(asked(weight_formats=("bf16",), mix=False))
    assert min(p.cost_usd_per_hour for p in points if p.weight_bits == 16) == pytest.approx(cheapest.cost_usd_per_hour)


def test_more_axes_never_lose_a_point(search):
    few = {p.cost_usd_per_hour for p in frontier(search, asked(), ("cost", "latency")).points}
    many = {p.cost_usd_per_hour for p in frontier(search, asked(), ("cost", "latency", "energy")).points}
    assert few <= many


@pytest.mark.parametrize(("budget", "fits"), [(1000.0, True), (0.01, False)])
def test_limits_are_kept_by_every_point(budget, fits, search):
    found = frontier(search, asked(budget=budget), ("cost", "latency"))
    assert bool(found.points) == fits
    assert all(p.cost_usd_per_hour <= budget for p in found.points)


def test_promises_are_kept_by_every_point(search):
    found = frontier(search, asked(tpot=0.01), ("cost", "ttft"))
    assert found.points
    assert all(p.tpot_seconds <= 0.01 for p in found.points)
