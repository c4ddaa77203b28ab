"""What one half teaches and the other judges: nothing of the judged half is seen, and every group is judged once."""

from __future__ import annotations

import numpy as np
import pytest

from gpuplan.fitting import halves, report


@pytest.mark.parametrize("seed", range(5))
def test_halves_are_of_whole_groups_and_weigh_about_the_same(seed):
    random = np.random.default_rng(seed)
    groups = [f"g{i}" for i in random.integers(0, 12, 400)]
    half = halves.dealt(groups, [1.0] * 400, seed)
    assert all(len(set(half[np.array(groups) == name].tolist())) == 1 for name in set(groups))
    largest = max(groups.count(name) for name in set(groups))
    assert abs(int(half.sum()) - 200) <= largest
    assert (half == halves.dealt(groups, [1.0] * 400, seed)).all()


def test_other_seeds_deal_otherwise():
    groups = [f"g{i}" for i in range(12)]
    assert len({tuple(halves.dealt(groups, [1.0] * 12, seed).tolist()) for seed in range(8)}) > 4


def test_a_figure_is_held_that_lies_in_the_bar_of_its_nearness_and_one_without_figure_is_not_counted():

    made = SimpleJudged({"tpot": np.array([1.1, 0.9, np.nan])}, {"tpot": np.log([1.05, 1.2, 1.2])})
    assert made.held("tpot").tolist() == [0.0, 1.0]
    assert halves._held([np.array([1.0, 1.0]), np.array([0.0, 1.0]), np.empty(0)]) == {
        "figures": 4, "held_percent": 75.0, "least_percent": 50.0,
    }  # fmt: skip


class SimpleJudged(halves.Judged):
    """Ratios and bars as given."""

    def __init__(self, ratios, reach):
        nothing = np.full(len(reach["tpot"]), np.nan)
        self.ratios = {"step": nothing, **ratios}
        self.reach = reach


def test_the_bundled_forecast_holds_what_bars_promise():
    """Of models and GPUs that nothing was learnt from, about nine in ten figures lie in bars of 90%."""
    found = report.halves()
    assert set(found["ways"]) == set(halves.WAYS)
    for way in ("labs", "GPUs"):
        for metric, cell in found["ways"][way]["held"].items():
            assert 85 <= cell["held_percent"] <= 97, (way, metric)
