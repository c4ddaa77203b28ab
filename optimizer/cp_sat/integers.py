"""The scale of each unit in the program, and which way it rounds: always so that a promise stays kept.

CP-SAT counts in 64-bit integers. Money is exact in micro-dollars. What a replica gives is rounded down, what is asked
is rounded up, so no plan passes that real numbers would fail. The bounds keep every sum far below 2^62.
"""

from __future__ import annotations

import math

import numpy as np

from optimizer.replica_columns import Floats, Ints

MICRO = 1_000_000
MILLI = 1_000
MACHINES_MOST = 10_000
"""Machines of one type in one plan; 10^4 machines x 10^3 types x 10^9 micro-dollars stays below 2^62."""
LARGEST_DEMAND = 10**15
"""Beyond any capacity that the bounds allow; larger demands are cut to it and stay unmeetable."""


def micro_usd(price_usd: float) -> int:
    """A price, exact to a millionth of a dollar.

    >>> micro_usd(61.38367)
    61383670
    """
    return round(price_usd * MICRO)


def budget_micro_usd(budget_usd: float) -> int:
    """A budget, rounded down; the tolerance is that of a decimal typed by a person.

    >>> budget_micro_usd(10.0), budget_micro_usd(0.1 + 0.2)
    (10000000, 300000)
    """
    return math.floor(min(budget_usd, float(LARGEST_DEMAND)) * MICRO + 1e-3)


def capacity_milli(rate: Floats) -> Ints:
    """What replicas give, rounded down to a thousandth, shape kept."""
    return np.floor(rate * MILLI).astype(np.int64)


def demand_milli(rate: float) -> int:
    """What is asked, rounded up to a thousandth.

    >>> demand_milli(500.0), demand_milli(0.0001)
    (500000, 1)
    """
    return min(math.ceil(rate * MILLI - 1e-6), LARGEST_DEMAND)


def usd(micro: float) -> float:
    """Micro-dollars back to dollars."""
    return micro / MICRO
