"""What one service may run: replicas with the rate of each of its request sizes, whichever machines they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.model import ModelSpec
from gpu_db.offer import Offer
from optimizer.candidates import BATCHES, Candidates
from optimizer.fleet.columns import one_offer_per_place, service_columns
from optimizer.fleet.services import Service
from optimizer.replica_columns import Bools, Floats, Ints
from optimizer.requirements import Requirements
from optimizer.search import CONTEXT_LEAST, CONTEXT_STEP, Search, keeps_service_level
from optimizer.shapes import Place, ShapeTable


@dataclass(frozen=True)
class Replicas:
    """Replicas of one service and one of its models; arrays have shape (replicas,) unless they say otherwise.

    Attributes:
        search: knows the model.
        questions: one per size of the service's requests.
        places: kinds of machines.
        place: index into `places`.
        gpus: of one replica, over all its machines.
        output_tokens_per_second: shape (replicas, sizes): if it served that size alone; 0 = it cannot, in time.
        concurrency, power_watts: the most over the sizes.
        candidate: shape (replicas, sizes): rows in the candidates of each question.
    """

    search: Search
    questions: tuple[Requirements, ...]
    places: tuple[Place, ...]
    place: Ints
    gpus: Ints
    output_tokens_per_second: Floats
    concurrency: Ints
    power_watts: Floats
    candidate: Ints

    def __len__(self) -> int:
        return len(self.place)

    def take(self, rows: Ints | Bools) -> Replicas:
        """Only these replicas."""
        return replace(
            self,
            place=self.place[rows],
            gpus=self.gpus[rows],
            output_tokens_per_second=self.output_tokens_per_second[rows],
            concurrency=self.concurrency[rows],
            power_watts=self.power_watts[rows],
            candidate=self.candidate[rows],
        )


def replicas_of(
    search: Search, service: Service, model: str, offers: Sequence[Offer], *, power: bool = False
) -> Replicas:
    """The replicas of one service that keep its service level, without those that others beat.

    Args:
        search: knows the model.
        service: what is asked.
        model: which of its models.
        offers: machines that it may run on.
        power: watts are limited, so columns that need fewer stay.

    Raises:
        BadRequirements: the question contradicts itself.
    """
    questions = questions_of(service, model, search.knowledge.spec)
    if len(questions) > 1:
        return _of_sizes(search, questions, offers, power=power)
    columns = service_columns(
        search, questions[0], offers, concurrency=service.demand.concurrency is not None, power=power
    )
    return Replicas(
        search,
        questions,
        tuple(Place.of(offer) for offer in columns.offers),
        columns.machine,
        columns.gpus,
        columns.output_tokens_per_second[:, None],
        columns.concurrency,
        columns.power_watts,
        columns.candidate[:, None],
    )


def questions_of(service: Service, model: str, spec: ModelSpec) -> tuple[Requirements, ...]:
    """What a service asks of a model, size by size.

    Several sizes have one context: replicas are started once, with room for the longest request. As for one size, that
    is room for twice the mean of the longest size, within what the model allows.
    """
    questions = tuple(service.question(model, size) for size in service.sizes)
    if len(questions) == 1 or questions[0].choices.max_model_len is not None:
        return questions
    longest = max(question.workload.longest_request for question in questions)
    room = -(-max(2 * longest, CONTEXT_LEAST) // CONTEXT_STEP) * CONTEXT_STEP
    length = max(min(room, spec.max_context_tokens), 1)
    choices = questions[0].choices.model_copy(update={"max_model_len": length})
    return tuple(question.model_copy(update={"choices": choices}) for question in questions)


def _of_sizes(search: Search, questions: tuple[Requirements, ...], offers: Sequence[Offer], *, power: bool) -> Replicas:
    """Replicas that some size can be served on, those that another on as many GPUs beats in every size left out."""
    tables = tuple(search.candidates(question) for question in questions)
    cells = _Cells.of(tables, questions)
    if power:
        cells = cells.take(np.isfinite(cells.power_watts))
    number = {place: at for at, place in enumerate(tables[0].shapes.places)}
    offered = np.asarray([number[Place.of(offer)] for offer in one_offer_per_place(offers)], dtype=np.int64)
    size = tables[0].shapes.columns.gpu_count[cells.shape]
    front = cells.front(cells.shape, power)
    cells, size = cells.take(front), size[front]
    place, row = _on_places(tables[0].shapes, cells.shape, np.unique(offered))
    cells, size = cells.take(row), size[row]
    front = cells.front(place * (int(size.max(initial=0)) + 1) + size, power)
    cells, place = cells.take(front), place[front]
    return Replicas(
        search,
        questions,
        tables[0].shapes.places,
        place,
        size[front],
        cells.output_tokens_per_second,
        cells.concurrency,
        cells.power_watts,
        cells.candidate,
    )


@dataclass(frozen=True)
class _Cells:
    """What several sizes have in common: replicas by variant, shape and batch, each with a rate for every size.

    Attributes:
        shape: of each, shape (cells,).
        candidate, output_tokens_per_second: shape (cells, sizes); -1 and 0 where it cannot serve a size.
        concurrency, power_watts: the most over the sizes, shape (cells,).
    """

    shape: Ints
    candidate: Ints
    output_tokens_per_second: Floats
    concurrency: Ints
    power_watts: Floats

    @classmethod
    def of(cls, tables: tuple[Candidates, ...], questions: tuple[Requirements, ...]) -> _Cells:
        labels = sorted({one.variant.label for table in tables for one in table.evaluations})
        keys = [_keys(table, labels) for table in tables]
        every = np.unique(np.concatenate(keys))
        candidate = np.full((len(every), len(tables)), -1, dtype=np.int64)
        rates, watts = np.zeros(candidate.shape), np.zeros(candidate.shape)
        shape, requests = np.zeros(len(every), dtype=np.int64), np.zeros(len(every), dtype=np.int64)
        for size, (table, key, question) in enumerate(zip(tables, keys, questions, strict=True)):
            kept = np.flatnonzero(keeps_service_level(table, question))
            at = np.searchsorted(every, key[kept])
            candidate[at, size], rates[at, size] = kept, table.output_tokens_per_second[kept]
            watts[at, size], shape[at] = table.power_watts[kept], table.shape[kept]
            requests[at] = np.maximum(requests[at], table.concurrency[kept])
        cells = cls(shape, candidate, rates, requests, watts.max(axis=1, initial=0.0))
        return cells.take(np.flatnonzero((candidate >= 0).any(axis=1)))

    def take(self, rows: Ints | Bools) -> _Cells:
        return _Cells(
            self.shape[rows],
            self.candidate[rows],
            self.output_tokens_per_second[rows],
            self.concurrency[rows],
            self.power_watts[rows],
        )

    def front(self, group: Ints, power: bool) -> Ints:
        """Cells that no other of their group beats in every size (and in watts, where they count)."""
        merits = np.column_stack((self.output_tokens_per_second, -self.power_watts * power))
        order = np.argsort(group, kind="stable")
        edges = np.flatnonzero(np.diff(group[order], prepend=-1))
        kept = [part[_unbeaten(merits[part])] for part in np.split(order, edges[1:])] if len(order) else []
        return np.sort(np.concatenate(kept)) if kept else order


def _unbeaten(merits: Floats) -> Bools:
    """Rows that no other row equals or beats in every column, the first of equal ones kept; shape (rows,)."""
    at_least = (merits[:, None] >= merits[None]).all(axis=2)
    better = at_least & ~at_least.T
    earlier = np.tril(np.ones_like(at_least), -1).T
    unbeaten: Bools = np.logical_not((better | (at_least & earlier)).any(axis=0))
    return unbeaten


def _keys(table: Candidates, labels: Sequence[str]) -> Ints:
    """One number per candidate that is the same in the tables of all sizes: its variant, shape and batch."""
    variants = [labels.index(evaluation.variant.label) for evaluation in table.evaluations]
    variant = np.asarray(variants, dtype=np.int64)[table.evaluation]
    keys: Ints = (variant * table.shapes.columns.rows + table.shape) * len(BATCHES) + table.batch
    return keys


def _on_places(shapes: ShapeTable, shape: Ints, places: Ints) -> tuple[Ints, Ints]:
    """Each row on each of these places that can run its shape: (place, row), both shape (pairs,)."""
    offered = np.isin(shapes.pair_place, places)
    pair_place, pair_shape = shapes.pair_place[offered], shapes.pair_shape[offered]
    order = np.argsort(shape, kind="stable")
    start = np.searchsorted(shape[order], pair_shape, side="left")
    counts = np.searchsorted(shape[order], pair_shape, side="right") - start
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(pair_place, counts), order[np.repeat(start, counts) + within]
