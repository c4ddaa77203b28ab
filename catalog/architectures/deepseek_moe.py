"""DeepSeek MoE (version 1) and dots.llm1: attention with plain heads, a dense start, then DeepSeek's experts."""

from __future__ import annotations

from catalog.architectures.deepseek import mixture
from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms
from catalog.model import Attention
from catalog.reading import LARGEST_LAYERS, Fields, windows

ARCHITECTURES = ("DeepseekForCausalLM", "Dots1ForCausalLM")
MODEL_TYPES = ("deepseek", "dots1")

_FAMILIES = {"deepseek": "DeepSeek MoE", "dots1": "dots.llm1"}


def read(config: Fields) -> Shape:
    """dots.llm1 normalizes the queries and keys of each head."""
    normalized, sparse = config.get("model_type") == "dots1", _sparse_layers(config)
    layers = [
        _layer(config, read_attention(config, window), is_sparse=is_sparse, qk_norm=normalized)
        for is_sparse, window in zip(sparse, windows(config, len(sparse)), strict=True)
    ]
    return language_model(config, _FAMILIES.get(str(config.get("model_type")), "DeepSeek MoE"), layers)


def _layer(config: Fields, mixer: Attention, *, is_sparse: bool, qk_norm: bool) -> Layer:
    hidden, biased = config.size("hidden_size"), config.flag("attention_bias", default=False)
    norms = (mixer.head_dim, mixer.head_dim) if qk_norm else None
    feed_forward = mixture(config, hidden) if is_sparse else gated_mlp(hidden, config.size("intermediate_size"))
    projections = attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=norms)
    return Layer((mixer,), (*projections, *feed_forward, *pre_norms(hidden)))


def _sparse_layers(config: Fields) -> list[bool]:
    """Which layers have experts: every `moe_layer_freq`-th past the dense start."""
    dense = config.count("first_k_dense_replace", default=0)
    every = config.size("moe_layer_freq", default=1, largest=LARGEST_LAYERS)
    return [i >= dense and i % every == 0 for i in range(config.layers())]
