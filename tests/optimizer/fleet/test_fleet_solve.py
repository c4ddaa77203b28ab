"""Fleets against an independent program, rule by rule and all together."""

import numpy as np
import pytest

from optimizer.fleet.branching import solve_small
from optimizer.fleet.draft import FleetDraft
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


def tied(first_price, second_price):
    """One machine for one of two services of equal weight; the second service's replica has a price of its own."""
    draft = FleetDraft()
    slots = draft.add_resource("slots")
    draft.add_supply(price_micro_usd=10, gives={slots: 1}, most=1)
    for number, price in enumerate((first_price, second_price)):
        service = draft.add_service(f"{number}", required=False)
        cover = draft.add_cover(service, 1)
        draft.add_columns(service, price_micro_usd=[price, price + 1], covers={cover: [1, 1]}, uses={slots: [1, 1]})
    return draft.build()


@pytest.mark.parametrize("few_columns", [300, -1])
@pytest.mark.parametrize(("prices", "served"), [((5, 3), [False, True]), ((3, 5), [True, False])])
def test_of_services_as_important_as_each_other_the_cheapest_are_served(prices, served, few_columns, monkeypatch):
    monkeypatch.setattr("optimizer.fleet.branching.FEW_COLUMNS", few_columns)
    solution = solve_small(tied(*prices), gap=0.0, time_limit_seconds=10, seed=7)
    assert solution.served.tolist() == served
    assert solution.cost_micro_usd == solution.lower_bound_micro_usd == 13
    assert solution.served_proven
