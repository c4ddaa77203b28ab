"""Whole numbers from whole plans: for each service one of the plans that prices near the best bring forth, with supply.

The program is the master's with whole weights. Its relaxation is the strongest there is, so branch and cut soon has its
best; whether a plan that nobody thought of is better yet is left to others.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from optimizer.cp_sat.fleet_linear import LinearSolver, solve_linear
from optimizer.fleet.master import Plans, Separable, distinct, join, mixture, plans_of
from optimizer.fleet.prices import Prices, plans_at
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.survival import survivors_of
from optimizer.replica_columns import Ints

SPREADS = (0.02, 0.05, 0.1, 0.3)
"""Of the prices around the best, in turn: standard deviations of their logarithms."""
TRIED_MOST, TRIED_LEAST = 100, 8
"""Prices around the best: more in small fleets, where each is found at once and few services leave less choice."""
SERVICES_TRIED = 8_000
"""Services in all that are planned at them, between these two."""
TOLERANCE = 1e-4
ROOM = 0.01
"""Of the bound: plans that alone cost more than this beyond the service's cheapest are left out."""


def best_of_whole_plans(
    problem: FleetProblem, view: Separable, found: Prices, *, gap: float, nodes: int, seconds: float, seed: int
) -> Ints | None:
    """Counts of the cheapest fleet of whole plans, shape (columns,); None when none was found.

    Args:
        problem, view: the fleet.
        found: its prices, and the plans that led to them.
        gap: relative, at which the search may end.
        nodes: of the search tree.
        seconds: of wall time.
        seed: of the solver, and of the prices that are tried.
    """
    plans = _plans_near(view, found, seed)
    program = mixture(view, plans, np.zeros(view.services), np.ones(view.services))
    most = program.most.copy()
    most[-view.services :] = 0.0  # everybody is served
    whole = replace(program, most=most, whole=np.ones(len(most), dtype=bool))
    answer = solve_linear(whole, time_limit_seconds=seconds, gap=gap, seed=seed, nodes=nodes, solver=LinearSolver.SCIP)
    if not answer.feasible:
        return None
    number, supply = np.split(np.rint(answer.values).astype(np.int64), [len(plans.service)])
    counts = np.zeros(problem.columns, dtype=np.int64)
    entries = plans.entries
    np.add.at(counts, view.column[entries.index], entries.value * number[entries.row])
    counts[view.supply] = supply[: len(view.supply)]
    bought = counts > 0
    return counts if (counts[bought] >= problem.column_least[bought]).all() else None


def _plans_near(view: Separable, found: Prices, seed: int) -> Plans:
    """The plans found, and those at prices around the best, as far as a good fleet may hold them."""
    rng = np.random.default_rng(seed)
    tries = int(np.clip(SERVICES_TRIED // view.services, TRIED_LEAST, TRIED_MOST))
    parts, survivors = [found.plans], survivors_of(view.wanted)
    for spread in islice(cycle(SPREADS), tries):
        prices = found.prices * rng.lognormal(sigma=spread, size=len(found.prices))
        parts.append(plans_of(view, plans_at(view, prices, TOLERANCE, survivors)[1]))
    plans = distinct(join(parts))
    beyond = plans.price + plans.uses.times(found.prices) - found.priced.bound[plans.service]
    return plans.take(beyond <= ROOM * found.bound)
