"""Qwen 1.5 and 2 MoE: Qwen 2's attention, then routed experts and one that every token passes by a gate of its own."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.architectures.qwen2 import qwen_windows
from catalog.architectures.qwen3 import sparse_layers
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    language_model,
    linear,
    pre_norms,
    routed_experts,
    router,
)
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("Qwen2MoeForCausalLM",)
MODEL_TYPES = ("qwen2_moe",)


def read(config: Fields) -> Shape:
    """Layers off the dense list have experts; query, key and value are biased unless the config says otherwise."""
    hidden = config.size("hidden_size")
    experts = _experts(config, hidden)
    layers = []
    for is_sparse, window in zip(sparse_layers(config), qwen_windows(config), strict=True):
        mixer = read_attention(config, window)
        matrices = (
            *attention(hidden, mixer, qkv_bias=config.flag("qkv_bias", default=True)),
            *(experts if is_sparse else gated_mlp(hidden, config.size("intermediate_size"))),
            *pre_norms(hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return language_model(config, "Qwen 2 MoE", layers)


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", largest=experts)
    shared = config.size("shared_expert_intermediate_size")
    return (
        router(hidden, experts),
        *routed_experts(hidden, config.size("moe_intermediate_size"), experts, top_k),
        *gated_mlp(hidden, shared, name="mlp.shared_expert", part="shared_experts"),
        linear("mlp.shared_expert_gate", "router", 1, hidden),
    )
