"""Where machines stand -> their room, electricity and its carbon: bundled facts, unless the asker knows better."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gpu_db.ownership import (
    EnergyFact,
    carbon_intensity,
    carbon_of,
    electricity_price,
    host_share,
    power_usage_effectiveness,
)
from gpu_db.regions import region_classes
from optimizer.energy import NotNegative, Ratio, Supply
from optimizer.errors import BadRequirements
from optimizer.requirements import Frozen

DEFAULT_ROOM = "cloud"
PRICED_CLASSES = ("us", "eu")
"""Regions whose usual electricity price is bundled in USD."""


class Place(Frozen):
    """What is said of where the machines stand; None = the bundled fact, where there is one.

    Attributes:
        region: a provider's word ("eu-north-1"), or a grid ("country:SWE", "gcp:us-central1").
        provider: whose word it is; some publish their own carbon figures.
        pue: all power of the room over that of its machines.
        usd_per_kilowatt_hour, grams_co2e_per_kilowatt_hour: of the electricity.
    """

    region: Annotated[str, Field(min_length=1)] | None = None
    provider: str = ""
    pue: Ratio | None = None
    usd_per_kilowatt_hour: NotNegative | None = None
    grams_co2e_per_kilowatt_hour: NotNegative | None = None


def supply_at(place: Place) -> Supply:
    """The supply of a place, with the source of each number.

    Raises:
        BadRequirements: neither the price of electricity nor its carbon is known of the region, and none is given.

    >>> supply = supply_at(Place(region="eu-north-1"))
    >>> supply.pue, supply.usd_per_kilowatt_hour, supply.grams_co2e_per_kilowatt_hour
    (1.2, 0.2, 41.0)
    """
    host = host_share()
    said = [_said("host share", host)]
    pue = place.pue
    if pue is None:
        room = power_usage_effectiveness(DEFAULT_ROOM)
        pue = room.value
        said.append(_said("PUE", room))
    price, grams = _price(place, said), _carbon(place, said)
    if place.region is not None and price is None and grams is None:
        raise BadRequirements(
            f"Nothing is known of the electricity in {place.region!r}; say country:SWE or the like, or give its grams "
            "of CO2e per kWh with --grid and its price with --electricity."
        )
    return Supply(
        host_share=host.value,
        pue=pue,
        usd_per_kilowatt_hour=price,
        grams_co2e_per_kilowatt_hour=grams,
        sources=tuple(said),
    )


def _price(place: Place, said: list[str]) -> float | None:
    if place.usd_per_kilowatt_hour is not None or place.region is None:
        return place.usd_per_kilowatt_hour
    classes = region_classes(place.region.split(":")[-1])
    if len(classes) != 1 or classes[0] not in PRICED_CLASSES:
        return None
    fact = electricity_price(classes[0])
    said.append(_said("electricity", fact))
    return fact.value


def _carbon(place: Place, said: list[str]) -> float | None:
    if place.grams_co2e_per_kilowatt_hour is not None or place.region is None:
        return place.grams_co2e_per_kilowatt_hour
    named = ":" in place.region
    fact = carbon_of(place.region) if named else carbon_intensity(place.provider, place.region)
    if fact is not None:
        said.append(_said("carbon", fact))
    return None if fact is None else fact.value


def _said(what: str, fact: EnergyFact) -> str:
    return f"{what} {fact.value:g} {fact.unit} ({fact.key}), {fact.source}, {fact.as_of.isoformat()}"
