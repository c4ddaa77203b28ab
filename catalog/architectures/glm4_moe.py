"""GLM 4.5, 4.6, 4.7: grouped-query attention, leading dense layers, then routed and shared experts, one MTP layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    language_model,
    linear,
    norm,
    pre_norms,
    routed_experts,
    router,
)
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields

ARCHITECTURES = ("Glm4MoeForCausalLM",)
MODEL_TYPES = ("glm4_moe", "glm4v_moe_text")


def read(config: Fields) -> Shape:
    """Layers past `num_hidden_layers` predict a further token."""
    hidden, count = config.size("hidden_size"), config.layers()
    mixer = _attention(config, hidden)
    dense = config.count("first_k_dense_replace", default=1, largest=LARGEST_LAYERS)
    sparse = Layer((mixer,), (*_shared(config, hidden, mixer), *_experts(config, hidden)))
    plain = Layer((mixer,), (*_shared(config, hidden, mixer), *gated_mlp(hidden, config.size("intermediate_size"))))
    predictors = config.count("num_nextn_predict_layers", default=0, largest=16)
    next_token = Layer((mixer,), (*sparse.matrices, *_prediction(hidden)), next_token_prediction=True)
    dense = min(dense, count)
    layers = [plain] * dense + [sparse] * (count - dense) + [next_token] * predictors
    return language_model(config, "GLM 4", layers)


def _attention(config: Fields, hidden: int) -> Attention:
    """Without head_dim, transformers takes hidden_size / num_attention_heads, rounded down."""
    if "head_dim" in config:
        return read_attention(config)
    heads = config.size("num_attention_heads", largest=hidden)
    kv_heads = config.size("num_key_value_heads", largest=heads)
    return Attention(heads, kv_heads, hidden // heads, hidden // heads)


def _shared(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    """What dense and sparse layers have alike. Only query, key and value are biased; GLM-4.5-Air has no qk_norm."""
    norms = (mixer.head_dim, mixer.head_dim) if config.flag("use_qk_norm", default=False) else None
    biased = config.flag("attention_bias", default=False)
    return (*attention(hidden, mixer, qkv_bias=biased, qk_norm=norms), *pre_norms(hidden))


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("n_routed_experts", largest=LARGEST_EXPERTS)
    top_k, width = config.size("num_experts_per_tok", largest=experts), config.size("moe_intermediate_size")
    shared = config.count("n_shared_experts", default=1)
    return (
        router(hidden, experts, stored_as="fp32"),  # vLLM 0.32 glm4_moe.py: params_dtype float32
        *routed_experts(hidden, width, experts, top_k),
        *(gated_mlp(hidden, width * shared, name="mlp.shared_experts", part="shared_experts") if shared else ()),
    )


def _prediction(hidden: int) -> tuple[Matrix, ...]:
    """What joins the hidden state with the next token's embedding; embedding and head are the model's own."""
    return (
        linear("eh_proj", "other", hidden, 2 * hidden),
        norm("enorm", hidden),
        norm("hnorm", hidden),
        norm("shared_head.norm", hidden),
    )
