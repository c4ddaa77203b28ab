"""Mixtral: Mistral's attention, and a mixture of experts without a shared one in every layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, pre_norms, routed_experts, router
from catalog.reading import LARGEST_CONTEXT, LARGEST_EXPERTS, Fields

ARCHITECTURES = ("MixtralForCausalLM",)
MODEL_TYPES = ("mixtral",)

_NAME = "block_sparse_moe"


def read(config: Fields) -> Shape:
    """Every layer is a mixture of experts."""
    hidden = config.size("hidden_size")
    experts = config.size("num_local_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", largest=experts)
    mixer = read_attention(config, window=config.optional_size("sliding_window", largest=LARGEST_CONTEXT))
    matrices = (
        *attention(hidden, mixer),
        router(hidden, experts, name=f"{_NAME}.gate"),
        *routed_experts(hidden, config.size("intermediate_size"), experts, top_k, name=f"{_NAME}.experts"),
        *pre_norms(hidden),
    )
    return language_model(config, "Mixtral", [Layer((mixer,), matrices)] * config.layers())
