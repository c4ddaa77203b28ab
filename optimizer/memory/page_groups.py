"""How an engine cuts its KV pool into blocks: layers form groups, and every group takes blocks from one pool.

Source: vLLM 0.33.0 `vllm/v1/core/kv_cache_utils.py` (`get_kv_cache_groups`, `_get_kv_cache_groups_uniform_page_size`,
`_get_packed_kv_cache_groups`, `get_max_concurrency_for_kv_cache_config`), `vllm/platforms/interface.py`
(`_align_hybrid_block_size`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from optimizer.memory.kv_cache import (
    BlockRule,
    GroupCaches,
    Kind,
    LayerCache,
    group_caches,
    layer_caches,
    mixers_of_groups,
)
from optimizer.memory.pipelines import Spans

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share one block table: each request takes one block per `block_tokens` tokens for all of them.

    Attributes:
        kind, reach: as in LayerCache.
        block_tokens: tokens of one block.
        layers: index in the model of the layer of each cache; a layer may have several.
        page_bytes: of one block in each of those caches, padding included.
        pages_per_request: blocks of a state group that one request keeps.
    """

    kind: Kind
    reach: int | None
    block_tokens: int
    layers: tuple[int, ...]
    page_bytes: tuple[int, ...]
    pages_per_request: int = 1

    @property
    def kind_of_table(self) -> tuple[Kind, int | None, int, int]:
        """What decides how many blocks a request takes of it."""
        return self.kind, self.reach, self.block_tokens, self.pages_per_request

    def blocks(self, tokens: Ints, in_flight_tokens: Ints) -> Ints:
        """Blocks that one request of so many tokens takes; broadcasts. See PagePlan.blocks."""
        if self.kind == "state":
            return np.full(np.broadcast(tokens, in_flight_tokens).shape, self.pages_per_request, dtype=np.int64)
        reach = self.reach or 0
        if self.kind == "cross":
            return np.full(np.broadcast(tokens, in_flight_tokens).shape, -(-reach // self.block_tokens), dtype=np.int64)
        if self.kind == "window":
            return np.asarray(-(-np.minimum(reach - 1 + in_flight_tokens, tokens) // self.block_tokens) + 1)
        if self.kind == "chunk":
            return np.asarray(-(-np.minimum(reach + in_flight_tokens, tokens) // self.block_tokens))
        return np.asarray(-(-tokens // self.block_tokens))


@dataclass(frozen=True, slots=True)
class PagePlan:
    """How a pool is cut into blocks, for one model, TP and KV format.

    Attributes:
        groups: every group takes its blocks from the same pool.
        layers: index in the model of the layer of each cache.
        full_rates, window_rates: bytes per token of each cache, without the padding that grouping adds.
        state_sizes: bytes per request of each cache, padding included.
    """

    groups: tuple[Group, ...]
    layers: tuple[int, ...]
    full_rates: tuple[float, ...]
    window_rates: tuple[float, ...]
    state_sizes: tuple[int, ...]

    @property
    def tokens_per_block(self) -> int | None:
        """Tokens of a block when one group of growing caches is all there is; else None."""
        sizes = {group.block_tokens if group.kind == "full" else None for group in self.groups}
        return sizes.pop() if len(sizes) == 1 and len(self.groups) == 1 else None

    @property
    def longest_reach(self) -> int:
        """Tokens that the widest window or chunk keeps; 0 without one."""
        return max((group.reach or 0 for group in self.groups if group.kind not in ("cross", "state")), default=0)

    @property
    def full_bytes_per_token(self) -> float:
        """Bytes that every further token of a long request costs, all layers."""
        return sum(self.full_rates)

    @property
    def window_bytes_per_token(self) -> float:
        """Bytes per token of layers that keep only the newest tokens."""
        return sum(self.window_rates)

    @property
    def state_bytes_per_request(self) -> int:
        """Recurrent state of one request."""
        return sum(self.state_sizes)

    def block_bytes(self, spans: Spans) -> Ints:
        """Bytes of one block on each pipeline stage: the widest group's pages of that stage's layers."""
        sizes = [spans.sums(group.layers, group.page_bytes) for group in self.groups]
        return np.max(sizes, axis=0).astype(np.int64) if sizes else np.zeros(len(spans), dtype=np.int64)

    def rates(self, spans: Spans) -> Floats:
        """Bytes per token that grow, bytes per token of windows, bytes per request: shape (3, stages)."""
        kinds = (self.full_rates, self.window_rates, self.state_sizes)
        return np.stack([spans.sums(self.layers, values) for values in kinds])

    def blocks(self, tokens: Ints, in_flight_tokens: Ints) -> Ints:
        """Blocks that one request of so many tokens takes from the pool; broadcasts.

            full    ceil(tokens / block)
            window  ceil(min(window - 1 + in_flight, tokens) / block) + 1   (a window may start inside a block)
            chunk   ceil(min(chunk + in_flight, tokens) / block)
            cross   ceil(encoder tokens / block)
            state   1, or 2 where states are checkpointed

        Args:
            tokens: length of the request.
            in_flight_tokens: tokens scheduled and not yet settled: blocks that leave a window are freed only after.
        """
        need = np.zeros(np.broadcast(tokens, in_flight_tokens).shape, dtype=np.int64)
        for number, group in _alike(self.groups):
            need += number * group.blocks(tokens, in_flight_tokens)
        return need

    def shared_blocks(self, tokens: int) -> int:
        """Whole blocks of the first tokens that requests beginning alike can share.

        Groups that keep every token share them; a window that slid on and a state that moved on do not.
        """
        return sum(tokens // group.block_tokens for group in self.groups if group.kind == "full")

    @property
    def need(self) -> Hashable:
        """What `blocks` reads of the plan."""
        return tuple((number, *group.kind_of_table) for number, group in _alike(self.groups))


@lru_cache(maxsize=1024)
def _alike(groups: tuple[Group, ...]) -> list[tuple[int, Group]]:
    """One of each kind of group with how many there are, so that equal ones are worked out once."""
    kinds = {group.kind_of_table: group for group in groups}
    counts = Counter(group.kind_of_table for group in groups)
    return [(counts[key], group) for key, group in kinds.items()]


@dataclass(frozen=True, slots=True)
class _Page:
    """One cache of one layer with its block."""

    layer: int
    cache: LayerCache
    block_tokens: int
    size: int

    @property
    def merges_with(self) -> tuple[Kind, int | None, int]:
        """Caches that may share a block table whatever their size."""
        return self.cache.kind, self.cache.reach, self.block_tokens


def plan_pages(spec: ModelSpec, tensor_parallel: int, kv_format: str, rule: BlockRule) -> PagePlan:
    """The groups of a model's layers and their blocks, on one TP rank.

    1. A hybrid model's block is raised until an attention page holds the largest recurrent state; states are padded.
    2. Caches that differ only in size (all full, or all with one window) form one group.
    3. Compressed caches are packed side by side: see `_packed_groups`.
    4. Otherwise all pages are made equal: a smaller attention page gets more tokens when it divides the largest, else
       padding; layers of each kind are dealt into groups of equal length, that of the rarest kind (or of the commonest
       when it has less than half as many again); a last group may be shorter.

    Args:
        spec: the model.
        tensor_parallel: ranks.
        kv_format: of the cache.
        rule: what the engine's kernels want.
    """
    return _plan(group_caches(mixers_of_groups(spec), tensor_parallel, kv_format, rule), rule)


@lru_cache(maxsize=1024)
def _plan(caches_of_groups: GroupCaches, rule: BlockRule) -> PagePlan:
    caches = layer_caches(caches_of_groups)
    block = _aligned_block([cache for _, cache in caches], rule)
    pages = [_page(layer, cache, block) for layer, cache in caches]
    groups = _groups(pages)
    states = {
        layer: size for g in groups if g.kind == "state" for layer, size in zip(g.layers, g.page_bytes, strict=True)
    }
    return PagePlan(
        groups=groups,
        layers=tuple(page.layer for page in pages),
        full_rates=tuple(_rate(page) if page.cache.kind == "full" else 0 for page in pages),
        window_rates=tuple(_rate(page) if page.cache.kind in ("window", "chunk") else 0 for page in pages),
        state_sizes=tuple(_bytes_per_request(page, states) for page in pages),
    )


def _bytes_per_request(page: _Page, states: dict[int, int]) -> int:
    """What a request keeps of it whatever its length: a padded state, or the blocks of an encoder's tokens."""
    if page.cache.kind == "cross":
        return -(-(page.cache.reach or 0) // page.block_tokens) * page.size
    return states[page.layer] if page.cache.kind == "state" else 0


def _page(layer: int, cache: LayerCache, block: int) -> _Page:
    tokens = cache.block_tokens or block
    return _Page(layer, cache, tokens, cache.page_bytes(tokens))


def _rate(page: _Page) -> float:
    return page.size / page.block_tokens


def _aligned_block(caches: list[LayerCache], rule: BlockRule) -> int:
    """Tokens per block of attention, raised until one page holds the largest recurrent state."""
    latent = any(cache.latent for cache in caches)
    block = rule.latent_tokens if latent else rule.tokens
    state = max((cache.state_bytes for cache in caches), default=0)
    token_bytes = max((cache.entry_bytes for cache in caches if cache.kind == "full"), default=0)
    if not state or not token_bytes:
        return block
    granule = max(rule.latent_granule, block) if latent else block
    return max(block, granule * -(-state // (granule * token_bytes)))


def _groups(pages: list[_Page]) -> tuple[Group, ...]:
    kinds = {page.merges_with for page in pages}
    if len(kinds) <= 1:
        return (_group(pages),) if pages else ()
    if any(page.cache.tokens_per_entry > 1 for page in pages):
        return _packed_groups(pages)
    return _equal_page_groups(pages)


def _group(pages: Sequence[_Page], size: int | None = None, pages_per_request: int = 1) -> Group:
    """A group of pages that share a block table; `size` when they are all padded to one."""
    first = pages[0]
    return Group(
        first.cache.kind,
        first.cache.reach,
        first.block_tokens,
        tuple(page.layer for page in pages),
        tuple(page.size if size is None else size for page in pages),
        pages_per_request,
    )


def _equal_page_groups(pages: list[_Page]) -> tuple[Group, ...]:
    largest = max(page.size for page in pages)
    buckets: dict[tuple[LayerCache, int], list[_Page]] = defaultdict(list)
    for page in pages:
        grown = _Page(page.layer, page.cache, _grown_block(page, largest), page.size)
        buckets[page.cache, grown.block_tokens].append(grown)
    length = _group_length([len(bucket) for bucket in buckets.values()])
    groups: list[Group] = []
    for (cache, _), bucket in buckets.items():
        count = -(-len(bucket) // length)
        groups += [_group(bucket[first::count], largest, cache.pages_per_request) for first in range(count)]
    return tuple(groups)


def _grown_block(page: _Page, largest: int) -> int:
    """Tokens of a block whose page is as large as the largest, when that is a whole multiple."""
    divides = page.cache.kind != "state" and largest % page.size == 0
    return page.block_tokens * (largest // page.size) if divides else page.block_tokens


def _group_length(counts: list[int]) -> int:
    """Layers per group: the rarest kind's, unless the commonest has less than half as many again."""
    shortest, longest = min(counts), max(counts)
    return longest if 2 * longest < 3 * shortest else shortest


def _packed_groups(pages: list[_Page]) -> tuple[Group, ...]:
    """Pages of several sizes side by side in one block (DeepSeek-V4).

    Caches that may share a block table form buckets. A bucket with as many pages of each size is a repeating pattern;
    buckets of one size are split into groups of about as many repeats as the longest pattern of several sizes has.
    """
    buckets: dict[tuple[Kind, int | None, int], list[_Page]] = defaultdict(list)
    largest = max(page.size for page in pages)
    for page in pages:  # states are as large as a page of attention, which was made to hold the largest; rings are not
        padded = page.cache.kind == "state" and page.cache.reach is None
        buckets[page.merges_with].append(replace(page, size=largest) if padded else page)
    repeats = _repeats_per_group([Counter(page.size for page in bucket) for bucket in buckets.values()])
    counts = [_groups_of(bucket, repeats) for bucket in buckets.values()]
    widest = max(_widest(b, n) for b, n in zip(buckets.values(), counts, strict=True) if b[0].cache.kind != "state")
    groups: list[Group] = []
    for bucket, count in zip(buckets.values(), counts, strict=True):
        first = bucket[0]
        states = first.cache.kind == "state"  # no more of them in a group than the block of the others holds
        parts = max(count, -(-len(bucket) // max(widest // first.size, 1))) if states else count
        groups += [_group(part, pages_per_request=first.cache.pages_per_request) for part in _split(bucket, parts)]
    return tuple(groups)


def _groups_of(bucket: list[_Page], repeats: int) -> int:
    sizes = Counter(page.size for page in bucket)
    return -(-max(sizes.values()) // repeats) if repeats and _is_balanced(sizes) else 1


def _widest(bucket: list[_Page], count: int) -> int:
    """Bytes of the largest of the groups that a bucket is split into."""
    sizes = Counter(page.size for page in bucket)
    return sum(size * -(-layers // count) for size, layers in sizes.items())


def _is_balanced(sizes: Counter[int]) -> bool:
    return len(set(sizes.values())) == 1


def _repeats_per_group(sizes: list[Counter[int]]) -> int:
    """The repeats that pad the balanced buckets least, at least those of the longest of several sizes; 0 = no split."""
    balanced = [max(each.values()) for each in sizes if _is_balanced(each)]
    least = max((max(each.values()) for each in sizes if _is_balanced(each) and len(each) > 1), default=0)
    if not least:
        return 0
    return min(range(least, max(balanced) + 1), key=lambda d: (sum(-count % d for count in balanced), -d))


def _split(bucket: list[_Page], count: int) -> list[list[_Page]]:
    """Deal repeats of a pattern (one page of each size) out to groups."""
    if count == 1:
        return [bucket]
    by_size: dict[int, list[_Page]] = defaultdict(list)
    for page in bucket:
        by_size[page.size].append(page)
    repeats = list(zip(*by_size.values(), strict=True))
    return [[page for repeat in repeats[first::count] for page in repeat] for first in range(count)]
