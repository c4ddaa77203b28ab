"""InternVL 1.5 to 3.5, in OpenGVLab's form and in transformers': any language model behind InternViT."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape
from catalog.inner import filled, read_language_model
from catalog.reading import Fields
from catalog.towers import intern_vit, layers_up_to, shuffle_projector

ARCHITECTURES = ("InternVLChatModel", "InternVLForConditionalGeneration")
MODEL_TYPES = ("internvl_chat", "internvl")


def read(config: Fields) -> Shape:
    """The text in llm_config (or text_config), the tower in vision_config, and a projector on every rank.

    Source: vLLM 0.32.0 `vllm/model_executor/models/internvl.py`, `interns1.py`.
    """
    ours = "llm_config" in config
    shape = read_language_model(config, "llm_config", "text_config", model_type="llama" if ours else "qwen2")
    vision = filled(config.section("vision_config"), "intern_vit_6b" if ours else "internvl_vision", stated=False)
    read_layers = layers_up_to(vision, config, "select_layer", -1, first=0) if ours else vision.layers()
    tower = intern_vit(vision, read_layers, divided=ours)
    joined = shuffle_projector(config, tower.hidden_size, shape.hidden_size)
    return replace(shape, family="InternVL", vision=replace(tower, matrices=(*tower.matrices, *joined)))
