"""One service's replicas as columns: what the single-model search finds, on every kind of machine there is."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_db.offer import Offer
from optimizer.pruning import Columns, Reads, prune
from optimizer.requirements import Requirements
from optimizer.search import Search, keeps_service_level
from optimizer.shapes import Place


def one_offer_per_place(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Of the offers whose machines are alike one stands for all: the first by its id."""
    first: dict[Place, Offer] = {}
    for offer in sorted(offers, key=lambda one: one.offer_id):
        first.setdefault(Place.of(offer), offer)
    return tuple(first.values())


def service_columns(
    search: Search,
    requirements: Requirements,
    offers: Iterable[Offer],
    *,
    concurrency: bool = False,
    power: bool = False,
) -> Columns:
    """The replicas of one service that keep its service level, one column per kind of machine and size.

    Which machine is rented where is the fleet's decision, so prices, providers and quotas have no say here: columns of
    offers whose machines are alike are the same. A column takes `gpus` slots of machines of the place of its `offers`.

    Args:
        search: knows the model.
        requirements: workload, service level and choices; demand and limits are not read.
        offers: machines that the service may run on.
        concurrency: some rule of the fleet counts requests in flight, so columns that have more of them stay.
        power: some rule of the fleet or its goal counts watts, so columns that need fewer stay.

    Raises:
        BadRequirements: the question contradicts itself.
    """
    candidates = search.candidates(requirements)
    allowed = keeps_service_level(candidates, requirements)
    reads = Reads(concurrency=concurrency, power=power)
    return prune(candidates, one_offer_per_place(offers), allowed, reads)
