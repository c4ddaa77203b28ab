"""Equal columns of a table, found once: many rows share few ways to divide a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def distinct_columns(table: Ints) -> tuple[Ints, Ints]:
    """The distinct columns of a table of non-negative integers, and which of them each column is.

    Every column is packed into one integer first, which sorts much faster than columns do.

    Args:
        table: shape (fields, rows).

    Returns:
        The distinct columns, shape (fields, keys), and the index of each column among them, shape (rows,).

    >>> keys, which = distinct_columns(np.array([[1, 2, 1], [8, 8, 8]]))
    >>> keys.tolist(), which.tolist()
    ([[1, 2], [8, 8]], [0, 1, 0])
    """
    first, which = first_columns(table)
    return table[:, first], which


def first_columns(table: Ints) -> tuple[Ints, Ints]:
    """Where each distinct column is first, and which of them each column is; see `distinct_columns`."""
    packed = np.zeros(table.shape[1], dtype=np.int64)
    for field in table:
        packed = packed * (int(field.max(initial=0)) + 1) + field
    _, first, which = np.unique(packed, return_index=True, return_inverse=True)
    return first, which.reshape(-1)
