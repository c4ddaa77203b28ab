"""openPangu: Embedded (dense), Ultra MoE (latent attention) and Pro MoE V2 (keys and values that no token wrote)."""

from __future__ import annotations

from catalog.architectures.deepseek import predictor, read_latent_attention
from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    language_model,
    mixture_of_experts,
    norm,
    pre_norms,
    table,
)
from catalog.mixers import latent_attention
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_CONTEXT, LARGEST_EXPERTS, LARGEST_LAYERS, Fields

ARCHITECTURES = ("PanguEmbeddedForCausalLM", "PanguUltraMoEForCausalLM", "PanguProMoEV2ForCausalLM")
MODEL_TYPES = ("PanguEmbedded", "pangu_ultra_moe", "PanguProMoE")


def read(config: Fields) -> Shape:
    """The keys decide the kind of attention, as in vLLM 0.32 openpangu.py; without experts every layer is dense."""
    hidden, count = config.size("hidden_size"), config.layers()
    mixer = _attention(config, hidden)
    dense = config.count("first_k_dense_replace", largest=LARGEST_LAYERS) if "n_routed_experts" in config else count
    sparse = _mixture(config, hidden) if dense < count else ()
    plain = gated_mlp(hidden, config.size("intermediate_size"), bias=config.flag("mlp_bias", default=False))
    layers = [_joined(config, mixer, plain if i < dense else sparse, hidden) for i in range(count)]
    predictors = config.count("num_nextn_predict_layers", "num_mtp_layers", default=0, largest=64) if sparse else 0
    layers += [predictor(_joined(config, mixer, sparse, hidden), hidden)] * predictors
    return language_model(config, "openPangu", layers)


def _joined(config: Fields, mixer: Layer, feed_forward: tuple[Matrix, ...], hidden: int) -> Layer:
    """With `sandwich_norm` there is a norm behind each half, too."""
    sandwich = config.flag("sandwich_norm", default=False)
    more = (norm("pre_mlp_layernorm", hidden), norm("post_mlp_layernorm", hidden)) if sandwich else ()
    return Layer(mixer.mixers, (*mixer.matrices, *feed_forward, *pre_norms(hidden), *more))


def _attention(config: Fields, hidden: int) -> Layer:
    if "kv_lora_rank" in config:
        mla = read_latent_attention(config)
        return Layer((mla,), latent_attention(hidden, mla))
    if config.count("param_sink_number", default=0):
        return _sink_attention(config, hidden)
    mixer = read_attention(config, config.optional_size("interleaved_sliding_window", largest=LARGEST_CONTEXT))
    return Layer((mixer,), _projections(config, hidden, mixer))


def _projections(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    biased = config.flag("attention_bias", default=False) or config.flag("bias", default=False)
    return attention(hidden, mixer, qkv_bias=config.flag("qkv_bias", default=biased), output_bias=biased)


def _sink_attention(config: Fields, hidden: int) -> Layer:
    """Values may be narrower than keys, keys are normalized, and `param_sink_number` tokens are learned.

    Source: vLLM 0.32 openpangu.py, OpenPanguSinkAttention; every layer keeps all tokens.
    """
    heads = config.size("num_attention_heads", largest=2**16)
    kv_heads, values = config.size("num_key_value_heads", default=heads, largest=heads), config.size("v_channels")
    config.require(heads % kv_heads == 0, "num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    mixer = Attention(heads, kv_heads, config.size("qk_nope_dim") + config.size("qk_rope_dim"), values)
    learned = {"param_sink_key": mixer.head_dim}
    if config.flag("param_sink_with_value", default=False):
        learned["param_sink_value"] = values
    sinks = config.size("param_sink_number", largest=2**16)
    return Layer(
        (mixer,),
        (
            *_projections(config, hidden, mixer),
            norm("self_attn.k_layernorm", mixer.head_dim, part="attention"),
            *(
                table(f"self_attn.{name}", "attention", kv_heads, sinks * width, "kv_heads")
                for name, width in learned.items()
            ),
        ),
    )


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("n_routed_experts", largest=LARGEST_EXPERTS)
    top_k, width = config.size("num_experts_per_tok", largest=experts), config.size("moe_intermediate_size")
    shared = width * config.count("n_shared_experts", default=0, largest=1024)
    return mixture_of_experts(hidden, width, experts, top_k, shared=shared)
