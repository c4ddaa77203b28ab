"""Where machines stand -> their room, electricity and its carbon: bundled facts, unless the asker knows better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

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
from optimizer.energy import MachineLoad, NotNegative, Ratio, Supply, purchase_energy
from optimizer.errors import BadRequirements
from optimizer.performance.power import idle_watts
from optimizer.requirements import Frozen

if TYPE_CHECKING:
    from gpu_db.gpu import Gpu
    from optimizer.performance.factors import Factors
    from optimizer.plan import Line, Plan

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
    supply = known_at(place)
    if (
        place.region is not None
        and supply.usd_per_kilowatt_hour is None
        and supply.grams_co2e_per_kilowatt_hour is None
    ):
        raise BadRequirements(
            f"Nothing is known of the electricity in {place.region!r}; say country:SWE or the like, or give its grams "
            "of CO2e per kWh with --grid and its price with --electricity."
        )
    return supply


def known_at(place: Place) -> Supply:
    """The supply of a place as far as it is known."""
    host = host_share()
    said = [_said("host share", host)]
    pue = place.pue
    if pue is None:
        room = power_usage_effectiveness(DEFAULT_ROOM)
        pue = room.value
        said.append(_said("PUE", room))
    price, grams = _price(place, said), _carbon(place, said)
    return Supply(
        host_share=host.value,
        pue=pue,
        usd_per_kilowatt_hour=price,
        grams_co2e_per_kilowatt_hour=grams,
        sources=tuple(said),
    )


def with_energy(plan: Plan, gpus: Mapping[str, Gpu], factors: Factors, place: Place) -> Plan:
    """The plan with what it draws; machines stand where their offers say.

    Args:
        plan: solved or not.
        gpus: by name, for idle power and limits.
        factors: of the performance model, for GPUs whose idle power is not known.
        place: what is known better than the bundled facts; its region is that of the offers.
    """
    loads = [_machine_load(plan.lines, number, gpus, factors, place) for number in range(len(plan.lines))]
    known = [load for load in loads if load is not None]
    if plan.totals is None or len(known) < len(loads):
        return plan
    rate = plan.totals.output_tokens_per_second.value
    return plan.model_copy(update={"energy": purchase_energy(known, rate)})


def _machine_load(
    lines: Sequence[Line], number: int, gpus: Mapping[str, Gpu], factors: Factors, place: Place
) -> MachineLoad | None:
    """One line's GPUs under load; the line that carries the machines also has their idle GPUs and their hosts."""
    line = lines[number]
    gpu, watts = gpus[line.offer.gpu], line.estimate.power_watts
    if watts is None or gpu.power_watts is None:
        return None
    sharing = [other for other in lines if other.shares_machines_of_line == number]
    bought = line.count * line.offer.gpu_count
    idle = max(bought - sum(one.replicas * one.replica.gpus for one in (line, *sharing)), 0) if bought else 0
    where = place.model_copy(update={"region": line.offer.region, "provider": line.offer.provider})
    return MachineLoad(
        gpu_watts=line.replicas * watts + idle * idle_watts(gpu, factors),
        limit_watts=bought * gpu.power_watts,
        supply=known_at(where),
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
