"""Gemma: tied embeddings; 2 and 3 have sliding windows between full layers, four norms a layer; 3 a SigLIP tower.

VaultGemma is Gemma 2 without the norms behind attention and MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    language_model,
    norm,
    outside,
    pre_norms,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import LARGEST_LAYERS, Fields, max_context, windows
from catalog.towers import siglip

ARCHITECTURES = (
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "VaultGemmaForCausalLM",
)
MODEL_TYPES = ("gemma", "gemma2", "gemma3_text", "gemma3", "vaultgemma")

SANDWICH_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
_EVERY_SECOND = {"gemma2": ("Gemma 2", SANDWICH_NORMS), "vaultgemma": ("VaultGemma", SANDWICH_NORMS[::2])}
"""Model types whose every second layer has a window: family, and the norms of a layer (VaultGemma's come first)."""


def read(config: Fields) -> Shape:
    """Gemma 1 and 2, the text-only sizes of Gemma 3, and Gemma 3 with vision, whose text is in text_config."""
    if config.word("model_type") == "gemma":
        return _gemma_1(config)
    if config.word("model_type") in _EVERY_SECOND:
        family, norms = _EVERY_SECOND[str(config.get("model_type"))]
        slides = [i % 2 == 0 for i in range(config.layers())]
        return _text_shape(config, family, slides, config.size("vocab_size"), qk_norm=False, norms=norms)
    if "text_config" not in config:
        return _gemma_3(config)
    shape = _gemma_3(config.section("text_config"), "model.language_model.layers")
    return replace(shape, vision=_seeing(config.section("vision_config"), shape.hidden_size))


def _gemma_1(config: Fields) -> Shape:
    """Llama's layers, with heads wider than hidden_size over their number, and tied embeddings."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    biased = config.flag("attention_bias", default=False)
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        *gated_mlp(hidden, config.size("intermediate_size")),
        *pre_norms(hidden),
    )
    tied = config.flag("tie_word_embeddings", default=True)
    return language_model(config, "Gemma", [Layer((mixer,), matrices)] * config.layers(), tied=tied)


def _gemma_3(text: Fields, layer_path: str = "model.layers") -> Shape:
    """Published configs leave out what equals transformers' Gemma3TextConfig; those defaults are named here."""
    every = text.size("sliding_window_pattern", "_sliding_window_pattern", default=6, largest=LARGEST_LAYERS)
    slides = [(i + 1) % every != 0 for i in range(text.layers())]
    return _text_shape(text, "Gemma 3", slides, text.size("vocab_size", default=262_208), layer_path=layer_path)


def _text_shape(
    text: Fields,
    family: str,
    slides: Sequence[bool],
    vocabulary: int,
    *,
    qk_norm: bool = True,
    norms: Sequence[str] = SANDWICH_NORMS,
    layer_path: str = "model.layers",
) -> Shape:
    hidden = text.size("hidden_size")
    tied = text.flag("tie_word_embeddings", default=True)
    layers = [
        Layer((mixer,), (*_layer_matrices(text, hidden, mixer, qk_norm=qk_norm), *_norms(norms, hidden)))
        for mixer in (_read_attention(text, window) for window in windows(text, len(slides), slides))
    ]
    return Shape(
        family=family,
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text) if "max_position_embeddings" in text else 131_072,
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
        layer_path=layer_path,
    )


def _read_attention(text: Fields, window: int | None) -> Attention:
    """Gemma3TextConfig's defaults, 8 heads over 4 of 256, apply where the config leaves numbers out (Gemma 3 4B)."""
    if "num_attention_heads" in text and "head_dim" in text:
        return read_attention(text, window)
    heads = text.size("num_attention_heads", default=8, largest=2**10)
    kv_heads = text.size("num_key_value_heads", default=4, largest=2**10)
    head = text.size("head_dim", default=256)
    return Attention(heads, kv_heads, head, head, window=window)


def _layer_matrices(text: Fields, hidden: int, mixer: Attention, *, qk_norm: bool) -> tuple[Matrix, ...]:
    biased = text.flag("attention_bias", default=False)
    sizes = (mixer.head_dim, mixer.head_dim) if qk_norm else None
    return (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=sizes),
        *gated_mlp(hidden, text.size("intermediate_size")),
    )


def sandwich_norms(hidden: int) -> tuple[Matrix, ...]:
    """Norms before and after both halves of a layer."""
    return _norms(SANDWICH_NORMS, hidden)


def _norms(names: Sequence[str], hidden: int) -> tuple[Matrix, ...]:
    return tuple(norm(name, hidden) for name in names)


def _seeing(vision: Fields, hidden: int) -> VisionTower:
    """SigLIP, and one matrix behind a norm into the language model."""
    tower = siglip(vision)
    joined = (
        vision_norm("multi_modal_projector.mm_soft_emb_norm", tower.hidden_size),
        vision_linear("multi_modal_projector.mm_input_projection", hidden, tower.hidden_size),
    )
    return replace(tower, matrices=(*tower.matrices, *joined))
