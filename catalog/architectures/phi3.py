"""Phi 3, 3.5, 4 and 4-mini: Llama's layers with fused projections, which changes no size."""

from __future__ import annotations

from catalog.architectures.llama import text_shape
from catalog.blocks import Shape
from catalog.reading import Fields

ARCHITECTURES = ("Phi3ForCausalLM",)
MODEL_TYPES = ("phi3",)


def read(config: Fields) -> Shape:
    """As Llama; the longest context is that of the long rope."""
    return text_shape(config, "Phi")
