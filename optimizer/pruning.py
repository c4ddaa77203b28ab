"""Which candidates the solver must see: for each machine and size, those that no other one beats.

The test is proof-safe. Two candidates of one group occupy the same GPUs of the same machine, so whatever plan uses the
worse one may use the better one instead: its price, its GPUs and its machine are the same, and every attribute that a
rule or a goal reads is at least as good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gpu_db.offer import Offer
from optimizer.candidates import Candidates
from optimizer.cp_sat.integers import capacity_milli
from optimizer.replica_columns import Bools, Floats, Ints
from optimizer.shapes import Place


@dataclass(frozen=True)
class Columns:
    """What the solver decides about: machines to buy and replicas to put on them.

    Attributes:
        offers: the machine types, shape (machines,).
        machine: shape (columns,): the machine type that a column's replica runs on.
        candidate: shape (columns,): its row in the candidate table.
        gpus: shape (columns,): GPUs of one replica, over all its nodes.
        output_tokens_per_second, concurrency, power_watts: of one replica, shape (columns,).
        idle_watts: of one GPU of each machine type with nothing to do, shape (machines,).
    """

    offers: tuple[Offer, ...]
    machine: Ints
    candidate: Ints
    gpus: Ints
    output_tokens_per_second: Floats
    concurrency: Ints
    power_watts: Floats
    idle_watts: Floats

    @classmethod
    def on(cls, candidates: Candidates, offers: tuple[Offer, ...], machine: Ints, candidate: Ints) -> Columns:
        """Candidates on machines of these offers; `machine` and `candidate` have shape (columns,)."""
        shapes = candidates.shapes.columns
        idle = dict(zip((gpu.name for gpu in shapes.gpus), candidates.idle_watts.tolist(), strict=True))
        return cls(
            offers=offers,
            machine=machine,
            candidate=candidate,
            gpus=shapes.gpu_count[candidates.shape[candidate]],
            output_tokens_per_second=candidates.output_tokens_per_second[candidate],
            concurrency=candidates.concurrency[candidate],
            power_watts=candidates.power_watts[candidate],
            idle_watts=np.asarray([idle[offer.gpu] for offer in offers], dtype=np.float64),
        )

    @property
    def machine_watts(self) -> Floats:
        """What each machine type draws while none of its GPUs serves, each GPU rounded up, shape (machines,)."""
        return np.asarray([offer.gpu_count for offer in self.offers]) * np.ceil(self.idle_watts)

    @property
    def added_watts(self) -> Floats:
        """What each column's replica adds to the draw of its machine, rounded up, shape (columns,)."""
        added: Floats = np.ceil(self.power_watts) - self.gpus * np.ceil(self.idle_watts)[self.machine]
        return added

    def __len__(self) -> int:
        return len(self.candidate)

    def take(self, columns: Ints | Bools) -> Columns:
        """Only these columns, all machines."""
        return replace(
            self,
            machine=self.machine[columns],
            candidate=self.candidate[columns],
            gpus=self.gpus[columns],
            output_tokens_per_second=self.output_tokens_per_second[columns],
            concurrency=self.concurrency[columns],
            power_watts=self.power_watts[columns],
        )


def cheapest_offers(offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """Offers that some cheapest plan may buy: of those at equal places, all up to the first without any condition.

    Equal places run every replica alike, so a dearer offer is only of use when the cheaper ones are sold out or sold
    only in large numbers.
    """
    kept: list[Offer] = []
    endless: set[Place] = set()
    for offer in sorted(offers, key=lambda one: (one.price_usd_per_hour, one.offer_id)):
        place = Place.of(offer)
        if place not in endless:
            kept.append(offer)
            if offer.available_count is None and offer.minimum_count <= 1:
                endless.add(place)
    return tuple(kept)


@dataclass(frozen=True)
class Reads:
    """What the rules and goals of a question read of a replica, beyond its output tokens per second.

    Attributes:
        concurrency: some rule counts requests in flight.
        power: the goal is watts, or they are limited. Replicas of unknown power cannot be judged then.
        tokens_enough: output tokens per second beyond which more are worth nothing: those of the whole demand when the
            goal is watts.
    """

    concurrency: bool = False
    power: bool = False
    tokens_enough: float = np.inf


def prune(candidates: Candidates, offers: tuple[Offer, ...], allowed: Bools, reads: Reads) -> Columns:
    """The columns of the program.

    Args:
        candidates: the table.
        offers: machines that may be bought (see `cheapest_offers`).
        allowed: shape (candidates,): keeps its service level.
        reads: what the solver will look at.
    """
    allowed = allowed & _on_offer(candidates, offers)[candidates.shape]
    if reads.power:
        allowed = allowed & np.isfinite(candidates.power_watts)
    rows = np.flatnonzero(allowed)
    best = rows[_front_positions(candidates, rows, candidates.shape[rows], reads)]
    place, rows = _on_places(candidates, best)
    size = candidates.shapes.columns.gpu_count[candidates.shape[rows]]
    group = place * (int(size.max(initial=0)) + 1) + size
    order = np.lexsort((rows, group))
    place, rows, group = place[order], rows[order], group[order]
    kept = _front_positions(candidates, rows, group, reads)
    if not reads.concurrency:
        better = _saves_on_smaller if reads.power else _beats_smaller
        kept = kept[better(candidates, place[kept], rows[kept])]
    return _on_offers(candidates, offers, place[kept], rows[kept])


def unpruned(candidates: Candidates, offers: tuple[Offer, ...], allowed: Bools) -> Columns:
    """Every allowed candidate, shape (candidates,), on each of these offers whose machine can run it."""
    place, rows = _on_places(candidates, np.flatnonzero(allowed))
    return _on_offers(candidates, offers, place, rows)


def _on_offer(candidates: Candidates, offers: tuple[Offer, ...]) -> Bools:
    """Which shapes some offered machine can run, shape (shapes,)."""
    shapes = candidates.shapes
    offered = {Place.of(offer) for offer in offers}
    at = np.asarray([place in offered for place in shapes.places], dtype=bool)
    runnable = np.zeros(shapes.columns.rows, dtype=bool)
    runnable[shapes.pair_shape[at[shapes.pair_place]]] = True
    return runnable


def _beats_smaller(candidates: Candidates, place: Ints, rows: Ints) -> Bools:
    """Shape (rows,), sorted by place and size: gives more tokens per GPU than every smaller replica on its place.

    A replica that does not may be replaced by several of a smaller size, which divides its own: they fit on the same
    GPUs and give as much. Sizes beyond one machine do not all divide each other, so only those within one count.
    """
    size = candidates.shapes.columns.gpu_count[candidates.shape[rows]]
    within = size <= np.asarray([one.gpu_count for one in candidates.shapes.places], dtype=np.int64)[place]
    share = capacity_milli(candidates.output_tokens_per_second[rows]) / size
    height = np.unique(share, return_inverse=True)[1].reshape(-1) + 1 + place * (len(share) + 1)
    counted = np.where(within, height, place * (len(share) + 1))
    before = np.r_[np.int64(-1), np.maximum.accumulate(counted)[:-1]] if len(rows) else counted
    return height > before


def _saves_on_smaller(candidates: Candidates, place: Ints, rows: Ints) -> Bools:
    """Shape (rows,): no number of smaller replicas on the same GPUs gives as many tokens for as few watts.

    As `_beats_smaller`, with watts: k replicas of a k times smaller size, for every size that fits a machine.
    On each front watts rise with tokens, so of the small replicas that give enough the first is the most frugal.
    """
    size = candidates.shapes.columns.gpu_count[candidates.shape[rows]]
    most = np.asarray([one.gpu_count for one in candidates.shapes.places], dtype=np.int64)[place]
    tokens = capacity_milli(candidates.output_tokens_per_second[rows])
    watts = np.ceil(candidates.power_watts[rows]).astype(np.int64)
    saves = np.ones(len(rows), dtype=bool)
    for small in np.unique(size):
        few = np.flatnonzero((size == small) & (size <= most))
        few = few[np.lexsort((tokens[few], place[few]))]
        many = np.flatnonzero((size > small) & (size % small == 0))
        times = size[many] // small
        span = int(tokens.max(initial=0)) + 2
        wanted = place[many] * span + -(-tokens[many] // times)
        at = np.searchsorted(place[few] * span + tokens[few], wanted)
        found = at < len(few)
        beside = few[np.minimum(at, len(few) - 1)] if len(few) else many
        saves[many] &= ~(found & (place[beside] == place[many]) & (times * watts[beside] <= watts[many]))
    return saves


def _front_positions(candidates: Candidates, rows: Ints, group: Ints, reads: Reads) -> Ints:
    """Positions in `rows` that no row of the same group beats in every attribute that is read."""
    tokens = candidates.output_tokens_per_second[rows]
    if not reads.concurrency and not reads.power:
        most = np.zeros(int(group.max(initial=0)) + 1)
        np.maximum.at(most, group, tokens)
        tied = np.flatnonzero(tokens == most[group])  # few are left to be sorted
        order = tied[np.lexsort((rows[tied], candidates.tpot_seconds[rows[tied]], group[tied]))]
        first = np.diff(group[order], prepend=-1) != 0
        return np.sort(order[first])
    requests = candidates.concurrency[rows].astype(np.float64)
    if not reads.power:
        return front_of_two(group, tokens, requests)
    tokens, watts = np.minimum(tokens, reads.tokens_enough), -candidates.power_watts[rows]
    if not reads.concurrency:
        return front_of_two(group, tokens, watts)
    return _front_of_three(group, tokens, watts, requests)


def front_of_two(group: Ints, first: Floats, second: Floats) -> Ints:
    """Positions that are not beaten within their group; more is better in both.

    >>> front_of_two(np.zeros(3, dtype=int), np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 2.0])).tolist()
    [0, 1]
    """
    order = np.lexsort((-second, -first, group))
    rank = np.unique(second, return_inverse=True)[1].reshape(-1)
    height = group[order].astype(np.int64) * (len(rank) + 1) + rank[order] + 1
    before = np.maximum.accumulate(np.r_[np.int64(-1), height[:-1]]) if len(order) else height
    floor = group[order].astype(np.int64) * (len(rank) + 1)
    return np.sort(order[height > np.maximum(before, floor)])


def _front_of_three(group: Ints, first: Floats, second: Floats, level: Floats) -> Ints:
    """As `front_of_two`, with a third attribute of few distinct values (the concurrency)."""
    kept = []
    for value in np.unique(level):
        at_least = np.flatnonzero(level >= value)
        front = at_least[front_of_two(group[at_least], first[at_least], second[at_least])]
        kept.append(front[level[front] == value])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)


def _on_places(candidates: Candidates, rows: Ints) -> tuple[Ints, Ints]:
    """Each candidate on each place that can run its shape: (place, candidate), both shape (pairs,)."""
    shapes = candidates.shapes
    order = np.argsort(candidates.shape[rows], kind="stable")
    rows = rows[order]
    start = np.searchsorted(candidates.shape[rows], shapes.pair_shape, side="left")
    end = np.searchsorted(candidates.shape[rows], shapes.pair_shape, side="right")
    counts = end - start
    place = np.repeat(shapes.pair_place, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return place, rows[np.repeat(start, counts) + within]


def _on_offers(candidates: Candidates, offers: tuple[Offer, ...], place: Ints, rows: Ints) -> Columns:
    number = {one: index for index, one in enumerate(candidates.shapes.places)}
    offer_place = np.asarray([number[Place.of(offer)] for offer in offers], dtype=np.int64)
    machines, columns = np.nonzero(offer_place[:, None] == place[None, :])
    used = np.unique(machines)
    return Columns.on(
        candidates,
        tuple(offers[index] for index in used),
        np.searchsorted(used, machines),
        rows[columns],
    )
