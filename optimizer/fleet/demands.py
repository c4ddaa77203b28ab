"""What a service asks of its program: rows to cover, and how much of each one replica gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from optimizer.cp_sat.integers import MICRO, capacity_milli, demand_milli
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.replicas import Replicas
from optimizer.fleet.services import Service
from optimizer.replica_columns import Bools, Floats, Ints


@dataclass(frozen=True)
class Demands:
    """The covers of one service.

    Attributes:
        service: number in the draft.
        kinds: what each cover counts: "tokens", "requests in flight", "copies", or the number of a size.
        covers: their numbers.
        demands: how much of each, in whole units.
        steady: covers that spot machines do not count for.
        output_tokens: of each size of requests.
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
    yield from _of_sizes(service, spot) if len(service.sizes) > 1 else _of_one_size(service, spot)
    if service.replicas_at_least > 1:
        yield "copies", service.replicas_at_least, False, False


def _of_sizes(service: Service, spot: float) -> Iterator[tuple[str | int, int, bool, bool]]:
    for size, share in enumerate(service.size_shares):
        rate = service.requests_per_second * share
        for part, steady in ((1 - spot, spot > 0), (spot, False)):
            if part > 0:
                yield size, -int(-rate * part * MICRO // 1), True, steady


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
