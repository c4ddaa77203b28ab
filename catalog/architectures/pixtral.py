"""Pixtral and Mistral's other models that see, in Mistral's own form: a language model behind a Pixtral tower."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape, vision_linear, vision_norm
from catalog.inner import read_language_model
from catalog.model import Matrix
from catalog.reading import Fields
from catalog.towers import pixtral

ARCHITECTURES = ("PixtralForConditionalGeneration",)
MODEL_TYPES = ("pixtral",)


def read(config: Fields) -> Shape:
    """The language model of text_config, the tower of vision_config, and an adapter on every rank.

    Source: vLLM 0.32.0 `vllm/model_executor/models/pixtral.py`, which gets this form from a params.json.
    """
    shape = read_language_model(config, "text_config", model_type="mistral")
    vision = config.section("vision_config")
    tower = pixtral(vision)
    adapter = _adapter(vision, tower.hidden_size, shape.hidden_size)
    return replace(shape, vision=replace(tower, matrices=(*tower.matrices, *adapter)))


def _adapter(vision: Fields, width: int, hidden: int) -> tuple[Matrix, ...]:
    """Two matrices; the later models norm the patches and merge squares of them first."""
    bias = vision.flag("adapter_bias", default=True)
    merged = width * vision.size("spatial_merge_size", default=1, largest=64) ** 2
    merges = vision.word("mm_projector_id", default="") == "patch_merge"
    normed = vision.flag("add_pre_mm_projector_layer_norm", default=False)
    return (
        *([vision_norm("pre_mm_projector_norm", width)] if normed else []),
        *([vision_linear("patch_merger.merging_layer", width, merged)] if merges else []),
        vision_linear("vision_language_adapter.w_in", hidden, width, bias=bias),
        vision_linear("vision_language_adapter.w_out", hidden, hidden, bias=bias),
    )
