"""A fleet -> its integer program: services' replicas take slots of pools, machines fill them, limits count machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from optimizer.cp_sat.integers import MICRO, budget_micro_usd, micro_usd
from optimizer.fleet.demands import Demands
from optimizer.fleet.dominance import Machines, needed
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.market import Market, Supply, spot_share
from optimizer.fleet.places import machines_of, places_of, pool_label, replicas_on_a_machine, standing_of
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.replicas import Replicas
from optimizer.fleet.services import QUOTA_UNITS, Fleet
from optimizer.replica_columns import Ints

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
