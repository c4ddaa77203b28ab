"""What may be had for a fleet: machines that the same services accept stand in one pool, and count for quotas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from gpu_db.offer import Offer
from gpu_db.query import find_gpus, select_offers
from gpu_db.regions import is_everywhere, region_classes, region_words
from optimizer.engines.find import find_engine
from optimizer.errors import BadRequirements
from optimizer.fleet.gpu_parts import GpuPart, gpu_parts, ways_to_cut
from optimizer.fleet.services import Fleet, QuotaOn, Service
from optimizer.memory.factors import memory_factors
from optimizer.shapes import Place

SPOT = "spot"


@dataclass(frozen=True)
class Taste:
    """Which machines a service accepts: services that accept the same ones share one."""

    gpus: tuple[str, ...] | None
    gpus_excluded: tuple[str, ...]
    providers: tuple[str, ...] | None
    regions: tuple[str, ...] | None
    prices_since: date | None
    takes_spot: bool


def taste_of(service: Service, fleet: Fleet) -> Taste:
    """What a service accepts; spot machines only if some of its demand may run there."""
    choices = service.choices
    return Taste(
        gpus=choices.gpus,
        gpus_excluded=choices.gpus_excluded,
        providers=choices.providers,
        regions=choices.regions,
        prices_since=choices.prices_since,
        takes_spot=spot_share(service, fleet) > 0,
    )


def spot_share(service: Service, fleet: Fleet) -> float:
    """The share of its demand that a service may have on spot machines."""
    return min(service.spot_share_most, fleet.buying.spot_share_most) if SPOT in fleet.buying.billings else 0.0


@dataclass(frozen=True)
class Pool:
    """Machines that run every replica alike and that the same services accept; whose they are matters to limits only.

    Attributes:
        place: what they are.
        tastes: numbers of the tastes that accept them.
        spot: whether they may be taken away.
        cut_from: the pool whose GPUs these are parts of; None = whole machines.
        part: which part of a GPU.
    """

    place: Place
    tastes: frozenset[int]
    spot: bool
    cut_from: int | None = None
    part: GpuPart | None = None


@dataclass(frozen=True)
class Cut:
    """One GPU of a pool cut into parts.

    Attributes:
        pool: number of the pool.
        gives: (number of a pool of parts, how many) pairs.
    """

    pool: int
    gives: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Supply:
    """One offer, as it stands in one pool.

    Attributes:
        offer: with the region that it is rented in, where a quota makes that matter.
        pool: number of its pool.
        quotas: numbers of the fleet's quotas that it counts for.
        amounts: what one machine takes of each of them.
    """

    offer: Offer
    pool: int
    quotas: tuple[int, ...]
    amounts: tuple[int, ...]


@dataclass(frozen=True)
class Market:
    """Everything that the fleet may rent, buy or use.

    Attributes:
        tastes: the distinct ones of the services.
        taste: of each service, by its number.
        pools: kinds of machines.
        supplies: what fills them, in rising order of price within a pool.
        cuts: how GPUs may be cut into parts.
    """

    tastes: tuple[Taste, ...]
    taste: tuple[int, ...]
    pools: tuple[Pool, ...]
    supplies: tuple[Supply, ...]
    cuts: tuple[Cut, ...] = ()

    def offers_of(self, taste: int) -> tuple[Offer, ...]:
        """What a taste accepts, parts of GPUs as machines of their own."""
        whole = (s.offer for s in self.supplies if taste in self.pools[s.pool].tastes)
        return (*whole, *self.part_offers(taste))

    def part_offers(self, taste: int | None = None) -> tuple[Offer, ...]:
        """Parts of GPUs (that a taste accepts) as machines of one GPU; nobody sells them, they are where they are."""
        first = {supply.pool: supply.offer for supply in reversed(self.supplies)}
        return tuple(
            replace(
                first[pool.cut_from],
                offer_id=f"{first[pool.cut_from].offer_id} {pool.part.name}",
                gpu=pool.part.gpu.name,
                gpu_count=1,
                scaleup_domain_gpus=1,
                link_bytes_per_second=None,
                internode_bytes_per_second=None,
            )
            for pool in self.pools
            if pool.part is not None and pool.cut_from in first and taste in (None, *pool.tastes)
        )

    def part_gpus(self) -> dict[str, Gpu]:
        """Parts of GPUs as GPUs, by name."""
        return {pool.part.gpu.name: pool.part.gpu for pool in self.pools if pool.part is not None}

    def parts_of_gpus(self) -> dict[str, tuple[GpuPart, ...]]:
        """GPU -> the parts that it may be cut into."""
        parts: dict[str, dict[str, GpuPart]] = {}
        for part in (pool.part for pool in self.pools if pool.part is not None):
            parts.setdefault(part.gpu.part_of, {})[part.name] = part
        return {gpu: tuple(each.values()) for gpu, each in parts.items()}

    def machine_pool(self, pool: int) -> int:
        """The pool of the machines that a pool's replicas stand on."""
        of = self.pools[pool].cut_from
        return pool if of is None else of


def market_of(fleet: Fleet, offers: Sequence[Offer]) -> Market:
    """The fleet's market.

    Args:
        fleet: the question.
        offers: all that may be rented, owned machines and systems to buy included, whatever billing or restriction.

    Raises:
        gpu_db.errors.GpuDbError: a GPU, provider, instance type or region is unknown.
    """
    tastes = tuple(dict.fromkeys(taste_of(service, fleet) for service in fleet.services))
    number = {taste: at for at, taste in enumerate(tastes)}
    quotas = fleet.limits.quotas
    variants = [one for offer in offers for one in _by_quota_region(offer, quotas)]
    accepted = [_accepted(variants, taste, fleet) for taste in tastes]
    spot_matters = any(spot_share(service, fleet) < 1 for service in fleet.services)
    counts = _counts(quotas, variants)
    pools: dict[Pool, int] = {}
    supplies = []
    for at, variant in enumerate(variants):
        offer = variant.offer
        wanted_by = frozenset(taste for taste, chosen in enumerate(accepted) if at in chosen)
        if wanted_by:
            pool = pools.setdefault(
                Pool(Place.of(offer), wanted_by, spot_matters and offer.billing == SPOT), len(pools)
            )
            supplies.append(Supply(offer, pool, tuple(counts[at]), tuple(counts[at].values())))
    whole = tuple(pools)
    parts = [_parts_of(pool, at, fleet) for at, pool in enumerate(whole)] if fleet.share_gpus else []
    return Market(
        tastes,
        tuple(number[taste_of(service, fleet)] for service in fleet.services),
        (*whole, *(part for each in parts for part in each)),
        tuple(undominated_supplies(supplies, fleet)),
        tuple(_cuts(whole, parts)),
    )


def _parts_of(pool: Pool, at: int, fleet: Fleet) -> list[Pool]:
    """Pools of the parts that a pool's GPUs can be had in."""
    engines = {name for service in fleet.services for name in service.choices.engines}
    gpu, contexts = load_gpus()[pool.place.gpu], memory_factors().context_bytes
    parts = gpu_parts(
        gpu,
        fleet.share_gpus,
        utilization=max(find_engine(*name.split(maxsplit=1)).memory_utilization or 1.0 for name in engines),
        context_bytes=contexts.get(gpu.vendor, max(contexts.values())),
    )
    return [Pool(Place(part.gpu.name, 1, 1, 0.0, 0.0), pool.tastes, pool.spot, at, part) for part in parts]


def _cuts(whole: Sequence[Pool], parts: Sequence[Sequence[Pool]]) -> Iterator[Cut]:
    """Every way to cut a GPU of each pool; pools of parts are numbered after all whole ones."""
    first = len(whole)
    for at, each in enumerate(parts):
        kinds = [pool.part for pool in each if pool.part is not None]
        number = {part.name: first + place for place, part in enumerate(kinds)}
        for cut in ways_to_cut(load_gpus()[whole[at].place.gpu], kinds):
            yield Cut(at, tuple((number[name], count) for name, count in cut))
        first += len(each)


@dataclass(frozen=True)
class _Variant:
    """An offer, once for each region with a quota that it can be rented in, and once for everywhere else.

    Attributes:
        inside: the region with a quota that it is rented in; None = in none of them.
        outside: regions with a quota that it is not in.
    """

    offer: Offer
    inside: str | None = None
    outside: tuple[str, ...] = ()

    def stands_in(self, asked: Sequence[str]) -> bool:
        """Whether what is rented so can be in one of these regions (of which the offer itself has one)."""
        if self.inside is not None:
            mine = {self.inside, *region_classes(self.inside)}
            return any(word in mine or self.inside in region_classes(word) for word in asked)
        return any(not {word, *region_classes(word)} & set(self.outside) for word in asked)


def _accepted(variants: Sequence[_Variant], taste: Taste, fleet: Fleet) -> set[int]:
    """Numbers of the variants that a taste accepts."""
    chosen = select_offers(
        [variant.offer for variant in variants],
        gpus=taste.gpus,
        gpus_excluded=taste.gpus_excluded,
        providers=taste.providers,
        regions=taste.regions,
        billings=tuple(b for b in fleet.buying.billings if b != SPOT or taste.takes_spot),
        allow=frozenset(fleet.buying.allowed_restrictions),
        since=taste.prices_since,
    )
    names = {offer.offer_id for offer in chosen}
    asked = [word.strip().casefold() for word in taste.regions or ()]
    return {
        at
        for at, variant in enumerate(variants)
        if variant.offer.offer_id in names and (not asked or variant.stands_in(asked))
    }


def _by_quota_region(offer: Offer, quotas: Iterable[QuotaOn]) -> list[_Variant]:
    words = [quota.name.strip().casefold() for quota in quotas if quota.kind == "region"]
    inside = [word for word in words if _is_in(offer, word)]
    if not inside or offer.billing == "owned":
        return [_Variant(offer)]
    parts = [_Variant(replace(offer, offer_id=f"{offer.offer_id} in {word}"), word) for word in inside]
    return parts if _only_in(offer, inside) else [*parts, _Variant(offer, None, tuple(inside))]


def _is_in(offer: Offer, word: str) -> bool:
    return bool(select_offers([offer], regions=[word], billings=[offer.billing], allow=offer.restrictions))


def _only_in(offer: Offer, words: Sequence[str]) -> bool:
    """Whether every region of the offer is one of these."""
    if is_everywhere(offer.region):
        return False
    return set(region_words(offer.region)) <= set(words) or set(offer.region_classes) <= set(words)


def _counts(quotas: Sequence[QuotaOn], variants: Sequence[_Variant]) -> list[dict[int, int]]:
    """For each variant: number of a quota -> what one machine takes of it."""
    counts: list[dict[int, int]] = [{} for _ in variants]
    for number, quota in enumerate(quotas):
        for at in _within(quota, variants):
            counts[at][number] = 1 if quota.kind == "instance_type" else variants[at].offer.gpu_count
    return counts


def _within(quota: QuotaOn, variants: Sequence[_Variant]) -> set[int]:
    """Numbers of the variants that count for a quota."""
    if quota.kind == "gpu":
        names = {gpu.name for gpu in find_gpus(quota.name)}
        return {at for at, variant in enumerate(variants) if variant.offer.gpu in names}
    rented = [(at, variant) for at, variant in enumerate(variants) if variant.offer.billing != "owned"]
    key = quota.name.strip().casefold()
    if quota.kind == "region":
        found = {at for at, variant in rented if variant.inside == key}
    elif quota.kind == "provider":
        found = {
            at for at, v in rented if key in {v.offer.provider.casefold(), v.offer.provider.casefold().split(":")[0]}
        }
    else:
        found = {at for at, variant in rented if variant.offer.instance_type.casefold() == key}
    if not found:
        raise BadRequirements(
            f"The quota of {quota.kind.replace('_', ' ')} {quota.name!r} limits nothing: no offer has it; "
            "write it as the provider does."
        )
    return found


TERM_MONTHS = {"reserved-1y": 12, "reserved-3y": 36}
PURCHASED = "purchased"
"""Provider of systems that are bought; their term is what they are written off in."""


def term_months(fleet: Fleet, offer: Offer) -> int | None:
    """Months that an offer is committed to; None = it is rented by the hour."""
    if offer.provider == PURCHASED and fleet.buying.purchase is not None:
        return round(fleet.buying.purchase.years * 12)
    return TERM_MONTHS.get(offer.billing)


def undominated_supplies(supplies: Iterable[Supply], fleet: Fleet) -> list[Supply]:
    """Supplies that a cheapest plan may need.

    Of one pool, one that costs no less than another and counts for every quota that the other counts for, is not
    needed if the other can be had without end, in any number. Over months only offers of one term are compared.
    """
    kept: list[Supply] = []
    endless: dict[tuple[int, int | None], list[frozenset[int]]] = {}
    for supply in sorted(supplies, key=lambda s: (s.pool, s.offer.price_usd_per_hour, len(s.quotas), s.offer.offer_id)):
        mine = frozenset(supply.quotas)
        kind = (supply.pool, term_months(fleet, supply.offer) if fleet.demand_by_month else None)
        if any(cheaper <= mine for cheaper in endless.get(kind, ())):
            continue
        kept.append(supply)
        if supply.offer.available_count is None and supply.offer.minimum_count <= 1:
            endless.setdefault(kind, []).append(mine)
    return kept
