"""Jamba: Mamba-1 in most layers, attention in one of eight, experts in every second."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, embedding_and_head, gated_mlp, norm, routed_experts, router
from catalog.mixers import Mamba1, mamba1
from catalog.model import Attention, Matrix
from catalog.reading import Fields, max_context

ARCHITECTURES = ("JambaForCausalLM",)
MODEL_TYPES = ("jamba",)


def read(config: Fields) -> Shape:
    """Layers by the periods and offsets of the config."""
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", default=False)
    norms = (norm("input_layernorm", hidden), norm("pre_ff_layernorm", hidden))
    mamba, attending = _mamba(config, hidden), _attention(config, hidden)
    dense, mixture = gated_mlp(hidden, config.size("intermediate_size"), name="feed_forward"), _mixture(config, hidden)
    layers = []
    for i in range(count):
        mixer = attending if _is_special(config, "attn_layer", i) else mamba
        feed_forward = mixture if _is_special(config, "expert_layer", i) else dense
        layers.append(Layer(mixer.mixers, (*mixer.matrices, *feed_forward, *norms)))
    ends = embedding_and_head(vocabulary, hidden, tied=tied)
    return Shape(
        family="Jamba",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=(*ends, norm("model.final_layernorm", hidden)),
    )


def _is_special(config: Fields, kind: str, layer: int) -> bool:
    """Whether the layer is one of those that come once per `kind`_period, at `kind`_offset."""
    period, offset = config.size(f"{kind}_period", largest=1024), config.count(f"{kind}_offset", largest=1023)
    config.require(offset < period, f"{kind}_offset", f"less than {kind}_period = {period}")
    return layer % period == offset


def _attention(config: Fields, hidden: int) -> Layer:
    heads = config.size("num_attention_heads", largest=2**16)
    kv_heads = config.size("num_key_value_heads", default=heads, largest=2**16)
    config.require(heads % kv_heads == 0, "num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    config.require(hidden % heads == 0, "hidden_size", f"divisible by num_attention_heads = {heads}")
    mixer = Attention(heads, kv_heads, hidden // heads, hidden // heads)
    return Layer((mixer,), attention(hidden, mixer))


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", largest=2**16)
    top_k = config.size("num_experts_per_tok", largest=experts)
    width = config.size("intermediate_size")
    return (
        router(hidden, experts, name="feed_forward.router"),
        *routed_experts(hidden, width, experts, top_k, name="feed_forward.experts"),
    )


def _mamba(config: Fields, hidden: int) -> Layer:
    """Mamba with Jamba's norms on step, B and C (arXiv:2403.19887)."""
    shape = Mamba1(
        hidden=hidden,
        width=hidden * config.size("mamba_expand", largest=64),
        state_dim=config.size("mamba_d_state"),
        kernel=config.size("mamba_d_conv", largest=64),
        rank=config.size("mamba_dt_rank", default=-(-hidden // 16)),  # transformers: "auto" is a 16th of the width
        projection_bias=config.flag("mamba_proj_bias", default=False),
        convolution_bias=config.flag("mamba_conv_bias", default=True),
        norms=True,
    )
    return Layer((shape.state,), mamba1(shape, name="mamba"))
