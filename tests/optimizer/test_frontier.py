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
