"""Phi 3 Vision and 3.5 Vision: Phi 3 behind CLIP ViT-L/14 at 336 pixels, whose sizes no config states."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import text_shape
from catalog.blocks import Shape, vision_linear, vision_norm
from catalog.reading import Fields
from catalog.towers import clip, layers_up_to

ARCHITECTURES = ("Phi3VForCausalLM",)
MODEL_TYPES = ("phi3_v",)

_CLIP_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
"""openai/clip-vit-large-patch14-336, as vLLM 0.32.0 `vllm/model_executor/models/phi3v.py` writes it down."""

_MERGED = 4
"""Squares of 2 x 2 patches become one token."""


def read(config: Fields) -> Shape:
    """Text keys at the top level; crops and the whole image are parted by two learned tokens."""
    shape = text_shape(config, "Phi")
    processor = config.section("img_processor")
    vision = Fields(_CLIP_LARGE, "the image processor")
    tower = clip(vision, layers_up_to(vision, processor, "layer_idx", -2, first=0))
    merged = _MERGED * processor.size("image_dim_out")
    joined = (
        vision_norm("vision_embed_tokens.separators", 2 * merged),
        vision_linear("vision_embed_tokens.img_projection.0", shape.hidden_size, merged, bias=True),
        vision_linear("vision_embed_tokens.img_projection.2", shape.hidden_size, shape.hidden_size, bias=True),
    )
    return replace(shape, family="Phi Vision", vision=replace(tower, matrices=(*tower.matrices, *joined)))
