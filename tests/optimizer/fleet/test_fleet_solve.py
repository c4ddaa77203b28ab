"""Fleets against an independent program, rule by rule and all together."""

import numpy as np
import pytest

from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.solve import solve_fleet
from tests.optimizer.fleet.fleets import RULES, mip_optimum, random_fleet

FAST = 100
LONG = (33, 41, 50, 64, 69, 83, 96)
"""The independent program takes more than a second for these."""


def agree(problem):
    solution = solve_fleet(problem, gap=0.0, time_limit_seconds=60)
    truth = mip_optimum(problem)
    if truth is None:
        assert solution.status is FleetStatus.INFEASIBLE
        return
    assert solution.status is FleetStatus.OPTIMAL
    weights, cost = truth
    levels = sorted(set(problem.priority[~problem.required].tolist()), reverse=True)
    mine = [
        int(problem.weight[solution.served & ~problem.required & (problem.priority == one)].sum()) for one in levels
    ]
    assert mine == weights
    assert (solution.cost_micro_usd, solution.lower_bound_micro_usd) == (cost, cost)
    assert solution.served_proven


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(8))
def test_each_rule_alone_gives_what_an_independent_program_gives(rule, seed):
    with_machines = ("sharing",) if rule in ("commitment", "months", "quota") and seed % 2 else ()
    agree(random_fleet(seed, (rule, *with_machines)))


@pytest.mark.parametrize(
    "seed",
    [seed if seed < FAST and seed not in LONG else pytest.param(seed, marks=pytest.mark.slow) for seed in range(200)],
)
def test_rules_together_give_what_an_independent_program_gives(seed):
    rng = np.random.default_rng(seed + 1000)
    agree(random_fleet(seed, [rule for rule in RULES if rng.random() < 0.4]))
