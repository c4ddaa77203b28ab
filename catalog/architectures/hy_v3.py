"""Hy 3: grouped-query attention with normalized heads, a dense layer, then routed and shared experts, MTP layers."""

from __future__ import annotations

from catalog.architectures.deepseek import predictor
from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms, routed_experts, router
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields, sparse_layers

ARCHITECTURES = ("HYV3ForCausalLM",)
MODEL_TYPES = ("hy_v3",)


def read(config: Fields) -> Shape:
    """Layers past `num_hidden_layers` predict a further token."""
    hidden, mixer, count = config.size("hidden_size"), read_attention(config), config.layers()
    biased = config.flag("attention_bias", default=False)
    norms = (mixer.head_dim, mixer.head_dim) if config.flag("qk_norm", default=True) else None
    rest = (*attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=norms), *pre_norms(hidden))
    plain = Layer((mixer,), (*rest, *_mlp(config, hidden, config.size("intermediate_size"))))
    mixture = Layer((mixer,), (*rest, *_experts(config, hidden)))
    dense = config.count("first_k_dense_replace", default=1, largest=LARGEST_LAYERS)
    layers = [mixture if is_sparse else plain for is_sparse in sparse_layers(config, count, dense)]
    predictors = config.count("num_nextn_predict_layers", default=0, largest=16)
    return language_model(config, "Hy 3", [*layers, *[predictor(mixture, hidden)] * predictors])


def _mlp(config: Fields, hidden: int, width: int) -> tuple[Matrix, ...]:
    return gated_mlp(hidden, width, bias=config.flag("mlp_bias", default=False))


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", "num_local_experts", largest=LARGEST_EXPERTS)
    width = config.size("expert_hidden_dim", "moe_intermediate_size")
    shared = width * config.count("num_shared_experts", default=1)
    return (
        router(hidden, experts, name="mlp.router.gate", stored_as="fp32"),  # vLLM 0.32 hy_v3.py: params_dtype float32
        *routed_experts(hidden, width, experts, config.size("num_experts_per_tok", largest=experts)),
        *(gated_mlp(hidden, shared, name="mlp.shared_mlp", part="shared_experts") if shared else ()),
    )
