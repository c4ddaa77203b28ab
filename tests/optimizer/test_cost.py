"""Rent against buy: hand-worked sums, the published table, and laws."""

from __future__ import annotations

import doctest
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import optimizer.cost as room
from gpu_db.ownership import load_systems
from optimizer.cost import (
    HOURS_PER_YEAR,
    Ownership,
    Rent,
    break_even_month,
    break_even_utilization,
    colocation_usd_per_year,
    useful_hour_usd,
)

PAGE = Path(__file__).parents[2] / "docs" / "method" / "cost.md"

# USD per useful GPU-hour at utilization 0.4, 0.7 and 0.9, and break-even against rents per GPU-hour. Worked in November
# 2026 from typical server prices with 4 years, 12 % network, 4 % maintenance, 180 USD per kW-month, nameplate power.
PUBLISHED = {
    "8x H100 SXM HGX server": ((4.09, 2.34, 1.82), {3.20: 0.51, 6.88: 0.24}),
    "8x H200 SXM HGX server": ((5.07, 2.90, 2.26), {3.99: 0.51}),
    "DGX B200": ((7.07, 4.04, 3.14), {6.00: 0.47}),
}


def per_gpu(name: str) -> Ownership:
    system = next(each for each in load_systems() if each.name == name)
    watts = system.power_watts / system.gpus
    return Ownership(system.price_typical_usd / system.gpus, 0.12, 4, 0, 0.04, colocation_usd_per_year(watts, 180))


def test_every_sum_on_the_page_on_cost_comes_out():
    failures, examples = doctest.testfile(str(PAGE), module_relative=False)
    assert examples > 8
    assert failures == 0


def test_every_sum_in_the_module_comes_out():
    result = doctest.testmod(room)
    assert result.attempted > 8
    assert result.failed == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_table_comes_out_within_a_cent(name):
    hours, _ = PUBLISHED[name]
    owned = per_gpu(name)
    ours = [useful_hour_usd(owned.usd_per_year, duty) for duty in (0.4, 0.7, 0.9)]
    assert ours == pytest.approx(list(hours), abs=0.0055)  # it has 2.26 for 2.2547: rounded on the way


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_break_even_comes_out_to_the_percent(name):
    owned = per_gpu(name)
    for rent, share in PUBLISHED[name][1].items():
        assert round(break_even_utilization(owned.usd_per_year, rent), 2) == share


SHARE = st.floats(0, 1)
OWNED = st.builds(
    Ownership,
    machines_usd=st.floats(1, 1e7),
    network_share=SHARE,
    life_years=st.floats(0.5, 10),
    residual_share=SHARE,
    maintenance_share=SHARE,
    running_usd_per_year=st.floats(0, 1e6),
)


@given(OWNED, st.integers(1, 4))
def test_at_the_end_of_a_life_cash_less_the_sale_is_the_cost(owned, lives):
    months = owned.life_years * 12 * lives
    sale = owned.capital_usd * owned.residual_share
    # just before the renewal, so that rounding does not add one
    assert owned.cash_usd(months * (1 - 1e-9)) - sale == pytest.approx(owned.cost_usd(owned.life_years * lives))


@given(OWNED, st.floats(0, 100), st.floats(0, 100))
def test_cash_never_comes_back(owned, one, other):
    assert owned.cash_usd(min(one, other)) <= owned.cash_usd(max(one, other)) * (1 + 1e-12)


@given(OWNED, st.floats(0.1, 1000), st.floats(0.01, 1))
def test_at_the_break_even_utilization_a_year_costs_the_same_either_way(owned, rent, years):
    duty = break_even_utilization(owned.usd_per_year, rent)
    if 0 < duty <= 1:
        assert Rent(rent).cost_usd(years, duty) == pytest.approx(owned.cost_usd(years))
        assert useful_hour_usd(owned.usd_per_year, duty) == pytest.approx(rent)


@given(OWNED, st.floats(0.1, 1000), st.floats(0.01, 1))
def test_the_break_even_month_is_the_first(owned, rent, duty):
    month = break_even_month(owned, Rent(rent), duty)
    cheaper = [m for m in range(1, 601) if owned.cash_usd(m) <= Rent(rent).paid_usd(m, duty)]
    assert month == (cheaper[0] if cheaper else None)


def test_a_free_machine_is_never_dearer_to_rent():
    assert break_even_utilization(1.0, 0.0) == math.inf


def test_a_term_is_paid_to_its_end_and_an_hour_by_the_hour():
    assert Rent(1.0, term_years=3).cost_usd(3, 0.5) == 3 * HOURS_PER_YEAR
    assert Rent(1.0, term_years=3).cost_usd(3.001, 0.5) == 6 * HOURS_PER_YEAR
    assert Rent(1.0).cost_usd(3, 0.5) == 1.5 * HOURS_PER_YEAR


@pytest.mark.parametrize("duty", [0, -0.1, 1.01, math.nan])
def test_a_utilization_that_is_none_is_refused(duty):
    with pytest.raises(ValueError, match="utilization"):
        Rent(1.0).cost_usd(1, duty)
    with pytest.raises(ValueError, match="utilization"):
        useful_hour_usd(1.0, duty)


@pytest.mark.parametrize(
    "wrong", [{"life_years": 0}, {"residual_share": 1.1}, {"machines_usd": -1}, {"running_usd_per_year": -1}]
)
def test_machines_that_nobody_can_own_are_refused(wrong):
    given = {
        "machines_usd": 1,
        "network_share": 0,
        "life_years": 4,
        "residual_share": 0,
        "maintenance_share": 0,
        "running_usd_per_year": 0,
    }
    with pytest.raises(ValueError, match=r"."):
        Ownership(**{**given, **wrong})
