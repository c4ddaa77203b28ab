"""Large fleets: each service planned alone at common prices, the prices set so that the plans fit together.

Dantzig and Wolfe's decomposition by service. The master program (`master`) prices the resources, pricing (`pricing`)
finds every service's cheapest plan at those prices, in turn until the proven bound meets the master's cost. Of the
master's mix all but a few services have one whole plan. Those few, and the services that could most easily run
elsewhere, are then decided together by an integer program among their good columns, with all supply, in what the others
leave.
"""

from __future__ import annotations

import time

from optimizer.cp_sat.fleet_compact import Progress
from optimizer.fleet.master import Separable
from optimizer.fleet.prices import SHARE_OF_GAP, Prices, find_prices, find_prices_of_many
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.whole import Whole, make_whole

ALL_PRICED_MOST = 15_000
"""Services up to which one linear program holds them all; its time grows faster than their number."""
PRICES_SHARE = 0.7
"""Of the time, at most, for the prices: the rest is for whole numbers."""
SERVED = 1e-9


def solve_by_prices(
    problem: FleetProblem, view: Separable, *, gap: float, until: float, seed: int, progress: Progress | None = None
) -> tuple[Prices | None, Whole | None]:
    """The prices with their bound, and the best whole plan found; see the module's docstring."""
    now = time.perf_counter()
    enough = now + PRICES_SHARE * (until - now)
    if view.services > ALL_PRICED_MOST:
        found = find_prices_of_many(view, gap=gap, until=enough, seed=seed)
    else:
        found = find_prices(view, goal=gap * SHARE_OF_GAP, until=enough)
    if found is None or found.master.unserved.max(initial=0.0) > SERVED:
        return found, None
    return found, make_whole(problem, view, found, gap=gap, until=until, seed=seed, progress=progress)
