"""From a priced row to machines that one can rent: their sizes, and how their GPUs and nodes reach each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, cast, get_args

from gpu_db.errors import BadGpuDb
from gpu_db.gpu import Gpu
from gpu_db.offer import Billing, Offer, Restriction
from gpu_db.regions import region_classes
from gpu_db.tables import (
    GIGA,
    Row,
    broken,
    number,
    read_cells,
    read_table,
    required_day,
    required_number,
    required_text,
    whole,
)

GBIT_BYTES = GIGA / 8


class PricedRow(NamedTuple):
    """One line of data/offers.csv, its columns in their order; units as the names say.

    `priced_gpus` is how many GPUs the price is for, `machine_gpus` the sizes that can be rented at that rate ("1/8";
    empty = as priced). `internode_gbit_per_second` is of a whole node of `internode_node_gpus`.
    """

    provider: str
    instance_type: str
    gpu: str
    gpu_as_listed: str
    priced_gpus: str
    machine_gpus: str
    minimum_gpus: str
    region: str
    billing: str
    price_usd_per_hour: str
    restrictions: str
    newest: str
    not_planned_because: str
    topology: str
    internode_fabric: str
    internode_gbit_per_second: str
    internode_node_gpus: str
    vcpus: str
    memory_gb: str
    as_of: str
    as_of_note: str
    source: str
    confidence: str
    notes: str


@dataclass(frozen=True, slots=True)
class Topology:
    """How the GPUs of one full machine reach each other and the next machine.

    Attributes:
        gpus_per_node: GPUs of the full machine; 0 when it depends on the host.
        scaleup_domain_gpus: GPUs behind one scale-up switch or mesh; more than a node in rack-scale systems.
        link_bytes_per_second: one direction per GPU inside that domain; None when unknown.
        internode_bytes_per_second: one direction per GPU to other machines; None when there is no such network.
    """

    gpus_per_node: int
    scaleup_domain_gpus: int
    link_bytes_per_second: float | None
    internode_bytes_per_second: float | None


@cache
def topologies() -> Mapping[str, Topology]:
    """Return every row of data/topology.csv by its key: "aws p5.48xlarge", "reference design H100 SXM 80GB", ..."""
    table = {}
    columns = ("key", "provider", "gpu", "gpus_per_node", "scaleup_domain_gpus", "link_gb_per_second", "source")
    for row in read_table("topology.csv", columns):
        table[row["key"]] = topology = _topology(row)
        if row["provider"] == "reference design":
            table.setdefault(f"reference design {row['gpu']}", topology)
    return table


def _topology(row: Row) -> Topology:
    gpus = whole(row["gpus_per_node"]) or 0
    gbit = number(row["internode_gbit_per_second"], GBIT_BYTES)
    return Topology(
        gpus_per_node=gpus,
        scaleup_domain_gpus=whole(row["scaleup_domain_gpus"]) or 1,
        link_bytes_per_second=number(row["link_gb_per_second"], GIGA),
        internode_bytes_per_second=gbit / gpus if gbit and gpus else None,
    )


def topology_of_gpu(gpu: Gpu) -> Topology:
    """Return how a full machine of this GPU is built: the reference design, else the GPU's own datasheet."""
    reference = topologies().get(f"reference design {gpu.name}")
    if reference and reference.link_bytes_per_second:
        return reference
    joined = gpu.scaleup_domain_gpus > 1
    return Topology(
        gpus_per_node=gpu.max_gpus_per_node or 1,
        scaleup_domain_gpus=gpu.scaleup_domain_gpus,
        link_bytes_per_second=gpu.link_bytes_per_second if joined else gpu.pcie_bytes_per_second,
        internode_bytes_per_second=None,
    )


def scaleup(topology: Topology, gpu_count: int) -> tuple[int, float | None]:
    """Return (scale-up domain, link) of a machine that holds `gpu_count` of the full machine's GPUs.

    A slice of a board keeps its switch and loses the GPUs that others rent. A whole tray of a rack keeps the rack. One
    GPU alone has no link to another.
    """
    rack_scale = topology.scaleup_domain_gpus > topology.gpus_per_node > 0
    if rack_scale and gpu_count >= topology.gpus_per_node:
        return topology.scaleup_domain_gpus, topology.link_bytes_per_second
    if gpu_count == 1:
        return 1, None
    return min(topology.scaleup_domain_gpus, gpu_count), topology.link_bytes_per_second


def read_offers(gpus: Mapping[str, Gpu], newest_only: bool) -> Iterator[Offer]:
    """Yield the machines of data/offers.csv that can be planned with.

    Args:
        gpus: all known GPUs by name.
        newest_only: leave out the older readings of a price that was read again since.

    Raises:
        BadGpuDb: a row lacks its source, date or price, or names a GPU, topology or word that does not exist.
    """
    rows = [row for row in _priced_rows() if not row.not_planned_because]
    several = _types_of_several_machines(rows)
    built: dict[tuple[str, str], Topology] = {}
    for row in rows:
        if newest_only and row.newest != "yes":
            continue
        try:
            topology = built.get((row.topology, row.gpu))
            if topology is None:
                topology = built[row.topology, row.gpu] = _topology_of_row(row.topology, gpus.get(row.gpu))
            yield from _machines(row, topology, (row.provider, row.instance_type) in several)
        except BadGpuDb as error:
            raise broken("offers.csv", row, error) from error


def _priced_rows() -> Iterator[PricedRow]:
    lines = read_cells("offers.csv")
    if tuple(next(lines, [])) != PricedRow._fields:
        raise BadGpuDb("offers.csv has other columns than PricedRow; write it again with gpu_db.import_tables.")
    return map(PricedRow._make, lines)


def _types_of_several_machines(rows: Iterable[PricedRow]) -> set[tuple[str, str]]:
    """Instance types that do not say which GPU, or how many: "pod secure", "1-Click Cluster 16 GPUs"."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    return {
        (row.provider, row.instance_type)
        for row in rows
        if row.machine_gpus
        or first.setdefault((row.provider, row.instance_type), (row.gpu, row.priced_gpus)) != (row.gpu, row.priced_gpus)
    }


def _machines(row: PricedRow, topology: Topology, several: bool) -> Iterator[Offer]:
    """Yield one offer per machine size of a row; the price of a size is linear in its GPUs."""
    priced = int(required_number(row.priced_gpus))
    price = required_number(row.price_usd_per_hour)
    source, as_of = required_text(row.source, "source"), required_day(row.as_of)
    vcpus, memory_bytes = number(row.vcpus), number(row.memory_gb, GIGA)
    minimum_gpus = whole(row.minimum_gpus)
    classes = region_classes(row.region)
    restrictions = _restrictions(row.restrictions, required_text(row.confidence, "confidence"))
    for size in _sizes(row.machine_gpus, priced):
        share = size / priced
        domain, link = scaleup(topology, size)
        kind = f"{size}x {row.gpu}/" if several else ""
        yield Offer(
            offer_id=f"{row.provider}/{row.instance_type}/{kind}{row.region}/{row.billing}",
            provider=row.provider,
            instance_type=row.instance_type,
            gpu=row.gpu,
            gpu_count=size,
            region=row.region,
            region_class=classes[0] if len(classes) == 1 else "any",
            billing=cast(Billing, row.billing),
            price_usd_per_hour=price if share == 1 else round(price * share, 6),
            as_of=as_of,
            source=source,
            confidence=row.confidence,
            restrictions=restrictions,
            scaleup_domain_gpus=domain,
            link_bytes_per_second=link,
            internode_bytes_per_second=_internode(row, topology, size),
            available_count=None,
            vcpus=None if vcpus is None else vcpus * share,
            memory_bytes=None if memory_bytes is None else round(memory_bytes * share),
            notes=row.notes if share == 1 else f"{_priced_per(priced)}{row.notes}",
            region_classes=classes,
            minimum_count=-(-minimum_gpus // size) if minimum_gpus else 1,
        )


@cache
def _sizes(machine_gpus: str, priced: int) -> tuple[int, ...]:
    return tuple(int(size) for size in machine_gpus.split("/")) if machine_gpus else (priced,)


def _priced_per(gpus: int) -> str:
    return "priced per GPU; " if gpus == 1 else f"priced per {gpus} GPUs; "


def _topology_of_row(key: str, gpu: Gpu | None) -> Topology:
    """The provider's own topology where it is known, its links from the GPU's usual machine where it is silent."""
    if gpu is None:
        raise BadGpuDb("its GPU is not in gpus.csv.")
    usual = topology_of_gpu(gpu)
    if not key:
        return usual
    if key not in topologies():
        raise BadGpuDb(f"its topology {key!r} is not in topology.csv.")
    own = topologies()[key]
    if own.link_bytes_per_second is not None or own.gpus_per_node == 1:
        return own
    return Topology(
        own.gpus_per_node, own.scaleup_domain_gpus, usual.link_bytes_per_second, own.internode_bytes_per_second
    )


def _internode(row: PricedRow, topology: Topology, size: int) -> float | None:
    """Network between whole machines, per GPU: the provider's topology first, else what its price list states."""
    if row.topology:
        return topology.internode_bytes_per_second if size >= topology.gpus_per_node else None
    node_gpus = number(row.internode_node_gpus)
    total = number(row.internode_gbit_per_second, GBIT_BYTES)
    return total / node_gpus if total and node_gpus and size >= node_gpus else None


@cache
def _restrictions(words: str, confidence: str) -> tuple[Restriction, ...]:
    named = [word for word in words.split("/") if word]
    unknown = set(named) - set(get_args(Restriction))
    if unknown:
        raise BadGpuDb(f"its restrictions {sorted(unknown)} are unknown.")
    weak = ["low-confidence"] if confidence == "low" else []
    return cast(tuple[Restriction, ...], tuple(named + weak))
