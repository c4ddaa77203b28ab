"""Grok 1 and 2: four norms, a few wide experts, and in Grok 2 a dense MLP beside them."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm, renamed, routed_experts, router
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("Grok1ForCausalLM", "Grok1ModelForCausalLM")
MODEL_TYPES = ("grok-1", "grok1")

_NORMS = ("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm")
_EXPERT_NAMES = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


def read(config: Fields) -> Shape:
    """All layers are alike. Source: SGLang 0.5.23 `sglang/srt/models/grok.py`; vLLM served it until 0.23."""
    hidden, mixer = config.size("hidden_size"), read_attention(config.assuming(head_dim=128))
    beside = config.flag("residual_moe", default=False)
    matrices = (
        *attention(hidden, mixer),
        *_experts(config, hidden),
        *(gated_mlp(hidden, config.size("intermediate_size")) if beside else ()),
        *(norm(name, hidden) for name in _NORMS),
    )
    return language_model(config, "Grok", [Layer((mixer,), matrices)] * config.layers())


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Routed in fp32."""
    experts = config.size("num_local_experts", "num_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", "num_selected_experts", default=min(2, experts), largest=experts)
    width, name = config.size("moe_intermediate_size", "intermediate_size"), "block_sparse_moe"
    return (
        router(hidden, experts, name=f"{name}.gate", stored_as="fp32"),
        *renamed(routed_experts(hidden, width, experts, top_k, name=f"{name}.experts"), _EXPERT_NAMES),
    )
