"""What an engine allocates while it loads, beside the weights: its log counts these buffers as the model's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.model import Attention, LatentAttention, ModelSpec
from optimizer.engines.engine import Engine

Ints = NDArray[np.int64]

CHOICE_BYTES = 4
"""An index of a token that sparse attention chose."""

FP32_BYTES = 4


def loading_buffers(spec: ModelSpec, engine: Engine, ranks: Ints, batched_tokens: Ints, max_model_len: int) -> Ints:
    """Bytes of all such buffers on one GPU of each stage, shape (stages,).

    Args:
        spec: the model.
        engine: whose buffers.
        ranks: tensor parallelism, shape (stages,).
        batched_tokens: of a step, shape (stages,).
        max_model_len: longest request, in tokens.
    """
    return position_table_bytes(spec) + _sparse_latent_bytes(spec, engine, ranks, batched_tokens, max_model_len)


def position_table_bytes(spec: ModelSpec) -> int:
    """Bytes of a model's tables of sines and cosines on one rank, however it is divided; 0 without rotary positions.

    One row per position that the checkpoint was made for, whatever max_model_len is, and one table per kind of turning:

        max_context_tokens * rotary values * 2        fp32 for latent attention and gpt-oss

    Multimodal Qwen models keep four times as many rows, for positions in video; positions that are scaled linearly
    (Gemma 3) have rows for each of the scaled ones.

    Source: vLLM 0.28.0 `vllm/model_executor/layers/rotary_embedding/base.py`; Llama 3.1 8B has 14.9575 GiB of
    parameters and loads 14.9888, Qwen2.5 7B 1M in 4 bit 5.19 and 5.43 (1,010,000 positions).

    >>> from catalog.find import find_model
    >>> position_table_bytes(find_model("llama-3.1-8b")) == 131072 * 128 * 2
    True
    """
    known = _known()
    if spec.architecture in known["without"]["architectures"]:
        return 0
    rows = spec.max_context_tokens * int(known["times_longer"].get(spec.architecture, 1))
    return rows * sum(_bytes_per_row(kind, spec.architecture) for kind in set(_turnings(spec)))


_Turning = tuple[bool, int, bool]
"""Whether attention is latent, values that turn (of a head or its rotary part), whether it has a base of its own."""


def _turnings(spec: ModelSpec) -> Iterator[_Turning]:
    apart = spec.architecture in _known()["two_bases"]["architectures"]
    for mixer in spec.mixers:
        if isinstance(mixer, LatentAttention):
            yield True, mixer.rope_dim, apart and mixer.compression > 1
        elif isinstance(mixer, Attention) and not mixer.cross:
            yield False, mixer.head_dim, apart and mixer.window is not None


def _bytes_per_row(turning: _Turning, architecture: str) -> int:
    known, (latent, values, apart) = _known(), turning
    if latent:
        return values * FP32_BYTES
    turned = round(values * float(known["share_of_head"].get(architecture, 1)))
    longer = 1 if apart else int(known["full_times_longer"].get(architecture, 1))
    width_bytes = FP32_BYTES if architecture in known["fp32"]["architectures"] else int(known["bytes_per_value"])
    return turned * width_bytes * longer


@cache
def _known() -> dict[str, Any]:
    text = files(__package__).joinpath("data/positions.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known


def _sparse_latent_bytes(
    spec: ModelSpec, engine: Engine, ranks: Ints, batched_tokens: Ints, max_model_len: int
) -> Ints:
    """What sparse latent attention keeps to read prompts, shape (stages,); zero for other models.

        copies * max_model_len * 2 * (kv_rank + rope_dim)             gathered context
        batched tokens * heads / TP * 2 * (kv_rank + rope_dim)        queries
        batched tokens * top_k * 4                                    the indexer's choice

    Source: vLLM 0.28.0 `vllm/v1/attention/backends/mla/flashmla_sparse.py`, `deepseek_v2.py`; GLM-5.3 in FP8 at TP 8
    loads 94.46 GiB: 88.71 of parameters and positions, and 5.76 of this for 1,048,576 tokens.
    """
    mixer = sparse_latent(spec)
    if mixer is None or mixer.indexer is None or not engine.keeps_sparse_context:
        return np.zeros_like(ranks)
    entry = 2 * (mixer.kv_rank + mixer.rope_dim)
    queries = -(-mixer.query_heads // ranks) * entry * engine.keeps_sparse_queries
    gathered = engine.sparse_latent_copies(max_model_len) * max_model_len * entry
    return np.asarray(gathered + batched_tokens * (queries + mixer.indexer.top_k * CHOICE_BYTES))


def sparse_latent(spec: ModelSpec) -> LatentAttention | None:
    """The latent attention whose indexer chooses among vectors of single tokens (DeepSeek-V3.2, GLM-5)."""
    latent = (mixer for mixer in spec.mixers if isinstance(mixer, LatentAttention))
    return next((mixer for mixer in latent if mixer.indexer is not None and mixer.compression == 1), None)
