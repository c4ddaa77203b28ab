"""Command A Vision: Cohere's language model behind SigLIP 2, and a gated projector between them."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape, column, row
from catalog.inner import filled, read_language_model
from catalog.reading import Fields
from catalog.towers import siglip

ARCHITECTURES = ("Cohere2VisionForConditionalGeneration",)
MODEL_TYPES = ("cohere2_vision",)


def read(config: Fields) -> Shape:
    """Squares of downsample_factor x downsample_factor patches become one token.

    Source: vLLM 0.32.0 `vllm/model_executor/models/cohere2_vision.py`.
    """
    shape = read_language_model(config, "text_config", model_type="cohere2")
    tower = siglip(filled(config.section("vision_config"), "siglip_vision_model"))
    merged = tower.hidden_size * config.size("downsample_factor", default=2, largest=64) ** 2
    width = config.size("alignment_intermediate_size", default=36_864)
    config.require(width % 2 == 0, "alignment_intermediate_size", "even: a gate and what it gates")
    joined = (
        column("multi_modal_projector.linear_1", width, merged, bias=True),
        row("multi_modal_projector.linear_2", shape.hidden_size, width // 2, bias=True),
    )
    return replace(shape, family="Command A Vision", vision=replace(tower, matrices=(*tower.matrices, *joined)))
