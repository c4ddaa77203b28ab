"""Idefics 3 and SmolVLM 1 and 2: a Llama language model behind SigLIP, and one matrix between them."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape, vision_linear
from catalog.inner import filled, read_language_model
from catalog.reading import Fields
from catalog.towers import siglip

ARCHITECTURES = ("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration")
MODEL_TYPES = ("idefics3", "smolvlm")


def read(config: Fields) -> Shape:
    """Squares of scale_factor x scale_factor patches become one token.

    Source: vLLM 0.32.0 `vllm/model_executor/models/idefics3.py`.
    """
    shape = read_language_model(config, "text_config", model_type="llama")
    tower = siglip(filled(config.section("vision_config"), "idefics3_vision", stated=False))
    merged = tower.hidden_size * config.size("scale_factor", default=2, largest=64) ** 2
    joined = vision_linear("connector.modality_projection.proj", shape.hidden_size, merged)
    family = "SmolVLM" if config.get("model_type") == "smolvlm" else "Idefics 3"
    return replace(shape, family=family, vision=replace(tower, matrices=(*tower.matrices, joined)))
