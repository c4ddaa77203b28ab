"""InternVL 1.5 to 3.5, in OpenGVLab's form and in transformers', Intern-S1, Skywork R1V and H2OVL: behind InternViT.

Eagle 2.5 has SigLIP in its place.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape
from catalog.inner import filled, read_language_model
from catalog.reading import Fields
from catalog.towers import intern_vit, layers_up_to, shuffle_projector, siglip

ARCHITECTURES = (
    "InternVLChatModel",
    "InternVLForConditionalGeneration",
    "InternS1ForConditionalGeneration",
    "SkyworkR1VChatModel",
    "H2OVLChatModel",
    "Eagle2_5_VLForConditionalGeneration",
)
MODEL_TYPES = ("internvl_chat", "internvl", "interns1", "skywork_chat", "h2ovl_chat", "eagle_2_5_vl")

_FAMILIES = {"interns1": "Intern-S1", "skywork_chat": "Skywork R1V", "h2ovl_chat": "H2OVL", "eagle_2_5_vl": "Eagle 2.5"}


def read(config: Fields) -> Shape:
    """The text in llm_config or text_config, the tower in vision_config, and a projector on every rank.

    Source: vLLM 0.32.0 `vllm/model_executor/models/internvl.py`, `interns1.py`, `skyworkr1v.py`, `h2ovl.py`,
    `eagle2_5_vl.py`.
    """
    kind = config.word("model_type", default="internvl_chat")
    in_transformers = kind in ("internvl", "interns1")
    model_type = "llama" if kind in ("internvl_chat", "skywork_chat", "h2ovl_chat") else "qwen2"
    shape = read_language_model(config, "llm_config", "text_config", model_type=model_type)
    vision = config.section("vision_config")
    if kind == "eagle_2_5_vl":
        vision = filled(vision, "siglip_vision_model")
        tower = siglip(vision, layers_up_to(vision, config, "select_layer", -1, first=0))
    elif in_transformers:
        vision = filled(vision, "internvl_vision", stated=False)
        tower = intern_vit(vision, vision.layers(), divided=False)
    else:
        vision = filled(vision, "intern_vit_6b", stated=False)
        tower = intern_vit(vision, layers_up_to(vision, config, "select_layer", -1, first=0))
    joined = shuffle_projector(config, tower.hidden_size, shape.hidden_size)
    family = _FAMILIES.get(str(kind), "InternVL")
    return replace(shape, family=family, vision=replace(tower, matrices=(*tower.matrices, *joined)))
