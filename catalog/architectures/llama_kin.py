"""Llama's layers where a library's class has other defaults: SmolLM 3, Seed-OSS, ERNIE 4.5, CWM, Ministral, Helium."""

from __future__ import annotations

from typing import Any

from catalog.architectures.llama import text_shape
from catalog.blocks import Shape
from catalog.reading import Fields

ARCHITECTURES = (
    "SmolLM3ForCausalLM",
    "SeedOssForCausalLM",
    "Ernie4_5ForCausalLM",
    "CwmForCausalLM",
    "MinistralForCausalLM",
    "HeliumForCausalLM",
)
MODEL_TYPES = ("smollm3", "seed_oss", "ernie4_5", "cwm", "ministral", "helium")

_KIN: dict[str, tuple[str, dict[str, Any]]] = {
    "smollm3": ("SmolLM 3", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "seed_oss": (
        "Seed-OSS",
        {"num_key_value_heads": 8, "head_dim": 128, "attention_bias": True, "attention_out_bias": False},
    ),
    "ernie4_5": ("ERNIE 4.5", {"num_key_value_heads": 2, "head_dim": 128, "tie_word_embeddings": True}),
    "cwm": ("CWM", {"num_key_value_heads": 8, "head_dim": 128, "sliding_window": 8192}),
    "ministral": ("Ministral", {"num_key_value_heads": 8, "sliding_window": 4096}),
    "helium": ("Helium", {"num_key_value_heads": 20, "head_dim": 128}),
}
"""What people call it, and what the class takes for keys that a config leaves out. Source: transformers 5.19.0."""


def read(config: Fields) -> Shape:
    """Layers as Llama has them."""
    kind = _kind(config)
    family, defaults = _KIN[kind]
    stated = {**defaults, **config.values}
    if kind == "cwm" and "layer_types" not in config:
        stated["layer_types"] = _three_of_four_slide(config.layers())
    return text_shape(Fields(stated, config.where), family)


def _kind(config: Fields) -> str:
    """The model_type that the class name stands for, or that the config states."""
    names = config.words("architectures") if "architectures" in config else ()
    return dict(zip(ARCHITECTURES, MODEL_TYPES, strict=True)).get("".join(names[:1])) or str(config.get("model_type"))


def _three_of_four_slide(layers: int) -> list[str]:
    return ["sliding_attention" if i % 4 else "full_attention" for i in range(layers)]
