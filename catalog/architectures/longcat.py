"""LongCat-Flash: two latent attentions and two dense MLPs in every layer, and experts that bypass the second half."""

from __future__ import annotations

from catalog.architectures.deepseek import predictor, read_latent_attention
from catalog.blocks import Layer, Shape, gated_mlp, language_model, norm, routed_experts, router
from catalog.mixers import latent_attention
from catalog.model import LatentAttention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("LongcatFlashForCausalLM",)
MODEL_TYPES = ("longcat_flash",)


def read(config: Fields) -> Shape:
    """All layers are alike. Source: LongCat-Flash (arXiv:2509.01322), section 2."""
    hidden, mla = config.size("hidden_size"), read_latent_attention(config)
    dense = config.size("ffn_hidden_size", "intermediate_size")
    halves = [_half(hidden, mla, dense, f".{half}") for half in (0, 1)]
    whole = Layer((mla, mla), (*halves[0], *halves[1], *_experts(config, hidden)))
    predictors = config.count("num_nextn_predict_layers", default=0, largest=64)  # half a layer each, without experts
    layers = [whole] * config.layers("num_layers")
    layers += [predictor(Layer((mla,), _half(hidden, mla, dense)), hidden)] * predictors
    return language_model(config, "LongCat", layers)


def _half(hidden: int, mla: LatentAttention, dense: int, number: str = "") -> tuple[Matrix, ...]:
    return (
        *latent_attention(hidden, mla, name=f"self_attn{number}"),
        *gated_mlp(hidden, dense, name=f"mlps{number}"),
        norm(f"input_layernorm{number}", hidden),
        norm(f"post_attention_layernorm{number}", hidden),
    )


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """The router also scores `zero_expert_num` experts that return their input: they have no weights.

    A token's share of them is taken to be theirs of all experts: 8 of 12 chosen have weights in LongCat-Flash, which
    makes 28 billion parameters active; 27 on average were published (arXiv:2509.01322).
    """
    experts = config.size("n_routed_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("moe_topk", "num_experts_per_tok", largest=experts)
    scored = experts + config.count("zero_expert_num", default=0)
    active = max(1, round(top_k * experts / scored))
    return (
        router(hidden, scored, name="mlp.router.classifier", stored_as="fp32"),  # vLLM 0.32 longcat_flash.py
        *routed_experts(hidden, config.size("expert_ffn_hidden_size", "moe_intermediate_size"), experts, active),
    )
