"""LFM2-VL: LFM2 behind SigLIP 2, joined by a projector that makes one token of 2 x 2 patches."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape, vision_linear, vision_norm
from catalog.inner import filled, read_language_model
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields
from catalog.towers import encoder_layers, patch_values, pooling_head

ARCHITECTURES = ("Lfm2VlForConditionalGeneration",)
MODEL_TYPES = ("lfm2_vl", "lfm2-vl")


def read(config: Fields) -> Shape:
    """Defaults are those of transformers' Lfm2VlConfig, where the LM head is tied."""
    text = read_language_model(config, "text_config", model_type="lfm2", tied=True)
    vision = filled(config.section("vision_config"), "siglip2_vision_model")
    width, layers = vision.size("hidden_size"), vision.layers()
    matrices = (
        vision_linear("embeddings.patch_embedding", width, patch_values(vision), bias=True),
        vision_norm("embeddings.position_embedding", vision.size("num_patches") * width),
        *encoder_layers(vision, layers),
        vision_norm("post_layernorm", width, bias=True),
        *_projector(config, width, text.hidden_size),
    )
    idle = pooling_head(vision, width) if vision.flag("vision_use_head", default=True) else ()
    return replace(text, vision=VisionTower(matrices, layers, width, idle=idle))


def _projector(config: Fields, width: int, hidden: int) -> tuple[Matrix, ...]:
    merged = width * config.size("downsample_factor", default=2, largest=64) ** 2
    inner, bias = config.size("projector_hidden_size", default=2560), config.flag("projector_bias", default=True)
    normalized = config.flag("projector_use_layernorm", default=True)
    return (
        *((vision_norm("multi_modal_projector.layer_norm", merged, bias=True),) if normalized else ()),
        vision_linear("multi_modal_projector.linear_1", inner, merged, bias=bias),
        vision_linear("multi_modal_projector.linear_2", hidden, inner, bias=bias),
    )
