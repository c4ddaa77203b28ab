"""MiMo 7B, Qwen 2's shape with a next-token-prediction layer, and MiMo-V2-Flash, a sparse sliding-window model."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import qwen2
from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    linear,
    norm,
    outside,
    pre_norms,
    routed_experts,
    router,
    table,
)
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_CONTEXT, LARGEST_EXPERTS, Fields, max_context

ARCHITECTURES = ("MiMoForCausalLM", "MiMoV2FlashForCausalLM")
MODEL_TYPES = ("mimo", "mimo_v2_flash")


def read(config: Fields) -> Shape:
    """By model_type."""
    return _mimo_7b(config) if config.word("model_type") == "mimo" else _mimo_v2(config)


def _mimo_7b(config: Fields) -> Shape:
    shape = qwen2.text_shape(config, "MiMo")
    hidden, last = shape.hidden_size, shape.layers[-1]
    joining = (
        linear("input_proj", "other", hidden, 2 * hidden),
        *(norm(name, hidden) for name in ("token_layernorm", "hidden_layernorm", "final_layernorm")),
    )
    predictor = Layer(last.mixers, (*last.matrices, *joining), next_token_prediction=True)
    count = config.count("num_nextn_predict_layers", default=0, largest=16)
    return replace(shape, layers=[*shape.layers, *[predictor] * count])


def _mimo_v2(config: Fields) -> Shape:
    """hybrid_layer_pattern: 1 slides, with more KV heads; moe_layer_freq: 1 has experts."""
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", default=False)
    slides, sparse = (config.sequence(name, length=count) for name in ("hybrid_layer_pattern", "moe_layer_freq"))
    plain, experts = gated_mlp(hidden, config.size("intermediate_size")), _experts(config, hidden)
    layers = []
    for sliding, has_experts in zip(slides, sparse, strict=True):
        mixer = _sliding_attention(config) if sliding else _full_attention(config)
        mlp = experts if has_experts else plain
        matrices = (*_projections(config, hidden, mixer), *mlp, *pre_norms(hidden))
        layers.append(Layer((mixer,), matrices))
    return Shape(
        family="MiMo",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
    )


def _full_attention(config: Fields) -> Attention:
    plain = read_attention(config)
    return replace(plain, value_head_dim=config.size("v_head_dim", default=plain.head_dim))


def _sliding_attention(config: Fields) -> Attention:
    heads = config.size("swa_num_attention_heads", largest=2**10)
    kv_heads = config.size("swa_num_key_value_heads", largest=heads)
    window = config.size("sliding_window", "sliding_window_size", largest=LARGEST_CONTEXT)
    return Attention(heads, kv_heads, config.size("swa_head_dim"), config.size("swa_v_head_dim"), window=window)


def _projections(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    kind = "add_full_attention_sink_bias" if mixer.window is None else "add_swa_attention_sink_bias"
    sinks = table("self_attn.attention_sink_bias", "attention", mixer.query_heads, sharding="column")
    biased = config.flag("attention_bias", default=False)
    return (
        *attention(hidden, mixer, qkv_bias=biased),
        *((sinks,) if config.flag(kind, default=False) else ()),
    )


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("n_routed_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", largest=experts)
    config.require("n_shared_experts" not in config, "n_shared_experts", "null: shared experts are not described here")
    return (
        router(hidden, experts, stored_as="fp32"),
        *routed_experts(hidden, config.size("moe_intermediate_size"), experts, top_k),
    )
