"""Laws of fleets: more never costs more, scale and order do not matter, the same input gives the same bytes."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optimizer.cp_sat.clock import note_cut
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.errors import BadFleetProblem
from optimizer.fleet.master import solve_master
from optimizer.fleet.problem import SUPPLY
from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.solve import solve_fleet
from tests.optimizer.fleet.fleets import random_fleet
from tests.optimizer.fleet.test_fleet_decomposition import market

ROOT = Path(__file__).parents[3]
SEEDS = [seed for seed in range(60) if seed % 2]
RULES = ("quota", "sharing", "copies")


def cost_of(problem):
    solution = solve_fleet(problem, gap=0.0)
    return None if solution.status is FleetStatus.INFEASIBLE else solution.cost_micro_usd


def no_dearer(more, less):
    return less is None or (more is not None and more <= less)


@pytest.mark.parametrize("seed", SEEDS)
def test_more_of_a_limit_never_costs_more(seed):
    problem = random_fleet(seed, RULES)
    room = replace(
        problem, resource_limit=problem.resource_limit + np.random.default_rng(seed).integers(0, 3, problem.resources)
    )
    assert no_dearer(cost_of(room), cost_of(problem))


@pytest.mark.parametrize("seed", SEEDS)
def test_twice_the_demand_never_costs_less(seed):
    problem = random_fleet(seed, RULES)
    assert no_dearer(cost_of(problem), cost_of(replace(problem, cover_demand=problem.cover_demand * 2)))


@pytest.mark.parametrize("seed", SEEDS)
def test_prices_times_seven_cost_seven_times(seed):
    problem = random_fleet(seed, RULES)
    cost = cost_of(problem)
    dearer = cost_of(replace(problem, column_price_micro_usd=problem.column_price_micro_usd * 7))
    assert dearer == (None if cost is None else 7 * cost)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_columns_does_not_matter(seed):
    problem = random_fleet(seed, RULES)
    order = np.random.default_rng(seed).permutation(problem.columns)
    names = ("service", "price_micro_usd", "least", "most", "lost_replicas")
    shuffled = {f"column_{name}": getattr(problem, f"column_{name}")[order] for name in names}
    covers, uses = problem.column_covers.take(order), problem.column_uses.take(order)
    assert cost_of(replace(problem, **shuffled, column_covers=covers, column_uses=uses)) == cost_of(problem)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_column_worse_than_another_changes_nothing(seed):
    problem = random_fleet(seed, RULES)
    twin = int(np.flatnonzero(problem.column_service != SUPPLY)[0])
    twice = np.append(np.arange(problem.columns), twin)
    names = ("service", "price_micro_usd", "least", "most", "lost_replicas")
    wider = {f"column_{name}": getattr(problem, f"column_{name}")[twice] for name in names}
    wider["column_price_micro_usd"][-1] += 1
    covers, uses = problem.column_covers.take(twice), problem.column_uses.take(twice)
    assert cost_of(replace(problem, **wider, column_covers=covers, column_uses=uses)) == cost_of(problem)


def digest(seed):
    """Of everything an answer holds: one small fleet, one by decomposition."""
    hashed = hashlib.sha256()
    for problem in (random_fleet(seed, (*RULES, "optional", "buckets")), market(seed, 250)):
        solution = solve_fleet(problem, gap=0.002, time_limit_seconds=60)
        for part in (solution.counts, solution.shares, solution.served, solution.resource_prices):
            hashed.update(part.tobytes())
        hashed.update(f"{solution.status} {solution.cost_micro_usd} {solution.lower_bound_micro_usd}".encode())
        assert not solution.time_ended
    return hashed.hexdigest()


def digest_of_a_process():
    code = (
        "import sys, types; sys.modules['tests'] = package = types.ModuleType('tests'); package.__path__ = ['tests']\n"
        "from tests.optimizer.fleet.test_fleet_laws import digest; print(digest(3))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_two_processes_give_the_same_bytes_one_of_them_on_a_busy_machine():
    alone = digest_of_a_process()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        among_others = digest_of_a_process()
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert among_others == alone
    assert len(alone) == 64


def test_a_search_that_the_clock_cut_says_so():
    solution = solve_fleet(market(3, 250), gap=0.0, time_limit_seconds=0.5)
    assert solution.status in (FleetStatus.FEASIBLE, FleetStatus.UNKNOWN)
    assert solution.time_ended


def test_a_plan_within_the_gap_says_when_the_clock_cut_a_part_of_the_search(monkeypatch):
    problem = market(3, 60)
    whole = solve_fleet(problem, gap=0.5)

    def solve_master_cut_short(*arguments, **limits):
        note_cut()
        return solve_master(*arguments, **limits)

    monkeypatch.setattr("optimizer.fleet.solve.SMALL", 0)
    monkeypatch.setattr("optimizer.fleet.prices.solve_master", solve_master_cut_short)
    cut = solve_fleet(problem, gap=0.5)
    assert (whole.status, cut.status) == (FleetStatus.WITHIN_GAP, FleetStatus.WITHIN_GAP)
    assert (whole.time_ended, cut.time_ended) == (False, True)
    assert list(whole.cautions()) == []
    assert "cut a part of the search short" in next(iter(cut.cautions()))


@pytest.mark.parametrize("price", [10**12, 2**50])
def test_prices_near_the_end_of_64_bits_are_planned_exactly_or_refused(price):
    draft = FleetDraft()
    service = draft.add_service("a")
    cover = draft.add_cover(service, 3)
    most = (1 << 61) // price - 1
    draft.add_columns(service, price_micro_usd=[price, price - 1], covers={cover: [1, 1]}, most=[most // 2, 2])
    solution = solve_fleet(draft.build(), gap=0.0)
    assert solution.cost_micro_usd == 3 * price - 2
    draft.add_columns(service, price_micro_usd=price, covers={cover: 1}, most=1 << 61)
    with pytest.raises(BadFleetProblem, match="price sums"):
        draft.build()


def test_what_a_limit_is_worth_is_what_one_more_of_it_saves():
    """Where nothing is rounded the price of a limit is exactly what solving again saves."""
    draft = FleetDraft()
    service = draft.add_service("a")
    cover = draft.add_cover(service, 10)
    quota = draft.add_resource("quota", 4)
    draft.add_columns(service, price_micro_usd=[2_000, 5_000], covers={cover: [1, 1]}, uses={quota: [1, 0]})
    problem = draft.build()
    solution = solve_fleet(problem, gap=0.0)
    more = solve_fleet(replace(problem, resource_limit=problem.resource_limit + 1), gap=0.0)
    assert solution.resource_prices[quota] == pytest.approx(3_000)
    assert solution.cost_micro_usd - more.cost_micro_usd == 3_000


def test_progress_tells_of_falling_costs_above_their_bounds():
    told = []
    solve_fleet(market(8, 200), gap=0.001, time_limit_seconds=30, progress=lambda *seen: told.append(seen))
    assert told
    assert all(bound <= cost for cost, bound in told)
    assert [cost for cost, _ in told] == sorted((cost for cost, _ in told), reverse=True)


def test_nothing_asked_costs_nothing():
    solution = solve_fleet(FleetDraft().build(), gap=0.0)
    assert (solution.status, solution.cost_micro_usd, solution.gap) == (FleetStatus.OPTIMAL, 0, 0.0)
