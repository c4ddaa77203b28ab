"""Random arrivals: the formulas against a simulation of continuous batching, exact queues, and their own laws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.performance.arrivals import (
    BUSIEST,
    Curve,
    OpenLoop,
    Wait,
    finer,
    last_kept,
    normal_quantile,
    normal_share,
    open_loop,
    operating_points,
    waiting_for_a_slot,
)
from optimizer.performance.serving import closed_loop
from optimizer.performance.step import Product, StepCosts
from tests.optimizer.performance.continuous_batching import Engine, simulate

BATCHES = np.unique(np.round(2.0 ** np.arange(0, 11, 0.5)))


@dataclass(frozen=True)
class Case:
    engine: Engine
    rate: float
    prompt: int
    answer: int


CASES = {
    "quiet": Case(Engine(0.01, 1e-4, 2e-5, 256, 8192), 2.0, 1000, 200),
    "half busy": Case(Engine(0.01, 1e-4, 2e-5, 256, 8192), 10.0, 1000, 200),
    "busy": Case(Engine(0.01, 1e-4, 2e-5, 256, 8192), 17.0, 1000, 200),
    "few slots": Case(Engine(0.01, 1e-4, 2e-5, 32, 8192), 7.0, 1000, 200),
    "prompts of several chunks": Case(Engine(0.01, 1e-4, 5e-5, 256, 2048), 1.2, 8000, 200),
    "short answers": Case(Engine(0.01, 1e-4, 5e-5, 256, 8192), 6.0, 2000, 20),
    "long answers": Case(Engine(0.02, 2e-4, 2e-5, 512, 8192), 6.0, 200, 500),
}


def costs_of(engine: Engine) -> StepCosts:
    """The same step times as the simulation's, in the model's words."""
    nothing, one = np.zeros((1, 1)), np.ones((1, 1))
    return StepCosts(
        dense=(),
        experts=(),
        head=Product(nothing, nothing),
        fixed=engine.step * one,
        per_token=nothing,
        per_root_token=nothing,
        per_decoded=engine.per_request * one,
        per_prefilled=engine.per_token * one,
        exposed=nothing,
        expert_exposed=nothing,
        blocks=nothing,
        half_tokens=nothing,
        expert_half_tokens=nothing,
        log_miss=nothing,
        expert_ratio=one,
        ranks=one,
        imbalance=one,
    )


def curve_of(case: Case) -> Curve:
    # The engine of the simulation does nothing but steps; a request finds half of one still to run.
    idle = {"chunk_tokens": case.engine.budget, "request_seconds": 0.0, "token_seconds": 0.0} | {
        "wait_steps": 0.5,
        "eager_block_seconds": 0.0,
    }
    loop = {"spread": 1.0, "burst": 0.0}
    run = closed_loop(costs_of(case.engine), idle | loop, np.ones((1, 1)), BATCHES, case.prompt, case.answer)
    rate = BATCHES / (case.answer * run.decode_step_seconds + BATCHES * run.prompt_seconds)
    coarse = Curve(BATCHES, rate, run.decode_step_seconds, run.prompt_seconds, run.host_seconds)
    return finer(coarse, operating_points(BATCHES[-1]))


def predicted(case: Case, curve: Curve, rate: float) -> OpenLoop:
    point = np.array([[int(np.argmin(np.abs(curve.rate[0] - rate)))]])
    slots = np.array([[float(case.engine.slots)]])
    top = np.interp(slots, curve.in_flight, curve.rate[0])
    chunks = np.array([[case.prompt / case.engine.budget]])
    return open_loop(curve, point, slots, top, np.ones((1, 1)), chunks, case.answer)


def total(wait: Wait) -> float:
    return float(wait.mean[0, 0])


@pytest.fixture(scope="module", params=CASES)
def pair(request):
    case = CASES[request.param]
    run = predicted(case, curve_of(case), case.rate)
    seen = simulate(case.engine, float(run.rate[0, 0]), case.prompt, case.answer, requests=4000, seed=1)
    return run, seen


def test_means_are_those_of_the_simulation(pair):
    run, (ttft, tpot, in_flight) = pair
    assert total(run.ttft) == pytest.approx(ttft.mean(), rel=0.08)
    assert total(run.tpot) == pytest.approx(tpot.mean(), rel=0.08)
    assert float(run.in_flight[0, 0]) == pytest.approx(in_flight, rel=0.10)


@pytest.mark.parametrize(("share", "within"), [(0.5, 0.22), (0.9, 0.30), (0.95, 0.22), (0.99, 0.30)])
def test_percentiles_are_those_of_the_simulation(pair, share, within):
    run, (ttft, tpot, _) = pair
    assert float(run.ttft.at(share)[0, 0]) == pytest.approx(np.quantile(ttft, share), rel=within)
    assert float(run.tpot.at(share)[0, 0]) == pytest.approx(np.quantile(tpot, share), rel=0.1)


def test_goodput_is_that_of_the_simulation(pair):
    run, (ttft, tpot, _) = pair
    for share in (0.8, 0.95):
        limit = float(np.quantile(ttft, share))
        assert float(run.ttft.kept(limit)[0, 0]) == pytest.approx(share, abs=0.15)
        limit = float(np.quantile(tpot, share))
        assert float(run.tpot.kept(limit)[0, 0]) == pytest.approx(share, abs=0.15)


def test_answers_of_any_length_wait_alike():
    """Sharing the steps makes the mean in flight and TTFT insensitive to how answers' lengths scatter."""
    case = CASES["half busy"]
    run = predicted(case, curve_of(case), case.rate)
    ttft, _, in_flight = simulate(
        case.engine, float(run.rate[0, 0]), case.prompt, case.answer, requests=4000, seed=2, even=False
    )
    assert total(run.ttft) == pytest.approx(ttft.mean(), rel=0.05)
    assert float(run.in_flight[0, 0]) == pytest.approx(in_flight, rel=0.05)


def exact_wait_for_a_slot(servers: int, offered: float) -> float:
    """Erlang's C by summing the birth-death process."""
    weights, weight = [], 1.0
    for n in range(servers):
        weights.append(weight)
        weight *= offered / (n + 1)
    above = weight / (1 - offered / servers)
    return above / (sum(weights) + above)


@pytest.mark.parametrize(("servers", "offered"), [(32, 24.0), (64, 52.0), (128, 115.0), (256, 240.0), (256, 248.0)])
def test_the_wait_for_a_slot_is_erlangs_where_requests_do_not_share(servers, offered):
    one = np.ones(1)
    share, seconds = waiting_for_a_slot(offered * one, offered * one, servers * one, offered * one, servers * one)
    assert share[0] == pytest.approx(exact_wait_for_a_slot(servers, offered), rel=0.12)
    assert seconds[0] == pytest.approx(1 / (servers - offered))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CASES)), st.floats(0.05, 0.9), st.floats(1.02, 2.0))
def test_more_arrivals_never_wait_less(name, load, more):
    case = CASES[name]
    curve = curve_of(case)
    top = float(np.interp(case.engine.slots, curve.in_flight, curve.rate[0]))
    few, many = (predicted(case, curve, min(rate, BUSIEST) * top) for rate in (load, load * more))
    for share in (0.5, 0.95, 0.99):
        assert many.ttft.at(share)[0, 0] >= few.ttft.at(share)[0, 0] * (1 - 1e-3)
        assert many.tpot.at(share)[0, 0] >= few.tpot.at(share)[0, 0] * (1 - 2e-3)
    assert many.slot_wait[0, 0] >= few.slot_wait[0, 0] - 1e-12


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-4, 10), st.floats(1e-4, 10), st.floats(1e-6, 10))
def test_a_limit_is_kept_as_often_as_its_percentile_says(least, mean, variance):
    wait = Wait(np.array(least), np.array(mean), np.array(variance))
    last = 0.0
    for share in (0.6, 0.75, 0.9, 0.95, 0.99):
        time = wait.at(share)
        assert time >= last >= 0
        last = float(time)
        if time > least * (1 + 1e-6):
            assert float(wait.kept(float(time))) == pytest.approx(share, abs=2e-3)
    assert wait.kept(least / 2) == 0


def test_gamma_percentiles_are_numpys():
    random = np.random.default_rng(4)
    for shape in (0.7, 1.0, 3.0, 30.0):
        draws = random.gamma(shape, 1.0, 200_000)
        wait = Wait(np.array(0.0), np.array(shape), np.array(shape))
        for share in (0.5, 0.9, 0.95, 0.99):
            assert float(wait.at(share)) == pytest.approx(np.quantile(draws, share), rel=0.04)


def test_below_one_in_flight_nothing_is_shared():
    case = CASES["quiet"]
    curve = curve_of(case)
    low = curve.in_flight < 1
    alone = np.argmin(np.abs(curve.in_flight - 1))
    np.testing.assert_allclose(curve.rate[0][low], curve.in_flight[low] * curve.rate[0][alone])
    np.testing.assert_allclose(curve.decode_step[0][low], curve.decode_step[0][alone])


def test_the_last_point_that_keeps_is_found_wherever_it_is():
    wanted = np.array([[-1, 0, 5], [6, 3, 6]])
    most = np.array([[6, 6, 6], [6, 3, 6]])
    np.testing.assert_array_equal(last_kept(lambda point: point <= wanted, most), wanted)


def test_the_normal_distribution_is_right_to_four_digits():
    from statistics import NormalDist

    for z in np.linspace(-3, 3, 13):
        assert float(normal_share(np.array(z))) == pytest.approx(NormalDist().cdf(z), abs=2e-4)
    assert normal_quantile(0.975) == pytest.approx(1.959964, abs=1e-5)
