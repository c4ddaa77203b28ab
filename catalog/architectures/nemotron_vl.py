"""Nemotron Nano VL 1 and 2: Llama or Nemotron-H behind C-RADIO."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Shape
from catalog.inner import read_language_model
from catalog.reading import Fields
from catalog.towers import radio, shuffle_projector

ARCHITECTURES = ("Llama_Nemotron_Nano_VL", "NemotronH_Nano_VL_V2")
MODEL_TYPES = ("Llama_Nemotron_Nano_VL", "NemotronH_Nano_VL_V2")


def read(config: Fields) -> Shape:
    """The text in llm_config, the tower in vision_config, a projector on every rank.

    For the first, vLLM runs the tower that its repository brings, whole on every rank.

    Source: vLLM 0.32.0 `vllm/model_executor/models/nemotron_vl.py`, `nano_nemotron_vl.py`.
    """
    second = config.word("model_type", default="NemotronH_Nano_VL_V2") == "NemotronH_Nano_VL_V2"
    shape = read_language_model(config, "llm_config", "text_config", model_type="nemotron_h" if second else "llama")
    tower = radio(config.section("vision_config"), divided=second)
    width, inner = config.size("vit_hidden_size"), config.size("projector_hidden_size")
    joined = shuffle_projector(config, width, shape.hidden_size, inner, bias=not second)
    return replace(shape, family="Nemotron Nano VL", vision=replace(tower, matrices=(*tower.matrices, *joined)))
