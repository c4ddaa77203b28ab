"""Laguna: heads that differ by layer, a gate per head, sliding windows, a dense first layer, then experts."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, linear, pre_norms, routed_experts, router
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields, sparse_layers, windows

ARCHITECTURES = ("LagunaForCausalLM",)
MODEL_TYPES = ("laguna",)


def read(config: Fields) -> Shape:
    """Every layer states its number of heads, its window and whether it has experts."""
    hidden, count = config.size("hidden_size"), config.layers()
    own_heads = "num_attention_heads_per_layer" in config
    heads = config.sizes("num_attention_heads_per_layer", length=count) if own_heads else (None,) * count
    sparse = _experts(config, hidden)
    plain = gated_mlp(hidden, config.size("intermediate_size"))
    layers = []
    for window, number, is_sparse in zip(windows(config, count), heads, sparse_layers(config, count, 1), strict=True):
        mixer = read_attention(config, window, heads=number)
        mlp = sparse if is_sparse else plain
        layers.append(Layer((mixer,), (*_projections(config, hidden, mixer), *mlp, *pre_norms(hidden))))
    return language_model(config, "Laguna", layers)


def _projections(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    biased = config.flag("attention_bias", default=False)
    norms = (mixer.head_dim, mixer.head_dim)
    return (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=norms),
        linear("self_attn.g_proj", "attention", mixer.query_heads, hidden, "column"),
    )


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", largest=experts)
    shared = config.size("shared_expert_intermediate_size")
    return (
        router(hidden, experts, bias=True),
        *routed_experts(hidden, config.size("moe_intermediate_size"), experts, top_k),
        *gated_mlp(hidden, shared, name="mlp.shared_expert", part="shared_experts"),
    )
