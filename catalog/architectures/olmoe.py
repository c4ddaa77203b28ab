"""OLMoE and FlexOlmo: queries and keys normalized over all heads, experts and no shared one in every layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, norm, pre_norms, routed_experts, router
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("OlmoeForCausalLM", "FlexOlmoForCausalLM")
MODEL_TYPES = ("olmoe", "flex_olmo")


def read(config: Fields) -> Shape:
    """OLMoE normalizes before attention and experts, FlexOlmo behind them, as OLMo 2 does."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    experts = config.size("num_experts", "num_local_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", largest=experts)
    biased = config.flag("attention_bias", default=False)
    over_all_heads = (mixer.query_heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim)
    behind = (norm("post_attention_layernorm", hidden), norm("post_feedforward_layernorm", hidden))
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=over_all_heads),
        router(hidden, experts),
        *routed_experts(hidden, config.size("intermediate_size"), experts, top_k),
        *(behind if config.get("model_type") == "flex_olmo" else pre_norms(hidden)),
    )
    return language_model(config, "OLMo MoE", [Layer((mixer,), matrices)] * config.layers())
