"""Which pools and replicas no cheapest plan of a fleet needs: a test by exchange, safe for the proof.

A replica costs at least its part of the cheapest machine of its pool, because the machines of a pool are paid whole.
If n replicas of another kind do as much, each on machines of its own that anybody can have without end and that count
for no quota, and together cost no more than that part, the exchange makes no plan dearer. When every replica of a pool
can be exchanged so for replicas of other pools, the pool is not needed: its replicas together cost no more than its
machines. A replica that fills whole machines by itself can be exchanged alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.replica_columns import Bools, Floats, Ints

SLACK = 1e-6
"""Rates are rounded to whole units before they are compared; exchanges this near to equal are not made."""
BLOCK = 4_000_000
"""Pairs of replicas that are compared at once, to bound memory."""
PAIRS_MOST = 10_000_000
"""Pairs of replicas of one service that are compared in all (under a second); beyond it fewer stand for their pool."""


@dataclass(frozen=True)
class Machines:
    """The pools; arrays have shape (pools,).

    Attributes:
        gpus: in one machine.
        slot_price: of the cheapest machine there, divided by its GPUs: no slot costs less.
        endless_price: of the cheapest machine that can be had without end and counts for no quota; infinite if none.
        spot: whether they may be taken away.
        open: kept whatever they cost, and nothing is exchanged for them: their price is what is asked about.
    """

    gpus: Ints
    slot_price: Floats
    endless_price: Floats
    spot: Bools
    open: Bools


@dataclass(frozen=True)
class Standing:
    """All replicas of one service, wherever they may stand; arrays have shape (columns,).

    Attributes:
        pool: the machines that they stand on.
        gpus: of one replica; for one on a part of a GPU, the part.
        rates: what it gives to each demand, cut at that demand, shape (columns, demands).
        lost: what one lost machine takes of each demand, shape (columns, demands); None = it need not be survived.
        watts: None when nothing limits them.
        gpus_limited: whether the fleet's number of GPUs is limited.
    """

    pool: Ints
    gpus: Ints | Floats
    rates: Floats
    lost: Floats | None
    watts: Floats | None
    gpus_limited: bool


def needed(services: Sequence[Standing], machines: Machines) -> tuple[Bools, ...]:
    """The columns of each service that a cheapest plan may need, each of shape (columns,)."""
    exchanges = [_exchangeable(standing, machines) for standing in services]
    remaining = _remaining_pools(services, exchanges, machines)
    return tuple(_needed_of_one(standing, machines, remaining) for standing in services)


def _least_cost(standing: Standing, machines: Machines) -> Floats:
    """No plan pays less for a replica, shape (columns,)."""
    cost: Floats = standing.gpus * machines.slot_price[standing.pool]
    return cost


def _own_cost(standing: Standing, machines: Machines) -> Floats:
    """A replica on machines of its own, shape (columns,)."""
    count = -(-standing.gpus // machines.gpus[standing.pool])
    cost: Floats = count.astype(np.float64) * np.where(machines.open, np.inf, machines.endless_price)[standing.pool]
    return cost


def _replaces(standing: Standing, machines: Machines, rows: Ints, by: Ints) -> Bools:
    """Whether some number of replicas `by` on their own machines replaces one of `rows`, shape (rows, by)."""
    number = _times(standing, rows, by)
    most = _least_cost(standing, machines)[rows][:, None]
    fine: Bools = number * _own_cost(standing, machines)[by] <= most
    fine &= ~machines.spot[standing.pool[by]] | machines.spot[standing.pool[rows]][:, None]
    if standing.gpus_limited:
        taken = -(-standing.gpus // machines.gpus[standing.pool]) * machines.gpus[standing.pool]
        fine &= number * taken[by] <= standing.gpus[rows][:, None]
    if standing.watts is not None:
        fine &= number * standing.watts[by] <= standing.watts[rows][:, None]
    if standing.lost is not None:
        fine &= (standing.lost[by][None] <= standing.rates[rows][:, None]).all(axis=2)
    return fine


def _exchangeable(standing: Standing, machines: Machines) -> Bools:
    """Whether a column can be exchanged for one of a pool, shape (columns, pools)."""
    able = np.zeros((len(standing.pool), len(machines.gpus)), dtype=bool)
    by = np.flatnonzero(np.isfinite(_own_cost(standing, machines)))
    by = _few(standing, by, PAIRS_MOST // max(len(standing.pool), 1))
    if not len(by):
        return able
    pools, start = np.unique(standing.pool[by], return_index=True)
    step = max(BLOCK // (len(by) * standing.rates.shape[1]), 1)
    for first in range(0, len(standing.pool), step):
        rows = np.arange(first, min(first + step, len(standing.pool)))
        fine = _replaces(standing, machines, rows, by)
        able[rows[:, None], pools[None]] = np.logical_or.reduceat(fine, start, axis=1)
    return able


def _few(standing: Standing, by: Ints, most: int) -> Ints:
    """About so many of `by`, in the order of their pools; of each pool evenly from the slowest to the fastest.

    Where watts count, a replica stays at every batch, and tens of thousands would be compared with each other. To leave
    one out of the comparison is safe: less is exchanged.
    """
    order = by[np.lexsort((standing.rates[by, 0], standing.pool[by]))]
    pools, start, size = np.unique(standing.pool[order], return_index=True, return_counts=True)
    each = max(most // max(len(pools), 1), 1)
    last = start + size - 1
    taken = [
        np.linspace(top, first, min(each, number)).astype(np.int64)
        for first, top, number in zip(start, last, size, strict=True)
    ]
    return order[np.sort(np.concatenate(taken))] if taken else order


def _remaining_pools(services: Sequence[Standing], exchanges: Sequence[Bools], machines: Machines) -> Bools:
    """Pools that are needed, the dearest tried first, shape (pools,)."""
    remaining = np.ones(len(machines.gpus), dtype=bool)
    pool = np.concatenate([standing.pool for standing in services])
    able = np.concatenate(list(exchanges))
    for at in np.argsort(-machines.slot_price, kind="stable").tolist():
        others = remaining.copy()
        others[at] = False
        if not machines.open[at] and able[pool == at][:, others].any(axis=1).all():
            remaining[at] = False
    return remaining


def _needed_of_one(standing: Standing, machines: Machines, remaining: Bools) -> Bools:
    """Columns in pools that remain, without those that fill their machines and that a cheaper one replaces."""
    kept = remaining[standing.pool]
    fills = (standing.gpus % machines.gpus[standing.pool] == 0) & ~machines.open[standing.pool]
    rows = np.flatnonzero(kept & fills)
    by = np.flatnonzero(kept & np.isfinite(_own_cost(standing, machines)))
    by = _few(standing, by, PAIRS_MOST // max(len(rows), 1))
    if not len(rows) or not len(by):
        return kept
    step = max(BLOCK // (len(by) * standing.rates.shape[1]), 1)
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        fine = _replaces(standing, machines, some, by)
        cost, own = _least_cost(standing, machines)[some][:, None], _own_cost(standing, machines)[by]
        strictly = fine & (_times(standing, some, by) * own < cost * (1 - SLACK))
        kept[some[strictly.any(axis=1)]] = False
    return kept


def _times(standing: Standing, rows: Ints, by: Ints) -> Floats:
    """How many of `by` do the work of one of `rows`, shape (rows, by)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = standing.rates[rows][:, None] / standing.rates[by][None]
    ratio = np.where(standing.rates[rows][:, None] > 0, ratio, 0.0).max(axis=2)
    times: Floats = np.maximum(np.ceil(ratio * (1 + SLACK)), 1.0)
    return times
