"""LLaVA 1.5, NeXT, its Video and OneVision, and Pixtral in transformers' form: any language model behind a tower.

Engines load the tower only up to the layer whose output is read, which is the last but one in most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from catalog.blocks import Shape, column, row, vision_linear, vision_norm
from catalog.inner import filled, read_language_model
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields
from catalog.towers import clip, layers_up_to, pixtral, siglip

ARCHITECTURES = (
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "LlavaNextVideoForConditionalGeneration",
    "LlavaOnevisionForConditionalGeneration",
)
MODEL_TYPES = ("llava", "llava_next", "llava_next_video", "llava_onevision")

_FAMILIES = {
    "llava_next": "LLaVA-NeXT",
    "llava_next_video": "LLaVA-NeXT-Video",
    "llava_onevision": "LLaVA-OneVision",
}
_TOWERS: dict[str, Callable[[Fields, int], VisionTower]] = {
    "clip_vision_model": lambda vision, layers: clip(vision, layers, last_norm=False),
    "siglip_vision_model": lambda vision, layers: siglip(vision, layers, last_norm=False),
    "pixtral": pixtral,
}


def read(config: Fields) -> Shape:
    """The text in text_config, the tower in vision_config, and a projector of two layers between them.

    Source: vLLM 0.32.0 `vllm/model_executor/models/llava.py`, `llava_next.py`, `llava_next_video.py`,
    `llava_onevision.py`.
    """
    kind = config.word("model_type", default="llava")
    one_vision = kind == "llava_onevision"
    shape = read_language_model(config, "text_config", model_type="qwen2" if one_vision else "llama")
    vision = filled(config.section("vision_config"), "siglip_vision_model" if one_vision else "clip_vision_model")
    tower = _tower(config, vision, -1 if one_vision else -2)
    joined = _projector(config, tower.hidden_size, shape.hidden_size, divided=kind in ("llava", "llava_next"))
    newline = () if kind == "llava" else (vision_norm("image_newline", shape.hidden_size),)
    if kind == "llava_next_video":  # vLLM serves it for video alone
        tower = replace(tower, matrices=(*tower.matrices, *joined), idle=(*tower.idle, *newline))
    else:
        tower = replace(tower, matrices=(*tower.matrices, *joined, *newline))
    return replace(shape, family=_FAMILIES.get(str(kind), "LLaVA"), vision=tower)


def _tower(config: Fields, vision: Fields, default: int) -> VisionTower:
    make = _TOWERS.get(str(vision.get("model_type")))
    if make is None:
        raise vision.bad("model_type", f"one of {', '.join(_TOWERS)}")
    return make(vision, layers_up_to(vision, config, "vision_feature_layer", default))


def _projector(config: Fields, width: int, hidden: int, *, divided: bool) -> tuple[Matrix, ...]:
    """OneVision's and Video's are on every rank. Several layers that are read come side by side."""
    read_layers = config.get("vision_feature_layer")
    width *= len(read_layers) if isinstance(read_layers, list) else 1
    biased = config.flag("multimodal_projector_bias", default=True)
    sizes = ("multi_modal_projector.linear_1", hidden, width), ("multi_modal_projector.linear_2", hidden, hidden)
    if not divided:
        return tuple(vision_linear(*size, bias=biased) for size in sizes)
    return column(*sizes[0], bias=biased), row(*sizes[1], bias=biased)
