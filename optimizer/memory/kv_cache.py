"""What a request keeps on a GPU: pages of keys and values per token, latent vectors, recurrent state per sequence.

An engine cuts its KV pool into blocks of equal size. Layers with the same behaviour form groups; each group takes one
block per so many tokens of a request. This room turns a model's mixers into caches per layer (`layer_caches`), caches
into a plan of groups (`plan_pages`), and a plan into blocks per request (`PagePlan.blocks`).

Source of the grouping: vLLM 0.33.0 `vllm/v1/core/kv_cache_utils.py` (`get_kv_cache_groups`,
`_get_kv_cache_groups_uniform_page_size`), `vllm/platforms/interface.py` (`_align_hybrid_block_size`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catalog.model import Attention, Indexer, LatentAttention, Mixer, ModelSpec, RecurrentState, StateArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

Kind = Literal["full", "window", "chunk", "state"]

BYTES_PER_VALUE = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
"""Size of one cached value by KV format."""

SCALE_GROUP = 128
"""Values of an indexer key, or of a packed fp8 latent vector, that share one fp32 scale."""

SCALE_BYTES = 4


class UnknownKvFormat(ValueError):
    """A KV-cache format that is not known."""


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one mixer of one layer keeps, on one TP rank.

    Attributes:
        kind: "full" grows with every token; "window" and "chunk" keep the newest `reach` tokens; "state" is one page
            per request whatever its length.
        token_bytes: bytes per token (0 for a state).
        state_bytes: bytes per request (0 unless a state).
        reach: tokens that a window or chunk keeps; None otherwise.
        latent: latent attention, whose pages cannot be padded.
        shape: what makes two caches alike besides their size, so that different ones are not merged.
    """

    kind: Kind
    token_bytes: int
    state_bytes: int = 0
    reach: int | None = None
    latent: bool = False
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share one block table: each request takes one block per `block_tokens` tokens for all of them.

    Attributes:
        kind, reach: as in LayerCache.
        block_tokens: tokens of one block.
        layers: indices of the layers in the model.
        layer_page_bytes: bytes of one block in each of those layers, padding included.
    """

    kind: Kind
    reach: int | None
    block_tokens: int
    layers: tuple[int, ...]
    layer_page_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PagePlan:
    """How a pool is cut into blocks, for one model, TP and KV format.

    Attributes:
        groups: every group takes its blocks from the same pool.
        full_bytes_per_token: bytes that every further token costs, all layers, without padding.
        window_bytes_per_token: the same for layers that keep only the newest tokens.
        state_bytes_per_request: recurrent state of one request, page padding included.
    """

    groups: tuple[Group, ...]
    full_bytes_per_token: int
    window_bytes_per_token: int
    state_bytes_per_request: int

    def block_bytes(self, stages: Sequence[int] | None = None) -> Ints:
        """Bytes of one block on each pipeline stage, shape (stages,): the widest group's pages of that stage's layers.

        Args:
            stages: layers of each stage; None = one stage.
        """
        edges = np.cumsum(stages) if stages is not None else np.array([np.iinfo(np.int64).max])
        sizes = np.zeros((len(self.groups), len(edges)), dtype=np.int64)
        for number, group in enumerate(self.groups):
            stage = np.searchsorted(edges, np.asarray(group.layers), side="right")
            np.add.at(sizes[number], stage, np.asarray(group.layer_page_bytes))
        return sizes.max(axis=0) if len(self.groups) else np.zeros(len(edges), dtype=np.int64)

    def blocks(self, tokens: Ints, in_flight_tokens: Ints | int) -> Ints:
        """Blocks that one request of so many tokens takes from the pool; broadcasts.

            full    ceil(tokens / block)
            window  ceil(min(window - 1 + in_flight, tokens) / block) + 1   (a window may start inside a block)
            chunk   ceil(min(chunk + in_flight, tokens) / block)
            state   1

        Args:
            tokens: length of the request.
            in_flight_tokens: tokens scheduled and not yet settled: blocks that leave a window are freed only after.
        """
        need = np.zeros(np.broadcast(tokens, in_flight_tokens).shape, dtype=np.int64)
        for (kind, reach, block), count in _alike(self.groups).items():
            need += count * _group_blocks(kind, reach, block, tokens, in_flight_tokens)
        return need


def _alike(groups: tuple[Group, ...]) -> dict[tuple[Kind, int | None, int], int]:
    """Groups that take the same number of blocks, counted."""
    counts: dict[tuple[Kind, int | None, int], int] = {}
    for group in groups:
        key = (group.kind, group.reach, group.block_tokens)
        counts[key] = counts.get(key, 0) + 1
    return counts


def _group_blocks(kind: Kind, reach: int | None, block: int, tokens: Ints, in_flight: Ints | int) -> Ints:
    if kind == "state":
        return np.ones(np.broadcast(tokens, in_flight).shape, dtype=np.int64)
    if kind == "window":
        held = np.minimum((reach or 0) - 1 + in_flight, tokens)
        return np.asarray(-(-held // block) + 1)
    if kind == "chunk":
        return np.asarray(-(-np.minimum((reach or 0) + in_flight, tokens) // block))
    return np.asarray(-(-tokens // block))


def kv_value_bytes(kv_format: str) -> int:
    """Bytes of one cached value.

    >>> kv_value_bytes("bf16"), kv_value_bytes("fp8")
    (2, 1)
    """
    try:
        return BYTES_PER_VALUE[kv_format]
    except KeyError:
        raise UnknownKvFormat(
            f"No KV-cache format is called {kv_format!r}; known are {', '.join(BYTES_PER_VALUE)}."
        ) from None


def mixer_caches(
    mixer: Mixer, tensor_parallel: int, kv_format: str, *, packs_sparse_latent: bool = False
) -> tuple[LayerCache, ...]:
    """What one mixer keeps on one TP rank.

    Softmax attention keeps 2 vectors per KV head and token, and at least one head per rank:

        max(1, kv_heads / TP) * (head_dim + value_head_dim) * bytes

    Latent attention keeps one compressed vector per token on *every* TP rank: (kv_rank + rope_dim) * bytes, and its
    sparse indexer an fp8 key with one fp32 scale per 128 values.

    Args:
        mixer: of `catalog.model`.
        tensor_parallel: ranks that divide the heads.
        kv_format: "bf16", "fp8", ...
        packs_sparse_latent: as in BlockRule.

    Source: Kwon et al. 2023 (arXiv:2309.06180); DeepSeek-V2 (arXiv:2405.04434); vLLM `MLAAttentionSpec`.

    >>> mixer_caches(Attention(query_heads=64, kv_heads=8, head_dim=128, value_head_dim=128), 4, "bf16")[0].token_bytes
    1024
    """
    if isinstance(mixer, Attention):
        return _attention_caches(mixer, tensor_parallel, kv_format)
    if isinstance(mixer, LatentAttention):
        return _latent_caches(mixer, kv_format, packs_sparse_latent)
    return _state_caches(mixer, tensor_parallel)


def _attention_caches(mixer: Attention, tensor_parallel: int, kv_format: str) -> tuple[LayerCache, ...]:
    if mixer.shares_kv:
        return ()
    heads = -(-mixer.kv_heads // tensor_parallel)
    shape = (heads, mixer.head_dim, mixer.value_head_dim)
    size = heads * (mixer.head_dim + mixer.value_head_dim) * kv_value_bytes(kv_format)
    kind: Kind = "full" if mixer.window is None else ("chunk" if mixer.chunked else "window")
    return (LayerCache(kind, size, reach=mixer.window, shape=shape),)


def _latent_caches(mixer: LatentAttention, kv_format: str, packs_sparse_latent: bool) -> tuple[LayerCache, ...]:
    width = mixer.kv_rank + mixer.rope_dim
    size = width * kv_value_bytes(kv_format)
    if mixer.indexer is not None and packs_sparse_latent and kv_value_bytes(kv_format) == 1:
        # fp8_ds_mla packs fp8 latent values with one fp32 scale per 128, and rope values in bf16.
        size = mixer.kv_rank + mixer.kv_rank // SCALE_GROUP * SCALE_BYTES + mixer.rope_dim * 2
    kind: Kind = "full" if mixer.window is None else "window"
    cache = LayerCache(kind, size, reach=mixer.window, latent=True, shape=(width,))
    if mixer.indexer is None:
        return (cache,)
    return cache, _indexer_cache(mixer.indexer)


def _indexer_cache(indexer: Indexer) -> LayerCache:
    size = indexer.head_dim + indexer.head_dim // SCALE_GROUP * SCALE_BYTES
    return LayerCache("full", size, latent=True, shape=(size,))


def _state_caches(mixer: RecurrentState, tensor_parallel: int) -> tuple[LayerCache, ...]:
    size = sum(_state_array_bytes(array, tensor_parallel) for array in mixer.arrays)
    return (LayerCache("state", 0, state_bytes=size, shape=(size,)),)


def _state_array_bytes(array: StateArray, tensor_parallel: int) -> int:
    shape = list(array.shape)
    if array.tp_axis is not None:
        shape[array.tp_axis] = -(-shape[array.tp_axis] // tensor_parallel)
    return prod(shape) * BYTES_PER_VALUE[array.stored_as]


@dataclass(frozen=True, slots=True)
class BlockRule:
    """How an engine chooses tokens per block.

    Attributes:
        tokens: of an ordinary block.
        latent_tokens: of a block of latent attention.
        latent_granule: hybrid models with latent attention raise the block to a multiple of this until it holds a
            recurrent state; those with softmax attention to a multiple of `tokens`.
        packs_sparse_latent: whether an fp8 cache of sparse latent attention keeps scales and bf16 rope values
            (fp8_ds_mla: 656 instead of 576 bytes).
    """

    tokens: int
    latent_tokens: int
    latent_granule: int
    packs_sparse_latent: bool


@lru_cache(maxsize=4096)
def plan_pages(spec: ModelSpec, tensor_parallel: int, kv_format: str, rule: BlockRule) -> PagePlan:
    """The groups of a model's layers and their block sizes, on one TP rank.

    1. A hybrid model's block is raised until an attention page holds the largest state; state pages are padded to it.
    2. Layers that differ only in page size (all full, or all with one window) form one group.
    3. Otherwise all pages are made equal: a smaller attention page gets more tokens when it divides the largest, else
       padding; then layers of each kind are dealt into groups of equal length, the shortest kind's count (or the
       longest's when that is less than 1.5 times more), the last group padded.

    Args:
        spec: the model.
        tensor_parallel: ranks.
        kv_format: of the cache.
        rule: tokens per block.
    """
    caches = _caches_of_layers(spec, tensor_parallel, kv_format, rule)
    block = _aligned_block(caches, rule)
    groups = _groups([(index, cache, _page(cache, block)) for index, cache in caches], block)
    return PagePlan(
        groups=groups,
        full_bytes_per_token=sum(c.token_bytes for _, c in caches if c.kind == "full"),
        window_bytes_per_token=sum(c.token_bytes for _, c in caches if c.kind in ("window", "chunk")),
        state_bytes_per_request=sum(sum(g.layer_page_bytes) for g in groups if g.kind == "state"),
    )


def _caches_of_layers(
    spec: ModelSpec, tensor_parallel: int, kv_format: str, rule: BlockRule
) -> list[tuple[int, LayerCache]]:
    """Every layer's caches in the order of the layers."""
    packs = rule.packs_sparse_latent
    caches: list[tuple[int, LayerCache]] = []
    for group in spec.layers:
        if not group.next_token_prediction:
            kept = [
                cache
                for mixer in group.mixers
                for cache in mixer_caches(mixer, tensor_parallel, kv_format, packs_sparse_latent=packs)
            ]
            caches += [(index, cache) for index in group.indices for cache in kept]
    return sorted(caches, key=lambda pair: pair[0])


def _aligned_block(caches: list[tuple[int, LayerCache]], rule: BlockRule) -> int:
    """Tokens per block of attention, raised until one page holds the largest recurrent state."""
    latent = any(cache.latent for _, cache in caches)
    block = rule.latent_tokens if latent else rule.tokens
    state = max((cache.state_bytes for _, cache in caches if cache.kind == "state"), default=0)
    token_bytes = max((cache.token_bytes for _, cache in caches if cache.kind == "full"), default=0)
    if not state or not token_bytes:
        return block
    granule = max(rule.latent_granule, block) if latent else block
    return max(block, granule * -(-state // (granule * token_bytes)))


def _page(cache: LayerCache, block: int) -> int:
    return cache.state_bytes if cache.kind == "state" else cache.token_bytes * block


Page = tuple[int, LayerCache, int]
"""Layer index, its cache, bytes of its page."""


def _groups(pages: list[Page], block: int) -> tuple[Group, ...]:
    if not pages:
        return ()
    kinds = {(cache.kind, cache.reach) for _, cache, _ in pages}
    if len(kinds) == 1:
        return (_one_group(pages, block),)
    return _equal_page_groups(pages, block)


def _one_group(pages: list[Page], block: int) -> Group:
    cache = pages[0][1]
    return Group(cache.kind, cache.reach, block, tuple(p[0] for p in pages), tuple(p[2] for p in pages))


def _equal_page_groups(pages: list[Page], block: int) -> tuple[Group, ...]:
    largest = max(size for _, _, size in pages)
    buckets: dict[tuple[LayerCache, int], list[int]] = {}
    for index, cache, size in pages:
        tokens = block * (largest // size) if cache.kind != "state" and largest % size == 0 else block
        buckets.setdefault((cache, tokens), []).append(index)
    groups: list[Group] = []
    length = _group_length([len(layers) for layers in buckets.values()])
    for (cache, tokens), layers in buckets.items():
        count = -(-len(layers) // length)
        for first in range(count):
            dealt = tuple(layers[first::count])
            groups.append(Group(cache.kind, cache.reach, tokens, dealt, (largest,) * len(dealt)))
    return tuple(groups)


def _group_length(counts: list[int]) -> int:
    """Layers per group: the rarest kind's, unless the commonest has less than half as many again."""
    shortest, longest = min(counts), max(counts)
    return longest if 2 * longest < 3 * shortest else shortest
