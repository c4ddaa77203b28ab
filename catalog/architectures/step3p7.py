"""Step-3.5 and Step-3.7: sliding windows between full attention, a gate per head, a shared expert beside the others."""

from __future__ import annotations

from catalog.architectures.deepseek import predictor
from catalog.blocks import Layer, Shape, attention, gated_mlp, linear, outside, pre_norms, routed_experts, router
from catalog.model import Attention, Matrix
from catalog.reading import Fields, max_context, text_section

ARCHITECTURES = ("Step3p5ForCausalLM", "Step3p7FlashForCausalLM")
MODEL_TYPES = ("step3p5", "step3p7")

_KINDS = ("full_attention", "sliding_attention")


def read(config: Fields) -> Shape:
    """Attention by layer_types, experts after the first dense layers."""
    text = text_section(config)
    config.require("vision_config" not in config, "vision_config", "absent: its vision tower is not described here")
    hidden, vocabulary, count = text.size("hidden_size"), text.size("vocab_size"), text.layers()
    tied = text.flag("tie_word_embeddings", default=False)
    kinds = text.words("layer_types")
    text.require(len(kinds) >= count and set(kinds) <= set(_KINDS), "layer_types", f"{count} of {' and '.join(_KINDS)}")
    by_kind = {kind: _attention(text, hidden, kind) for kind in _KINDS}
    sparse = _layers_with_experts(text, count)
    dense, mixture = gated_mlp(hidden, text.size("intermediate_size")), _mixture(text, hidden)
    layers = [_joined(by_kind[kinds[i]], mixture if i in sparse else dense, hidden) for i in range(count)]
    predictors = text.count("num_nextn_predict_layers", default=0, largest=64)
    layers += [predictor(_joined(by_kind["sliding_attention"], dense, hidden), hidden)] * predictors
    return Shape(
        family="Step 3",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
    )


def _joined(mixer: Layer, feed_forward: tuple[Matrix, ...], hidden: int) -> Layer:
    return Layer(mixer.mixers, (*mixer.matrices, *feed_forward, *pre_norms(hidden)))


def _layers_with_experts(text: Fields, count: int) -> set[int]:
    """Listed as "3,4,5", or all after the first dense ones."""
    if "moe_layers_enum" not in text:
        return set(range(text.count("first_k_dense_replace", default=0, largest=1024), count))
    parts = [part.strip() for part in (text.word("moe_layers_enum") or "").split(",") if part.strip()]
    text.require(all(p.isdecimal() and len(p) < 6 for p in parts), "moe_layers_enum", "numbers divided by commas")
    return {int(part) for part in parts}


def _attention(text: Fields, hidden: int, kind: str) -> Layer:
    """Sliding layers may have more heads than full ones. A gate scales the output of each head."""
    sliding = kind == "sliding_attention"
    other = text.optional_section("attention_other_setting") if sliding else None
    source = text if other is None else other
    heads = source.size("num_attention_heads", largest=2**16)
    groups = source.size("num_key_value_heads", "num_attention_groups", largest=2**16)
    source.require(heads % groups == 0, "num_attention_heads", f"divisible by its {groups} groups")
    head_dim = source.size("head_dim", default=max(1, hidden // heads))
    mixer = Attention(heads, groups, head_dim, head_dim, text.size("sliding_window") if sliding else None)
    gate = (linear("self_attn.g_proj", "attention", heads, hidden, "column"),)
    gated = text.flag("use_head_wise_attn_gate", default=True)
    return Layer((mixer,), (*attention(hidden, mixer, qk_norm=(head_dim, head_dim)), *(gate if gated else ())))


def _mixture(text: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = text.size("n_routed_experts", "moe_num_experts", "num_experts", largest=2**16)
    top_k = text.size("num_experts_per_tok", "moe_top_k", largest=experts)
    shared = text.size("share_expert_dim", "share_expert_dims")
    return (
        router(hidden, experts, name="moe.gate"),
        *routed_experts(hidden, text.size("moe_intermediate_size"), experts, top_k, name="moe.experts"),
        *gated_mlp(hidden, shared, name="share_expert", part="shared_experts"),
    )
