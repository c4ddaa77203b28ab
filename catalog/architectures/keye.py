"""Keye-VL: a Qwen 3 behind SigLIP with two tables of positions, joined by an MLP over merge x merge patches."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import qwen3
from catalog.blocks import Shape, column, row, vision_norm
from catalog.model import Matrix
from catalog.reading import Fields
from catalog.towers import siglip

ARCHITECTURES = ("KeyeForConditionalGeneration", "KeyeVL1_5ForConditionalGeneration")
MODEL_TYPES = ("Keye", "KeyeVL1_5")

_PACKED_POSITIONS = 32_768
"""vLLM 0.32.0 `vllm/model_executor/models/keye.py`, `packing_position_embedding`."""


def read(config: Fields) -> Shape:
    """The language model's keys are at the top. Keye 1.5 normalizes patches after it joins them."""
    text = replace(qwen3.text_shape(config, tied=config.flag("tie_word_embeddings", default=False)), family="Keye-VL")
    vision = Fields({**config.section("vision_config").values, "vision_use_head": False}, "vision_config")
    tower = siglip(vision)
    packed = vision_norm("embeddings.packing_position_embedding", _PACKED_POSITIONS * tower.hidden_size)
    merge = vision.size("spatial_merge_size", default=2, largest=64)
    merged = tower.hidden_size * merge**2
    normalized = tower.hidden_size if config.get("model_type") == "Keye" else merged
    joined = _projector(normalized, merged, text.hidden_size)
    return replace(text, vision=replace(tower, matrices=(*tower.matrices, packed, *joined)))


def _projector(normalized: int, merged: int, hidden: int) -> tuple[Matrix, ...]:
    return (
        vision_norm("mlp_AR.pre_norm", normalized, bias=True),
        column("mlp_AR.linear_1", merged, merged, bias=True),
        row("mlp_AR.linear_2", hidden, merged, bias=True),
    )
