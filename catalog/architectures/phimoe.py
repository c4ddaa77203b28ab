"""Phi 3.5 MoE: Mixtral's experts, LayerNorms, and biases in attention and the LM head."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, norm, pre_norms, routed_experts, router
from catalog.reading import LARGEST_CONTEXT, LARGEST_EXPERTS, Fields

ARCHITECTURES = ("PhiMoEForCausalLM", "PhimoeForCausalLM")
MODEL_TYPES = ("phimoe",)

_NAME = "block_sparse_moe"


def read(config: Fields) -> Shape:
    """Every layer is a mixture of experts; engines quantize no LM head that has a bias."""
    hidden = config.size("hidden_size")
    experts = config.size("num_local_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", largest=experts)
    mixer = read_attention(config, window=config.optional_size("sliding_window", largest=LARGEST_CONTEXT))
    biased = config.flag("attention_bias", default=False)
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        router(hidden, experts, name=f"{_NAME}.gate"),
        *routed_experts(hidden, config.size("intermediate_size"), experts, top_k, name=f"{_NAME}.experts"),
        *pre_norms(hidden, bias=True),
    )
    shape = language_model(config, "Phi MoE", [Layer((mixer,), matrices)] * config.layers())
    embedding, *head, _ = shape.outside
    heads = tuple(replace(m, bias=config.flag("lm_head_bias", default=False)) for m in head)
    return replace(shape, outside=(embedding, *heads, norm("model.norm", hidden, bias=True)))
