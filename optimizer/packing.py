"""Which replicas stand on which machines, once the counts are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from optimizer.cp_sat.program import Purchase


@dataclass(frozen=True)
class Share:
    """Replicas of one column on machines of one type.

    `machines` counts those bought for it; 0 when it stands beside the replicas of an earlier share, `with_line`.
    """

    machine: int
    column: int
    machines: int
    replicas: int
    with_line: int | None


def share_machines(purchase: Purchase) -> tuple[Share, ...]:
    """Every used column as shares of machines, each bought machine counted once.

    Machines that carry the same replicas are one share; where several columns stand together on machines, the first
    share has the machines and the others point to it.
    """
    shares: list[Share] = []
    for machine in np.flatnonzero(purchase.machines):
        for content, machines in _contents(purchase, int(machine)).items():
            first = len(shares)
            for place, (column, replicas) in enumerate(content):
                shares.append(
                    Share(
                        int(machine),
                        column,
                        machines if place == 0 else 0,
                        replicas * machines if not _spans(purchase, column) else replicas,
                        None if place == 0 else first,
                    )
                )
    return tuple(shares)


def _spans(purchase: Purchase, column: int) -> bool:
    columns = purchase.columns
    return bool(columns.gpus[column] > columns.offers[columns.machine[column]].gpu_count)


def _contents(purchase: Purchase, machine: int) -> Counter[tuple[tuple[int, int], ...]]:
    """How many machines of this type carry which replicas: ((column, replicas on one machine), ...) -> machines.

    Replicas over several machines come first, one content per column whose count is its total; then, largest first,
    each replica goes to the fullest machine that still has room. That finds a packing whenever sizes form a
    divisibility chain.
    """
    columns, gpu_count = purchase.columns, purchase.columns.offers[machine].gpu_count
    mine = [int(c) for c in np.flatnonzero((columns.machine == machine) & (purchase.replicas > 0))]
    contents: Counter[tuple[tuple[int, int], ...]] = Counter()
    free = int(purchase.machines[machine])
    for column in (c for c in mine if _spans(purchase, c)):
        taken = int(purchase.replicas[column]) * -(-int(columns.gpus[column]) // gpu_count)
        contents[((column, int(purchase.replicas[column])),)] += taken
        free -= taken
    contents.update(_fill([c for c in mine if not _spans(purchase, c)], purchase, free, gpu_count))
    return contents


def _fill(
    columns: list[int], purchase: Purchase, machines: int, gpu_count: int
) -> Counter[tuple[tuple[int, int], ...]]:
    groups: Counter[tuple[int, tuple[tuple[int, int], ...]]] = Counter({(gpu_count, ()): machines})
    for column in sorted(columns, key=lambda c: (-purchase.columns.gpus[c], c)):
        left, size = int(purchase.replicas[column]), int(purchase.columns.gpus[column])
        for free, content in sorted(groups):
            here = groups[free, content]
            if left <= 0 or free < size or not here:
                continue
            each = free // size
            full = min(here, left // each)
            _move(groups, (free, content), column, size, each, full)
            left -= full * each
            if left and full < here:
                _move(groups, (free, content), column, size, left, 1)
                left = 0
        if left:
            raise ValueError(f"{left} replicas of {size} GPUs find no machine; the counts cannot be packed.")
    packed: Counter[tuple[tuple[int, int], ...]] = Counter()
    for (_, content), here in groups.items():
        if here:
            packed[content] += here
    return packed


def _move(
    groups: Counter[tuple[int, tuple[tuple[int, int], ...]]],
    group: tuple[int, tuple[tuple[int, int], ...]],
    column: int,
    size: int,
    each: int,
    machines: int,
) -> None:
    """`machines` machines of a group take `each` more replicas of a column."""
    if not machines:
        return
    free, content = group
    groups[group] -= machines
    groups[free - each * size, (*content, (column, each))] += machines
