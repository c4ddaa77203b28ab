"""Building a fleet problem piece by piece: services, demands, resources, then columns in whole arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from optimizer.fleet.errors import BadFleetProblem
from optimizer.fleet.problem import SUPPLY, FleetProblem
from optimizer.fleet.sparse import SparseRows, sparse_rows
from optimizer.replica_columns import Ints

COUNT_MOST = 10_000
"""Of one column, when nobody says otherwise."""


@dataclass
class FleetDraft:
    """A fleet problem in the making; every method returns the number that later ones refer to.

    >>> draft = FleetDraft()
    >>> chat = draft.add_service("chat")
    >>> tokens = draft.add_cover(chat, demand=1000)
    >>> h100s = draft.add_resource("quota:H100", limit=8)
    >>> draft.add_columns(chat, price_micro_usd=[3_000, 5_500], covers={tokens: [600, 1200]}, uses={h100s: [1, 2]})
    array([0, 1])
    >>> draft.build().columns
    2
    """

    _services: list[tuple[str, bool, int, int]] = field(default_factory=list)
    _covers: list[tuple[int, int, bool, bool]] = field(default_factory=list)
    _resources: list[tuple[str, int]] = field(default_factory=list)
    _columns: list[Ints] = field(default_factory=list)
    _gives: list[Ints] = field(default_factory=list)
    _takes: list[Ints] = field(default_factory=list)
    _count: int = 0

    def add_service(self, name: str, *, required: bool = True, priority: int = 0, weight: int = 1) -> int:
        """A service; `required=False` may be left out, the lowest priority first."""
        self._services.append((name, required, priority, weight))
        return len(self._services) - 1

    def add_cover(self, service: int, demand: int, *, bucket: bool = False, survives: bool = False) -> int:
        """A demand of a service in whole units, rounded up; see `FleetProblem` for buckets and survival."""
        self._covers.append((service, demand, bucket, survives))
        return len(self._covers) - 1

    def add_resource(self, name: str, limit: int = 0) -> int:
        """A sum that may not exceed its limit; 0 for what only supply gives."""
        self._resources.append((name, limit))
        return len(self._resources) - 1

    def add_columns(
        self,
        service: int,
        *,
        price_micro_usd: ArrayLike,
        covers: Mapping[int, ArrayLike] | None = None,
        uses: Mapping[int, ArrayLike] | None = None,
        stands: tuple[ArrayLike, ArrayLike] | None = None,
        most: ArrayLike = COUNT_MOST,
        least: ArrayLike = 1,
        lost_replicas: ArrayLike = 1,
    ) -> Ints:
        """Columns of one service (or `SUPPLY`), all at once; single numbers stand for all of them.

        Args:
            service: whose replicas these are.
            price_micro_usd: of one each, shape (columns,).
            covers: cover -> what one gives, shape (columns,) or one number, rounded down.
            uses: resource -> what one takes, below 0 gives.
            stands: one resource of each column and how much of it each takes, both shape (columns,).
            most, least, lost_replicas: see `FleetProblem`.

        Returns:
            The numbers of the columns, shape (columns,).
        """
        price = np.atleast_1d(_whole(price_micro_usd))
        own = [np.full(len(price), service), price]
        own += [np.broadcast_to(_whole(one), price.shape) for one in (least, most, lost_replicas)]
        numbers = np.arange(self._count, self._count + len(price))
        self._columns.append(np.stack(own))
        self._gives += [_entries(numbers, cover, value) for cover, value in (covers or {}).items()]
        self._takes += [_entries(numbers, resource, value) for resource, value in (uses or {}).items()]
        if stands is not None:
            self._takes.append(np.stack((numbers, _whole(stands[0]), _whole(stands[1]))))
        self._count += len(price)
        return numbers

    def add_supply(
        self,
        *,
        price_micro_usd: ArrayLike,
        gives: Mapping[int, ArrayLike],
        uses: Mapping[int, ArrayLike] | None = None,
        most: ArrayLike = COUNT_MOST,
        least: ArrayLike = 1,
    ) -> Ints:
        """Columns that produce resources for everybody; `uses` is what they take of others (budget, quota)."""
        produced = {resource: -_whole(value) for resource, value in gives.items()}
        uses = {**(uses or {}), **produced}
        return self.add_columns(SUPPLY, price_micro_usd=price_micro_usd, uses=uses, most=most, least=least)

    def build(self) -> FleetProblem:
        """The problem, checked.

        Raises:
            BadFleetProblem: parts do not fit together, or sums are too large.
        """
        order = np.argsort([service for service, *_ in self._covers], kind="stable")
        covers = np.asarray(self._covers, dtype=np.int64).reshape(-1, 4)[order]
        columns = np.concatenate([np.empty((5, 0), dtype=np.int64), *self._columns], axis=1)
        services = np.asarray([facts for _, *facts in self._services], dtype=np.int64).reshape(-1, 3)
        problem = FleetProblem(
            service_names=tuple(name for name, *_ in self._services),
            required=services[:, 0].astype(bool),
            priority=services[:, 1],
            weight=services[:, 2],
            cover_service=covers[:, 0],
            cover_demand=covers[:, 1],
            cover_is_bucket=covers[:, 2].astype(bool),
            cover_survives=covers[:, 3].astype(bool),
            column_service=columns[0],
            column_price_micro_usd=columns[1],
            column_least=columns[2],
            column_most=columns[3],
            column_lost_replicas=columns[4],
            column_covers=_matrix(self._gives, self._count, np.argsort(order)),
            column_uses=_matrix(self._takes, self._count, np.arange(len(self._resources))),
            resource_names=tuple(name for name, _ in self._resources),
            resource_limit=np.asarray([limit for _, limit in self._resources], dtype=np.int64),
        )
        problem.check()
        return problem


def _whole(value: ArrayLike) -> Ints:
    """Whole numbers as they are; anything else is for the caller to round, up or down."""
    array = np.asarray(value)
    if array.size and array.dtype.kind not in "iu":
        raise BadFleetProblem(f"{value!r} is not made of whole numbers; round prices and demands up, capacities down.")
    return array.astype(np.int64)


def _entries(numbers: Ints, place: int, value: ArrayLike) -> Ints:
    """(column, place, value) triples, shape (3, columns)."""
    values = np.broadcast_to(_whole(value), numbers.shape)
    return np.stack((numbers, np.full(len(numbers), place), values))


def _matrix(triples: list[Ints], rows: int, renumbered: Ints) -> SparseRows:
    column, place, value = np.concatenate([np.empty((3, 0), dtype=np.int64), *triples], axis=1)
    return sparse_rows(rows, column, renumbered[place] if len(place) else place, value)
