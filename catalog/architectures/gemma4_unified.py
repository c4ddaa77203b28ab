"""Gemma 4 12B: no towers; pixels and samples are projected straight into the language model."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import gemma4
from catalog.blocks import Shape, column, vision_linear, vision_norm
from catalog.inner import filled
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("Gemma4UnifiedForConditionalGeneration",)
MODEL_TYPES = ("gemma4_unified",)


def read(config: Fields) -> Shape:
    """Text as in Gemma 4; vision_config and audio_config describe what is projected."""
    kept = {key: value for key, value in config.values.items() if key not in ("vision_config", "audio_config")}
    text = gemma4.read(Fields(kept, config.where))
    vision = filled(config.section("vision_config"), "gemma4_unified_vision", stated=False)
    audio = config.optional_section("audio_config")
    matrices = (*_pixels(vision, text.hidden_size), *(() if audio is None else _samples(audio, text.hidden_size)))
    return replace(text, vision=VisionTower(matrices, 1, vision.size("mm_embed_dim")))


def _pixels(vision: Fields, hidden: int) -> tuple[Matrix, ...]:
    """One matrix between norms, positions by row and by column, and the projection.

    Source: vLLM 0.32.0 `vllm/model_executor/models/gemma4_unified.py`, `Gemma4UnifiedVisionEmbedder`.
    """
    width, edge = vision.size("mm_embed_dim"), vision.size("patch_size", largest=1024)
    values = 3 * (edge * vision.size("pooling_kernel_size", largest=64)) ** 2
    return (
        vision_norm("vision_embedder.patch_ln1", values, bias=True),
        column("vision_embedder.patch_dense", width, values, bias=True),
        vision_norm("vision_embedder.pos_embedding", 2 * vision.size("mm_posemb_size") * width),
        vision_norm("vision_embedder.norms", width, copies=2, bias=True),
        vision_linear("embed_vision.embedding_projection", hidden, vision.size("output_proj_dims")),
    )


def _samples(audio: Fields, hidden: int) -> tuple[Matrix, ...]:
    width = filled(audio, "gemma4_unified_audio", stated=False).size("audio_embed_dim")
    return (vision_linear("embed_audio.embedding_projection", hidden, width),)
