"""Aria: Llama's attention and DeepSeek-like experts behind Idefics 3's tower, joined by a resampler."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    column,
    gated_mlp,
    language_model,
    pre_norms,
    routed_experts,
    router,
    row,
    vision_linear,
    vision_norm,
)
from catalog.inner import filled
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, Fields
from catalog.towers import siglip

ARCHITECTURES = ("AriaForConditionalGeneration",)
MODEL_TYPES = ("aria",)


def read(config: Fields) -> Shape:
    """Every layer has experts. Engines leave out the norm behind the tower."""
    text = _text(filled(config.section("text_config"), "aria_text", stated=False))
    tower = siglip(filled(config.section("vision_config"), "idefics3_vision", stated=False), last_norm=False)
    joined = _resampler(config, tower.hidden_size, text.hidden_size)
    return replace(text, vision=replace(tower, matrices=(*tower.matrices, *joined)))


def _text(text: Fields) -> Shape:
    hidden, mixer = text.size("hidden_size"), read_attention(text)
    experts = text.size("moe_num_experts", largest=LARGEST_EXPERTS)
    top_k, width = text.size("moe_topk", largest=experts), text.size("intermediate_size")
    biased, shared = text.flag("attention_bias"), width * text.size("moe_num_shared_experts", largest=LARGEST_EXPERTS)
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        router(hidden, experts, name="mlp.router"),
        *routed_experts(hidden, width, experts, top_k),
        *gated_mlp(hidden, shared, name="mlp.shared_experts", part="shared_experts", bias=text.flag("mlp_bias")),
        *pre_norms(hidden),
    )
    layers = [Layer((mixer,), matrices)] * text.layers()
    return language_model(text, "Aria", layers, layer_path="language_model.model.layers")


def _resampler(config: Fields, width: int, hidden: int) -> tuple[Matrix, ...]:
    """Learned queries that attend to all patches, twice projected, and an MLP whose gate is its own input.

    Source: vLLM 0.32.0 `vllm/model_executor/models/aria.py`, `AriaProjector`.
    """
    name = "multi_modal_projector"
    return (
        vision_norm(f"{name}.query", _queries(config) * width),
        vision_linear(f"{name}.cross_attn.qkv_proj", width, width, copies=3),
        vision_linear(f"{name}.cross_attn.multihead_attn", width, width, copies=4, bias=True),
        vision_linear(f"{name}.cross_attn.linear", width, width, bias=True),
        vision_norm(f"{name}.norms", width, copies=3, bias=True),
        column(f"{name}.feed_forward.linear_in", hidden, width),
        row(f"{name}.feed_forward.linear_out", hidden, hidden),
    )


def _queries(config: Fields) -> int:
    """As many as the largest image needs; transformers' AriaConfig has 256 for 4,900 patches."""
    by_patches = config.optional_section("projector_patch_to_query_dict")
    return 256 if by_patches is None else max((by_patches.size(key) for key in by_patches.values), default=1)
