"""Mellum 2: normalized queries and keys as in Qwen 3, sliding windows and experts in the layers that are listed."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms, routed_experts, router
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, Fields, sparse_layers, windows

ARCHITECTURES = ("MellumForCausalLM",)
MODEL_TYPES = ("mellum",)

_DEFAULTS = {"num_key_value_heads": 4, "head_dim": 128, "sliding_window": 1024}
"""Source: transformers 5.19.0 MellumConfig."""


def read(config: Fields) -> Shape:
    """Where the config lists no kinds of layers, all attention is full and every layer has experts."""
    config = Fields({**_DEFAULTS, **config.values}, config.where)
    hidden, count = config.size("hidden_size"), config.layers()
    sparse = sparse_layers(config, count, 0)
    biased = config.flag("attention_bias", default=False)
    mixture = _experts(config, hidden) if any(sparse) else ()
    layers = []
    for is_sparse, window in zip(sparse, windows(config, count), strict=True):
        mixer = read_attention(config, window)
        matrices = (
            *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=(mixer.head_dim, mixer.head_dim)),
            *(mixture if is_sparse else gated_mlp(hidden, config.size("intermediate_size"))),
            *pre_norms(hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return language_model(config, "Mellum", layers)


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_local_experts", "num_experts", default=64, largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", default=8, largest=experts)
    width = config.size("moe_intermediate_size", default=896)
    return router(hidden, experts), *routed_experts(hidden, width, experts, top_k)
