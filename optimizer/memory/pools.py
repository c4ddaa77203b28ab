"""KV pools of many rows: which page plan each row has, how many blocks its pool gives, how many a request takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from catalog.model import Attention, ModelSpec
from optimizer.engines.engine import Engine
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.distinct import distinct_columns
from optimizer.memory.kv_cache import BlockRule
from optimizer.memory.lengths import Lengths, requests_at_once
from optimizer.replica_columns import ReplicaColumns

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class CannotDivide(ValueError):
    """A way of dividing a request among ranks that does not suit the model or its tensor parallelism."""


@dataclass(frozen=True)
class PagePlans:
    """The page plans of a table.

    Attributes:
        plans: the distinct ones.
        plan: index into `plans`, shape (rows,).
        in_flight_tokens: shape (rows,).
        context_parallel: ranks that divide the tokens of a request among them.
        shared_tokens: first tokens that all requests have in common and keep once.
    """

    plans: tuple[CachePlan, ...]
    plan: Ints
    in_flight_tokens: Ints
    context_parallel: int = 1
    shared_tokens: int = 0

    def needed(self, tokens: int) -> Ints:
        """Most blocks that one request of so many tokens holds, while its prompt is processed, shape (rows,)."""
        return self._blocks(tokens, self.in_flight_tokens)

    def capacity(self, free_blocks: Ints, tokens: int) -> Ints:
        """Requests of so many tokens that free blocks hold at once, shape (rows, batches).

        A window frees its blocks as the answer grows, so a decoding request holds little more than the window; only
        the tokens in flight, of all requests together, hold more. What requests share is held once:

            max(floor((free - shared - blocks of the tokens in flight) / (blocks while decoding - shared)),
                floor((free - shared) / (most blocks - shared)))
        """
        one = np.ones_like(self.in_flight_tokens)
        shared = self._shared(tokens)
        free = free_blocks - shared[:, None] if shared.any() else free_blocks
        decoding, most, in_flight = self._blocks(tokens, one) - shared, self.needed(tokens) - shared, self._in_flight()
        held: Ints = free // np.maximum(most, 1)[:, None]
        if in_flight.any() or not np.array_equal(decoding, most):
            held = np.maximum(held, (free - in_flight[:, None]) // np.maximum(decoding, 1)[:, None])
        return np.maximum(held, 0)

    def capacity_of(self, free_blocks: Ints, lengths: Lengths) -> Ints:
        """Requests of random lengths that free blocks hold with the wanted probability, shape (rows, batches)."""
        one = np.ones_like(self.in_flight_tokens)
        shared = self._shared(min(lengths.tokens))
        blocks = np.stack([self._blocks(tokens, one) for tokens in lengths.tokens], axis=1) - shared[:, None]
        free = free_blocks - (shared + self._in_flight())[:, None]
        return requests_at_once(free, np.maximum(blocks, 1), lengths)

    def _in_flight(self) -> Ints:
        """Blocks that tokens in flight hold beyond the windows they belong to, shape (rows,): no row asks another."""
        one = np.ones_like(self.in_flight_tokens)
        unbounded = max((plan.longest_reach for plan in self.plans), default=0) + self.in_flight_tokens
        return self._blocks(unbounded, self.in_flight_tokens) - self._blocks(unbounded, one)

    def _shared(self, tokens: int) -> Ints:
        """Blocks that all requests of so many tokens keep once; the last token is never shared. Shape (rows,)."""
        first = -(-min(self.shared_tokens, tokens - 1) // self.context_parallel)
        if first <= 0:
            return np.zeros_like(self.plan)
        each = np.array([plan.shared_blocks(first) for plan in self.plans], dtype=np.int64)
        return each[self.plan]

    def _blocks(self, tokens: int | Ints, in_flight_tokens: Ints) -> Ints:
        kept = np.broadcast_to(-(-np.asarray(tokens) // self.context_parallel), self.plan.shape)
        need = np.ones(len(self.plan), dtype=np.int64)
        for plan, chosen in self._alike:
            need[chosen] = np.maximum(plan.blocks(kept[chosen], in_flight_tokens[chosen]), 1)
        return need

    @cached_property
    def _alike(self) -> list[tuple[CachePlan, Bools | slice]]:
        """One of the plans that give equal blocks, and which rows have such a one."""
        needs = [plan.need for plan in self.plans]
        kinds = dict(zip(needs, self.plans, strict=True))
        if len(kinds) == 1:
            return [(self.plans[0], slice(None))]
        numbers = {need: number for number, need in enumerate(kinds)}
        kind = np.array([numbers[need] for need in needs])[self.plan]
        return [(plan, kind == number) for number, plan in enumerate(kinds.values())]

    def longest_contexts(self, blocks: Ints, most_tokens: int) -> Ints:
        """Longest single request that so many free blocks hold, at most `most_tokens`; shape of `blocks`."""
        longest = np.zeros(blocks.shape, dtype=np.int64)
        for plan, chosen in self._alike:
            in_flight = self.in_flight_tokens[chosen][:, None]
            longest[chosen] = longest_context(plan, np.maximum(blocks[chosen], 0), in_flight, most_tokens)
        return np.minimum(longest * self.context_parallel, most_tokens)


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
    spec: ModelSpec,
    engine: Engine,
    rows: ReplicaColumns,
    kv_format: str,
    max_batched_tokens: Ints,
    *,
    context_parallel: int = 1,
    shared_tokens: int = 0,
    guessed_tokens: int = 0,
) -> PagePlans:
    """The page plans of all rows: one per TP and block rule.

    Args:
        spec: the model.
        engine: whose block rules hold.
        rows: shapes of one replica.
        kv_format: of the cache.
        max_batched_tokens: shape (rows,).
        context_parallel: ranks that divide the tokens of a request among them (decode context parallelism).
        shared_tokens: first tokens that all requests have in common.
        guessed_tokens: per step of speculative decoding; a recurrent state is kept for each.

    Raises:
        CannotDivide: context parallelism does not suit the model or a row.
    """
    kinds = {(gpu.vendor, gpu.compute_capability): gpu for gpu in rows.gpus}
    rule_of = {
        kind: _with_guesses(engine.block_rule(spec, gpu, kv_format), guessed_tokens) for kind, gpu in kinds.items()
    }
    rules = [rule_of[gpu.vendor, gpu.compute_capability] for gpu in rows.gpus]
    distinct = list(dict.fromkeys(rules))
    rule = np.array([distinct.index(each) for each in rules])[rows.gpu]
    keys, plan = distinct_columns(np.stack([rows.tensor_parallel, rule]))
    plans = tuple(engine.cache_plan(spec, int(tp), kv_format, distinct[number]) for tp, number in keys.T)
    in_flight = engine.in_flight_tokens(rows.pipeline_parallel, max_batched_tokens)
    if context_parallel > 1:
        for refused, reason in context_refusals(spec, rows, plans, context_parallel):
            if refused.any():
                raise CannotDivide(reason)
    return PagePlans(plans, plan, in_flight, context_parallel, shared_tokens)


def _with_guesses(rule: BlockRule, guessed_tokens: int) -> BlockRule:
    """A state per guessed token is kept until the model has checked it.

    Source: vLLM 0.33.0 `vllm/v1/kv_cache_interface.py`, MambaSpec.num_speculative_blocks.
    """
    if not guessed_tokens:
        return rule
    by_kind = tuple((kind, pages + guessed_tokens) for kind, pages in rule.state_pages_by_kind)
    return replace(rule, state_pages=rule.state_pages + guessed_tokens, state_pages_by_kind=by_kind)


def context_refusals(
    spec: ModelSpec, rows: ReplicaColumns, plans: tuple[CachePlan, ...], context_parallel: int
) -> Iterator[tuple[Bools, str]]:
    """Which rows cannot divide the tokens of a request, shape (rows,), and why.

    Ranks can divide tokens only where they would keep the same ones: copies of a latent vector, or of a KV head.

    Source: vLLM 0.33.0 `vllm/config/parallel.py`: TP is a multiple of it; docs "Context Parallel Deployment": with
    grouped-query attention at most TP / KV heads.
    """
    cannot = any(plan.tokens_per_block is None for plan in plans)
    yield (
        np.full(rows.rows, cannot),
        f"Decode context parallelism is not supported for {spec.repo_id}: some of its layers keep only a window "
        "or a state, which ranks cannot divide; set it to 1.",
    )
    copies = rows.tensor_parallel // max(spec.kv_heads, 1) if _keeps_heads(spec) else rows.tensor_parallel
    uneven = (rows.tensor_parallel % context_parallel != 0) | (copies % context_parallel != 0) | (copies == 0)
    yield (
        uneven,
        f"Decode context parallelism of {context_parallel} must divide the ranks that keep the same tokens of "
        f"{spec.repo_id}; at TP {', '.join(str(tp) for tp in np.unique(rows.tensor_parallel[uneven]))} those are "
        f"{', '.join(str(max(count, 1)) for count in np.unique(copies[uneven]))}.",
    )


def _keeps_heads(spec: ModelSpec) -> bool:
    return any(isinstance(mixer, Attention) for mixer in spec.mixers)
