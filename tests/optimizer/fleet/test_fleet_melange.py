"""Mélange's problem: never dearer than its own program, and as cheap as the proven optimum."""

import json
from pathlib import Path

import pytest

from optimizer.fleet.solution import FleetStatus
from optimizer.fleet.solve import solve_fleet
from tests.optimizer.fleet.melange import as_fleet

CASES = json.loads((Path(__file__).parents[2] / "oracles" / "melange_sample.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_published_cases_cost_their_proven_optimum_and_never_more_than_melange(case):
    solution = solve_fleet(as_fleet(case), gap=0.0, time_limit_seconds=60)
    assert solution.status is FleetStatus.OPTIMAL
    assert solution.cost_micro_usd == round(case["optimum_cost"] * 1e6)
    assert solution.cost_micro_usd <= round(case["melange_cost"] * 1e6)


def test_where_replicas_are_whole_a_finer_split_is_cheaper_than_slices():
    """Mélange's own example: its coarse slices cost 6.70 and 5.69 USD/h where 4.68 suffice."""
    first = next(case for case in CASES if case["id"] == "melange-01")
    solution = solve_fleet(as_fleet(first), gap=0.0)
    assert (solution.cost_micro_usd, round(first["melange_cost"] * 1e6)) == (4_680_000, 6_700_000)
    assert solution.counts.tolist() == [1, 1]
