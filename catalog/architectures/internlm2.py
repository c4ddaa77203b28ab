"""InternLM 2 and 2.5: Llama's layers; one word of the config, `bias`, is for all projections of attention."""

from __future__ import annotations

from catalog.architectures.llama import text_shape
from catalog.blocks import Shape
from catalog.reading import Fields

ARCHITECTURES = ("InternLM2ForCausalLM",)
MODEL_TYPES = ("internlm2",)


def read(config: Fields) -> Shape:
    """Published sizes say that there is none; the class has one where nothing is said."""
    biased = config.flag("bias", default=True)
    return text_shape(Fields({**config.values, "attention_bias": biased}, config.where), "InternLM 2")
