"""Which replicas of a fleet stand on which machines, once the counts are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.errors import AuditFailed


@dataclass(frozen=True)
class Block:
    """Replicas of one column that want places: `gpus` each, on machines of one pool."""

    column: int
    gpus: int
    replicas: int


@dataclass(frozen=True)
class Loaded:
    """Machines of one supply that carry the same: (column, replicas on each machine) pairs, `machines` of them.

    A replica that spans machines is counted on the first of them, and `part_of` names its column on all. `cuts` are
    (column, GPUs on each machine) pairs of GPUs that are cut, on which some of what it carries stands.
    """

    supply: int
    machines: int
    carries: tuple[tuple[int, int], ...]
    part_of: int | None = None
    cuts: tuple[tuple[int, int], ...] = ()


def place(blocks: Iterable[Block], machines: Sequence[tuple[int, int]], gpus_per_machine: int) -> tuple[Loaded, ...]:
    """Put every replica of one pool on a machine.

    Replicas over several machines take whole ones first; then, largest first, each replica goes to the first machine
    with room. Sizes in a machine form a divisibility chain, so that finds a packing whenever the GPUs suffice.

    Args:
        blocks: what wants places.
        machines: (supply, count) pairs; dearer ones last, so that what is left idle is the dearest.
        gpus_per_machine: of every machine of the pool.

    Raises:
        AuditFailed: a bug of ours: the GPUs do not suffice.

    >>> place([Block(0, 4, 3)], [(7, 2)], 8)
    (Loaded(supply=7, machines=1, carries=((0, 2),), part_of=None, cuts=()), Loaded(supply=7, machines=1, carries=((0, 1),), part_of=None, cuts=()))
    """  # noqa: E501 - the answer is one line
    ordered = sorted(blocks, key=lambda block: (-block.gpus, block.column))
    free = [supply for supply, count in machines for _ in range(count)]
    wide, at = [], 0
    for block in (block for block in ordered if block.gpus > gpus_per_machine):
        for _ in range(block.replicas):
            span = -(-block.gpus // gpus_per_machine)
            if at + span > len(free):
                raise AuditFailed(f"Column {block.column} needs {span} machines; {len(free) - at} are left.")
            wide += [
                Loaded(supply, 1, ((block.column, 1 if part == 0 else 0),), block.column)
                for part, supply in enumerate(free[at : at + span])
            ]
            at += span
    narrow = _fill([block for block in ordered if block.gpus <= gpus_per_machine], free[at:], gpus_per_machine)
    return tuple(_counted([*wide, *narrow]))


def _fill(blocks: Sequence[Block], free: Sequence[int], room: int) -> list[Loaded]:
    """Largest first, machine by machine."""
    contents: list[list[tuple[int, int]]] = [[] for _ in free]
    at, left = 0, room
    for block in blocks:
        waiting = block.replicas
        while waiting:
            fits = min(left // block.gpus, waiting)
            if fits:
                contents[at].append((block.column, fits))
                left, waiting = left - fits * block.gpus, waiting - fits
            if waiting:
                at, left = at + 1, room
                if at >= len(free):
                    raise AuditFailed(f"Column {block.column} finds no machine for {waiting} replicas.")
    return [Loaded(supply, 1, tuple(each)) for supply, each in zip(free, contents, strict=True)]


def _counted(loaded: Iterable[Loaded]) -> list[Loaded]:
    """Equal loads once, with their number."""
    number: Counter[Loaded] = Counter()
    for each in loaded:
        number[replace(each, machines=1)] += each.machines
    return [replace(each, machines=count) for each, count in number.items()]


def with_parts(
    loads: Iterable[Loaded], gives: Mapping[int, Mapping[int, int]], wanted: Mapping[int, Sequence[tuple[int, int]]]
) -> tuple[Loaded, ...]:
    """The same machines, with replicas on the parts of the GPUs that are cut.

    Args:
        loads: machines that carry whole replicas and GPUs that are cut.
        gives: column of a cut -> pool of parts -> how many.
        wanted: pool of parts -> (column, replicas) pairs.

    Raises:
        AuditFailed: a bug of ours: the parts do not suffice.
    """
    waiting = {pool: [column for column, count in each for _ in range(count)] for pool, each in wanted.items()}
    machines = [replace(each, machines=1) for each in loads for _ in range(each.machines)]
    filled = [_with_its_parts(each, gives, waiting) for each in machines]
    left = {pool: len(columns) for pool, columns in waiting.items() if columns}
    if left:
        raise AuditFailed(f"Replicas find no part of a GPU: {left}.")
    return tuple(_counted(filled))


def _with_its_parts(one: Loaded, gives: Mapping[int, Mapping[int, int]], waiting: dict[int, list[int]]) -> Loaded:
    """One machine filled from what waits."""
    cuts = tuple((column, gpus) for column, gpus in one.carries if column in gives)
    carried: Counter[int] = Counter()
    for column, gpus in cuts:
        for pool, count in gives[column].items():
            queue = waiting.get(pool, [])
            carried.update(queue[: count * gpus])
            waiting[pool] = queue[count * gpus :]
    whole = tuple(each for each in one.carries if each[0] not in gives)
    return replace(one, carries=(*whole, *sorted(carried.items())), cuts=cuts)
