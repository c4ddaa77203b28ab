"""Prices of another day: what had been read by then, and nothing that was read later."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_db.load import load_offers
from gpu_db.price_sources.history import NoPricesYet, offers_on

READINGS = load_offers(older_readings=True)
LAST = max(offer.as_of for offer in READINGS)


def test_today_is_what_the_table_holds() -> None:
    assert set(offers_on(LAST)) == set(load_offers())


@given(st.dates(date(2025, 1, 1), LAST))
def test_nothing_read_later_is_known_and_each_machine_has_one_price(day: date) -> None:
    offers = offers_on(day)
    assert all(offer.as_of <= day for offer in offers)
    assert len({offer.offer_id for offer in offers}) == len(offers)


def test_a_price_that_moved_is_the_old_one_before_and_the_new_one_from_that_day_on() -> None:
    """Azure's ND96asr_v4 was 27.197 USD/h in June and September and 27.1968 in November 2026."""
    machine = "azure/Standard_ND96asr_v4/eastus/on-demand"

    def price(day: date) -> float:
        return next(offer.price_usd_per_hour for offer in offers_on(day) if offer.offer_id == machine)

    assert price(date(2026, 11, 8)) == 27.197
    assert price(date(2026, 11, 9)) == 27.1968


def test_before_the_first_reading_there_is_no_price() -> None:
    with pytest.raises(NoPricesYet, match="the first is of 2024-12-01"):
        offers_on(date(2024, 11, 30))
