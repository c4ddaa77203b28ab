"""ERNIE 4.5 VL: text and images have routed experts of their own in each layer, and share the others."""

from __future__ import annotations

from collections.abc import Sequence
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
    table,
    vision_linear,
    vision_norm,
)
from catalog.model import Matrix, VisionTower
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields, sparse_layers

ARCHITECTURES = ("Ernie4_5_VLMoeForConditionalGeneration",)
MODEL_TYPES = ("ernie4_5_moe_vl", "ernie4_5_vl_moe", "ernie4_5_vl")


def read(config: Fields) -> Shape:
    """Published configs keep the language model's keys at the top, transformers' in text_config."""
    text, vision = config.section("text_config") if "text_config" in config else config, config.section("vision_config")
    hidden, mixer = text.size("hidden_size"), read_attention(text)
    biased = text.flag("use_bias", default=False)
    rest = (*attention(hidden, mixer, qkv_bias=biased, output_bias=biased), *pre_norms(hidden))
    plain = Layer((mixer,), (*rest, *gated_mlp(hidden, text.size("intermediate_size"), bias=biased)))
    mixture = Layer((mixer,), (*rest, *_experts(text, hidden)))
    layers = [mixture if is_sparse else plain for is_sparse in _sparse_layers(text)]
    tied = config.flag("tie_word_embeddings", default=True)
    shape = language_model(text, "ERNIE 4.5 VL", layers, tied=tied)
    matrices = (*_tower(vision), *_resampler(config, vision, hidden))
    return replace(shape, vision=VisionTower(matrices, vision.layers("depth"), vision.size("embed_dim", "hidden_size")))


def _sparse_layers(text: Fields) -> Sequence[bool]:
    """Which layers have experts: listed, or from the first to the last that may."""
    count = text.layers()
    if "mlp_layer_types" in text:
        return sparse_layers(text, count, 0)
    every = text.size("moe_layer_interval", default=1, largest=LARGEST_LAYERS)
    starts = text.sizes("moe_layer_start_index", length=2, least=0)
    ends = text.sizes("moe_layer_end_index", length=2, least=0) if "moe_layer_end_index" in text else (count, count)
    both = [max(starts) <= i <= min(ends) and (i + 1) % every == 0 for i in range(count)]
    any_of_them = [min(starts) <= i <= max(ends) and (i + 1) % every == 0 for i in range(count)]
    text.require(both == any_of_them, "moe_layer_start_index", "such that text and images have experts in equal layers")
    return both


def _experts(text: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Routers and their corrections in fp32; a token of text passes none of the experts of images.

    Source: vLLM 0.32.0 `vllm/model_executor/models/ernie45_vl_moe.py`, `Ernie4_5_VLMoeMoE`.
    """
    experts = _of_both(text, "moe_num_experts")
    widths = text.sizes("moe_intermediate_size", length=2)
    top_k, shared = text.size("moe_k", largest=experts), text.count("moe_num_shared_experts", default=2)
    always = gated_mlp(hidden, shared * widths[0], name="mlp.shared_experts", part="shared_experts") if shared else ()
    return (
        router(hidden, experts, name="mlp.text_experts_gate", stored_as="fp32"),
        router(hidden, experts, name="mlp.vision_experts_gate", stored_as="fp32"),
        table("mlp.moe_statics.e_score_correction_bias", "router", 2 * experts, stored_as="fp32"),
        *routed_experts(hidden, widths[0], experts, top_k),
        *routed_experts(hidden, widths[1], experts, 0, name="mlp.vision_experts"),
        *always,
    )


def _of_both(text: Fields, name: str) -> int:
    """A number that text and images share, stated once or twice."""
    if not isinstance(text.get(name), list):
        return text.size(name, largest=LARGEST_EXPERTS)
    own, other = text.sizes(name, length=2)
    text.require(own == other <= LARGEST_EXPERTS, name, "the same number twice")
    return own


def _tower(vision: Fields) -> tuple[Matrix, ...]:
    """Layer norms, plain MLPs, no table of positions."""
    width, layers = vision.size("embed_dim", "hidden_size"), vision.layers("depth")
    heads, patch = vision.size("num_heads", largest=2**10), vision.size("patch_size", largest=1024)
    vision.require(width % heads == 0, "hidden_size", f"divisible by num_heads = {heads}")
    inner = vision.size("intermediate_size", default=width * vision.size("mlp_ratio", default=4, largest=64))
    return (
        vision_linear("patch_embed.proj", width, vision.size("in_channels", default=3, largest=16) * patch**2),
        column("blocks.attn.qkv", 3 * width, width, copies=layers, bias=True, granule=width // heads),
        row("blocks.attn.proj", width, width, copies=layers, bias=True),
        column("blocks.mlp.fc1", inner, width, copies=layers, bias=True),
        row("blocks.mlp.fc2", width, inner, copies=layers, bias=True),
        vision_norm("blocks.norms", 2 * width, copies=layers, bias=True),
        vision_norm("ln", width, bias=True),
    )


def _resampler(config: Fields, vision: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Joins patches of a square, then of neighbouring frames; TP divides the outputs of every matrix."""
    square = config.size("spatial_conv_size", default=vision.size("spatial_merge_size", default=2, largest=64))
    frames = config.size("temporal_conv_size", default=vision.size("temporal_merge_size", default=2, largest=64))
    width = vision.size("embed_dim", "hidden_size") * square**2
    name = "model.resampler_model"
    in_time = (
        column(f"{name}.temporal_linear1", width, width * frames, bias=True),
        column(f"{name}.temporal_linear2", width, width, bias=True),
        vision_norm(f"{name}.temporal_norm", width, bias=True),
    )
    return (
        column(f"{name}.spatial_linear", width, width, copies=2, bias=True),
        vision_norm(f"{name}.spatial_norm", width, bias=True),
        *(in_time if config.flag("use_temporal_conv", default=True) else ()),
        column(f"{name}.mlp", hidden, width, bias=True),
        vision_norm(f"{name}.after_norm", hidden),
    )
