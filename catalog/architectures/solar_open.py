"""Solar Open: grouped-query attention, then routed and shared experts, in every layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, mixture_of_experts, pre_norms
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("SolarOpenForCausalLM",)
MODEL_TYPES = ("solar_open",)


def read(config: Fields) -> Shape:
    """Defaults are those of transformers' SolarOpenConfig."""
    hidden, mixer = config.size("hidden_size"), _attention(config)
    biased = config.flag("attention_bias", default=False)
    norms = (mixer.head_dim, mixer.head_dim) if config.flag("use_qk_norm", default=False) else None
    weights = attention(hidden, mixer, qkv_bias=biased, qk_norm=norms)
    layer = Layer((mixer,), (*weights, *_experts(config, hidden), *pre_norms(hidden)))
    return language_model(config, "Solar Open", [layer] * config.layers())


def _attention(config: Fields) -> Attention:
    return read_attention(config.assuming(head_dim=128))


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("n_routed_experts", default=128, largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", default=min(8, experts), largest=experts)
    width = config.size("moe_intermediate_size", default=1280)
    shared = width * config.count("n_shared_experts", default=1, largest=1024)
    return mixture_of_experts(hidden, width, experts, top_k, shared=shared)
