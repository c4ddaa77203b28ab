"""Sparse integer matrices by rows: which columns of a fleet touch which limits, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.replica_columns import Bools, Ints


@dataclass(frozen=True)
class SparseRows:
    """A sparse integer matrix, compressed by rows (CSR); within a row each index comes once, in rising order.

    Attributes:
        start: shape (rows + 1,): where each row's entries begin.
        index: shape (entries,): the column of each entry.
        value: shape (entries,): its value, never 0.
    """

    start: Ints
    index: Ints
    value: Ints

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.start) - 1

    @property
    def row(self) -> Ints:
        """The row of each entry, shape (entries,)."""
        return np.repeat(np.arange(self.rows), np.diff(self.start))

    def take(self, rows: Ints | Bools) -> SparseRows:
        """The same matrix with only these rows, in this order."""
        chosen = np.arange(self.rows)[rows]
        counts = np.diff(self.start)[chosen]
        start = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        within = np.arange(start[-1]) - np.repeat(start[:-1], counts)
        entries = np.repeat(self.start[:-1][chosen], counts) + within
        return SparseRows(start, self.index[entries], self.value[entries])

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Sum over each row of value x weights[index], shape (rows,)."""
        products = self.value * weights[self.index]
        sums = np.concatenate((np.zeros(1, dtype=products.dtype), np.cumsum(products)))
        whole: np.ndarray = sums[self.start[1:]] - sums[self.start[:-1]]
        return whole


def sparse_rows(rows: int, row: Ints, index: Ints, value: Ints) -> SparseRows:
    """From entries in any order; entries at the same place add up, and zeros vanish.

    >>> sparse_rows(2, np.array([1, 0, 1]), np.array([3, 2, 3]), np.array([5, 7, 1])).value.tolist()
    [7, 6]
    """
    width = int(index.max(initial=0)) + 1
    key, place = np.unique(row * width + index, return_inverse=True)
    sums = np.zeros(len(key), dtype=np.int64)
    np.add.at(sums, place.reshape(-1), value)
    kept = sums != 0
    key, sums = key[kept], sums[kept]
    start = np.searchsorted(key // width, np.arange(rows + 1)).astype(np.int64)
    return SparseRows(start, (key % width).astype(np.int64), sums)
