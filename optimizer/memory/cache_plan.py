"""What every engine's plan for its KV pool answers, however it cuts the pool."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optimizer.memory.pipelines import Spans

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class CachePlan(Protocol):
    """A KV pool as blocks of equal size, of which a request takes so many. `PagePlan` and `TokenPools` are ones."""

    @property
    def tokens_per_block(self) -> int | None:
        """Tokens of a block when every token takes as much; None when it depends on the request's length."""

    @property
    def longest_reach(self) -> int:
        """Tokens that the widest window or chunk keeps; 0 without one."""

    def block_bytes(self, spans: Spans) -> Ints:
        """Bytes of one block on each pipeline stage, shape (stages,)."""

    def rates(self, spans: Spans) -> Floats:
        """Bytes per token that grow, bytes per token of windows, bytes per request: shape (3, stages)."""

    def shared_blocks(self, tokens: int) -> int:
        """Whole blocks of the first tokens that requests beginning alike can share: of what keeps every token."""

    @property
    def need(self) -> Hashable:
        """What `blocks` reads of the plan: plans with equal ones give equal blocks."""

    def blocks(self, tokens: Ints, in_flight_tokens: Ints) -> Ints:
        """Blocks that one request of so many tokens takes; broadcasts."""
