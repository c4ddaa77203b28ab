"""MiMo 7B: Qwen 2's shape, and a layer more that predicts a further token."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import qwen2
from catalog.blocks import Layer, Shape, linear, norm
from catalog.reading import Fields

ARCHITECTURES = ("MiMoForCausalLM",)
MODEL_TYPES = ("mimo",)


def read(config: Fields) -> Shape:
    """MTP layers join the hidden state with the next token's embedding, then run one layer more."""
    shape = qwen2.text_shape(config, "MiMo")
    hidden, last = shape.hidden_size, shape.layers[-1]
    joining = (
        linear("input_proj", "other", hidden, 2 * hidden),
        *(norm(name, hidden) for name in ("token_layernorm", "hidden_layernorm", "final_layernorm")),
    )
    predictor = Layer(last.mixers, (*last.matrices, *joining), next_token_prediction=True)
    count = config.count("num_nextn_predict_layers", default=0, largest=16)
    return replace(shape, layers=[*shape.layers, *[predictor] * count])
