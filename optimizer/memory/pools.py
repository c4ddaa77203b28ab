"""KV pools of many rows: which page plan each row has, how many blocks its pool gives, how many a request takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.distinct import distinct_columns
from optimizer.memory.stages import Stages
from optimizer.memory.weights import pipeline_stages
from optimizer.replica_columns import ReplicaColumns

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NO_LIMIT = np.iinfo(np.int64).max // 4
"""Blocks of a stage that caches nothing."""


@dataclass(frozen=True)
class PagePlans:
    """The page plans of a table.

    Attributes:
        plans: the distinct ones.
        plan: index into `plans`, shape (rows,).
        block_bytes: of one block on every stage of every row, shape (stages,).
        rates: bytes per token that grow, bytes per token of windows, bytes per request, shape (3, stages).
        in_flight_tokens: shape (rows,).
    """

    plans: tuple[CachePlan, ...]
    plan: Ints
    block_bytes: Ints
    rates: Floats
    in_flight_tokens: Ints

    def blocks(self, pool_bytes: Floats) -> Ints:
        """Whole blocks in every stage's pool, shape (stages, batches)."""
        size = self.block_bytes[:, None]
        whole = np.floor(np.maximum(pool_bytes, 0) / np.maximum(size, 1)).astype(np.int64)
        return np.where(size > 0, whole, NO_LIMIT)

    def needed(self, tokens: int) -> Ints:
        """Most blocks that one request of so many tokens holds, while its prompt is processed, shape (rows,)."""
        return self._blocks(tokens, self.in_flight_tokens)

    def capacity(self, free_blocks: Ints, tokens: int) -> Ints:
        """Requests of so many tokens that free blocks hold at once, shape (rows, batches).

        A window frees its blocks as the answer grows, so a decoding request holds little more than the window; only
        the tokens in flight, of all requests together, hold more:

            max(floor((free - blocks of the tokens in flight) / blocks while decoding), floor(free / most blocks))
        """
        one = np.ones_like(self.in_flight_tokens)
        decoding, most = self._blocks(tokens, one), self.needed(tokens)
        unbounded = max((plan.longest_reach for plan in self.plans), default=0) + int(
            self.in_flight_tokens.max(initial=1)
        )
        in_flight = self._blocks(unbounded, self.in_flight_tokens) - self._blocks(unbounded, one)
        steady = (free_blocks - in_flight[:, None]) // decoding[:, None]
        held: Ints = np.maximum(np.maximum(steady, free_blocks // most[:, None]), 0)
        return held

    def _blocks(self, tokens: int, in_flight_tokens: Ints) -> Ints:
        need = np.ones(len(self.plan), dtype=np.int64)
        for number, plan in enumerate(self.plans):
            chosen = self.plan == number
            need[chosen] = np.maximum(plan.blocks(np.asarray(tokens), in_flight_tokens[chosen]), 1)
        return need

    def longest_contexts(self, blocks: Ints, most_tokens: int) -> Ints:
        """Longest single request that so many free blocks hold, at most `most_tokens`; shape of `blocks`."""
        longest = np.zeros(blocks.shape, dtype=np.int64)
        for number, plan in enumerate(self.plans):
            chosen = self.plan == number
            if chosen.any():
                in_flight = self.in_flight_tokens[chosen][:, None]
                longest[chosen] = longest_context(plan, np.maximum(blocks[chosen], 0), in_flight, most_tokens)
        return longest


def longest_context(plan: CachePlan, blocks: Ints, in_flight_tokens: Ints, most_tokens: int) -> Ints:
    """Longest request that so many blocks hold: exact when every token takes as much, else by bisection."""
    if plan.tokens_per_block is not None:
        return np.minimum(blocks * plan.tokens_per_block, most_tokens)
    low, high = np.zeros(blocks.shape, dtype=np.int64), np.full(blocks.shape, most_tokens, dtype=np.int64)
    for _ in range(most_tokens.bit_length()):
        middle = (low + high + 1) // 2
        holds = plan.blocks(middle, in_flight_tokens) <= blocks
        low, high = np.where(holds, middle, low), np.where(holds, high, middle - 1)
    return low


def lay_out_pages(
    spec: ModelSpec, engine: Engine, rows: ReplicaColumns, kv_format: str, stages: Stages, max_batched_tokens: Ints
) -> PagePlans:
    """The page plans of all rows: one per TP and block rule, cut to each row's pipeline stages.

    Args:
        spec: the model.
        engine: whose block rules hold.
        rows: shapes of one replica.
        kv_format: of the cache.
        stages: the rows' pipeline stages.
        max_batched_tokens: shape (rows,).
    """
    rules = [engine.block_rule(spec, gpu, kv_format) for gpu in rows.gpus]
    distinct = list(dict.fromkeys(rules))
    rule = np.array([distinct.index(each) for each in rules])[rows.gpu]
    keys, plan = distinct_columns(np.stack([rows.tensor_parallel, rule]))
    plans = tuple(engine.cache_plan(spec, int(tp), kv_format, distinct[number]) for tp, number in keys.T)
    block_bytes, rates = _on_stages(spec, plans, plan, rows.pipeline_parallel, stages)
    in_flight = engine.in_flight_tokens(rows.pipeline_parallel, max_batched_tokens)
    return PagePlans(plans, plan, block_bytes, rates, in_flight)


def _on_stages(
    spec: ModelSpec, plans: tuple[CachePlan, ...], plan: Ints, depth: Ints, stages: Stages
) -> tuple[Ints, Floats]:
    """Block bytes and rates of every stage of every row, worked out once per plan and pipeline depth."""
    sizes = np.zeros(len(stages.row), dtype=np.int64)
    rates = np.zeros((3, len(stages.row)))
    for number, deep in distinct_columns(np.stack([plan, depth]))[0].T:
        flat = stages.first[(plan == number) & (depth == deep)][:, None] + np.arange(deep)
        split = pipeline_stages(spec.layer_count, int(deep))
        sizes[flat] = plans[number].block_bytes(split)
        rates[:, flat] = plans[number].rates(split)[:, None, :]
    return sizes, rates
