"""PaliGemma 1 and 2: Gemma 1 or 2 behind SigLIP, and one matrix between them."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape, vision_linear
from catalog.inner import filled, read_language_model
from catalog.reading import Fields
from catalog.towers import siglip

ARCHITECTURES = ("PaliGemmaForConditionalGeneration",)
MODEL_TYPES = ("paligemma",)


def read(config: Fields) -> Shape:
    """The text in text_config, which says which Gemma it is.

    Source: vLLM 0.32.0 `vllm/model_executor/models/paligemma.py`.
    """
    shape = read_language_model(config, "text_config", model_type="gemma")
    tower = siglip(filled(config.section("vision_config"), "siglip_vision_model"))
    joined = vision_linear("multi_modal_projector.linear", shape.hidden_size, tower.hidden_size, bias=True)
    return replace(shape, family="PaliGemma", vision=replace(tower, matrices=(*tower.matrices, joined)))
