"""Where a service's replicas may stand, and which of those places the test of what is needed has to see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optimizer.fleet.demands import Demands
from optimizer.fleet.dominance import Machines, Standing
from optimizer.fleet.market import Market, Pool, term_months
from optimizer.fleet.replicas import Replicas
from optimizer.fleet.services import Fleet, Service
from optimizer.replica_columns import Floats, Ints


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


def pool_label(pool: Pool) -> str:
    """A pool in words: "8 x H100 SXM 80GB", "1g.10gb of H100 SXM 80GB"."""
    if pool.part is not None:
        return f"{pool.part.name} of {pool.part.gpu.part_of}"
    return f"{pool.place.gpu_count} x {pool.place.gpu}"
