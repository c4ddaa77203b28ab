"""The best fleet of whole plans: it keeps every rule, stands near the bound, and is the best of its plans."""

import time
from dataclasses import replace

import numpy as np
import pytest

from optimizer.fleet.bounds import tightened
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.master import separable
from optimizer.fleet.prices import find_prices
from optimizer.fleet.problem import SUPPLY
from optimizer.fleet.whole_plans import best_of_whole_plans
from tests.optimizer.fleet.test_fleet_decomposition import market


def whole_plans(problem):
    """Counts (None without any), their cost in dollars, and the bound of the prices."""
    view = separable(problem)
    found = find_prices(view, goal=1e-4, until=time.perf_counter() + 60)
    counts = best_of_whole_plans(problem, view, found, gap=1e-5, nodes=2_000, seconds=60, seed=7)
    cost = None if counts is None else counts @ problem.column_price_micro_usd / 1e6
    return counts, cost, found.bound


@pytest.mark.parametrize("copies", [False, True])
def test_whole_plans_keep_every_rule_and_cost_little_more_than_the_bound(copies):
    problem = tightened(market(1, 80, copies=copies))
    counts, cost, bound = whole_plans(problem)
    everybody = np.ones(problem.services, dtype=bool)
    shares = np.zeros(len(problem.column_covers.value), dtype=np.int64)
    assert evaluate(problem, counts, shares, everybody).findings == ()
    assert bound <= cost <= bound * 1.02


def test_there_are_none_when_machines_do_not_suffice():
    problem = market(1, 40, quota_share=0.3)
    few = np.where(problem.column_service == SUPPLY, 2, problem.column_most)
    assert whole_plans(replace(problem, column_most=few))[0] is None


def test_a_minimum_purchase_is_kept_or_there_are_none():
    problem = market(1, 40)
    bought = np.flatnonzero((whole_plans(problem)[0] > 0) & (problem.column_service == SUPPLY))
    least = problem.column_least.copy()
    least[bought] = 1_000
    counts = whole_plans(replace(problem, column_least=least))[0]
    assert counts is None or (counts[bought] == 0).sum() + (counts[bought] >= 1_000).sum() == len(bought)
