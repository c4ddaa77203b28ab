"""Step-3.5 and Step-3.7: sliding windows between full attention, a gate per head, a shared expert beside the others."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.deepseek import predictor
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    linear,
    outside,
    pre_norms,
    routed_experts,
    router,
    table,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, Sharding, VisionTower
from catalog.reading import Fields, max_context, text_section

ARCHITECTURES = ("Step3p5ForCausalLM", "Step3p7FlashForCausalLM", "Step3p7ForConditionalGeneration")
MODEL_TYPES = ("step3p5", "step3p7")

_KINDS = ("full_attention", "sliding_attention")


def read(config: Fields) -> Shape:
    """Attention by layer_types, experts after the first dense layers; 3.7 has a vision tower."""
    text, tower = text_section(config), config.optional_section("vision_config")
    hidden, vocabulary, count = text.size("hidden_size"), text.size("vocab_size"), text.layers()
    tied = text.flag("tie_word_embeddings", default=False)
    kinds = text.words("layer_types")
    text.require(len(kinds) >= count and set(kinds) <= set(_KINDS), "layer_types", f"{count} of {' and '.join(_KINDS)}")
    by_kind = {kind: _attention(text, hidden, kind) for kind in _KINDS}
    sparse = layers_with_experts(text, count)
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
        layer_path="model.layers" if "text_config" not in config else "model.language_model.layers",
        vision=None if tower is None else _vision(config, tower, hidden),
    )


def _joined(mixer: Layer, feed_forward: tuple[Matrix, ...], hidden: int) -> Layer:
    return Layer(mixer.mixers, (*mixer.matrices, *feed_forward, *pre_norms(hidden)))


def layers_with_experts(text: Fields, count: int) -> set[int]:
    """Listed as "3,4,5", or all after the first dense ones."""
    if "moe_layers_enum" not in text:
        return set(range(text.count("first_k_dense_replace", default=0, largest=1024), count))
    parts = [part.strip() for part in (text.word("moe_layers_enum") or "").split(",") if part.strip()]
    text.require(all(p.isdecimal() and len(p) < 6 for p in parts), "moe_layers_enum", "numbers divided by commas")
    return {int(part) for part in parts}


def _attention(text: Fields, hidden: int, kind: str) -> Layer:
    """Sliding layers may have more heads than full ones (96 and 64 in 3.7). A gate scales the output of each head."""
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
        replace(router(hidden, experts, name="moe.gate"), stored_as="fp32"),  # vLLM 0.32
        *routed_experts(hidden, text.size("moe_intermediate_size"), experts, top_k, name="moe.experts"),
        *gated_mlp(hidden, shared, name="share_expert", part="shared_experts"),
    )


def _vision(config: Fields, vision: Fields, text_hidden: int) -> VisionTower:
    """An encoder with layer scales, two convolutions that halve the image and double the channels, a projector."""
    width, layers = vision.size("width", "hidden_size"), vision.layers("layers", "num_hidden_layers")
    patch, image = vision.size("patch_size", largest=1024), vision.size("image_size", largest=2**14)
    channels = vision.size("num_channels", "in_channels", default=3, largest=64)
    vision.require(patch <= image, "patch_size", f"at most image_size = {image}")
    matrices = (
        table("embeddings.patch_embedding", "vision", width, channels * patch * patch),
        table("embeddings.position_embedding", "vision", (image // patch) ** 2, width),
        vision_norm("pre_layernorm", width, bias=True),
        *_vision_layers(width, int(width * vision.number("mlp_ratio")), layers),
        table("downsampler1", "vision", 2 * width, 9 * width, bias=True),
        table("downsampler2", "vision", 4 * width, 9 * 2 * width, bias=True),
        vision_linear(
            "multi_modal_projector", text_hidden, 4 * width, bias=config.flag("projector_bias", default=False)
        ),
    )
    return VisionTower(matrices, layers, width)


def _vision_layers(width: int, intermediate: int, layers: int) -> tuple[Matrix, ...]:
    def split(name: str, outputs: int, inputs: int, by: Sharding) -> Matrix:
        return linear(f"layers.{name}", "vision", outputs, inputs, by, copies=layers, bias=True)

    scales = (vision_norm(f"layers.lambda_{i}", width, copies=layers) for i in (1, 2))
    norms = (vision_norm(f"layers.layernorm_{side}", width, copies=layers, bias=True) for side in ("before", "after"))
    return (
        split("attention.qkv_proj", 3 * width, width, "column"),
        split("attention.out_proj", width, width, "row"),
        split("mlp.fc1", intermediate, width, "column"),
        split("mlp.fc2", width, intermediate, "row"),
        *norms,
        *scales,
    )
