"""What a request keeps on a GPU: keys and values per token, latent vectors, recurrent state per sequence.

This room turns the mixers of a model's layers into caches on one tensor-parallel rank. How an engine cuts its pool into
blocks for them is `page_groups.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Literal

from catalog.model import Attention, Compressor, Indexer, LatentAttention, Mixer, ModelSpec, RecurrentState, StateArray

Kind = Literal["full", "window", "chunk", "cross", "state"]

BYTES_PER_VALUE = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
"""Size of one cached value by KV format."""

PACKED_VECTORS = {
    "int8_per_token_head": (8, 4, None),
    "fp8_per_token_head": (8, 4, None),
    "int4_per_token_head": (4, 4, None),
    "nvfp4": (4, 1, 16),
}
"""KV formats with scales: bits per value, bytes per scale, values that share one (None: a whole vector of a head).

Source: vLLM 0.33.0 `vllm/v1/attention/backends/triton_attn.py` (fp32 scale inline per token and head) and
`vllm/utils/torch_utils.py`, `nvfp4_kv_cache_full_dim`.
"""

SCALE_GROUP = 128
"""Values of an indexer's key, or of a packed latent vector, that share one fp32 scale (DeepSeek-V3.2)."""

COMPRESSED_SCALE_GROUP = 64
"""Values of a compressed latent entry that share one scale byte; the row of scales is padded to 8 (DeepSeek-V4)."""


class UnknownKvFormat(ValueError):
    """A KV-cache format that is not known."""


@dataclass(frozen=True, slots=True)
class BlockRule:
    """How an engine's attention kernels want their blocks, for one model on one kind of GPU.

    Attributes:
        tokens: per block of an ordinary cache.
        latent_tokens: per block of latent attention.
        latent_granule: hybrid models with latent attention raise the block to a multiple of this until it holds a
            recurrent state; those with softmax attention to a multiple of `tokens`.
        packs_sparse_latent: whether an fp8 cache of sparse latent attention keeps scales and bf16 rope values
            (fp8_ds_mla: 656 instead of 576 bytes).
        compressed_tokens, compressed_window_tokens, compressed_alignment: blocks of DeepSeek-V4's caches, and the
            bytes that their pages are padded to a multiple of.
        compressor_tokens: of a block of tokens that are not compressed yet, by the compressor's window.
        state_pages: blocks that one request keeps per group of recurrent states next to attention (2 when states are
            checkpointed at block boundaries for prefix caching); `state_pages_by_kind` for kinds that differ.
        indexes_every_layer: layers that share another's choice of tokens keep an indexer's keys all the same.
    """

    tokens: int
    latent_tokens: int
    latent_granule: int
    packs_sparse_latent: bool
    compressed_tokens: int
    compressed_window_tokens: int
    compressed_alignment: int
    compressor_tokens: tuple[tuple[int, int], ...]
    state_pages: int
    state_pages_by_kind: tuple[tuple[str, int], ...]
    indexes_every_layer: bool = False


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one mixer of one layer keeps, on one TP rank.

    Attributes:
        kind: "full" grows with every token; "window" and "chunk" keep the newest `reach` tokens; "cross" keeps
            `reach` tokens of an encoder; "state" is one page
            per request whatever its length.
        entry_bytes: bytes of one entry (0 for a state).
        state_bytes: bytes per request (0 unless a state).
        reach: tokens that a window, a chunk or a ring of an indexer keeps; None otherwise.
        latent: latent attention, whose pages cannot be padded freely.
        tokens_per_entry: tokens that one entry stands for.
        block_tokens: tokens per block when its kernel fixes them, else None.
        alignment: its pages are padded to a multiple of this.
        pages_per_request: blocks that a request keeps of a state.
        shape: what makes two caches alike besides their size, so that different ones are not merged.
    """

    kind: Kind
    entry_bytes: int
    state_bytes: int = 0
    reach: int | None = None
    latent: bool = False
    tokens_per_entry: int = 1
    block_tokens: int | None = None
    alignment: int = 1
    pages_per_request: int = 1
    shape: tuple[int, ...] = ()

    def page_bytes(self, block_tokens: int) -> int:
        """Bytes of a block of so many tokens."""
        if self.kind == "state":
            return self.state_bytes
        content = block_tokens // self.tokens_per_entry * self.entry_bytes
        return -(-content // self.alignment) * self.alignment


def kv_value_bytes(kv_format: str) -> int:
    """Bytes of one cached value.

    >>> kv_value_bytes("bf16"), kv_value_bytes("fp8")
    (2, 1)
    """
    if kv_format in PACKED_VECTORS:
        return 1  # their pages are bytes
    try:
        return BYTES_PER_VALUE[kv_format]
    except KeyError:
        known = ", ".join((*BYTES_PER_VALUE, *PACKED_VECTORS))
        raise UnknownKvFormat(f"No KV-cache format is called {kv_format!r}; known are {known}.") from None


def kv_vector_bytes(values: int, kv_format: str) -> int:
    """Bytes of one cached vector of a head, its scales included.

    >>> kv_vector_bytes(128, "bf16"), kv_vector_bytes(128, "nvfp4"), kv_vector_bytes(128, "int4_per_token_head")
    (256, 72, 68)
    """
    if kv_format not in PACKED_VECTORS:
        return values * kv_value_bytes(kv_format)
    bits, scale_bytes, shared_by = PACKED_VECTORS[kv_format]
    return values * bits // 8 + scale_bytes * (1 if shared_by is None else values // shared_by)


GroupCaches = tuple[tuple[tuple[int, ...], tuple[LayerCache, ...]], ...]
"""Layer indices of each group of equal layers, and what one of them keeps."""


GroupMixers = tuple[tuple[tuple[int, ...], tuple[Mixer, ...]], ...]
"""Layer indices of each group of equal layers, and its mixers."""


def mixers_of_groups(spec: ModelSpec) -> GroupMixers:
    """What decides the cache of a model; multi-token-prediction layers keep nothing unless they are used."""
    return tuple((group.indices, group.mixers) for group in spec.layers if not group.next_token_prediction)


@lru_cache(maxsize=1024)
def group_caches(groups: GroupMixers, tensor_parallel: int, kv_format: str, rule: BlockRule) -> GroupCaches:
    """What the layers of every group keep on one TP rank; of the formats that weights are stored in, all have the same.

    Args:
        groups: of the model, from `mixers_of_groups`.
        tensor_parallel: ranks that divide the heads.
        kv_format: "bf16", "fp8", ...
        rule: what the engine's kernels want.
    """
    caches = tuple(
        (indices, tuple(c for mixer in mixers for c in mixer_caches(mixer, tensor_parallel, kv_format, rule)))
        for indices, mixers in groups
    )
    return _in_compressed_model(caches, rule)


def layer_caches(groups: GroupCaches) -> list[tuple[int, LayerCache]]:
    """Every layer's caches as (layer index, cache), in the order of the layers."""
    caches = [(index, cache) for indices, kept in groups for index in indices for cache in kept]
    return sorted(caches, key=lambda pair: pair[0])


def _in_compressed_model(groups: GroupCaches, rule: BlockRule) -> GroupCaches:
    """In a model with compressed caches the plain windows take that model's packed entries too."""
    if all(cache.tokens_per_entry == 1 for _, kept in groups for cache in kept):
        return groups
    return tuple(
        (indices, tuple(_packed_window(cache, rule) if _is_plain_window(cache) else cache for cache in kept))
        for indices, kept in groups
    )


def _is_plain_window(cache: LayerCache) -> bool:
    return cache.latent and cache.kind == "window" and cache.block_tokens is None


def _packed_window(cache: LayerCache, rule: BlockRule) -> LayerCache:
    return LayerCache(
        "window",
        _compressed_entry_bytes(*cache.shape),
        reach=cache.reach,
        latent=True,
        block_tokens=rule.compressed_window_tokens,
        alignment=rule.compressed_alignment,
        shape=cache.shape,
    )


def mixer_caches(mixer: Mixer, tensor_parallel: int, kv_format: str, rule: BlockRule) -> Iterator[LayerCache]:
    """What one mixer keeps on one TP rank.

    Softmax attention keeps two vectors per KV head and token, and at least one head per rank:

        max(1, kv_heads / TP) * (head_dim + value_head_dim) * bytes

    Latent attention keeps one compressed vector per token on *every* TP rank, (kv_rank + rope_dim) * bytes; its sparse
    indexer adds a key with one scale per 128 values; a recurrent state is a fixed number of bytes per request.

    Source: Kwon et al. 2023 (arXiv:2309.06180); DeepSeek-V2 (arXiv:2405.04434) and V3.2 (arXiv:2512.02556); vLLM
    0.33.0 `vllm/v1/kv_cache_interface.py`.
    """
    if isinstance(mixer, Attention):
        yield from _attention_caches(mixer, tensor_parallel, kv_format)
    elif isinstance(mixer, LatentAttention):
        yield from _latent_caches(mixer, kv_format, rule)
    else:
        yield _state_cache(mixer, tensor_parallel, rule)


def _attention_caches(mixer: Attention, tensor_parallel: int, kv_format: str) -> Iterator[LayerCache]:
    if mixer.shares_kv:
        return
    heads = -(-mixer.kv_heads // tensor_parallel)
    yield LayerCache(
        _attention_kind(mixer),
        heads * (kv_vector_bytes(mixer.head_dim, kv_format) + kv_vector_bytes(mixer.value_head_dim, kv_format)),
        reach=mixer.window,
        shape=(heads, mixer.head_dim, mixer.value_head_dim),
    )
    if mixer.indexer is not None and not mixer.indexer.shared:
        keys = _key_cache(mixer.indexer)
        yield replace(keys, latent=keys.tokens_per_entry == 1)  # pooled keys follow the blocks of softmax attention
        yield from _open_keys(mixer.indexer)


def _attention_kind(mixer: Attention) -> Kind:
    if mixer.window is None:
        return "full"
    if mixer.cross:
        return "cross"
    return "chunk" if mixer.chunked else "window"


def _latent_caches(mixer: LatentAttention, kv_format: str, rule: BlockRule) -> Iterator[LayerCache]:
    keeps = mixer.indexer is not None and (rule.indexes_every_layer or not mixer.indexer.shared)
    indexer = mixer.indexer if keeps else None
    if mixer.compression > 1:
        yield from _compressed_caches(mixer, indexer, rule)
        return
    yield LayerCache(
        "full" if mixer.window is None else "window",
        _latent_entry_bytes(mixer, kv_format, rule),
        reach=mixer.window,
        latent=True,
        shape=(mixer.kv_rank, mixer.rope_dim),
    )
    if indexer is not None:
        yield _key_cache(indexer)
        yield from _open_keys(indexer)


def _latent_entry_bytes(mixer: LatentAttention, kv_format: str, rule: BlockRule) -> int:
    if kv_format in PACKED_VECTORS:
        raise UnknownKvFormat(f"Latent attention has no KV cache of format {kv_format!r}; use bf16 or fp8.")
    bytes_each = kv_value_bytes(kv_format)
    if mixer.indexer is not None and rule.packs_sparse_latent and bytes_each == 1:
        scales = mixer.kv_rank // SCALE_GROUP * BYTES_PER_VALUE["fp32"]
        return mixer.kv_rank + scales + mixer.rope_dim * BYTES_PER_VALUE["bf16"]
    return (mixer.kv_rank + mixer.rope_dim) * bytes_each


def _key_bytes(indexer: Indexer) -> int:
    if indexer.keys_stored_as == "bf16":
        return indexer.head_dim * BYTES_PER_VALUE["bf16"]
    return indexer.head_dim + indexer.head_dim // SCALE_GROUP * BYTES_PER_VALUE["fp32"]


def _key_cache(indexer: Indexer) -> LayerCache:
    """One key per `compression` tokens."""
    size = _key_bytes(indexer)
    return LayerCache("full", size, latent=True, tokens_per_entry=indexer.compression, shape=(size,))


def _open_keys(indexer: Indexer) -> Iterator[LayerCache]:
    """The ring of tokens that are no key yet: a block of its own for every request (vLLM's CircularBufferSpec)."""
    if indexer.open_values:
        size = indexer.compression * indexer.open_values * BYTES_PER_VALUE["bf16"]
        yield LayerCache("state", 0, state_bytes=size, reach=indexer.compression, shape=(size,))


def _compressed_entry_bytes(kv_rank: int, rope_dim: int) -> int:
    """An fp8 value each, a scale byte per 64 in a row padded to 8, and rope values in bf16: 584 for 448 + 64."""
    scales = -(-(kv_rank // COMPRESSED_SCALE_GROUP) // 8) * 8
    return kv_rank + scales + rope_dim * BYTES_PER_VALUE["bf16"]


def _compressed_caches(mixer: LatentAttention, indexer: Indexer | None, rule: BlockRule) -> Iterator[LayerCache]:
    """DeepSeek-V4: one entry per `compression` tokens, the indexer's likewise, and what has no entry yet in fp32."""
    if indexer is not None:
        yield _compressed_cache(_key_bytes(indexer), indexer.compression, rule)
        yield from _uncompressed(indexer.compressor, rule)
    yield _compressed_cache(_compressed_entry_bytes(mixer.kv_rank, mixer.rope_dim), mixer.compression, rule)
    yield from _uncompressed(mixer.compressor, rule)


def _compressed_cache(entry_bytes: int, compression: int, rule: BlockRule) -> LayerCache:
    return LayerCache(
        "full",
        entry_bytes,
        latent=True,
        tokens_per_entry=compression,
        block_tokens=rule.compressed_tokens,
        alignment=rule.compressed_alignment,
        shape=(entry_bytes, compression),
    )


def _uncompressed(compressor: Compressor | None, rule: BlockRule) -> Iterator[LayerCache]:
    if compressor is not None:
        yield LayerCache(
            "window",
            compressor.values * BYTES_PER_VALUE["fp32"],
            reach=compressor.window,
            latent=True,
            block_tokens=dict(rule.compressor_tokens)[compressor.window],
            alignment=rule.compressed_alignment,
            shape=(compressor.values,),
        )


def _state_cache(mixer: RecurrentState, tensor_parallel: int, rule: BlockRule) -> LayerCache:
    size = sum(_state_array_bytes(array, tensor_parallel) for array in mixer.arrays)
    pages = dict(rule.state_pages_by_kind).get(mixer.kind, rule.state_pages)
    return LayerCache("state", 0, state_bytes=size, pages_per_request=pages, shape=(size,))


def _state_array_bytes(array: StateArray, tensor_parallel: int) -> int:
    shape = list(array.shape)
    if array.tp_axis is not None:
        shape[array.tp_axis] = -(-shape[array.tp_axis] // tensor_parallel)
    return prod(shape) * BYTES_PER_VALUE[array.stored_as]
