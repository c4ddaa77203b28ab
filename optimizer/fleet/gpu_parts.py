"""Parts of one GPU that several small replicas may have: slices that MIG cuts, or equal shares of engines side by side.

A part is a GPU of its own to the memory and the performance model: its memory, its bandwidth and its compute are its
share of the card's. No part was ever measured, so every estimate on one is uncalibrated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from gpu_db.gpu import Gpu
from optimizer.memory.communication import visible_bytes
from optimizer.memory.mig import CannotShare, geometry_of, mig_profile, profile_names

Way = Literal["mig", "fractions"]
STARTS = {
    (7, 8): {(1, 1): (0, 1, 2, 3, 4, 5, 6), (1, 2): (0, 2, 4, 6), (2, 2): (0, 2, 4), (3, 4): (0, 4), (4, 4): (0,)},
    (4, 4): {(1, 1): (0, 1, 2, 3), (2, 2): (0, 2)},
}
"""Compute and memory slices of a card -> those of a profile -> the memory slices at which it may begin.

Source: NVIDIA Multi-Instance GPU User Guide, "MIG Placement"; the whole card is no part of it.
"""
DENOMINATORS = (2, 3, 4)
"""Equal shares of engines side by side; with more the contexts of all leave too little."""
UNIT = 12
"""A card in the smallest shares that all denominators divide."""


@dataclass(frozen=True)
class GpuPart:
    """A part of a card.

    Attributes:
        name: "1g.10gb" or "1/2".
        gpu: as a card of its own.
        share: of the card's memory; those of one card add up to no more than 1.
        compute_slices, memory_slices: of the card's; both in twelfths of the card for "1/2".
    """

    name: str
    gpu: Gpu
    share: float
    compute_slices: int
    memory_slices: int

    @property
    def is_fraction(self) -> bool:
        """Whether it is a share of engines side by side, and no slice."""
        return "/" in self.name


def gpu_parts(gpu: Gpu, ways: Sequence[Way], *, utilization: float, context_bytes: float) -> tuple[GpuPart, ...]:
    """The parts that a card can be had in.

    Args:
        gpu: the card.
        ways: "mig" where the card has it; "fractions" on any card.
        utilization: of the card's memory that all engines on it take together.
        context_bytes: of the driver, for each engine beside its share.

    Returns:
        Nothing for a card of unknown memory. Of equal shares only those whose engines leave room for the context of
        every one of them: utilization + n context / total <= 1.
    """
    if gpu.memory_bytes is None:
        return ()
    slices = _mig_parts(gpu) if "mig" in ways else ()
    if "fractions" not in ways:
        return slices
    left = (1 - utilization) * visible_bytes(gpu)
    return (*slices, *(_fraction(gpu, n) for n in DENOMINATORS if n * context_bytes <= left))


def _mig_parts(gpu: Gpu) -> tuple[GpuPart, ...]:
    try:
        geometry = geometry_of(gpu)
    except CannotShare:
        return ()
    whole = (geometry.compute_slices, geometry.memory_slices)
    parts = []
    for name, (compute, memory) in zip(profile_names(gpu), geometry.profiles, strict=True):
        if (compute, memory) in STARTS[whole]:
            part = mig_profile(gpu, name)
            parts.append(GpuPart(name, _marked(part, gpu, compute / whole[0]), memory / whole[1], compute, memory))
    return tuple(parts)


def _fraction(gpu: Gpu, n: int) -> GpuPart:
    """One of n equal shares: a utilization of one n-th, and one n-th of the card's time."""
    assert gpu.memory_bytes is not None
    bandwidth = gpu.memory_bandwidth_bytes_per_second
    part = replace(
        gpu,
        name=f"{gpu.name} 1/{n}",
        memory_bytes=gpu.memory_bytes // n,
        memory_marketed_bytes=gpu.memory_marketed_bytes // n,
        memory_bandwidth_bytes_per_second=None if bandwidth is None else bandwidth / n,
        flop_per_second={number: rate / n for number, rate in gpu.flop_per_second.items()},
        link_bytes_per_second=None,
        scaleup_domain_gpus=1,
        mig_capable=False,
        aliases=(),
    )
    return GpuPart(f"1/{n}", _marked(part, gpu, 1 / n), 1 / n, UNIT // n, UNIT // n)


def _marked(part: Gpu, whole: Gpu, share: float) -> Gpu:
    """The part with its share of the card's power, and whose part it is."""
    power, idle = whole.power_watts, whole.idle_watts
    return replace(
        part,
        part_of=whole.name,
        power_watts=None if power is None else power * share,
        idle_watts=None if idle is None else idle * share,
    )


def ways_to_cut(gpu: Gpu, parts: Sequence[GpuPart]) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Every way to cut one card that no other beats: names of parts with their numbers.

    >>> from gpu_db.query import find_gpu
    >>> parts = gpu_parts(find_gpu("A30"), ("mig",), utilization=0.92, context_bytes=0.5e9)
    >>> ways_to_cut(find_gpu("A30"), parts)
    ((('1g.6gb', 2), ('2g.12gb', 1)), (('1g.6gb', 4),), (('2g.12gb', 2),))
    """
    slices = [part for part in parts if not part.is_fraction]
    shares = [part for part in parts if part.is_fraction]
    found = {}
    if slices:
        geometry = geometry_of(gpu)
        found.update(dict.fromkeys(_mig_cuts(geometry.compute_slices, geometry.memory_slices, _named(slices))))
    found.update(dict.fromkeys(_equal_cuts(_named(shares))))
    return tuple(sorted(_unbeaten(list(found))))


def _named(parts: Sequence[GpuPart]) -> tuple[tuple[str, int, int], ...]:
    return tuple((part.name, part.compute_slices, part.memory_slices) for part in parts)


Cut = tuple[tuple[str, int], ...]


@lru_cache(maxsize=64)
def _mig_cuts(compute: int, memory: int, parts: tuple[tuple[str, int, int], ...]) -> tuple[Cut, ...]:
    """All placements of slices on one card, as names with numbers."""
    starts = STARTS[compute, memory]

    def placed(at: int, left: int, held: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if at == memory:
            yield held
            return
        yield from placed(at + 1, left, held)
        for name, needs, size in parts:
            if at in starts[needs, size] and needs <= left and at + size <= memory:
                yield from placed(at + size, left - needs, (*held, name))

    return tuple({tuple(sorted(Counter(held).items())) for held in placed(0, compute, ()) if held})


@lru_cache(maxsize=64)
def _equal_cuts(parts: tuple[tuple[str, int, int], ...]) -> tuple[Cut, ...]:
    """All sets of shares that add up to no more than a card."""

    def added(left: int, kinds: tuple[tuple[str, int, int], ...]) -> Iterator[tuple[tuple[str, int], ...]]:
        if not kinds:
            yield ()
            return
        name, _, size = kinds[0]
        for number in range(left // size + 1):
            for rest in added(left - number * size, kinds[1:]):
                yield (*(((name, number),) if number else ()), *rest)

    return tuple(tuple(sorted(cut)) for cut in added(UNIT, parts) if cut)


def _unbeaten(cuts: Sequence[Cut]) -> list[Cut]:
    """Cuts of which no other has as many of every part and more of one."""
    counts = [dict(cut) for cut in cuts]

    def beaten(one: dict[str, int]) -> bool:
        return any(
            other != one and all(other.get(name, 0) >= number for name, number in one.items()) for other in counts
        )

    return [cut for cut, one in zip(cuts, counts, strict=True) if not beaten(one)]
