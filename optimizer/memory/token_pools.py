"""SGLang's KV pools: one slot per token, and separate pools for windows and for recurrent states.

Source: SGLang 0.5.23 `sglang/srt/arg_groups/fields/schedule.py` (`swa_full_tokens_ratio`, `mamba_full_memory_ratio`),
`sglang/srt/mem_cache/kv_cache_configurator.py`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from optimizer.memory.kv_cache import BlockRule, group_caches, layer_caches, mixers_of_groups
from optimizer.memory.pipelines import Spans

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TokenPools:
    """Slots of one token: a plan that answers as `PagePlan` does, with one slot as its block.

    A window pool has `window_slots_per_slot` slots for every slot of the full pool; states take `state_share` of the
    memory.

    Attributes:
        layers: index in the model of the layer of each cache.
        full_rates, window_rates: bytes per token of each cache.
        state_sizes: bytes per request of each cache.
        window_slots_per_slot: 0.8 unless set otherwise.
        state_to_kv_bytes: memory of states over memory of KV, 0.9 unless set otherwise.
        reach: tokens that the widest window keeps.
    """

    layers: tuple[int, ...]
    full_rates: tuple[float, ...]
    window_rates: tuple[float, ...]
    state_sizes: tuple[int, ...]
    window_slots_per_slot: float
    state_to_kv_bytes: float
    reach: int

    @property
    def tokens_per_block(self) -> int | None:
        """1 when every token takes a slot and nothing else limits a request."""
        return None if self._has_windows or self._has_states else 1

    @property
    def longest_reach(self) -> int:
        """Tokens that the widest window or chunk keeps; 0 without one."""
        return self.reach

    @property
    def kv_share(self) -> float:
        """Share of the pools' memory that keeps tokens; the rest keeps states."""
        return 1 / (1 + self.state_to_kv_bytes) if self._has_states else 1.0

    @property
    def _has_windows(self) -> bool:
        return any(self.window_rates) and any(self.full_rates)

    @property
    def _has_states(self) -> bool:
        return any(self.state_sizes)

    def block_bytes(self, spans: Spans) -> Ints:
        """Bytes of one slot on each pipeline stage, its share of windows and states included, shape (stages,)."""
        full, window, states = self.rates(spans)
        slot = full + window * (self.window_slots_per_slot if self._has_windows else 1)
        share = 1 + self.state_to_kv_bytes if self._has_states else 1
        sizes: Ints = np.ceil(slot * share if slot.any() else states).astype(np.int64)
        return sizes

    def rates(self, spans: Spans) -> Floats:
        """Bytes per token that grow, bytes per token of windows, bytes per request: shape (3, stages)."""
        kinds = (self.full_rates, self.window_rates, self.state_sizes)
        return np.stack([spans.sums(self.layers, values) for values in kinds])

    def blocks(self, tokens: Ints, in_flight_tokens: Ints) -> Ints:
        """Slots that one request of so many tokens takes: of the pool that runs out first; broadcasts."""
        tokens = np.broadcast_to(tokens, np.broadcast(tokens, in_flight_tokens).shape)
        if not any(self.full_rates) and not any(self.window_rates):
            return np.ones(tokens.shape, dtype=np.int64)
        need = tokens
        if self._has_windows:
            held = np.minimum(tokens, self.reach + in_flight_tokens)
            need = np.maximum(need, np.ceil(held / self.window_slots_per_slot).astype(np.int64))
        elif any(self.window_rates):
            need = np.minimum(need, self.reach + in_flight_tokens)
        return np.maximum(need, self._slots_of_a_state())

    @property
    def need(self) -> Hashable:
        """What `blocks` reads of the pools."""
        windows = self._has_windows, any(self.window_rates), any(self.full_rates)
        return *windows, self._has_states, self.window_slots_per_slot, self.reach, self._slots_of_a_state()

    def shared_blocks(self, tokens: int) -> int:
        """Slots of the first tokens that requests beginning alike can share; none beside windows or states."""
        return tokens if self.tokens_per_block == 1 and any(self.full_rates) else 0

    def _slots_of_a_state(self) -> int:
        """Slots whose share of state memory is one request's state."""
        if not self._has_states:
            return 1
        slot = sum(self.full_rates) + sum(self.window_rates) * self.window_slots_per_slot
        return ceil(sum(self.state_sizes) / (slot * self.state_to_kv_bytes))


def plan_token_pools(
    spec: ModelSpec,
    tensor_parallel: int,
    kv_format: str,
    rule: BlockRule,
    *,
    window_slots_per_slot: float,
    state_to_kv_bytes: float,
) -> TokenPools:
    """The pools of a model on one TP rank.

    Args:
        spec: the model.
        tensor_parallel: ranks.
        kv_format: of the cache.
        rule: how latent caches are packed.
        window_slots_per_slot, state_to_kv_bytes: as in TokenPools.
    """
    caches = layer_caches(group_caches(mixers_of_groups(spec), tensor_parallel, kv_format, rule))
    rates = [cache.entry_bytes / cache.tokens_per_entry for _, cache in caches]
    is_full = [cache.kind == "full" for _, cache in caches]
    is_window = [cache.kind in ("window", "chunk") for _, cache in caches]
    return TokenPools(
        layers=tuple(layer for layer, _ in caches),
        full_rates=tuple(rate if full else 0 for rate, full in zip(rates, is_full, strict=True)),
        window_rates=tuple(rate if window else 0 for rate, window in zip(rates, is_window, strict=True)),
        state_sizes=tuple(
            cache.entry_bytes * (cache.reach or 0) if cache.kind == "cross" else cache.state_bytes
            for _, cache in caches
        ),
        window_slots_per_slot=window_slots_per_slot,
        state_to_kv_bytes=state_to_kv_bytes,
        reach=max((cache.reach or 0 for _, cache in caches if cache.kind not in ("cross", "state")), default=0),
    )
