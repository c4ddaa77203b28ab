"""HyperCLOVA X SEED Think: Llama's layers with a norm behind each half, too."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import text_shape
from catalog.blocks import Shape, norm
from catalog.reading import Fields

ARCHITECTURES = ("HyperCLOVAXForCausalLM",)
MODEL_TYPES = ("hyperclovax",)


def read(config: Fields) -> Shape:
    """The norms behind the halves are there unless the config says no (transformers 5.19 HyperCLOVAXConfig)."""
    shape = text_shape(config, "HyperCLOVA X")
    if not config.flag("use_post_norm", default=True):
        return shape
    behind = tuple(norm(name, shape.hidden_size) for name in ("post_norm1", "post_norm2"))
    return replace(shape, layers=[replace(layer, matrices=(*layer.matrices, *behind)) for layer in shape.layers])
