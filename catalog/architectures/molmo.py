"""Molmo 1: a Qwen 2- or OLMo-like language model behind CLIP, whose sizes are in the engine's code."""

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
    row,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("MolmoForCausalLM",)
MODEL_TYPES = ("molmo",)

_MORE_TOKENS = 128
"""Tokens that are read but never written."""

_WIDTH, _MLP_WIDTH, _LAYERS, _HEADS, _POSITIONS, _PATCH_VALUES, _READ_LAYERS = 1024, 4096, 23, 16, 577, 588, 2
"""The tower, of which two layers are read: vLLM 0.32.0 `vllm/model_executor/models/molmo.py`, VisionBackboneConfig."""


def read(config: Fields) -> Shape:
    """`intermediate_size` counts gate and up projection; `embedding_size` is the vocabulary with its padding."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    width = config.size("intermediate_size") // 2
    matrices = (
        *attention(hidden, mixer, qkv_bias=config.flag("qkv_bias", default=False), qk_norm=_qk_norm(config, mixer)),
        *gated_mlp(hidden, width),
        *pre_norms(hidden),
    )
    tied, vocabulary = config.flag("weight_tying", default=False), config.size("embedding_size", "vocab_size")
    named = Fields({**config.values, "vocab_size": vocabulary}, config.where)
    text = language_model(named, "Molmo", [Layer((mixer,), matrices)] * config.layers(), tied=tied)
    outside = (replace(text.outside[0], outputs=vocabulary + _MORE_TOKENS), *text.outside[1:])
    return replace(text, outside=outside, vision=VisionTower(_tower(hidden, width), _LAYERS, _WIDTH))


def _qk_norm(config: Fields, mixer: Attention) -> tuple[int, int] | None:
    """Over all heads at once, as in OLMo."""
    if not config.flag("attention_layer_norm", default=False):
        return None
    return mixer.query_heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim


def _tower(hidden: int, width: int) -> tuple[Matrix, ...]:
    """CLIP, attention that pools 2 x 2 patches, and a projector as wide as the language model's MLPs."""
    head, pooled = _WIDTH // _HEADS, _READ_LAYERS * _WIDTH
    return (
        vision_norm("image_vit.class_embedding", _WIDTH),
        vision_norm("image_vit.positional_embedding", _POSITIONS * _WIDTH),
        vision_linear("image_vit.patch_embedding", _WIDTH, _PATCH_VALUES),
        vision_norm("image_vit.pre_ln", _WIDTH, bias=True),
        column("resblocks.attention.wqkv", 3 * _WIDTH, _WIDTH, copies=_LAYERS, bias=True, granule=head),
        row("resblocks.attention.wo", _WIDTH, _WIDTH, copies=_LAYERS, bias=True),
        column("resblocks.feed_forward.w1", _MLP_WIDTH, _WIDTH, copies=_LAYERS, bias=True),
        row("resblocks.feed_forward.w2", _WIDTH, _MLP_WIDTH, copies=_LAYERS, bias=True),
        vision_norm("resblocks.norms", 2 * _WIDTH, copies=_LAYERS, bias=True),
        vision_norm("pad_embed", 2 * pooled),
        column("image_pooling_2d.wqkv", 3 * _WIDTH, pooled, bias=True, granule=head),
        row("image_pooling_2d.wo", _WIDTH, _WIDTH, bias=True),
        column("image_projector.merged_linear", 2 * width, _WIDTH),
        row("image_projector.down_proj", hidden, width),
    )
