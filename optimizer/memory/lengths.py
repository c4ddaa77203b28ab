"""Requests of different lengths: how many fit at once when lengths are a distribution, not one number."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of requests and how often each occurs.

    Attributes:
        tokens: lengths, prompt and answer.
        weights: how often; any positive scale.
        confidence: probability with which the requests that are counted fit at once.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    confidence: float = 0.99  # one time in a hundred a request waits or is preempted

    def __post_init__(self) -> None:
        if not self.tokens or len(self.tokens) != len(self.weights):
            raise ValueError(f"{len(self.tokens)} lengths with {len(self.weights)} weights; give as many of both.")
        if min(self.tokens) < 1:
            raise ValueError(f"A request of {min(self.tokens)} tokens; lengths must be at least 1.")
        if not all(isfinite(weight) and weight >= 0 for weight in self.weights) or not sum(self.weights) > 0:
            raise ValueError(f"Weights of lengths are {self.weights}; they must be at least 0 and sum to more.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it must be between 0 and 1.")

    @property
    def mean(self) -> float:
        """Mean length in tokens.

        >>> Lengths((1000, 9000), (3, 1)).mean
        3000.0
        """
        return float(np.average(self.tokens, weights=self.weights))

    def percentile(self, share: float) -> int:
        """Shortest length that at least this share of requests does not exceed.

        >>> Lengths((1000, 9000), (3, 1)).percentile(0.75), Lengths((1000, 9000), (3, 1)).percentile(0.76)
        (1000, 9000)
        """
        order = np.argsort(self.tokens)
        reached = np.cumsum(np.asarray(self.weights, dtype=np.float64)[order]) / sum(self.weights)
        return int(np.asarray(self.tokens)[order][np.searchsorted(reached, share - 1e-12)])


def requests_at_once(free_blocks: Ints, blocks: Ints, lengths: Lengths) -> Ints:
    """Most requests of random lengths whose blocks fit together with the wanted probability.

    n requests take n * mean blocks, give or take sqrt(n) * deviation:

        n * mean + z * sqrt(n) * deviation <= free

    Args:
        free_blocks: shape (rows, batches).
        blocks: that a request of each length takes, shape (rows, lengths).
        lengths: the distribution.

    Source: central limit theorem; exact for one length.

    >>> one = Lengths((1000,), (1,))
    >>> requests_at_once(np.array([[100]]), np.array([[7]]), one)
    array([[14]])
    """
    weights = np.asarray(lengths.weights, dtype=np.float64) / sum(lengths.weights)
    mean = blocks @ weights
    deviation = np.sqrt(np.maximum((blocks.astype(np.float64) ** 2) @ weights - mean**2, 0))
    margin = NormalDist().inv_cdf(lengths.confidence) * deviation
    free = np.maximum(free_blocks, 0).astype(np.float64)
    root = (np.sqrt(margin[:, None] ** 2 + 4 * mean[:, None] * free) - margin[:, None]) / (2 * mean[:, None])
    return np.asarray(np.floor(root**2 + 1e-9), dtype=np.int64)
