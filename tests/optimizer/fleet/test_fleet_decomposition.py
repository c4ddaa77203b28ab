"""Large fleets: the bound is below, the cost above, what an independent program finds; more never hurts."""

import time
from dataclasses import replace

import numpy as np
import pytest

from optimizer.cp_sat.integers import MICRO
from optimizer.fleet.bounds import tightened, undominated
from optimizer.fleet.branched_bound import branched_bound
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.master import separable
from optimizer.fleet.one_program import TOLERANCE
from optimizer.fleet.parts import part_of
from optimizer.fleet.prices import find_prices
from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.solve import solve_fleet as solve_any_fleet
from tests.optimizer.fleet.fleets import mip_optimum, random_fleet

LATER = time.perf_counter() + 3600


def solve_fleet(problem, **limits):
    """By decomposition, however small the fleet."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("optimizer.fleet.solve.SMALL", 0)
        return solve_any_fleet(problem, **limits)


def market(seed, services, quota_share=0.6, optional=False, copies=False):
    """Services on three kinds of machines of 1 to 8 slots, whose quotas bind."""
    rng = np.random.default_rng(seed)
    draft = FleetDraft()
    slots = [draft.add_resource(f"slots {kind}") for kind in range(3)]
    each = services * 1.5 * quota_share
    quotas = [draft.add_resource(f"quota {kind}", int(each * factor)) for kind, factor in enumerate((0.4, 0.7))]
    for kind, quota in enumerate(quotas):
        for size in (1, 4, 8):
            price = int(size * (kind + 1) * 1000 * rng.uniform(0.9, 1.1))
            draft.add_supply(price_micro_usd=price, gives={slots[kind]: size}, uses={quota: size}, most=10**6)
    draft.add_supply(price_micro_usd=16_000, gives={slots[2]: 4}, most=10**6 if not optional else services // 40)
    for number in range(services):
        service = draft.add_service(f"{number}", required=not optional, priority=number % 3, weight=1 + number % 2)
        cover = draft.add_cover(service, int(rng.integers(10, 300)))
        gives = rng.integers(20, 120, 3)
        covers = {cover: np.concatenate((gives, gives * 2 - 5))}
        if copies and number % 2:
            covers[draft.add_cover(service, 2)] = np.ones(6, dtype=int)
        for column in range(6):
            draft.add_columns(
                service,
                price_micro_usd=0,
                covers={one: value[column] for one, value in covers.items()},
                uses={slots[column % 3]: 1 + column // 3},
            )
    return draft.build()


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_bound_optimum_and_cost_stand_in_this_order(seed, copies):
    problem = market(seed, 30, copies=copies)
    assert separable(tightened(problem)) is not None
    solution = solve_fleet(problem, gap=0.002, time_limit_seconds=20)
    _, optimum = mip_optimum(problem)
    assert solution.engine == "decomposition"
    assert solution.lower_bound_micro_usd <= optimum <= solution.cost_micro_usd
    assert solution.gap <= 0.02


@pytest.mark.parametrize("copies", [False, True])
def test_branches_raise_the_bound_and_never_beyond_the_optimum(copies):
    raised = 0
    for seed in range(6):
        problem = tightened(market(seed, 12, copies=copies))
        view, optimum = separable(problem), mip_optimum(problem)[1] / MICRO
        found = find_prices(view, goal=1e-6, until=LATER)
        bounds = [
            branched_bound(view, found, cost=optimum * 1.02, gap=0.0, until=LATER, most=most)
            for most in (0, 2, 20, 100)
        ]
        assert bounds[0] == found.bound
        assert bounds == sorted(bounds)
        assert bounds[-1] <= optimum * (1 + TOLERANCE)
        raised += bounds[-1] > found.bound * (1 + TOLERANCE)
    assert raised >= 4


def test_a_bound_that_is_near_enough_is_not_raised():
    view = separable(tightened(market(1, 12)))
    found = find_prices(view, goal=1e-6, until=LATER)
    assert branched_bound(view, found, cost=found.bound, gap=0.0, until=LATER, most=9) == found.bound
    assert branched_bound(view, found, cost=found.bound * 1.1, gap=0.2, until=LATER, most=9) == found.bound


def test_hundreds_of_services_come_within_the_gap_asked_for():
    solution = solve_fleet(market(5, 600), gap=0.002, time_limit_seconds=30)
    assert solution.status is FleetStatus.WITHIN_GAP
    assert solution.gap <= 0.002
    assert not solution.time_ended


def test_counts_not_keeping_a_rule_would_be_found_whatever_the_engine():
    problem = market(6, 100)
    solution = solve_fleet(problem, gap=0.01, time_limit_seconds=20)
    fewer = solution.counts.copy()
    fewer[np.flatnonzero(fewer)[-1]] -= 1
    assert evaluate(problem, solution.counts, solution.shares, solution.served).findings == ()
    assert evaluate(problem, fewer, solution.shares, solution.served).findings


def test_a_large_fleet_that_cannot_be_served_whole_serves_the_most_important():
    problem = market(7, 450, quota_share=0.3, optional=True)
    solution = solve_fleet(problem, gap=0.03, time_limit_seconds=12)
    assert solution.status in (FleetStatus.WITHIN_GAP, FleetStatus.FEASIBLE)
    share = [solution.served[problem.priority == level].mean() for level in range(3)]
    assert 0 < solution.served.mean() < 1
    assert share[0] <= share[1] <= share[2]
    assert not solution.served_proven


def test_a_large_fleet_of_required_services_that_do_not_fit_gets_no_plan():
    problem = replace(market(7, 500, quota_share=0.3, optional=True), required=np.ones(500, dtype=bool))
    solution = solve_fleet(problem, gap=0.01, time_limit_seconds=30)
    assert solution.status in (FleetStatus.INFEASIBLE, FleetStatus.UNKNOWN)
    assert not solution.counts.any()


@pytest.mark.parametrize("seed", range(60))
def test_pruned_columns_and_narrowed_limits_leave_the_optimum(seed):
    rng = np.random.default_rng(seed)
    rules = [rule for rule in ("quota", "sharing", "copies", "budget", "few", "survive") if rng.random() < 0.6]
    problem = random_fleet(seed + 500, rules)
    narrow = tightened(part_of(problem, np.ones(problem.services, dtype=bool), undominated(problem)).problem)
    assert mip_optimum(narrow) == mip_optimum(problem)


def test_of_a_quota_only_whole_machines_count():
    draft = FleetDraft()
    slots, quota = draft.add_resource("slots"), draft.add_resource("quota", 21)
    draft.add_supply(price_micro_usd=[8, 3], gives={slots: [8, 1]}, uses={quota: [8, 1]}, most=100)
    narrow = tightened(draft.build())
    assert narrow.resource_names[-1] == "quota / 8"
    assert narrow.resource_limit.tolist() == [0, 21, 2]
    assert narrow.column_uses.take(np.array([0, 1])).value.tolist() == [-8, 8, 1, -1, 1]


def test_prices_from_a_sample_give_a_bound_of_the_whole_fleet(monkeypatch):
    problem = market(9, 500)
    whole = solve_fleet(problem, gap=0.01, time_limit_seconds=20)
    for name, value in (
        ("decomposition.ALL_PRICED_MOST", 100),
        ("prices.SAMPLE", 200),
    ):
        monkeypatch.setattr(f"optimizer.fleet.{name}", value)
    sampled = solve_fleet(problem, gap=0.01, time_limit_seconds=10)
    assert sampled.engine == "decomposition"
    assert sampled.lower_bound_micro_usd <= whole.cost_micro_usd
    assert whole.lower_bound_micro_usd <= sampled.cost_micro_usd
    assert sampled.gap < 0.05
