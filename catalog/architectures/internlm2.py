"""InternLM 1 to 2.5: Llama's layers; one word of the config, `bias`, is for all projections of attention."""

from __future__ import annotations

from catalog.architectures.llama import text_shape
from catalog.blocks import Shape
from catalog.reading import Fields

ARCHITECTURES = ("InternLM2ForCausalLM", "InternLMForCausalLM")
MODEL_TYPES = ("internlm2", "internlm")


def read(config: Fields) -> Shape:
    """Published sizes of InternLM 2 say that there is none; the classes have one where nothing is said."""
    biased = config.flag("bias", default=True)
    family = "InternLM" if config.get("model_type") == "internlm" else "InternLM 2"
    return text_shape(Fields({**config.values, "attention_bias": biased}, config.where), family)
