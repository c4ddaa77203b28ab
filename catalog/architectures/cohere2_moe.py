"""Command A+ (Cohere 2 MoE): one norm before attention and experts side by side, windows, dense layers first, tied."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, mixture_of_experts, norm
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields, sparse_layers, windows

ARCHITECTURES = ("Cohere2MoeForCausalLM",)
MODEL_TYPES = ("cohere2_moe",)


def read(config: Fields) -> Shape:
    """Defaults are those of transformers' Cohere2MoeConfig."""
    hidden, count = config.size("hidden_size"), config.layers()
    dense = config.count("first_k_dense_replace", default=0, largest=LARGEST_LAYERS)
    biased, sparse = config.flag("attention_bias", default=False), _mixture(config, hidden)
    plain = gated_mlp(hidden, config.size("prefix_dense_intermediate_size", "intermediate_size"))
    own = config.assuming(head_dim=128)
    layers = []
    for window, is_sparse in zip(_windows(config, count, dense), sparse_layers(config, count, dense), strict=True):
        mixer = read_attention(own, window)
        weights = attention(hidden, mixer, qkv_bias=biased, output_bias=biased)
        matrices = (*weights, *(sparse if is_sparse else plain))
        layers.append(Layer((mixer,), (*matrices, norm("input_layernorm", hidden))))
    return language_model(config, "Command", layers, tied=config.flag("tie_word_embeddings", default=True))


def _windows(config: Fields, count: int, dense: int) -> tuple[int | None, ...]:
    """Dense layers slide in a pattern of their own. Engines keep one token more than `sliding_window`.

    Source: vLLM 0.32 cohere2_moe.py.
    """
    first = config.size("prefix_dense_sliding_window_pattern", default=1, largest=LARGEST_LAYERS)
    every = config.size("sliding_window_pattern", default=4, largest=LARGEST_LAYERS)
    slides = [(i + 1) % first != 0 if i < dense else (i - dense + 1) % every != 0 for i in range(count)]
    return tuple(None if window is None else window + 1 for window in windows(config, count, slides))


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", default=8, largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", default=min(2, experts), largest=experts)
    width = config.size("intermediate_size")
    shared = width * config.count("num_shared_experts", default=0, largest=1024)
    return mixture_of_experts(hidden, width, experts, top_k, shared=shared)
