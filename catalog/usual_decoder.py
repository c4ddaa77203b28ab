"""Architectures that nobody has described here, read as the usual decoder when their weight files agree.

Most published models are Llama's layers under another name. Whether one is can be checked: a config of attention, MLP
and perhaps experts describes a number of weights, and the weight files hold a number of weights. Only where both agree
is the shape believed, and the model says that it was read so. Whatever has other kinds of layers is refused unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    language_model,
    plain_mlp,
    pre_norms,
    routed_experts,
    router,
)
from catalog.errors import CatalogError
from catalog.model import Attention, Matrix, ModelSpec
from catalog.read import read_as
from catalog.reading import LARGEST_EXPERTS, Fields, windows

AGREES_WITHIN = 2 / 1000
"""Norms and biases, which the usual decoder has or has not, are a thousandth of a model."""

_CLASS = re.compile(r"[A-Za-z]\w{2,60}", re.ASCII)
_OTHER_NAMES = {
    "hidden_size": ("n_embd", "d_model", "embed_dim"),
    "num_hidden_layers": ("num_layers", "n_layer", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_kv_heads", "multi_query_group_num"),
    "intermediate_size": ("ffn_hidden_size", "n_inner", "ffn_dim"),
    "vocab_size": ("padded_vocab_size",),
    "max_position_embeddings": ("n_positions", "seq_length", "max_sequence_length", "n_ctx", "max_seq_len"),
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_top_k", "moe_topk", "top_k_experts")
_EXPERT_WIDTH = ("moe_intermediate_size", "expert_intermediate_size", "expert_hidden_dim")
_SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
_DENSE_FIRST = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")

_OTHER_LAYERS = (
    "mamba", "ssm", "conv", "linear_", "lora_rank", "state_size", "attn_type", "block_type", "cross", "shared_kv",
    "kv_shared", "kv_share", "hybrid", "indexer", "index_topk", "encoder", "vision", "audio", "text_config", "rwkv",
    "ngram", "loop", "recurrent", "diffusion",
)  # fmt: skip
"""Parts of key names of configs whose layers keep something else than keys and values of every layer."""


@dataclass(frozen=True, slots=True)
class _Guess:
    """What configs leave to the code of their architecture."""

    gated: bool
    tied: bool


def read_usual_decoder(
    config: Mapping[str, object],
    hf_quant_config: Mapping[str, object] | None,
    apart: Callable[[ModelSpec], float],
) -> tuple[ModelSpec, float] | None:
    """The model of this config if it is the usual decoder.

    Args:
        config: the parsed config.json, of an architecture that is not described.
        hf_quant_config: ModelOpt's file beside it.
        apart: by what share a model's weights differ from those that were counted.

    Returns:
        The model and that share; None when no way to read it agrees.
    """
    if not _is_named(config) or any(
        part in key for key in config for part in _OTHER_LAYERS if config[key] not in (None, False, 0)
    ):
        return None
    best: tuple[ModelSpec, float] | None = None
    for spec in _ways(_renamed(config), hf_quant_config):
        share = apart(spec)
        if share <= AGREES_WITHIN and (best is None or share < best[1]):
            best = spec, share
    return best


def _is_named(config: Mapping[str, object]) -> bool:
    """Whether its architecture has a name that a class can have; it will be shown."""
    names = config.get("architectures")
    return isinstance(names, list) and bool(names) and bool(_CLASS.fullmatch(str(names[0])))


def _renamed(config: Mapping[str, object]) -> dict[str, object]:
    """The config with the usual names."""
    renamed = dict(config)
    for usual, others in _OTHER_NAMES.items():
        found = next((config[name] for name in others if config.get(name) is not None), None)
        if renamed.get(usual) is None and found is not None:
            renamed[usual] = found
    return renamed


def _ways(config: Mapping[str, object], hf_quant_config: Mapping[str, object] | None) -> Iterator[ModelSpec]:
    """Every way to read it that its values allow."""
    stated = config.get("tie_word_embeddings")
    ties = [stated] if isinstance(stated, bool) else [True, False]
    for gated, tied in product((True, False), ties):
        guess = _Guess(gated, tied)
        try:
            yield read_as(config, partial(_shape, guess=guess), hf_quant_config)
        except CatalogError:
            continue


def _shape(config: Fields, guess: _Guess) -> Shape:
    """The usual decoder: attention, then an MLP or experts, in every layer."""
    count = config.layers()
    slides = windows(config, count) if "layer_types" in config else (None,) * count
    experts = config.count(*_EXPERTS, default=0, largest=LARGEST_EXPERTS)
    dense = config.count(*_DENSE_FIRST, default=0) if experts > 1 else count
    layers = []
    for number, window in enumerate(slides):
        mixer = read_attention(config, window)
        feed_forward = _mlp(config, guess) if number < dense else _experts(config, experts, guess)
        layers.append(
            Layer((mixer,), (*_attention(config, mixer), *feed_forward, *pre_norms(config.size("hidden_size"))))
        )
    return language_model(config, config.words("architectures")[0].partition("For")[0], layers, tied=guess.tied)


def _attention(config: Fields, mixer: Attention) -> tuple[Matrix, ...]:
    biased = config.get("attention_bias", "qkv_bias", "use_bias") is True
    return attention(config.size("hidden_size"), mixer, qkv_bias=biased)


def _mlp(config: Fields, guess: _Guess, width: int | None = None, name: str = "mlp") -> tuple[Matrix, ...]:
    make = gated_mlp if guess.gated else plain_mlp
    return make(config.size("hidden_size"), width or config.size("intermediate_size"), name=name)


def _experts(config: Fields, experts: int, guess: _Guess) -> tuple[Matrix, ...]:
    """Routed experts, and the shared ones beside them as one wide MLP."""
    hidden = config.size("hidden_size")
    width = config.optional_size(*_EXPERT_WIDTH) or config.size("intermediate_size")
    top_k = config.size(*_TOP_K, largest=experts)
    shared = config.optional_size("shared_expert_intermediate_size") or width * config.count(*_SHARED, default=0)
    routed = routed_experts(hidden, width, experts, top_k, gated=guess.gated)
    beside = _mlp(config, guess, shared, "mlp.shared_experts") if shared else ()
    return (router(hidden, experts), *routed, *beside)
