"""Qwen 2-VL, 2.5-VL and 3-VL: a Qwen language model behind Qwen's own vision tower."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import qwen2, qwen3
from catalog.blocks import Shape, column, row, vision_linear, vision_norm
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = (
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
)
MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")


def read(config: Fields) -> Shape:
    """Qwen 2-VL and 2.5-VL keep their text keys at the top level; Qwen 3-VL in text_config."""
    text = config.section("text_config") if "text_config" in config else config
    vision = config.section("vision_config")
    if config.word("model_type", default="") == "qwen2_vl":
        shape = qwen2.text_shape(text, "Qwen 2")
        return replace(shape, vision=_tower_2(vision, shape.hidden_size))
    if config.word("model_type", default="") == "qwen2_5_vl":
        shape, matrices = qwen2.text_shape(text, "Qwen 2.5"), qwen2_5_tower(vision)
    else:
        tied = config.flag("tie_word_embeddings", default=False)
        shape = qwen3.text_shape(text, tied=tied, layer_path="model.language_model.layers")
        matrices = qwen3_tower(vision)
    return replace(shape, vision=VisionTower(matrices, vision.layers("depth"), vision.size("hidden_size")))


def _tower_2(vision: Fields, output: int) -> VisionTower:
    """Layer norms and a plain MLP; `embed_dim` is its width, `hidden_size` the language model's."""
    hidden, depth = vision.size("embed_dim"), vision.layers("depth")
    width, merged = hidden * vision.size("mlp_ratio", default=4, largest=64), hidden * _merged(vision)
    heads = vision.size("num_heads", largest=2**10)
    vision.require(hidden % heads == 0, "embed_dim", f"divisible by num_heads = {heads}")
    matrices = (
        vision_linear("patch_embed.proj", hidden, _pixels(vision)),
        column("attn.qkv", 3 * hidden, hidden, copies=depth, bias=True, granule=hidden // heads),
        row("attn.proj", hidden, hidden, copies=depth, bias=True),
        column("mlp.fc1", width, hidden, copies=depth, bias=True),
        row("mlp.fc2", hidden, width, copies=depth, bias=True),
        vision_norm("norms", 2 * hidden, copies=depth, bias=True),
        vision_norm("merger.ln_q", hidden, bias=True),
        column("merger.mlp.0", merged, merged, bias=True),
        row("merger.mlp.2", output, merged, bias=True),
    )
    return VisionTower(matrices, depth, hidden)


def _merged(vision: Fields) -> int:
    """Patches that become one token."""
    return vision.size("spatial_merge_size", default=2, largest=64) ** 2


def _pixels(vision: Fields) -> int:
    """Values of one patch: channels, frames and pixels."""
    frames = vision.size("temporal_patch_size", default=2, largest=64)
    channels = vision.size("in_channels", "in_chans", default=3, largest=16)
    return channels * frames * vision.size("patch_size", largest=1024) ** 2


def _head_dim(vision: Fields) -> int:
    heads = vision.size("num_heads", largest=2**10)
    hidden = vision.size("hidden_size")
    vision.require(hidden % heads == 0, "hidden_size", f"divisible by num_heads = {heads}")
    return hidden // heads


def qwen2_5_tower(vision: Fields) -> tuple[Matrix, ...]:
    """RMS norms, a gated MLP with biases, no position table; the merger joins merge x merge patches."""
    hidden, depth, width = vision.size("hidden_size"), vision.layers("depth"), vision.size("intermediate_size")
    merged = hidden * _merged(vision)
    return (
        vision_linear("patch_embed.proj", hidden, _pixels(vision)),
        column("attn.qkv", 3 * hidden, hidden, copies=depth, bias=True, granule=_head_dim(vision)),
        row("attn.proj", hidden, hidden, copies=depth, bias=True),
        column("mlp.gate_up_proj", 2 * width, hidden, copies=depth, bias=True),
        row("mlp.down_proj", hidden, width, copies=depth, bias=True),
        vision_norm("norms", 2 * hidden, copies=depth),
        vision_norm("merger.ln_q", hidden),
        column("merger.mlp.0", merged, merged, bias=True),
        row("merger.mlp.2", vision.size("out_hidden_size"), merged, bias=True),
    )


def qwen3_tower(vision: Fields) -> tuple[Matrix, ...]:
    """Layer norms, a plain MLP, a position table, and one merger more for each "deepstack" layer."""
    hidden, depth, width = vision.size("hidden_size"), vision.layers("depth"), vision.size("intermediate_size")
    positions = vision.size("num_position_embeddings", default=2304)  # transformers' Qwen3VLVisionConfig
    return (
        vision_linear("patch_embed.proj", hidden, _pixels(vision), bias=True),
        vision_norm("pos_embed", positions * hidden),
        column("attn.qkv", 3 * hidden, hidden, copies=depth, bias=True, granule=_head_dim(vision)),
        row("attn.proj", hidden, hidden, copies=depth, bias=True),
        column("mlp.linear_fc1", width, hidden, copies=depth, bias=True),
        row("mlp.linear_fc2", hidden, width, copies=depth, bias=True),
        vision_norm("norms", 2 * hidden, copies=depth, bias=True),
        *_mergers(vision, hidden),
    )


def _mergers(vision: Fields, hidden: int) -> tuple[Matrix, ...]:
    merged = hidden * _merged(vision)
    stacked = len(vision.sequence("deepstack_visual_indexes")) if "deepstack_visual_indexes" in vision else 3
    return (
        vision_norm("merger.norm", hidden, bias=True),
        *([vision_norm("deepstack_merger_list.norm", merged, copies=stacked, bias=True)] if stacked else []),
        column("mergers.linear_fc1", merged, merged, copies=1 + stacked, bias=True),
        row("mergers.linear_fc2", vision.size("out_hidden_size"), merged, copies=1 + stacked, bias=True),
    )
