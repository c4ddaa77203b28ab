"""Prices of public, dated catalogs (gpuhunt, an optional library) -> rows of an offers file, their GPUs being ours.

gpuhunt publishes one catalog per provider and day. Of a row only the machine's name, its place, its price and how many
GPUs it has are taken; which GPU that is, its memory, its rates and its links are what our tables say. A row whose GPU
could be one of two (an "A100:80" is PCIe or SXM) is taken if our tables know the machine, and left out if they do not.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from typing import Any, Protocol

from gpu_db.errors import GpuDbError
from gpu_db.load import load_offers
from gpu_db.query import gpu_key
from gpu_db.tables import read_table
from gpu_db.user_offers import LARGEST_PRICE_USD_PER_HOUR, MOST_GPUS_PER_MACHINE

OUR_PROVIDERS = {"lambdalabs": "lambda"}
"""gpuhunt's name of a provider -> ours, where they differ."""
SECONDS_TO_WAIT = 60


class PriceSourceError(GpuDbError):
    """Prices from elsewhere cannot be had, or cannot be read."""


class Listing(Protocol):
    """What is read of one of gpuhunt's rows."""

    instance_name: str
    location: str
    price: float
    gpu_count: int
    gpu_name: str | None
    gpu_memory: float | None
    spot: bool
    flags: list[str]


@dataclass(frozen=True)
class Catalog:
    """One provider's prices of one day.

    Attributes:
        provider: our name.
        version: the catalog's name, which begins with its day.
        as_of: that day.
        listings: its rows.
    """

    provider: str
    version: str
    as_of: date
    listings: tuple[Listing, ...]


@dataclass(frozen=True)
class Snapshot:
    """What was read.

    Attributes:
        rows: of an offers file: cells by column.
        left_out: why a row was not taken -> how many.
        versions: of the catalogs, by provider.
    """

    rows: tuple[dict[str, str], ...]
    left_out: Mapping[str, int]
    versions: Mapping[str, str]


def download(version: str | None = None, url: str | None = None) -> tuple[Catalog, ...]:
    """Ask for the catalogs of all providers that gpuhunt publishes.

    Args:
        version: of one day, such as "20261120"; None = the newest of each provider.
        url: where they are published; None = gpuhunt's own place.

    Raises:
        PriceSourceError: gpuhunt is not installed, or no catalog can be had or read.
    """
    try:
        module: Any = import_module("gpuhunt")
    except ImportError as error:
        raise PriceSourceError("Prices are refreshed through gpuhunt: pip install 'gpuplan[prices]'.") from error
    if url is not None and not re.match(r"https?://", url):
        raise PriceSourceError(f"{url[:60]!r} is no address of the web; write https://... or leave it out.")
    source = module.Catalog(balance_resources=False, auto_reload=False)
    before, waited = os.environ.get("GPUHUNT_CATALOG_URL"), socket.getdefaulttimeout()
    logging.getLogger("gpuhunt").setLevel(
        logging.CRITICAL
    )  # each provider that fails would be a traceback on the screen
    socket.setdefaulttimeout(SECONDS_TO_WAIT)
    try:
        if url is not None:
            os.environ["GPUHUNT_CATALOG_URL"] = url
        source.load(version)
    except Exception as error:  # gpuhunt raises what its parsers and the network raise
        reason = str(error.__cause__ or error)[:120]
        raise PriceSourceError(f"No catalog of prices could be had: {reason}. Bundled prices are as before.") from error
    finally:
        socket.setdefaulttimeout(waited)
        if before is None:
            os.environ.pop("GPUHUNT_CATALOG_URL", None)
        else:
            os.environ["GPUHUNT_CATALOG_URL"] = before
    return tuple(
        Catalog(OUR_PROVIDERS.get(name, name), each.version, _day(name, each.version), tuple(each.items))
        for name, each in sorted(source.catalog.items())
    )


def _day(provider: str, version: str) -> date:
    """The day that a catalog's name begins with; prices without a day are of no use."""
    found = re.match(r"(\d{4})-?(\d\d)-?(\d\d)", version)
    try:
        if found:
            return date(*(int(part) for part in found.groups()))
    except ValueError:
        found = None
    raise PriceSourceError(f"The catalog of {provider} is called {version[:40]!r}, which names no day; it is not used.")


def snapshot(catalogs: Iterable[Catalog]) -> Snapshot:
    """What the catalogs say, as rows of an offers file; of equal machines in one place (zones) the dearest counts.

    Raises:
        PriceSourceError: they hold nothing that can be planned with.
    """
    left_out: Counter[str] = Counter()
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    versions: dict[str, str] = {}
    for catalog in catalogs:
        versions[catalog.provider] = catalog.version
        for row in _rows(catalog, left_out):
            key = tuple(row[name] for name in ("provider", "instance_type", "gpu", "gpu_count", "region", "billing"))
            if key not in rows or float(rows[key]["price_usd_per_hour"]) < float(row["price_usd_per_hour"]):
                rows[key] = row
    kept = _without_sham_spot(rows, left_out)
    if not kept:
        raise PriceSourceError("The catalogs hold no machine with a GPU that is known here; nothing is written.")
    return Snapshot(tuple(kept), dict(left_out.most_common()), versions)


def _rows(catalog: Catalog, left_out: Counter[str]) -> Iterator[dict[str, str]]:
    machines, uniform = _our_machines(), _uniform_regions()
    for listing in catalog.listings:
        if not listing.gpu_count:
            continue
        reason = _unfit(listing)
        gpu = "" if reason else _gpu(catalog.provider, listing, machines)
        if not gpu:
            left_out[reason or f"which GPU {_their_name(listing)} is cannot be told"] += 1
            continue
        place = uniform.get((catalog.provider, listing.instance_name.casefold()), listing.location)
        yield {
            "provider": catalog.provider,
            "instance_type": listing.instance_name,
            "gpu": gpu,
            "gpu_count": str(listing.gpu_count),
            "price_usd_per_hour": f"{listing.price:.6f}".rstrip("0").rstrip("."),
            "region": place,
            "billing": "spot" if listing.spot else "on-demand",
            "as_of": catalog.as_of.isoformat(),
            "source": f"gpuhunt catalog {catalog.version} of {catalog.provider}",
        }


def _unfit(listing: Listing) -> str:
    """Why no machine of this row can be bought by everybody at this price; "" if it can."""
    texts = (listing.instance_name, listing.location, listing.gpu_name or "")
    if any(not text.isprintable() or len(text) > 200 or text[:1] in "=+-@" for text in texts if text):
        return "its text is not printable, too long, or a formula"
    if not listing.instance_name or not listing.gpu_name:
        return "it lacks a name"
    if listing.flags:
        return f"it needs {listing.flags[0][:40]!r}"
    if not 0 < listing.price <= LARGEST_PRICE_USD_PER_HOUR:
        return "its price is no price"
    return "" if listing.gpu_count <= MOST_GPUS_PER_MACHINE else "it has more GPUs than any machine"


def _their_name(listing: Listing) -> str:
    memory = f":{listing.gpu_memory:g}" if listing.gpu_memory else ""
    return f"{listing.gpu_name}{memory}"


def _gpu(provider: str, listing: Listing, machines: Mapping[tuple[str, str], str]) -> str:
    """Our GPU: that of our machine of this name, else the only one that gpuhunt calls so; "" if that is not one."""
    ours = machines.get((provider, listing.instance_name.casefold()))
    meant = _names().get(gpu_key(_their_name(listing)), ()) or _names().get(gpu_key(listing.gpu_name or ""), ())
    if ours is not None:
        return ours if not meant or ours in meant else ""
    return meant[0] if len(meant) == 1 else ""


def _our_machines() -> dict[tuple[str, str], str]:
    """Machines whose name means one GPU -> that GPU."""
    found: dict[tuple[str, str], set[str]] = {}
    for offer in load_offers():
        found.setdefault((offer.provider, offer.instance_type.casefold()), set()).add(offer.gpu)
    return {key: next(iter(gpus)) for key, gpus in found.items() if len(gpus) == 1}


def _uniform_regions() -> dict[tuple[str, str], str]:
    """Machines that cost the same everywhere, as our tables know -> how their places are called there."""
    return {
        (offer.provider, offer.instance_type.casefold()): offer.region
        for offer in load_offers()
        if "uniform" in offer.region
    }


def _names() -> dict[str, tuple[str, ...]]:
    """What gpuhunt calls a GPU, as names are compared -> the GPUs that it may be."""
    names: dict[str, tuple[str, ...]] = {}
    for row in read_table("aliases.csv", ("alias", "gpu", "naming_system")):
        if row["naming_system"] == "gpuhunt":
            key = gpu_key(row["alias"])
            names[key] = (*names.get(key, ()), row["gpu"])
    return names


def _without_sham_spot(rows: Mapping[tuple[str, ...], dict[str, str]], left_out: Counter[str]) -> list[dict[str, str]]:
    """Some providers list spot at the price of on-demand for what they do not sell as spot."""
    kept = []
    for key, row in sorted(rows.items()):
        usual = rows.get((*key[:-1], "on-demand"))
        sham = row["billing"] == "spot" and usual is not None
        if sham and usual and float(row["price_usd_per_hour"]) >= float(usual["price_usd_per_hour"]):
            left_out["spot costs as much as on-demand: no spot is sold"] += 1
        else:
            kept.append(row)
    return kept
