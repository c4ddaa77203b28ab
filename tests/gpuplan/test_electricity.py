"""A place's electricity: the bundled fact with its source, what was said instead, or nothing."""

from __future__ import annotations

import pytest

from gpu_db.ownership import UnknownEnergyFact
from gpuplan.electricity import Place, supply_at
from optimizer.errors import BadRequirements


def test_nothing_said_gives_a_room_and_neither_price_nor_carbon():
    supply = supply_at(Place())
    assert (supply.pue, supply.host_share) == (1.2, 0.5)
    assert supply.usd_per_kilowatt_hour is None
    assert supply.grams_co2e_per_kilowatt_hour is None
    assert [source.split()[0] for source in supply.sources] == ["host", "PUE"]


def test_a_region_knows_its_grid_and_usual_price():
    virginia = supply_at(Place(region="us-east-1"))
    assert (virginia.usd_per_kilowatt_hour, virginia.grams_co2e_per_kilowatt_hour) == (0.1, 369)
    assert any("country:USA" in source for source in virginia.sources)


def test_a_provider_with_figures_of_its_own_is_believed():
    assert supply_at(Place(region="us-central1", provider="gcp")).grams_co2e_per_kilowatt_hour == 430
    assert supply_at(Place(region="gcp:us-central1")).grams_co2e_per_kilowatt_hour == 430


def test_a_grid_may_be_named_without_a_price():
    supply = supply_at(Place(region="country:JPN"))
    assert (supply.usd_per_kilowatt_hour, supply.grams_co2e_per_kilowatt_hour) == (None, 485)


def test_what_is_said_wins_and_needs_no_source():
    said = Place(region="us-east-1", pue=1.05, usd_per_kilowatt_hour=0.04, grams_co2e_per_kilowatt_hour=0)
    supply = supply_at(said)
    assert (supply.pue, supply.usd_per_kilowatt_hour, supply.grams_co2e_per_kilowatt_hour) == (1.05, 0.04, 0)
    assert [source.split()[0] for source in supply.sources] == ["host"]


def test_a_place_of_which_nothing_is_known_is_refused():
    with pytest.raises(BadRequirements, match=r"Nothing is known of the electricity in 'mars-1'.*--grid"):
        supply_at(Place(region="mars-1"))
    assert supply_at(Place(region="mars-1", grams_co2e_per_kilowatt_hour=1)).grams_co2e_per_kilowatt_hour == 1


def test_an_unknown_grid_names_the_known_ones():
    with pytest.raises(UnknownEnergyFact, match="country:SWE"):
        supply_at(Place(region="country:SWEDEN"))
