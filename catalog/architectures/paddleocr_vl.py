"""PaddleOCR-VL: a small ERNIE 4.5 behind SigLIP, joined by a projector that makes one token of 2 x 2 patches."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import llama_kin
from catalog.blocks import Shape, vision_linear, vision_norm
from catalog.inner import filled
from catalog.model import Matrix
from catalog.reading import Fields
from catalog.towers import siglip

ARCHITECTURES = ("PaddleOCRVLForConditionalGeneration",)
MODEL_TYPES = ("paddleocr_vl",)


def read(config: Fields) -> Shape:
    """Published configs keep the language model's keys at the top, transformers' in text_config."""
    own = config.section("text_config") if "text_config" in config else config
    values = dict(filled(own, "paddleocr_vl_text", stated=False).values)
    tied = config.flag("tie_word_embeddings", default=True)
    text = llama_kin.read(Fields({**values, "model_type": "ernie4_5", "tie_word_embeddings": tied}, own.where))
    vision = filled(config.section("vision_config"), "paddleocr_vl_vision", stated=False)
    tower = siglip(vision)
    joined = _projector(tower.hidden_size, text.hidden_size, vision.size("spatial_merge_size", default=2, largest=64))
    return replace(text, vision=replace(tower, matrices=(*tower.matrices, *joined)))


def _projector(width: int, hidden: int, merge: int) -> tuple[Matrix, ...]:
    merged = width * merge**2
    return (
        vision_norm("mlp_AR.pre_norm", width, bias=True),
        vision_linear("mlp_AR.linear_1", merged, merged, bias=True),
        vision_linear("mlp_AR.linear_2", hidden, merged, bias=True),
    )
