import pytest

from gpu_db import ownership
from gpu_db.errors import BadGpuDb
from gpu_db.load import load_gpus, load_offers
from gpu_db.ownership import (
    UnknownEnergyFact,
    carbon_intensity,
    electricity_price,
    load_energy,
    load_systems,
    power_usage_effectiveness,
)


def test_every_energy_fact_has_a_unit_a_source_and_a_day():
    facts = load_energy()
    assert len(facts) == 57
    assert len({(fact.kind, fact.key) for fact in facts}) == 57
    assert all(fact.source and fact.as_of.year >= 2023 for fact in facts)


def test_a_european_default_is_in_dollars_and_a_eurostat_price_in_euros():
    """No exchange rate is bundled: a currency is never converted silently."""
    assert electricity_price("EU").unit == "USD/kWh"
    assert electricity_price("EU non-household average").unit == "EUR/kWh"
    assert electricity_price("EU non-household average").value == 0.1902


def test_googles_own_figure_wins_over_its_country():
    assert carbon_intensity("gcp", "us-central1 (default region)").value == 430
    assert carbon_intensity("aws", "us-east-1 = us-west-2").value == 369, "Oregon and Virginia: the country's mix"
    assert carbon_intensity("azure", "northeurope").key == "country:IRL"


def test_a_price_list_of_several_countries_has_no_carbon_intensity():
    assert carbon_intensity("lambda", "us/eu (uniform)") is None
    assert carbon_intensity("oci", "all commercial regions (uniform list)") is None
    assert carbon_intensity("me", "") is None


def test_most_offers_of_one_place_have_a_carbon_intensity():
    single = [offer for offer in load_offers() if offer.region_class in {"us", "eu"}]
    known = [offer for offer in single if carbon_intensity(offer.provider, offer.region)]
    assert len(known) / len(single) > 0.97


def test_an_unknown_place_names_the_known_ones():
    with pytest.raises(
        UnknownEnergyFact, match=r"No electricity price named 'Ohio'. Did you mean 'US Ohio industrial'"
    ):
        electricity_price("Ohio")
    assert power_usage_effectiveness("colo").value == 1.4
    assert power_usage_effectiveness("hyperscale").value == 1.1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "weather"}, "no kind of energy fact"),
        ({"unit": "EUR/MWh"}, "no unit of electricity_price"),
        ({"value": "71.3"}, "absurd"),
        ({"value": "cheap"}, "a number >= 0 is required"),
        ({"source": ""}, "its source is empty"),
        ({"as_of": "2024"}, "a date YYYY-MM-DD is required"),
    ],
)
def test_a_broken_fact_does_not_load(monkeypatch, change, sentence):
    row = {"kind": "electricity_price", "key": "US", "value": "0.0713", "unit": "USD/kWh", "as_of": "2024-07-31"}
    row |= {"source": "EIA", "confidence": "high", "notes": ""} | change
    monkeypatch.setattr(ownership, "read_table", lambda name, columns: iter([row]))
    with pytest.raises(BadGpuDb, match=sentence):
        load_energy.__wrapped__()


def test_systems_hold_known_gpus_and_an_ordered_price_span():
    systems = load_systems()
    assert len(systems) == 14
    for system in systems:
        assert system.gpu in load_gpus()
        assert system.price_low_usd <= system.price_typical_usd <= system.price_high_usd
        assert system.source
    dgx = next(system for system in systems if system.name == "DGX H100")
    assert (dgx.gpus, dgx.power_watts, dgx.planning_watts_per_gpu) == (8, 10_200, 1730)


def test_a_system_draws_more_than_its_gpus_idle_and_plans_at_least_their_board_power_share():
    """NVIDIA boards: nameplate power is above the sum of board limits of 8 GPUs, or it could not feed them."""
    for system in load_systems():
        gpu = load_gpus()[system.gpu]
        if gpu.power_watts and system.gpus == 8 and system.confidence != "low":
            assert system.power_watts > system.gpus * gpu.power_watts, system.name
