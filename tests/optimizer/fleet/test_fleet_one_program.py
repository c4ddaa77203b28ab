"""Fleets that no decomposition sees: in two steps, the optimum is the same."""

import time

import numpy as np
import pytest

from optimizer.fleet.one_program import solve_as_one
from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.solve import solve_fleet
from tests.optimizer.fleet.fleets import mip_optimum, random_fleet


@pytest.mark.parametrize("seed", range(40))
def test_dropping_columns_by_their_reduced_cost_keeps_the_optimum(seed, monkeypatch):
    monkeypatch.setattr("optimizer.fleet.one_program.SMALL", 0)
    monkeypatch.setattr("optimizer.fleet.one_program.FEW", 1)
    rng = np.random.default_rng(seed)
    rules = [
        rule for rule in ("quota", "sharing", "survive", "buckets", "on_demand_base", "least") if rng.random() < 0.5
    ]
    problem = random_fleet(seed + 900, rules, services=4)
    truth = mip_optimum(problem)
    one = solve_as_one(problem, gap=0.0, until=time.perf_counter() + 60, seed=7).answer
    assert one.found is (truth is not None)
    assert one.infeasible is (truth is None)
    if truth is not None:
        assert int(one.counts @ problem.column_price_micro_usd) == truth[1] == one.lower_bound_micro_usd


def test_time_that_is_too_short_is_said_and_nothing_is_made_up():
    problem = random_fleet(3, ("sharing", "quota", "survive", "buckets"), services=12, heavy=40)
    solution = solve_fleet(problem, gap=0.0, time_limit_seconds=0.01)
    assert solution.status in (FleetStatus.UNKNOWN, FleetStatus.FEASIBLE, FleetStatus.OPTIMAL, FleetStatus.INFEASIBLE)
    assert solution.time_ended or solution.status in (FleetStatus.OPTIMAL, FleetStatus.INFEASIBLE)
    assert solution.lower_bound_micro_usd <= solution.cost_micro_usd
