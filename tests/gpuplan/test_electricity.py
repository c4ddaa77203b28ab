"""A place's electricity: the bundled fact with its source, what was said instead, or nothing."""

from __future__ import annotations

import pytest

from gpu_db.load import load_gpus
from gpu_db.ownership import UnknownEnergyFact
from gpuplan.cli import plan_page
from gpuplan.cli.console import Ink, render
from gpuplan.electricity import Place, supply_at, with_energy
from optimizer.errors import BadRequirements
from optimizer.performance.factors import load_factors
from optimizer.plan import Plan


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


def test_a_plan_draws_its_replicas_its_idle_gpus_and_its_hosts(solved: Plan) -> None:
    """Two machines of one GPU each with a replica of 650 W; four GPUs idle when the machines have three each."""
    gpus = load_gpus()
    line = solved.lines[0]
    gpu = gpus[line.offer.gpu]
    small = line.offer.model_copy(update={"gpu_count": 1, "region": "eu-north-1"})
    made = with_energy(with_line(solved, offer=small, count=2, replicas=2), gpus, load_factors(), Place(pue=1.1)).energy
    assert made is not None
    assert made.gpu_watts == 1300
    assert made.wall_watts == pytest.approx((1300 + 0.5 * 2 * gpu.power_watts) * 1.1)
    assert made.grams_co2e_per_hour == pytest.approx(made.wall_watts / 1000 * 41)
    large = small.model_copy(update={"gpu_count": 3})
    idle = with_energy(with_line(solved, offer=large, count=2, replicas=2), gpus, load_factors(), Place()).energy
    assert idle is not None
    assert idle.gpu_watts == pytest.approx(1300 + 4 * (gpu.idle_watts or 0))


def test_a_plan_whose_watts_are_not_known_has_no_energy(solved: Plan) -> None:
    unknown = solved.lines[0].estimate.model_copy(update={"power_watts": None})
    assert with_energy(with_line(solved, estimate=unknown), load_gpus(), load_factors(), Place()).energy is None


def test_machines_that_stand_anywhere_have_no_carbon_unless_it_is_said(solved: Plan) -> None:
    anywhere = with_line(solved, offer=solved.lines[0].offer.model_copy(update={"region": "global"}))
    silent = with_energy(anywhere, load_gpus(), load_factors(), Place()).energy
    told = with_energy(anywhere, load_gpus(), load_factors(), Place(grams_co2e_per_kilowatt_hour=100)).energy
    assert silent is not None
    assert silent.grams_co2e_per_hour is None
    assert told is not None
    assert told.grams_co2e_per_hour == pytest.approx(told.wall_watts / 10)
    assert "CO2e" not in render(plan_page.full(anywhere.model_copy(update={"energy": silent}), Ink()), Ink())
    page = plan_page.full(anywhere.model_copy(update={"energy": told}), Ink())
    assert "g of CO2e per hour" in render(page, Ink())


def with_line(plan: Plan, **changes: object) -> Plan:
    return plan.model_copy(update={"lines": (plan.lines[0].model_copy(update=changes),)})
