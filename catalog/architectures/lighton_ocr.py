"""LightOnOCR: a small Qwen 3 behind a Pixtral vision tower, joined as in Mistral 3."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.mistral3 import merging_projector
from catalog.blocks import Shape
from catalog.inner import filled, read_language_model
from catalog.reading import Fields
from catalog.towers import pixtral

ARCHITECTURES = ("LightOnOCRForConditionalGeneration", "LightOnOcrForConditionalGeneration")
MODEL_TYPES = ("lighton_ocr",)


def read(config: Fields) -> Shape:
    """The projector makes one token of merge x merge patches. Defaults are those of transformers' LightOnOcrConfig."""
    text = read_language_model(config, "text_config", model_type="qwen3", tied=True)
    tower = pixtral(filled(config.section("vision_config"), "pixtral"))
    merge = config.size("spatial_merge_size", default=2, largest=64)
    bias = config.flag("multimodal_projector_bias", default=False)
    joined = merging_projector(tower.hidden_size, text.hidden_size, merge, bias=bias)
    return replace(text, vision=replace(tower, matrices=(*tower.matrices, *joined)))
