"""Energy by hand-worked sums, and what each number may do to the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.energy import MachineLoad, Supply, energy_of, purchase_energy, wall_watts

SUPPLY = Supply(host_share=0.5, pue=1.2, usd_per_kilowatt_hour=0.1, grams_co2e_per_kilowatt_hour=400)


def test_a_server_of_eight_by_hand():
    """4,000 W of GPUs with 5,600 W limits: 6,800 W in the server, 8,160 W at the wall, 8.16 kWh an hour."""
    used = energy_of(4000, 5600, 2000, SUPPLY, idle_gpu_watts=560)
    assert used.wall_watts == pytest.approx(8160)
    assert used.gpu_joules_per_output_token == 2
    assert used.wall_joules_per_output_token == pytest.approx(4.08)
    assert used.electricity_usd_per_hour == pytest.approx(0.816)
    assert used.grams_co2e_per_hour == pytest.approx(3264)
    # a million tokens take 500 s: 8,160 W x 500 s = 4.08 MJ = 1.1333 kWh
    assert used.electricity_usd_per_million_output_tokens == pytest.approx(0.11333, rel=1e-4)
    assert used.grams_co2e_per_million_output_tokens == pytest.approx(453.33, rel=1e-4)
    assert used.idle_gpu_watts == 560


def test_what_is_not_known_is_not_guessed():
    used = energy_of(500, 700, 100, Supply(host_share=0.5, pue=1))
    assert used.electricity_usd_per_hour is None
    assert used.electricity_usd_per_million_output_tokens is None
    assert used.grams_co2e_per_hour is None
    assert used.grams_co2e_per_million_output_tokens is None


def test_energy_per_token_needs_tokens():
    with pytest.raises(ValueError, match="needs tokens, not 0"):
        energy_of(500, 700, 0, SUPPLY)


@given(watts=st.floats(1, 1e6), pue=st.floats(1, 3), host=st.floats(0, 2))
def test_the_wall_draws_at_least_what_the_gpus_draw(watts: float, pue: float, host: float):
    assert wall_watts(watts, watts, Supply(host_share=host, pue=pue)) >= watts


@given(rate=st.floats(1, 1e6))
def test_a_million_tokens_cost_an_hours_electricity_over_the_millions_of_an_hour(rate: float):
    used = energy_of(1000, 1400, rate, SUPPLY)
    assert used.electricity_usd_per_million_output_tokens == pytest.approx(
        used.electricity_usd_per_hour / (rate * 3600 / 1e6)
    )


def test_a_purchase_adds_up_and_what_one_place_hides_no_sum_knows():
    known = MachineLoad(gpu_watts=1000, limit_watts=1400, supply=SUPPLY)
    hidden = MachineLoad(gpu_watts=500, limit_watts=700, supply=Supply(host_share=0.5, pue=1, sources=("said",)))
    alone, both = purchase_energy([known], 500), purchase_energy([known, hidden], 500)
    assert alone.wall_watts == pytest.approx(energy_of(1000, 1400, 500, SUPPLY).wall_watts)
    assert alone.grams_co2e_per_hour == pytest.approx(816)
    assert alone.grams_co2e_per_million_output_tokens == pytest.approx(816 / (500 * 3600 / 1e6))
    assert both.gpu_watts == 1500
    assert both.wall_watts == pytest.approx(alone.wall_watts + 850)
    assert both.gpu_joules_per_output_token == 3
    assert (both.electricity_usd_per_hour, both.grams_co2e_per_hour) == (None, None)
    assert both.sources == ("said",)
