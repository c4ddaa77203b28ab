"""A fleet -> its integer program: services' replicas take slots of pools, machines fill them, limits count machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from optimizer.cp_sat.integers import MICRO, budget_micro_usd, capacity_milli, demand_milli, micro_usd
from optimizer.fleet.dominance import Machines, Standing, needed
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.market import Market, Pool, Supply, spot_share, term_months
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.replicas import Replicas
from optimizer.fleet.services import QUOTA_UNITS, Fleet, Service
from optimizer.replica_columns import Bools, Floats, Ints

LimitKind = Literal["budget", "gpus", "power", "gpu", "instance_type", "provider", "region"]


@dataclass(frozen=True)
class LimitRow:
    """A shared limit and the resource that counts it.

    Attributes:
        kind: which rule.
        name: of what, for quotas.
        resource: its number.
        scale: units of the resource in one unit of the limit: micro-dollars in a dollar.
        unit: of the limit, for people.
    """

    kind: LimitKind
    name: str
    resource: int
    scale: int
    unit: str


@dataclass(frozen=True)
class Column:
    """Where the columns of one service and model stand in the program.

    Attributes:
        service: its number.
        replicas: what they are.
        numbers: column numbers, shape (columns,).
        replica: index into `replicas`, shape (columns,).
        pool: where they stand, shape (columns,).
    """

    service: int
    replicas: Replicas
    numbers: Ints
    replica: Ints
    pool: Ints


@dataclass(frozen=True)
class Program:
    """The integer program of a fleet, and what its numbers mean.

    Attributes:
        fleet: the question.
        market: what may be had.
        problem: the numbers.
        supply: column number of each of the market's supplies.
        columns: those of the services.
        limits: the shared limits.
        size_covers: of each service with several sizes: the covers of each of them.
        cuts: column number -> the number of the market's cut.
    """

    fleet: Fleet
    market: Market
    problem: FleetProblem
    supply: Ints
    columns: tuple[Column, ...]
    limits: tuple[LimitRow, ...]
    size_covers: tuple[tuple[tuple[int, ...], ...], ...]
    cuts: Mapping[int, int] = field(default_factory=dict)


def build_program(
    fleet: Fleet,
    market: Market,
    replicas: Sequence[Sequence[Replicas]],
    open_gpus: frozenset[str] = frozenset(),
) -> Program:
    """The program of a fleet.

    Args:
        fleet: the question.
        market: what may be had.
        replicas: of each service, of each of its models.
        open_gpus: GPUs whose machines stay in the program even if no cheapest plan needs them at their price.

    Raises:
        BadFleetProblem: sums are too large.
    """
    return _Builder(fleet, market, replicas, open_gpus).program()


class Builder:
    """What the programs of one month and of many have in common while they are made."""

    def __init__(
        self, fleet: Fleet, market: Market, replicas: Sequence[Sequence[Replicas]], machines: Machines
    ) -> None:
        self.fleet, self.market, self.replicas, self.machines = fleet, market, replicas, machines
        self.draft = FleetDraft()

    def add_replicas(
        self,
        demands: Demands,
        replicas: Replicas,
        where: tuple[Ints, Ints],
        slots: Mapping[int, int],
        power: int | None,
    ) -> Ints:
        """Replicas of one service and model as columns, which take slots and watts.

        Args:
            demands: of the service.
            replicas: of the model.
            where: (replica, pool) pairs, each of shape (columns,).
            slots: pool -> the resource that its machines give.
            power: the resource of watts, where they are limited.

        Returns:
            Numbers of the columns, shape (columns,).
        """
        replica, pool = where
        gpus = replicas.gpus[replica]
        of_pool = np.asarray([slots.get(at, -1) for at in range(len(self.market.pools))], dtype=np.int64)
        return self.draft.add_columns(
            demands.service,
            price_micro_usd=np.zeros(len(replica), dtype=np.int64),
            covers=demands.given(replicas.take(replica), self.machines.spot[pool]),
            uses={} if power is None else {power: np.ceil(replicas.power_watts[replica]).astype(np.int64)},
            stands=(of_pool[pool], gpus),
            most=self.fleet.machines_most,
            lost_replicas=replicas_on_a_machine(self.market, gpus, pool),
        )


class _Builder(Builder):
    """The program in the making: what may stand where, what of it is needed, then resources, supply and replicas."""

    def __init__(
        self, fleet: Fleet, market: Market, replicas: Sequence[Sequence[Replicas]], open_gpus: frozenset[str]
    ) -> None:
        super().__init__(fleet, market, replicas, machines_of(market, open_gpus))
        self.limits: dict[tuple[str, str], LimitRow] = {}
        self.slots: dict[int, int] = {}
        self.supply = np.full(len(market.supplies), -1, dtype=np.int64)
        self.cuts: dict[int, int] = {}

    def program(self) -> Program:
        demands = [Demands.of(service, spot_share(service, self.fleet), self.draft) for service in self.fleet.services]
        standing = self._needed(demands)
        self._add_limits()
        pools = set(np.concatenate([pool for each in standing for _, pool in each]).tolist())
        for at in sorted(pools | {self.market.machine_pool(at) for at in pools}):
            self._add_pool(at)
        self._add_cuts()
        power = self.limits["power", ""].resource if ("power", "") in self.limits else None
        columns = [
            Column(number, one, self.add_replicas(demands[number], one, where, self.slots, power), *where)
            for number, each in enumerate(standing)
            for one, where in zip(self.replicas[number], each, strict=True)
        ]
        return Program(
            self.fleet,
            self.market,
            self.draft.build(),
            self.supply,
            tuple(columns),
            tuple(self.limits.values()),
            tuple(each.of_sizes() for each in demands),
            self.cuts,
        )

    def _needed(self, demands: Sequence[Demands]) -> list[list[tuple[Ints, Ints]]]:
        """(replica, pool) pairs of each service and model that a cheapest plan may need."""
        where = [
            [places_of(self.fleet, self.market, number, one) for one in each]
            for number, each in enumerate(self.replicas)
        ]
        standing = [
            standing_of(self.fleet, self.market, number, self.replicas[number], each, [demands[number]])
            for number, each in enumerate(where)
        ]
        needed_columns = needed(standing, self.machines)
        found = []
        for each, mask in zip(where, needed_columns, strict=True):
            parts = np.split(mask, np.cumsum([len(pool) for _, pool in each])[:-1])
            found.append([(replica[kept], pool[kept]) for (replica, pool), kept in zip(each, parts, strict=True)])
        return found

    def _add_limits(self) -> None:
        limits = self.fleet.limits
        if limits.budget_usd_per_hour is not None:
            self._limit("budget", "", budget_micro_usd(limits.budget_usd_per_hour), MICRO, "USD/h")
        if limits.gpus is not None:
            self._limit("gpus", "", limits.gpus, 1, "GPUs")
        if limits.power_watts is not None:
            self._limit("power", "", int(limits.power_watts), 1, "W")
        for quota in limits.quotas:
            self._limit(quota.kind, quota.name, quota.most, 1, QUOTA_UNITS[quota.kind])

    def _limit(self, kind: LimitKind, name: str, most: int, scale: int, unit: str) -> None:
        resource = self.draft.add_resource(f"{kind} {name}".strip(), most)
        self.limits[kind, name] = LimitRow(kind, name, resource, scale, unit)

    def _add_pool(self, at: int) -> None:
        """One pool's slots, and the machines that give them."""
        self.slots[at] = self.draft.add_resource(f"slots {at}: {pool_label(self.market.pools[at])}")
        for number, supply in enumerate(self.market.supplies):
            if supply.pool == at:
                self.supply[number] = self._add_supply(supply)

    def _add_cuts(self) -> None:
        """GPUs that are cut take a slot each and give their parts, those that anything can stand on."""
        seen: set[tuple[int, tuple[tuple[int, int], ...]]] = set()
        for number, cut in enumerate(self.market.cuts):
            gives = tuple((pool, count) for pool, count in cut.gives if pool in self.slots)
            if not gives or (cut.pool, gives) in seen:
                continue
            seen.add((cut.pool, gives))
            columns = self.draft.add_supply(
                price_micro_usd=0,
                gives={self.slots[pool]: count for pool, count in gives},
                uses={self.slots[cut.pool]: 1},
                most=self.fleet.machines_most * self.market.pools[cut.pool].place.gpu_count,
            )
            self.cuts[int(columns[0])] = number

    def _add_supply(self, supply: Supply) -> int:
        offer, quotas = supply.offer, self.fleet.limits.quotas
        amounts: dict[tuple[str, str], int] = {
            ("budget", ""): micro_usd(offer.price_usd_per_hour),
            ("gpus", ""): offer.gpu_count,
            **{
                (quotas[number].kind, quotas[number].name): amount
                for number, amount in zip(supply.quotas, supply.amounts, strict=True)
            },
        }
        columns = self.draft.add_supply(
            price_micro_usd=micro_usd(offer.price_usd_per_hour),
            gives={self.slots[supply.pool]: offer.gpu_count},
            uses={self.limits[key].resource: amount for key, amount in amounts.items() if key in self.limits},
            most=self.fleet.machines_most if offer.available_count is None else offer.available_count,
            least=max(offer.minimum_count, 1),
        )
        return int(columns[0])


def replicas_on_a_machine(market: Market, gpus: Ints, pool: Ints) -> Ints:
    """How many replicas of so many GPUs (or of one part) one machine of their pools holds, at least 1."""
    room = np.asarray([_room(market, at) for at in range(len(market.pools))], dtype=np.int64)
    held: Ints = np.maximum(room[pool] // np.maximum(gpus, 1), 1)
    return held


def _room(market: Market, at: int) -> int:
    """GPUs, or parts of them, in one machine."""
    gpus = market.pools[market.machine_pool(at)].place.gpu_count
    most = max((count for cut in market.cuts for pool, count in cut.gives if pool == at), default=1)
    return gpus * most


def places_of(fleet: Fleet, market: Market, number: int, replicas: Replicas) -> tuple[Ints, Ints]:
    """(replica, pool) pairs: every replica in every pool of its place that its service accepts."""
    taste = market.taste[number]
    pools = np.asarray([at for at, pool in enumerate(market.pools) if taste in pool.tastes], dtype=np.int64)
    index = {place: at for at, place in enumerate(replicas.places)}
    place = np.asarray([index.get(market.pools[at].place, -1) for at in pools.tolist()], dtype=np.int64)
    pair_pool, replica = np.nonzero(place[:, None] == replicas.place[None, :])
    if fleet.services[number].survives_losing_one_machine:
        group = np.asarray([market.machine_pool(at) for at in pools.tolist()], dtype=np.int64)[pair_pool]
        size = replicas.gpus[replica] * shares_of(market)[pools[pair_pool]]
        best = _one_per_pool(group, size, fleet.services[number], replicas, replica)
        pair_pool, replica = pair_pool[best], replica[best]
    return replica.astype(np.int64), pools[pair_pool]


def shares_of(market: Market) -> Floats:
    """What a GPU of each pool is of a GPU, shape (pools,): less than 1 for parts."""
    return np.asarray([1.0 if pool.part is None else pool.part.share for pool in market.pools])


def standing_of(
    fleet: Fleet,
    market: Market,
    number: int,
    models: Sequence[Replicas],
    where: Sequence[tuple[Ints, Ints]],
    demands: Sequence[Demands],
) -> Standing:
    """All models of one service in one table, with what they give to its demands, of one month or of several."""
    taken = [one.take(replica) for one, (replica, _) in zip(models, where, strict=True)]
    pool = np.concatenate([pool for _, pool in where])
    whole = np.concatenate([one.gpus for one in taken])
    together = replicas_on_a_machine(market, whole, pool)
    gpus = whole * shares_of(market)[pool] if market.cuts else whole
    pool = np.asarray([market.machine_pool(at) for at in range(len(market.pools))], dtype=np.int64)[pool]
    rates = np.column_stack([np.concatenate([each.rates(one) for one in taken]) for each in demands])
    lost = rates * together[:, None].astype(np.float64) if fleet.services[number].survives_losing_one_machine else None
    limited = fleet.limits.power_watts is not None
    return Standing(
        pool=pool,
        gpus=gpus,
        rates=rates,
        lost=lost,
        watts=np.concatenate([one.power_watts for one in taken]) if limited else None,
        gpus_limited=fleet.limits.gpus is not None,
    )


def machines_of(
    market: Market, open_gpus: frozenset[str] = frozenset(), *, uncommitted: Fleet | None = None
) -> Machines:
    """The market's pools as the test of what is needed reads them.

    Over months no replica is exchanged for one on machines that are committed to: those of `uncommitted` are left out.
    """
    least, endless = np.full((2, len(market.pools)), np.inf)
    for supply in market.supplies:
        price = supply.offer.price_usd_per_hour
        least[supply.pool] = min(least[supply.pool], price)
        committed = uncommitted is not None and term_months(uncommitted, supply.offer) is not None
        plain = supply.offer.available_count is None and supply.offer.minimum_count <= 1 and not supply.quotas
        if plain and not committed:
            endless[supply.pool] = min(endless[supply.pool], price)
    gpus = np.asarray([pool.place.gpu_count for pool in market.pools], dtype=np.int64)
    spot = np.asarray([pool.spot for pool in market.pools], dtype=bool)
    is_open = np.asarray([pool.place.gpu in open_gpus for pool in market.pools], dtype=bool)
    return Machines(gpus, least / gpus, endless, spot, is_open)


def _one_per_pool(pool: Ints, size: Floats, service: Service, replicas: Replicas, replica: Ints) -> Ints:
    """Of each pool the replica that does the service's mix of sizes with fewest GPUs, the smaller of equals; positions.

    What one lost machine takes is counted per column; with one column per pool no machine carries two.
    """
    tokens = np.asarray([size.output_tokens for size in service.sizes]) * np.asarray(service.size_shares)
    with np.errstate(divide="ignore"):
        work = (tokens / replicas.output_tokens_per_second[replica]).sum(axis=1) * size
    order = np.lexsort((size, work, pool))
    best: Ints = order[np.flatnonzero(np.diff(pool[order], prepend=-1))]
    return best


@dataclass(frozen=True)
class Demands:
    """The covers of one service.

    Attributes:
        service: number in the draft.
        kinds: what each cover counts: "tokens", "requests in flight", "copies", or the number of a size.
        covers: their numbers.
        demands: how much of each, in whole units.
        steady: covers that spot machines do not count for.
    """

    service: int
    kinds: tuple[str | int, ...]
    covers: tuple[int, ...]
    demands: tuple[int, ...]
    steady: frozenset[int]
    output_tokens: tuple[int, ...]

    @classmethod
    def of(cls, service: Service, spot: float, draft: FleetDraft, suffix: str = "") -> Demands:
        """Add a service's covers to a draft; `suffix` tells it from itself in other months."""
        number = draft.add_service(
            service.name + suffix, required=service.required, priority=service.priority, weight=service.weight
        )
        survives = service.survives_losing_one_machine
        kinds: list[str | int] = []
        covers, steady, demands = [], set(), []
        for kind, demand, bucket, is_steady in _wanted(service, spot):
            covers.append(draft.add_cover(number, demand, bucket=bucket, survives=survives and kind != "copies"))
            kinds.append(kind)
            demands.append(demand)
            if is_steady:
                steady.add(covers[-1])
        tokens = tuple(size.output_tokens for size in service.sizes)
        return cls(number, tuple(kinds), tuple(covers), tuple(demands), frozenset(steady), tokens)

    def given(self, replicas: Replicas, on_spot: Bools) -> Mapping[int, Ints]:
        """Cover -> what one replica gives, shape (columns,)."""
        gives = {cover: self._amount(kind, replicas) for kind, cover in zip(self.kinds, self.covers, strict=True)}
        return {cover: np.where(on_spot & (cover in self.steady), 0, amount) for cover, amount in gives.items()}

    def of_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Covers of each size, where there are several."""
        sizes = sorted({kind for kind in self.kinds if isinstance(kind, int)})
        return tuple(
            tuple(cover for kind, cover in zip(self.kinds, self.covers, strict=True) if kind == size) for size in sizes
        )

    def rates(self, replicas: Replicas) -> Floats:
        """What one replica gives to each demand, of what is asked, shape (replicas, demands)."""
        amounts = [
            np.minimum(self._amount(kind, replicas), demand)
            for kind, demand in zip(self.kinds, self.demands, strict=True)
        ]
        return np.column_stack(amounts).astype(np.float64)

    def _amount(self, kind: str | int, replicas: Replicas) -> Ints:
        if kind == "copies":
            return np.ones(len(replicas), dtype=np.int64)
        if kind == "requests in flight":
            return replicas.concurrency
        if kind == "tokens":
            return capacity_milli(replicas.output_tokens_per_second[:, 0])
        size = int(kind)
        return _micro(replicas.output_tokens_per_second[:, size] / self.output_tokens[size])


def _micro(rate: Floats) -> Ints:
    """Requests per second in millionths, rounded down."""
    micro: Ints = np.floor(rate * MICRO).astype(np.int64)
    return micro


def _wanted(service: Service, spot: float) -> Iterator[tuple[str | int, int, bool, bool]]:
    """(what is counted, demand, whether it is a bucket, whether spot machines do not count) of each cover.

    Several sizes share the replicas' time: each is a bucket of requests. Where only a share of the demand may run on
    spot machines the rest must be met without them; a bucket is divided in two.
    """
    if len(service.sizes) > 1:
        for size, share in enumerate(service.size_shares):
            rate = service.requests_per_second * share
            for part, steady in ((1 - spot, True), (spot, False)):
                if part > 0:
                    yield size, -int(-rate * part * MICRO // 1), True, steady and spot > 0
    else:
        yield from _of_one_size(service, spot)
    if service.replicas_at_least > 1:
        yield "copies", service.replicas_at_least, False, False


def _of_one_size(service: Service, spot: float) -> Iterator[tuple[str | int, int, bool, bool]]:
    tokens = max(
        service.demand.output_tokens_per_second or 0.0,
        (service.demand.requests_per_second or 0.0) * service.sizes[0].output_tokens,
    )
    asked = [("tokens", demand_milli(tokens))] if tokens else []
    if service.demand.concurrency is not None:
        asked.append(("requests in flight", service.demand.concurrency))
    for kind, demand in asked:
        yield kind, demand, False, False
        if 0 < spot < 1:
            yield kind, -int(-demand * (1 - spot) // 1), False, True


def pool_label(pool: Pool) -> str:
    """A pool in words: "8 x H100 SXM 80GB", "1g.10gb of H100 SXM 80GB"."""
    if pool.part is not None:
        return f"{pool.part.name} of {pool.part.gpu.part_of}"
    return f"{pool.place.gpu_count} x {pool.place.gpu}"
