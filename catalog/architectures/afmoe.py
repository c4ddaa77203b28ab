"""Arcee's Trinity (AFMoE): gated attention with windows, four norms, dense layers first, a shared expert."""

from __future__ import annotations

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
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields, windows

ARCHITECTURES = ("AfmoeForCausalLM",)
MODEL_TYPES = ("afmoe",)


def read(config: Fields) -> Shape:
    """Without layer_types every `global_attn_every_n_layers`th layer sees everything, the others slide."""
    hidden, count = config.size("hidden_size"), config.layers()
    every = config.size("global_attn_every_n_layers", default=4, largest=LARGEST_LAYERS)
    dense = config.count("num_dense_layers", default=1, largest=LARGEST_LAYERS)
    sparse, plain = _mixture(config, hidden), gated_mlp(hidden, config.size("intermediate_size"))
    norms = (*pre_norms(hidden), norm("pre_mlp_layernorm", hidden), norm("post_mlp_layernorm", hidden))
    own = config.assuming(head_dim=128)
    layers = []
    for i, window in enumerate(windows(config, count, [(i + 1) % every != 0 for i in range(count)])):
        mixer = read_attention(own, window)
        feed_forward = plain if i < dense else sparse
        layers.append(Layer((mixer,), (*_attention(config, hidden, mixer), *feed_forward, *norms)))
    return language_model(config, "Trinity", layers)


def _attention(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    """A gate as wide as all heads scales what they say."""
    biased, head = config.flag("attention_bias", default=False), mixer.head_dim
    return (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=(head, head)),
        linear("self_attn.gate_proj", "attention", mixer.query_heads * head, hidden, "column", granule=head),
    )


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", default=64, largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", default=min(6, experts), largest=experts)
    width = config.size("moe_intermediate_size")
    shared = width * config.count("num_shared_experts", default=2, largest=1024)
    gate = router(hidden, experts, name="mlp.router.gate", stored_as="fp32")  # vLLM 0.32 afmoe.py: params_dtype
    return (
        *mixture_of_experts(hidden, width, experts, top_k, shared=shared, gate=gate),
        table("mlp.expert_bias", "router", experts, stored_as="fp32"),
    )
