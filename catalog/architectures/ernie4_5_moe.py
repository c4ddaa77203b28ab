"""ERNIE 4.5 MoE: grouped-query attention, a few dense layers, then routed and shared experts, perhaps an MTP layer."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    language_model,
    linear,
    mixture_of_experts,
    norm,
    pre_norms,
    router,
    table,
)
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields

ARCHITECTURES = ("Ernie4_5_MoeForCausalLM",)
MODEL_TYPES = ("ernie4_5_moe",)


def read(config: Fields) -> Shape:
    """What a published config leaves out is as transformers' Ernie4_5_MoeConfig has it."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    biased = config.flag("use_bias", default=False)
    rest = (*attention(hidden, mixer, qkv_bias=biased, output_bias=biased), *pre_norms(hidden))
    plain = Layer((mixer,), (*rest, *gated_mlp(hidden, config.size("intermediate_size"), bias=biased)))
    mixture = Layer((mixer,), (*rest, *_experts(config, hidden, biased=biased)))
    layers = [mixture if is_sparse else plain for is_sparse in _sparse_layers(config)]
    predictors = config.count("num_nextn_predict_layers", default=0, largest=16)
    predictor = replace(plain, matrices=(*plain.matrices, *_prediction(hidden)), next_token_prediction=True)
    tied = config.flag("tie_word_embeddings", default=True)
    return language_model(config, "ERNIE 4.5", [*layers, *[predictor] * predictors], tied=tied)


def _sparse_layers(config: Fields) -> list[bool]:
    """Which layers have experts: every `moe_layer_interval`-th from the first to the last that may."""
    count = config.layers()
    first = config.count("moe_layer_start_index", default=1, largest=LARGEST_LAYERS)
    every = config.size("moe_layer_interval", default=1, largest=LARGEST_LAYERS)
    is_last = config.get("moe_layer_end_index") in (None, -1)
    last = count - 1 if is_last else config.count("moe_layer_end_index", largest=LARGEST_LAYERS)
    return [(i + 1) % every == 0 and first <= i <= last for i in range(count)]


def _experts(config: Fields, hidden: int, *, biased: bool) -> tuple[Matrix, ...]:
    """Router and its correction in fp32 (vLLM 0.32 ernie45_moe.py: params_dtype float32)."""
    experts = config.size("moe_num_experts", "num_experts", largest=LARGEST_EXPERTS)
    width, top_k = config.size("moe_intermediate_size"), config.size("moe_k", "num_experts_per_tok", largest=experts)
    shared = width * config.count("moe_num_shared_experts", default=2)
    gate = router(hidden, experts, stored_as="fp32")
    return (
        *mixture_of_experts(hidden, width, experts, top_k, shared=shared, gate=gate, shared_bias=biased),
        table("mlp.moe_statics.e_score_correction_bias", "router", experts, stored_as="fp32"),
    )


def _prediction(hidden: int) -> tuple[Matrix, ...]:
    """What joins the hidden state with the next token's embedding before a dense layer (vLLM 0.32 ernie_mtp.py)."""
    return (
        linear("mtp_linear_proj", "other", hidden, 2 * hidden, quantizable=False),
        norm("mtp_emb_norm", hidden),
        norm("mtp_hidden_norm", hidden),
    )
