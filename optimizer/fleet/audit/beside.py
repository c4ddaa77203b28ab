"""A fleet's plan beside what it was made from: offers and quotas by the names that the plan uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpu_db.gpu import Gpu
from gpu_db.offer import Offer
from gpu_db.query import select_offers
from optimizer.fleet.gpu_parts import GpuPart
from optimizer.fleet.plan import FleetPlan, MachineLine
from optimizer.fleet.services import QuotaOn, Service
from optimizer.requirements import Requirements
from optimizer.search import Knowledge

SPOT = "spot"


@dataclass(frozen=True)
class FleetKnowledge:
    """What a fleet's plan was made from.

    Attributes:
        offers: every machine on offer, whatever its billing or restriction.
        gpus: by name, parts of GPUs among them.
        asked: (service, model's full name) -> what is known of the model, and what each size of requests (input and
            output tokens) asks of it.
        parts: GPU -> the parts that it may be cut into.
    """

    offers: tuple[Offer, ...]
    gpus: Mapping[str, Gpu]
    asked: Mapping[tuple[str, str], tuple[Knowledge, Mapping[tuple[int, int], Requirements]]]
    parts: Mapping[str, tuple[GpuPart, ...]] = field(default_factory=dict)


class Beside:
    """One plan beside what it was made from."""

    def __init__(self, plan: FleetPlan, knowledge: FleetKnowledge) -> None:
        self.plan, self.fleet, self.knowledge = plan, plan.question, knowledge
        self.offer = {offer.offer_id: offer for offer in knowledge.offers}
        self.region_quotas = [quota.name.strip().casefold() for quota in self.fleet.limits.quotas if _is_region(quota)]

    def sold_as(self, name: str) -> tuple[str, str | None]:
        """The offer's own name, and the region with a quota in which the plan rents it."""
        if name in self.offer:
            return name, None
        base, _, region = name.rpartition(" in ")
        return (base, region) if region in self.region_quotas else (name, None)

    def offer_of(self, line: MachineLine) -> Offer | None:
        """The offer that a line of machines is of; None when there is none, or it is not had in the region named."""
        name, region = self.sold_as(line.offer.offer_id)
        offer = self.offer.get(name)
        if offer is None or region is None:
            return offer
        there = select_offers([offer], regions=[region], billings=[offer.billing], allow=offer.restrictions)
        return offer if there else None

    def spot_share(self, service: Service) -> float:
        """How much of a service may run on spot machines at most."""
        buying = self.fleet.buying
        return min(service.spot_share_most, buying.spot_share_most) if SPOT in buying.billings else 0.0

    def is_spot(self, line: MachineLine) -> bool:
        """Whether a machine may be taken away, and somebody cares."""
        return line.offer.billing == SPOT and any(self.spot_share(service) < 1 for service in self.fleet.services)


def label(line: MachineLine, part: str) -> str:
    """What a machine, or a part of its GPUs, is called."""
    return f"{part} of {line.offer.gpu}" if part else f"{line.offer.gpu_count} x {line.offer.gpu}"


def _is_region(quota: QuotaOn) -> bool:
    return quota.kind == "region"
