"""The bundled facts as objects: data/ in datasheet units -> Gpu and Offer in base units. No network, no clock."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gpu_db.errors import BadGpuDb
from gpu_db.gpu import Gpu
from gpu_db.machines import read_offers
from gpu_db.offer import Offer
from gpu_db.tables import (
    GIGA,
    MIB,
    TERA,
    Row,
    broken,
    day,
    number,
    read_table,
    required_day,
    required_number,
    required_text,
    whole,
)

_RATE_COLUMNS = {
    "fp32": "fp32_tflop_per_second",
    "fp16": "fp16_tflop_per_second",
    "bf16": "bf16_tflop_per_second",
    "fp8": "fp8_tflop_per_second",
    "int8": "int8_top_per_second",
    "fp4": "fp4_tflop_per_second",
    "fp16_accumulate_fp16": "fp16_accumulate_fp16_tflop_per_second",
}
_GPU_COLUMNS = ("name", "memory_mib", "memory_marketed_gb", "source", "as_of", "confidence", *_RATE_COLUMNS.values())


def load_gpus() -> dict[str, Gpu]:
    """Return every known GPU by its name, in the order of the table.

    Raises:
        BadGpuDb: a row of data/gpus.csv lacks its source, its date or a required fact.

    >>> load_gpus()["H100 SXM 80GB"].memory_bytes  # 81,559 MiB, what nvidia-smi shows; not 80 GB and not 80 GiB
    85520809984
    """
    return dict(_gpus())


def load_offers(*, older_readings: bool = False) -> tuple[Offer, ...]:
    """Return every machine that can be rented, with its newest price.

    A price per GPU becomes one offer per machine size that the provider documents (data/offer_rules.csv). Rows that
    are no machine (a sixth of a GPU, an average) are in the table and not here.

    Args:
        older_readings: also return prices that were read again since, to show movement; they share the `offer_id` of
            the newer reading and must not be planned with.

    Raises:
        BadGpuDb: a row lacks its source, its date or its price, or names an unknown GPU.

    >>> p5 = next(offer for offer in load_offers() if offer.instance_type == "p5.48xlarge")
    >>> p5.gpu_count, p5.price_usd_per_hour, p5.link_bytes_per_second / 1e9, p5.internode_bytes_per_second / 1e9
    (8, 58.8928, 450.0, 50.0)
    """
    return _offers(not older_readings)


@cache
def _offers(newest_only: bool) -> tuple[Offer, ...]:
    return tuple(read_offers(_gpus(), newest_only))


def load_user_offers(path: str | Path) -> tuple[Offer, ...]:
    """Return the machines and prices of a user's own CSV file (columns: docs/data.md).

    A machine that the bundled table knows keeps its links, vCPUs and memory where the file says nothing about them. A
    price without `as_of` is dated by the day on which the file was last changed.

    Raises:
        OfferFileError: the file cannot be used; one sentence for each of its problems.
    """
    from gpu_db.query import find_gpu
    from gpu_db.user_offers import read_offer_file

    return read_offer_file(path, find_gpu, load_offers())


@cache
def _gpus() -> dict[str, Gpu]:
    aliases = _aliases_by_gpu()
    gpus = {}
    for row in read_table("gpus.csv", _GPU_COLUMNS):
        try:
            gpus[row["name"]] = _gpu(row, aliases.get(row["name"], ()))
        except BadGpuDb as error:
            raise broken("gpus.csv", row.values(), error) from error
    return gpus


def _aliases_by_gpu() -> dict[str, tuple[str, ...]]:
    words: dict[str, dict[str, None]] = {}
    for row in read_table("aliases.csv", ("alias", "gpu", "naming_system")):
        words.setdefault(row["gpu"], {})[row["alias"]] = None
    return {gpu: tuple(aliases) for gpu, aliases in words.items()}


def _gpu(row: Row, aliases: tuple[str, ...]) -> Gpu:
    memory_mib = whole(row["memory_mib"])
    return Gpu(
        name=required_text(row["name"], "name"),
        vendor=required_text(row["vendor"], "vendor"),
        architecture=required_text(row["architecture"], "architecture"),
        compute_capability=row["compute_capability"],
        memory_bytes=None if memory_mib is None else memory_mib * MIB,
        memory_marketed_bytes=int(required_number(row["memory_marketed_gb"], GIGA)),
        memory_bandwidth_bytes_per_second=number(row["memory_bandwidth_gb_per_second"], GIGA),
        flop_per_second=_rates(row),
        link_bytes_per_second=number(row["link_gb_per_second"], GIGA),
        pcie_bytes_per_second=number(row["pcie_gb_per_second"], GIGA),
        power_watts=number(row["power_watts"]),
        idle_watts=number(row["idle_watts"]),
        max_gpus_per_node=whole(row["max_gpus_per_node"]),
        form_factor=row["form_factor"],
        mig_capable=row["hardware_partitions"] not in {"", "no"},
        release_year=whole(row["release_year"]),
        list_price_usd=number(row["list_price_usd"]),
        list_price_date=day(row["list_price_as_of"]),
        source=required_text(row["source"], "source"),
        confidence=required_text(row["confidence"], "confidence"),
        aliases=aliases,
        scaleup_fabric=row["scaleup_fabric"],
        scaleup_domain_gpus=int(required_number(row["scaleup_domain_gpus"])),
        as_of=required_day(row["as_of"]),
        notes=row["notes"],
    )


def _rates(row: Row) -> dict[str, float]:
    rates = {name: number(row[column], TERA) for name, column in _RATE_COLUMNS.items()}
    return {name: rate for name, rate in rates.items() if rate is not None}
