"""Ctrl-C while solving: the best plan so far; progress tells of bound and cost on the way."""

import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from optimizer.cp_sat.fleet_compact import solve_compact
from optimizer.cp_sat.interruption import interrupt, run_until_interrupted, seconds_until, stopping
from optimizer.fleet import branching
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.solve import solve_fleet
from tests.optimizer.fleet.test_fleet_decomposition import market

ROOT = Path(__file__).parents[3]
PRESSED = """
import os, pickle, signal, sys
from optimizer.cp_sat.fleet_compact import solve_compact
from optimizer.cp_sat.interruption import interrupted, run_until_interrupted
from optimizer.fleet.solve import solve_fleet

solve, problem, options = pickle.load(sys.stdin.buffer)
told = []

def person(cost, bound):
    told.append((cost, bound))
    if len(told) == 1:
        os.kill(os.getpid(), signal.SIGINT)

answer, cut_short = run_until_interrupted(lambda: solve(problem, gap=0.0, progress=person, **options))
pickle.dump((answer, cut_short, interrupted(), told), sys.stdout.buffer)
"""
"""Told of the first plan, a person who is content with it presses Ctrl-C: in a process of its own, whose signals reach
no runner of tests."""


def pressed(solve, problem, **options):
    """The answer, whether it was cut short, whether that still stands, and the costs and bounds that were told."""
    asked = pickle.dumps((solve, problem, options))
    ended = subprocess.run([sys.executable, "-c", PRESSED], cwd=ROOT, input=asked, stdout=subprocess.PIPE, check=True)
    return pickle.loads(ended.stdout)


def test_ctrl_c_stops_cp_sat_and_keeps_what_it_found():
    answer, cut_short, still_interrupted, _ = pressed(solve_compact, market(3, 200), time_limit_seconds=100, seed=7)
    assert cut_short
    assert answer.found
    assert not answer.proven
    assert answer.seconds < 50
    assert not still_interrupted


def test_a_fleet_that_is_interrupted_has_a_plan_that_keeps_its_rules():
    problem = market(11, 150)
    solution, cut_short, _, told = pressed(solve_fleet, problem, time_limit_seconds=100)
    assert cut_short
    assert solution.status is FleetStatus.FEASIBLE
    assert evaluate(problem, solution.counts, solution.shares, solution.served).findings == ()
    assert 0 < solution.lower_bound_micro_usd <= solution.cost_micro_usd <= told[0][0]


def test_ctrl_c_stops_branch_and_cut_at_once_and_keeps_what_it_found():
    solution, cut_short, _, told = pressed(branching.solve_small, market(2, 400), time_limit_seconds=300, seed=7)
    assert cut_short
    assert solution.status is FleetStatus.FEASIBLE
    assert solution.time_ended
    assert solution.engine == "branch and cut"
    assert 0 < solution.lower_bound_micro_usd <= solution.cost_micro_usd <= told[0][0]
    assert solution.seconds < 200  # of the 210 s that are branch and cut's


def test_work_that_ends_by_itself_is_not_cut_short_and_its_error_is_its_own():
    assert run_until_interrupted(lambda: 5) == (5, False)
    with pytest.raises(ZeroDivisionError):
        run_until_interrupted(lambda: 1 // 0)


def test_nothing_is_begun_after_an_interruption():
    stopped = []

    def work():
        with stopping(lambda: stopped.append(True)):
            interrupt()
        return seconds_until(time.perf_counter() + 100)

    assert run_until_interrupted(work) == (0.0, True)
    assert stopped == [True]
    assert seconds_until(time.perf_counter() + 100) > 90


def test_branch_and_cut_tells_of_falling_costs_above_their_bounds(monkeypatch):
    monkeypatch.setattr(branching, "FEW_COLUMNS", -1)
    told = []
    solution = branching.solve_small(
        market(8, 30), gap=0.001, time_limit_seconds=30, seed=7, progress=lambda *seen: told.append(seen)
    )
    costs = np.asarray([cost for cost, _ in told])
    assert len(told) > 1
    assert all(bound <= cost for cost, bound in told)
    assert (np.diff(costs) <= 0).all()
    assert costs[-1] == solution.cost_micro_usd
