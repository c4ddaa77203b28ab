"""GLM-4.1V, 4.5V, 4.6V and GLM-OCR: a GLM 4 language model behind a tower that halves the image before it merges."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape, column, row, vision_linear, vision_norm
from catalog.inner import read_language_model
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = (
    "Glm4vForConditionalGeneration",
    "Glm4vMoeForConditionalGeneration",
    "GlmOcrForConditionalGeneration",
)
MODEL_TYPES = ("glm4v", "glm4v_moe", "glm_ocr")


def read(config: Fields) -> Shape:
    """Text in text_config, the tower in vision_config; defaults are those of transformers' Glm4vVisionConfig."""
    model_type, vision = str(config.get("model_type")), config.section("vision_config")
    text = read_language_model(config, "text_config", model_type=f"{model_type}_text", flat=True)
    matrices = _ocr_tower(vision) if model_type == "glm_ocr" else _tower(vision)
    tower = VisionTower(matrices, vision.layers("depth"), vision.size("hidden_size"))
    return replace(text, layer_path="model.language_model.layers", vision=tower)


def _tower(vision: Fields) -> tuple[Matrix, ...]:
    """No biases in its layers, whose MLPs are as wide as the language model; positions of a square image."""
    hidden, patch = vision.size("hidden_size"), vision.size("patch_size", default=14, largest=1024)
    positions = (vision.size("image_size", default=336, largest=2**14) // patch) ** 2
    return (
        vision_norm("embeddings.position_embedding", positions * hidden),
        vision_norm("post_conv_layernorm", hidden),
        *_layers(vision, vision.size("out_hidden_size"), bias=False),
        *_ends(vision, vision.size("intermediate_size")),
    )


def _ocr_tower(vision: Fields) -> tuple[Matrix, ...]:
    return ocr_tower(vision, vision.size("in_channels", default=3, largest=16) * vision.size("out_hidden_size"))


def ocr_tower(vision: Fields, width: int) -> tuple[Matrix, ...]:
    """Biases and normalized queries and keys in its layers, no table of positions; a projector of this width."""
    return (
        *_layers(vision, vision.size("intermediate_size"), bias=True),
        vision_norm("blocks.attn.qk_norm", 2 * _head_dim(vision), copies=vision.layers("depth")),
        *_ends(vision, width),
    )


def _layers(vision: Fields, width: int, *, bias: bool) -> tuple[Matrix, ...]:
    hidden, depth = vision.size("hidden_size"), vision.layers("depth")
    return (
        column("blocks.attn.qkv", 3 * hidden, hidden, copies=depth, bias=bias, granule=_head_dim(vision)),
        row("blocks.attn.proj", hidden, hidden, copies=depth, bias=bias),
        column("blocks.mlp.gate_up_proj", 2 * width, hidden, copies=depth, bias=bias),
        row("blocks.mlp.down_proj", hidden, width, copies=depth, bias=bias),
        vision_norm("blocks.norms", 2 * hidden, copies=depth),
    )


def _ends(vision: Fields, width: int) -> tuple[Matrix, ...]:
    """Patches in front; behind, a convolution that joins merge x merge patches, and a gated MLP of this width."""
    hidden, output = vision.size("hidden_size"), vision.size("out_hidden_size")
    patch, frames = vision.size("patch_size", default=14, largest=1024), vision.size("temporal_patch_size", default=2)
    merged = hidden * vision.size("spatial_merge_size", default=2, largest=64) ** 2
    pixels = vision.size("in_channels", default=3, largest=16) * frames * patch**2
    return (
        vision_linear("patch_embed.proj", hidden, pixels, bias=True),
        vision_norm("post_layernorm", hidden),
        vision_linear("downsample", output, merged, bias=True),
        column("merger.proj", output, output),
        vision_norm("merger.post_projection_norm", output, bias=True),
        column("merger.gate_up_proj", 2 * width, output),
        row("merger.down_proj", output, width),
    )


def _head_dim(vision: Fields) -> int:
    hidden, heads = vision.size("hidden_size"), vision.size("num_heads", "num_attention_heads", largest=2**10)
    vision.require(hidden % heads == 0, "hidden_size", f"divisible by num_heads = {heads}")
    return hidden // heads
