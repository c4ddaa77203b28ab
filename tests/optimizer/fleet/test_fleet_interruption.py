"""Ctrl-C while solving: the best plan so far; progress tells of bound and cost on the way."""

import os
import signal
import time

import numpy as np
import pytest

from optimizer.cp_sat.fleet_compact import solve_compact
from optimizer.cp_sat.interruption import interrupt, interrupted, run_until_interrupted, seconds_until, stopping
from optimizer.fleet import branching
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.solve import solve_fleet
from tests.optimizer.fleet.test_fleet_decomposition import market


class PressesCtrlC:
    """Told of the first plan it interrupts, as a person would who is content with it."""

    def __init__(self):
        self.told = []

    def __call__(self, cost, bound):
        self.told.append((cost, bound))
        if len(self.told) == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_stops_cp_sat_and_keeps_what_it_found():
    problem, person = market(3, 200), PressesCtrlC()
    answer, cut_short = run_until_interrupted(
        lambda: solve_compact(problem, gap=0.0, time_limit_seconds=100, seed=7, progress=person)
    )
    assert cut_short
    assert answer.found
    assert not answer.proven
    assert answer.seconds < 50
    assert not interrupted()


def test_a_fleet_that_is_interrupted_has_a_plan_that_keeps_its_rules():
    problem, person = market(11, 150), PressesCtrlC()
    solution, cut_short = run_until_interrupted(
        lambda: solve_fleet(problem, gap=0.0, time_limit_seconds=100, progress=person)
    )
    assert cut_short
    assert solution.status is FleetStatus.FEASIBLE
    assert evaluate(problem, solution.counts, solution.shares, solution.served).findings == ()
    assert 0 < solution.lower_bound_micro_usd <= solution.cost_micro_usd <= person.told[0][0]


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
