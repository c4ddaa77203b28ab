"""What owning costs: servers to buy, electricity and its carbon, cooling, colocation. Facts, no formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Literal, TypeVar, cast, get_args

from gpu_db.errors import BadGpuDb, UnknownName
from gpu_db.gpu import Gpu
from gpu_db.machines import scaleup, topology_of_gpu
from gpu_db.offer import Offer
from gpu_db.regions import country_of, region_classes
from gpu_db.tables import Row, broken, number, read_table, required_day, required_number, required_text

KILO = 1000.0

Fact = TypeVar("Fact")
EnergyKind = Literal["carbon_intensity", "electricity_price", "pue", "host_share", "colocation"]

_UNITS: dict[EnergyKind, frozenset[str]] = {
    "carbon_intensity": frozenset({"gCO2e/kWh"}),
    "electricity_price": frozenset({"USD/kWh", "EUR/kWh"}),
    "pue": frozenset({"ratio"}),
    "host_share": frozenset({"ratio"}),
    "colocation": frozenset({"USD/kW-month"}),
}
_PLAUSIBLE: dict[EnergyKind, tuple[float, float]] = {
    "carbon_intensity": (0, 1500),  # the worst grids, on brown coal alone, are near 1200
    "electricity_price": (0.01, 1),
    "pue": (1, 3),  # a room cannot use less than its machines do
    "host_share": (0, 2),
    "colocation": (20, 1000),
}


class UnknownEnergyFact(UnknownName):
    """No electricity, carbon, PUE or colocation fact has this name."""


@dataclass(frozen=True, slots=True)
class EnergyFact:
    """One number about electricity, with its unit, day and source.

    Attributes:
        kind: what it says.
        key: whom it is about: "gcp:us-central1", "country:SWE", "US Ohio industrial", "DEFAULT cloud".
        value: in `unit`.
        unit: "gCO2e/kWh", "USD/kWh", "EUR/kWh", "ratio" (PUE: all power of a room over that of its machines; host
            share: what a server draws beside its GPUs over their power limits) or "USD/kW-month" (provisioned, power
            included).
    """

    kind: EnergyKind
    key: str
    value: float
    unit: str
    as_of: date
    source: str
    confidence: str
    notes: str


@dataclass(frozen=True, slots=True)
class System:
    """A server or rack that one can buy.

    Attributes:
        name: "DGX H100".
        gpu, gpus: what it holds.
        price_low_usd, price_typical_usd, price_high_usd: the span that was read.
        power_watts: nameplate of the whole system.
        planning_watts_per_gpu: all-in power per GPU that capacity planners use; None when nobody states one.
    """

    name: str
    gpu: str
    gpus: int
    price_low_usd: float
    price_typical_usd: float
    price_high_usd: float
    power_watts: float
    planning_watts_per_gpu: float | None
    as_of: date
    source: str
    confidence: str
    notes: str


@cache
def load_energy() -> tuple[EnergyFact, ...]:
    """Return every energy fact.

    Raises:
        BadGpuDb: a fact lacks its source or date, has a unit that its kind cannot have, or an absurd value.
    """
    return tuple(_checked("energy.csv", ("kind", "key", "value", "unit", "as_of", "source"), _energy_fact))


@cache
def load_systems() -> tuple[System, ...]:
    """Return every server and rack with its purchase price."""
    return tuple(_checked("systems.csv", ("system", "gpu", "price_typical_usd", "as_of", "source"), _system))


def bought_machine(system: System, gpu: Gpu, provider: str, price_usd_per_hour: float, notes: str) -> Offer:
    """A system as a machine that costs its owner so much in every hour.

    Args:
        system: what is bought.
        gpu: the GPU that it names.
        provider: the word for its owner.
        price_usd_per_hour: purchase, upkeep and power, spread over the hours of its life.
        notes: what the price is made of.
    """
    topology = topology_of_gpu(gpu)
    domain, link = scaleup(topology, system.gpus)
    return Offer(
        offer_id=f"{provider}/{system.name}",
        provider=provider,
        instance_type=system.name,
        gpu=gpu.name,
        gpu_count=system.gpus,
        region="any",
        region_class="any",
        billing="owned",
        price_usd_per_hour=price_usd_per_hour,
        as_of=system.as_of,
        source=system.source,
        confidence=system.confidence,
        scaleup_domain_gpus=domain,
        link_bytes_per_second=link,
        internode_bytes_per_second=topology.internode_bytes_per_second,
        notes=notes,
    )


def is_for_datacentres(gpu: Gpu) -> bool:
    """Whether a GPU's maker builds it for rooms of servers: no consumer card, desktop or developer kit.

    Source: `form_factor` of data/gpus.csv, as the datasheet words it.

    >>> from gpu_db.query import find_gpu
    >>> [is_for_datacentres(find_gpu(name)) for name in ("H100", "RTX 4090", "DGX Spark")]
    [True, False, False]
    """
    return not any(word in gpu.form_factor for word in _ON_A_DESK)


_ON_A_DESK = ("consumer", "mini PC", "SoC", "devkit")


def electricity_price(place: str) -> EnergyFact:
    """Return what a kilowatt-hour costs somewhere: a key of data/energy.csv, or "us" or "eu" for the suggested default.

    Raises:
        UnknownEnergyFact: no price of that place.

    >>> fact = electricity_price("us")
    >>> fact.value, fact.unit
    (0.1, 'USD/kWh')
    """
    return _fact("electricity_price", place)


def power_usage_effectiveness(room: str) -> EnergyFact:
    """Return the PUE of a kind of room: "cloud", "colo", or a key of data/energy.csv.

    >>> power_usage_effectiveness("cloud").value
    1.2
    """
    return _fact("pue", room)


def host_share() -> EnergyFact:
    """Return what a server draws beside its GPUs (processors, memory, fans, network), over the limits of its GPUs.

    >>> host_share().value
    0.5
    """
    return _fact("host_share", "DEFAULT 8-GPU server")


def carbon_of(key: str) -> EnergyFact:
    """Return the grams of CO2 equivalent per kilowatt-hour of a key of data/energy.csv: "country:SWE", "gcp:us-east1".

    Raises:
        UnknownEnergyFact: no such key.
    """
    return _fact("carbon_intensity", key)


def carbon_intensity(provider: str, region: str) -> EnergyFact | None:
    """Return grams of CO2 equivalent per kilowatt-hour where a machine stands.

    The provider's own figure of the region when it publishes one (Google), else the mix of the region's country. None
    when the region is several places, or its country is unknown: an average of the world is not where the machine is.

    >>> carbon_intensity("gcp", "europe-west9").key, carbon_intensity("aws", "eu-north-1").key
    ('gcp:europe-west9', 'country:SWE')
    >>> carbon_intensity("runpod", "global") is None
    True
    """
    facts = _facts("carbon_intensity")
    country = country_of(region)
    if country is None and region_classes(region) == ("us",):
        country = "USA"
    words = region.casefold().split()
    own = facts.get(f"{provider.casefold()}:{words[0]}") if words else None
    return own or facts.get(f"country:{country}")


def _fact(kind: EnergyKind, key: str) -> EnergyFact:
    facts = {name.casefold(): fact for name, fact in _facts(kind).items()}
    wanted = key.strip().casefold()
    found = facts.get(wanted) or facts.get(f"default {wanted}")
    if found is None:
        names = list(_facts(kind))
        raise UnknownEnergyFact(kind.replace("_", " "), key, names, f"The known ones are {', '.join(names)}.")
    return found


@cache
def _facts(kind: EnergyKind) -> dict[str, EnergyFact]:
    return {fact.key: fact for fact in load_energy() if fact.kind == kind}


def _checked(name: str, columns: tuple[str, ...], build: Callable[[Row], Fact]) -> Iterator[Fact]:
    for row in read_table(name, columns):
        try:
            yield build(row)
        except BadGpuDb as error:
            raise broken(name, row.values(), error) from error


def _energy_fact(row: Row) -> EnergyFact:
    kind = cast(EnergyKind, row["kind"])
    if kind not in get_args(EnergyKind):
        raise BadGpuDb(f"{kind!r} is no kind of energy fact.")
    if row["unit"] not in _UNITS[kind]:
        raise BadGpuDb(f"{row['unit']!r} is no unit of {kind}; allowed are {', '.join(sorted(_UNITS[kind]))}.")
    value = required_number(row["value"])
    least, most = _PLAUSIBLE[kind]
    if not least <= value <= most:
        raise BadGpuDb(f"{value} {row['unit']} is absurd for {kind}; it lies between {least} and {most}.")
    return EnergyFact(
        kind=kind,
        key=required_text(row["key"], "key"),
        value=value,
        unit=row["unit"],
        as_of=required_day(row["as_of"]),
        source=required_text(row["source"], "source"),
        confidence=required_text(row["confidence"], "confidence"),
        notes=row["notes"],
    )


def _system(row: Row) -> System:
    return System(
        name=required_text(row["system"], "name"),
        gpu=required_text(row["gpu"], "gpu"),
        gpus=int(required_number(row["gpus"])),
        price_low_usd=required_number(row["price_low_usd"]),
        price_typical_usd=required_number(row["price_typical_usd"]),
        price_high_usd=required_number(row["price_high_usd"]),
        power_watts=required_number(row["nameplate_kw"], KILO),
        planning_watts_per_gpu=number(row["planning_kw_per_gpu"], KILO),
        as_of=required_day(row["as_of"]),
        source=required_text(row["source"], "source"),
        confidence=required_text(row["confidence"], "confidence"),
        notes=row["notes"],
    )
