"""Ovis 2.5: a Qwen 3 behind SigLIP 2, which turns patches into words of a visual vocabulary with an embedding."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape, vision_linear, vision_norm
from catalog.inner import read_language_model
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields
from catalog.towers import encoder_layers, patch_values

ARCHITECTURES = ("Ovis2_5", "Ovis2_6ForCausalLM", "Ovis2_6_MoeForCausalLM")
MODEL_TYPES = ("ovis2_5", "ovis2_6", "ovis2_6_moe")

_INDICATORS = 4
"""Words that mark where an image or a video begins and ends: they have embeddings but no patch becomes one."""


def read(config: Fields) -> Shape:
    """The language model is in llm_config, or in transformers' word for it; the tower in vit_config."""
    text = read_language_model(config, "llm_config", "text_config", model_type="qwen3")
    vision = config.section("vit_config")
    words = config.size("visual_vocab_size")
    config.require(words > _INDICATORS, "visual_vocab_size", f"more than the {_INDICATORS} indicators in it")
    matrices = (*_tower(vision), *_visual_words(vision, words, text.hidden_size))
    return replace(
        text, layer_path="llm.model.layers", vision=VisionTower(matrices, vision.layers(), vision.size("hidden_size"))
    )


def _tower(vision: Fields) -> tuple[Matrix, ...]:
    """SigLIP 2; a table of positions unless only rotary ones are kept."""
    width = vision.size("hidden_size")
    return (
        vision_linear("vit.embeddings.patch_embedding", width, patch_values(vision), bias=True),
        *_positions(vision, width),
        *encoder_layers(vision, vision.layers()),
        vision_norm("vit.post_layernorm", width, bias=True),
    )


def _positions(vision: Fields, width: int) -> tuple[Matrix, ...]:
    """As many as num_patches says, or as a square image has if it is negative."""
    if not vision.flag("preserve_original_pe", default=False):
        return ()
    stated = vision.get("num_patches")
    is_stated = isinstance(stated, int) and stated > 0
    edge = vision.size("image_size", largest=2**14) // vision.size("patch_size", largest=1024)
    count = vision.size("num_patches") if is_stated else edge**2
    return (vision_norm("vit.embeddings.position_embedding", count * width),)


def _visual_words(vision: Fields, words: int, hidden: int) -> tuple[Matrix, ...]:
    merged = vision.size("hidden_size") * vision.size("hidden_stride", default=2, largest=64) ** 2
    return (
        vision_linear("visual_tokenizer.head.0", words - _INDICATORS, merged),
        vision_norm("visual_tokenizer.head.1", words - _INDICATORS, bias=True),
        vision_norm("vte", words * hidden),
    )
