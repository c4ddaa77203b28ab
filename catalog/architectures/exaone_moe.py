"""K-EXAONE: EXAONE 4's attention with windows, a norm before each half, a dense first layer, then experts."""

from __future__ import annotations

from catalog.architectures.deepseek import predictor
from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, mixture_of_experts, pre_norms
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields, sparse_layers, windows

ARCHITECTURES = ("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM")
MODEL_TYPES = ("exaone_moe",)


def read(config: Fields) -> Shape:
    """Published configs list their layers; without lists, the defaults of transformers' ExaoneMoeConfig apply."""
    hidden, count = config.size("hidden_size"), config.layers()
    sparse, plain = _mixture(config, hidden), gated_mlp(hidden, config.size("intermediate_size"))
    biased = config.flag("attention_bias", default=False)
    dense = config.count("first_k_dense_replace", default=1, largest=LARGEST_LAYERS)
    mixers = [read_attention(config, window) for window in _windows(config, count)]

    def layer(mixer: Attention, feed_forward: tuple[Matrix, ...]) -> Layer:
        norms = (mixer.head_dim, mixer.head_dim)
        matrices = attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=norms)
        return Layer((mixer,), (*matrices, *feed_forward, *pre_norms(hidden)))

    kinds = zip(mixers, sparse_layers(config, count, dense), strict=True)
    layers = [layer(mixer, sparse if is_sparse else plain) for mixer, is_sparse in kinds]
    predictors = config.count("num_nextn_predict_layers", default=0, largest=64)  # dense, with the first layer's window
    layers += [predictor(layer(mixers[0], plain), hidden)] * predictors
    return language_model(config, "EXAONE", layers)


def _windows(config: Fields, count: int) -> tuple[int | None, ...]:
    """One window for all sliding layers, or one for each in `sliding_windows` (K-EXAONE 2)."""
    every = config.size("sliding_window_pattern", default=4, largest=LARGEST_LAYERS) if _slides(config) else 1
    kinds = windows(config, count, [(i + 1) % every != 0 for i in range(count)])
    if "sliding_windows" not in config:
        return kinds
    own = config.sizes("sliding_windows", length=count, least=0)
    return tuple(None if window is None else each or None for window, each in zip(kinds, own, strict=True))


def _slides(config: Fields) -> bool:
    return "sliding_window" in config and "layer_types" not in config


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", default=64, largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", default=min(8, experts), largest=experts)
    width = config.size("moe_intermediate_size", default=1024)
    shared = width * config.count("num_shared_experts", default=1, largest=1024)
    return mixture_of_experts(hidden, width, experts, top_k, shared=shared)
