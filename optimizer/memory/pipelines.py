"""Pipelines cut into stages: which layers each stage runs, for pipelines of several depths at once.

A stage is a span of layers. Stages of one pipeline that hold alike are one span, so that what is worked out per stage
is worked out a few times, not once per layer of a deep pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def pipeline_stages(layers: int, pipeline_parallel: int) -> tuple[int, ...]:
    """Layers of each pipeline stage, as vLLM deals them.

    An even split; the remainder goes one each to the stages before the last, from the back, so that the last stage
    (LM head) and, while possible, the first (embedding) stay light.

    Source: vLLM 0.33.0 `vllm/distributed/utils.py`, `get_pp_indices`.

    >>> pipeline_stages(80, 4), pipeline_stages(62, 4), pipeline_stages(61, 8)
    ((20, 20, 20, 20), (15, 16, 16, 15), (7, 7, 8, 8, 8, 8, 8, 7))
    """
    stages = [layers // pipeline_parallel] * pipeline_parallel
    for back in range(2, layers % pipeline_parallel + 2):
        stages[-back] += 1
    return tuple(stages)


@dataclass(frozen=True, eq=False)  # told apart by identity: a cheap key of a cache
class Spans:
    """Stages of pipelines, one pipeline after the other; arrays have shape (spans,).

    Attributes:
        total: layers of the model.
        depth: stages of the pipeline that a span is of.
        begin, end: its first layer and the one behind its last.
        is_first, is_last: whether it is where its pipeline begins, or ends.
    """

    total: int
    depth: Ints
    begin: Ints
    end: Ints
    is_first: Bools
    is_last: Bools

    def __len__(self) -> int:
        return len(self.depth)

    @property
    def layers(self) -> Ints:
        """Layers that each stage runs."""
        return self.end - self.begin

    def sums(self, layers: Sequence[int], values: Sequence[float] | Floats) -> Floats:
        """Sum of values by the stage of their layer; layers behind the last are on the last stage.

        >>> pipelines(4, (1, 2)).sums([0, 1, 2, 3, 4], [1, 2, 4, 8, 16]).tolist()
        [31.0, 3.0, 28.0]
        """
        at = np.minimum(np.asarray(layers, dtype=np.int64), self.total) + 1
        upto = np.bincount(at, weights=np.asarray(values, dtype=np.float64), minlength=self.total + 2).cumsum()
        end = np.where(self.is_last, self.total + 1, self.end)
        return np.asarray(upto[end] - upto[self.begin], dtype=np.float64)

    def counts(self, groups: tuple[tuple[int, ...], ...]) -> Ints:
        """How many layers of each group every stage runs, shape (spans, groups)."""
        return _counts(self, groups)

    def take(self, spans: Sequence[int]) -> Spans:
        """Only some of them."""
        at = np.asarray(spans, dtype=np.int64)
        return Spans(self.total, self.depth[at], self.begin[at], self.end[at], self.is_first[at], self.is_last[at])

    def unlike(self, table: Floats) -> tuple[list[int], Ints]:
        """Spans without those that equal an earlier one of their pipeline in every column of a table.

        Args:
            table: shape (columns, spans).

        Returns:
            Those that are kept, and for each span which of them it equals, shape (spans,).
        """
        lines = np.ascontiguousarray(np.vstack([self.depth, self.is_first, self.is_last, self.layers, table]).T)
        first: dict[bytes, int] = {}
        equals = [first.setdefault(line.tobytes(), number) for number, line in enumerate(lines)]
        kept = list(first.values())
        return kept, np.searchsorted(kept, equals)


@lru_cache(maxsize=64)
def _counts(spans: Spans, groups: tuple[tuple[int, ...], ...]) -> Ints:
    return np.array([spans.sums(layers, np.ones(len(layers))) for layers in groups], dtype=np.int64).T


@lru_cache(maxsize=256)
def pipelines(layers: int, depths: tuple[int, ...]) -> Spans:
    """Pipelines of so many layers with so many stages.

    >>> spans = pipelines(5, (1, 2))
    >>> spans.begin.tolist(), spans.end.tolist(), spans.is_last.tolist()
    ([0, 0, 3], [5, 3, 5], [True, False, True])
    """
    split = [np.asarray(pipeline_stages(layers, depth), dtype=np.int64) for depth in depths]
    end = np.concatenate([stages.cumsum() for stages in split])
    number = np.concatenate([np.arange(depth) for depth in depths])
    depth = np.repeat(np.asarray(depths, dtype=np.int64), depths)
    return Spans(layers, depth, end - np.concatenate(split), end, number == 0, number == depth - 1)
