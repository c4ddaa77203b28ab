"""Services that survive losing a machine: pricing against brute force, engines against an independent program."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from optimizer.fleet.bounds import tightened
from optimizer.fleet.bundles import bundled
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.master import separable
from optimizer.fleet.one_program import bundles_of_one_column, one_column_each
from optimizer.fleet.pricing import Wanted, cheapest_plans, keeps
from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.sparse import sparse_rows
from optimizer.fleet.survival import cheapest_survivors, survivors_of
from tests.optimizer.fleet.fleets import mip_optimum, random_fleet
from tests.optimizer.fleet.test_fleet_decomposition import market, solve_fleet


def priced(wanted, price):
    plain = cheapest_plans(wanted, price, tolerance=0.0)
    return cheapest_survivors(plain, survivors_of(wanted), price, tolerance=0.0)


def by_brute_force(wanted, price):
    """The least cost over all counts up to what is enough of each alone."""
    least = np.inf
    for each in itertools.product(*[range(most + 1) for most in wanted.enough.tolist()]):
        counts = np.asarray(each)
        given, gone = counts * wanted.gives, np.minimum(counts, wanted.lost) * wanted.gives
        if given.sum() - gone.max() >= wanted.demand[0] and counts.sum() >= wanted.copies[0]:
            least = min(least, float(counts @ price))
    return least


@pytest.mark.parametrize("seed", range(120))
def test_the_cheapest_plan_that_survives_is_what_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    columns, demand = int(rng.integers(1, 4)), int(rng.integers(1, 30))
    gives = np.minimum(rng.integers(1 + demand // 6, 40, columns), demand)
    lost, copies = rng.integers(1, 4, columns), np.asarray([int(rng.integers(0, 4))])
    wanted = Wanted(np.asarray([0, columns]), gives, np.asarray([demand]), copies, lost=lost)
    price = rng.integers(1, 20, columns).astype(float)
    found = priced(wanted, price)
    assert found.cost[0] == pytest.approx(by_brute_force(wanted, price))
    assert found.bound[0] == pytest.approx(found.cost[0])
    assert float(found.count @ price[found.entry]) == pytest.approx(found.cost[0])
    assert keeps(wanted, found).all()


def test_services_that_need_not_survive_keep_their_plans():
    gives, start = np.asarray([5, 5]), np.asarray([0, 1, 2])
    wanted = Wanted(start, gives, np.asarray([10, 10]), np.asarray([0, 0]), lost=np.asarray([0, 1]))
    found = priced(wanted, np.asarray([1.0, 1.0]))
    assert found.count.tolist() == [2, 3]
    assert found.cost.tolist() == [2.0, 3.0]


def surviving(seed, services):
    """Half of a market's services must survive the loss of machines of one to four replicas."""
    problem, rng = market(seed, services), np.random.default_rng(seed)
    survives = rng.random(services) < 0.5
    lost = np.where(problem.column_service >= 0, rng.integers(1, 5, problem.columns), 1)
    return replace(problem, cover_survives=survives[problem.cover_service], column_lost_replicas=lost)


@pytest.mark.parametrize("seed", range(3))
def test_the_decomposition_sees_survival_between_its_bound_and_its_cost(seed):
    problem = surviving(seed, 10)
    assert separable(tightened(problem)) is not None
    solution = solve_fleet(problem, gap=0.01, time_limit_seconds=8)
    _, optimum = mip_optimum(problem)
    assert solution.engine == "decomposition"
    assert solution.lower_bound_micro_usd <= optimum <= solution.cost_micro_usd
    assert solution.lower_bound_micro_usd >= 0.9 * optimum


def test_hundreds_of_services_of_which_many_must_survive_get_a_plan_near_its_bound():
    solution = solve_fleet(surviving(4, 300), gap=0.03, time_limit_seconds=40)
    assert solution.status is FleetStatus.WITHIN_GAP


@pytest.mark.parametrize("seed", range(40))
def test_branch_and_cut_gives_what_an_independent_program_gives(seed, monkeypatch):
    from optimizer.fleet import branching

    monkeypatch.setattr(branching, "FEW_COLUMNS", -1)
    rng = np.random.default_rng(seed)
    rules = [rule for rule in ("quota", "least", "copies", "buckets", "few", "lost_replicas") if rng.random() < 0.4]
    problem = random_fleet(seed, ("survive", "sharing", "optional", *rules))
    solution, truth = branching.solve_small(problem, gap=0.0, time_limit_seconds=30, seed=7), mip_optimum(problem)
    if truth is None:
        assert solution.status is FleetStatus.INFEASIBLE
        return
    assert (solution.status, solution.cost_micro_usd) == (FleetStatus.OPTIMAL, truth[1])
    assert solution.served_proven


def test_each_on_one_column_is_a_plan():
    problem = surviving(5, 20)
    counts = one_column_each(problem, seconds=10, seed=7)
    shares = np.zeros(len(problem.column_covers.value), dtype=np.int64)
    assert evaluate(problem, counts, shares, np.ones(problem.services, dtype=bool)).findings == ()


def test_a_bundle_counts_as_what_is_in_it():
    problem = surviving(6, 4)
    column = int(np.flatnonzero(problem.column_service == 2)[0])
    contents = sparse_rows(1, np.asarray([0]), np.asarray([column]), np.asarray([3]))
    only = np.arange(4) == 2
    bundles = bundled(problem, only, np.asarray([2]), contents)
    counts = np.zeros(bundles.problem.columns, dtype=np.int64)
    counts[-1] = 1
    assert bundles.opened(counts)[column] == 3
    used = bundles.problem.column_uses.take(np.asarray([bundles.problem.columns - 1]))
    assert used.value.tolist() == (3 * problem.column_uses.take(np.asarray([column])).value).tolist()
    assert not bundles.problem.cover_survives[problem.cover_service == 2].any()
    assert bundles_of_one_column(problem).problem.services == problem.services
