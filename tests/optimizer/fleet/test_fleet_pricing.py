"""The cheapest plan of every service at once, against a dynamic program over every whole amount."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.fleet.pricing import Wanted, cheapest_plans, keeps


def by_dynamic_program(gives, price, demand, copies):
    """Least cost of covering each amount with each number of replicas."""
    least = np.full((copies + 1, demand + 1), np.inf)
    least[0, 0] = 0.0
    for covered in range(demand + 1):
        for count in range(copies + 1):
            if covered == 0 and count == 0:
                continue
            least[count, covered] = (
                min(
                    least[max(count - 1, 0), max(covered - g, 0)] + p
                    for g, p in zip(gives, price, strict=True)
                    if g > 0 and not (covered == 0 and count == 0)
                )
                if covered or count
                else 0.0
            )
    return least[copies, demand]


def wanted_of(services):
    gives = np.concatenate([np.minimum(gives, demand) for gives, _, demand, _ in services])
    start = np.cumsum([0, *(len(gives) for gives, *_ in services)])
    return Wanted(start, gives, np.array([s[2] for s in services]), np.array([s[3] for s in services]))


def random_services(seed, count=40, demand=120, columns=6, copies=1):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        size = int(rng.integers(1, columns + 1))
        gives = rng.integers(1, 40, size)
        price = gives ** rng.uniform(0.7, 1.1) * rng.uniform(0.8, 1.2, size)
        found.append((gives, price, int(rng.integers(1, demand)), int(rng.integers(0, copies + 1))))
    return found


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_plans_cost_what_the_dynamic_program_finds(seed, copies):
    services = random_services(seed, copies=copies)
    wanted = wanted_of(services)
    price = np.concatenate([price for _, price, _, _ in services])
    priced = cheapest_plans(wanted, price, tolerance=0.0)
    truth = [by_dynamic_program(np.minimum(g, d).tolist(), p.tolist(), d, m) for g, p, d, m in services]
    np.testing.assert_allclose(priced.cost, truth, rtol=1e-9)
    assert (priced.bound <= np.array(truth) * (1 + 1e-9)).all()
    assert np.isclose(priced.bound, truth, rtol=1e-9).mean() > (0.999 if copies == 1 else 0.9)
    assert keeps(wanted, priced).all()
    spent = np.bincount(priced.service, weights=priced.count * price[priced.entry])
    np.testing.assert_allclose(spent, truth, rtol=1e-9)


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.2])
def test_a_tolerance_is_kept_by_the_bound(tolerance):
    services = random_services(11, count=60, demand=400)
    wanted = wanted_of(services)
    price = np.concatenate([price for _, price, _, _ in services])
    priced = cheapest_plans(wanted, price, tolerance=tolerance)
    truth = np.array([by_dynamic_program(np.minimum(g, d).tolist(), p.tolist(), d, m) for g, p, d, m in services])
    assert (priced.bound <= truth * (1 + 1e-9)).all()
    assert (priced.cost >= truth * (1 - 1e-9)).all()
    assert (priced.bound >= priced.cost * (1 - tolerance - 1e-9)).all()


def test_a_search_that_is_cut_short_still_gives_a_true_bound(monkeypatch):
    monkeypatch.setattr("optimizer.fleet.pricing.STATES_MOST", 2)
    services = random_services(5, count=60, demand=400)
    wanted = wanted_of(services)
    price = np.concatenate([price for _, price, _, _ in services])
    priced = cheapest_plans(wanted, price, tolerance=0.0)
    truth = np.array([by_dynamic_program(np.minimum(g, d).tolist(), p.tolist(), d, m) for g, p, d, m in services])
    assert (priced.bound <= truth * (1 + 1e-9)).all()
    assert (priced.bound < truth * (1 - 1e-9)).any()
    assert keeps(wanted, priced).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), min_size=1, max_size=5),
    st.integers(1, 90),
    st.integers(0, 5),
)
def test_whole_prices_with_ties_and_zeros_are_priced_exactly(columns, demand, copies):
    gives, price = np.array([g for g, _ in columns]), np.array([float(p) for _, p in columns])
    wanted = wanted_of([(gives, price, demand, copies)])
    priced = cheapest_plans(wanted, price, tolerance=0.0)
    truth = by_dynamic_program(np.minimum(gives, demand).tolist(), price.tolist(), demand, copies)
    assert priced.cost[0] == pytest.approx(truth)
    assert priced.bound[0] == pytest.approx(truth)
    assert keeps(wanted, priced).all()


def test_columns_that_others_beat_take_no_place_in_the_search(monkeypatch):
    monkeypatch.setattr("optimizer.fleet.pricing.STATES_MOST", 40)
    gives, price = np.concatenate(([10, 13], np.tile((9, 10), 100))), np.linspace(10.0, 10.2, 200)
    wanted = wanted_of([(gives, None, 34, 0)])
    priced = cheapest_plans(wanted, np.concatenate(([10.0, 12.9], price)), tolerance=0.0)
    assert priced.cost[0] == pytest.approx(10 + 2 * 12.9)
    assert priced.bound[0] == pytest.approx(priced.cost[0])
