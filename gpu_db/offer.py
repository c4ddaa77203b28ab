"""One machine to rent (or owned): its GPUs, place, billing, price, date and source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

Billing = Literal["on-demand", "spot", "reserved-1y", "reserved-3y", "owned"]
BILLINGS: tuple[Billing, ...] = ("on-demand", "spot", "reserved-1y", "reserved-3y", "owned")

Restriction = Literal[
    "marketplace",
    "low-confidence",
    "part-only",
    "minimum-purchase",
    "capacity-block",
    "flex-start",
    "serverless",
    "quote",
    "from-price",
    "virtual-gpu",
    "unlisted",
]
"""Why an offer is planned with only when it is asked for by name or option.

marketplace: third-party hosts, the cheapest of the day. low-confidence: the price rests on one weak source.
part-only: the GPU's price, its host is billed on top. minimum-purchase: only in bulk or for a minimum term.
capacity-block: prepaid for a fixed window. flex-start: queued capacity, at most 7 days. serverless: billed per second
of use, CPU and memory apart. quote: somebody was quoted it. from-price: a "from" price, without its terms.
virtual-gpu: a GPU over a network, its speed varies. unlisted: the provider's price list no longer has it.
"""
RESTRICTIONS: tuple[Restriction, ...] = get_args(Restriction)


@dataclass(frozen=True, slots=True)
class Offer:
    """One machine type at one place under one billing kind, with a dated price.

    Attributes:
        offer_id: unique and stable: "aws/p5.48xlarge/us-east-1/on-demand".
        provider: "aws", "lambda", ...; "owned" machines carry the user's own word.
        instance_type: what one asks the provider for.
        gpu: name of the Gpu.
        gpu_count: GPUs in one machine; what is bought is always whole machines.
        region: as the provider writes it.
        region_class: "us", "eu", "asia", "other" or "any" (uniform or global price, or regions of several classes).
        region_classes: every class that `region` lists: ("us", "eu"); ("any",) when it says everywhere or nothing.
        billing: how it is paid.
        price_usd_per_hour: for the whole machine, CPU and memory included unless `restrictions` says part-only.
        as_of: the day on which that price was read.
        source: where.
        confidence: "high", "medium" or "low".
        restrictions: empty for an offer that anybody can take by default.
        scaleup_domain_gpus: GPUs that reach each other over the scale-up fabric (1 = PCIe only).
        link_bytes_per_second: one direction per GPU between two GPUs of one machine; None when unknown.
        internode_bytes_per_second: one direction per GPU between machines; None = several machines cannot
            serve one replica together.
        available_count: how many can be had; None = not limited.
        minimum_count: the fewest of these machines that can be had at this price (with "minimum-purchase").
        vcpus, memory_bytes: of the host; None when unknown.
        notes: free text of the source.
    """

    offer_id: str
    provider: str
    instance_type: str
    gpu: str
    gpu_count: int
    region: str
    region_class: str
    billing: Billing
    price_usd_per_hour: float
    as_of: date
    source: str
    confidence: str
    restrictions: tuple[Restriction, ...] = ()
    scaleup_domain_gpus: int = 1
    link_bytes_per_second: float | None = None
    internode_bytes_per_second: float | None = None
    available_count: int | None = None
    vcpus: float | None = None
    memory_bytes: int | None = None
    notes: str = ""
    region_classes: tuple[str, ...] = ("any",)
    minimum_count: int = 1
