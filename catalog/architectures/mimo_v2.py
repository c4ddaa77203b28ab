"""MiMo-V2: narrow sliding windows with sinks, full attention in one of six layers, experts after the first layer."""

from __future__ import annotations

from catalog.architectures.mimo_towers import towers
from catalog.blocks import (
    UNDECIDED,
    Layer,
    Shape,
    attention,
    gated_mlp,
    outside,
    pre_norms,
    routed_experts,
    router,
    table,
)
from catalog.model import Attention, Matrix
from catalog.reading import Fields, max_context

ARCHITECTURES = ("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM", "MiMoV2OmniForCausalLM")
MODEL_TYPES = ("mimo_v2_flash", "mimo_v2")


def read(config: Fields) -> Shape:
    """Attention by the hybrid pattern (1 = sliding), experts by moe_layer_freq (1 = experts); V2.5 sees and hears."""
    vision = config.optional_section("vision_config")
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", default=False)
    by_kind = {kind: _attention(config, hidden, sliding=kind) for kind in (False, True)}
    dense, mixture = gated_mlp(hidden, config.size("intermediate_size")), _mixture(config, hidden)
    slides = config.sizes("hybrid_layer_pattern", length=count, least=0)
    has_experts = config.sizes("moe_layer_freq", length=count, least=0)
    layers = []
    for slide, expert in zip(slides, has_experts, strict=True):
        mixer = by_kind[slide == 1]
        matrices = (*mixer.matrices, *(mixture if expert else dense), *pre_norms(hidden))
        layers.append(Layer(mixer.mixers, matrices))
    return Shape(
        family="MiMo V2",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
        vision=None if vision is None else towers(vision, config.optional_section("audio_config")),
    )


def _attention(config: Fields, hidden: int, *, sliding: bool) -> Layer:
    prefix = "swa_" if sliding else ""
    heads = config.size(f"{prefix}num_attention_heads", largest=2**16)
    kv_heads = config.size(f"{prefix}num_key_value_heads", largest=2**16)
    config.require(heads % kv_heads == 0, f"{prefix}num_key_value_heads", f"a divisor of {heads}")
    window = config.size("sliding_window", "sliding_window_size") if sliding else None
    mixer = Attention(heads, kv_heads, config.size(f"{prefix}head_dim"), config.size(f"{prefix}v_head_dim"), window)
    matrices = attention(hidden, mixer, qkv_bias=config.flag("attention_bias", default=False))
    kind = "swa" if sliding else "full"
    if config.flag(f"add_{kind}_attention_sink_bias", default=sliding):
        matrices += (table("self_attn.attention_sink_bias", "attention", heads, sharding="column"),)
    return Layer((mixer,), matrices)


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Router, in fp32 unless `moe_router_dtype` says otherwise (vLLM 0.32), and experts."""
    experts = config.size("n_routed_experts", largest=2**16)
    top_k = config.size("num_experts_per_tok", largest=experts)
    width = config.size("moe_intermediate_size")
    precise = config.word("moe_router_dtype", default="float32") == "float32"
    return (
        router(hidden, experts, stored_as="fp32" if precise else UNDECIDED),
        *routed_experts(hidden, width, experts, top_k),
    )
