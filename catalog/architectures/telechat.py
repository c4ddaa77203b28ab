"""TeleChat 1 and 2: Llama's layers; of their projections only those back into the residual stream have biases."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms, renamed
from catalog.model import Matrix
from catalog.reading import Fields

ARCHITECTURES = ("TeleChat2ForCausalLM", "TeleChatForCausalLM")
MODEL_TYPES = ("telechat", "telechat2")

_OTHER_NAMES = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "intermediate_size": "ffn_hidden_size"}
_MODULES = {"q_proj": "query", "k_proj": "key_value", "v_proj": "key_value", "o_proj": "dense"}


def read(config: Fields) -> Shape:
    """Source: vLLM 0.32 `vllm/model_executor/models/telechat2.py`; what configs leave out is as in transformers 4."""
    config = Fields({**{name: config.get(other) for name, other in _OTHER_NAMES.items()}, **config.values})
    hidden, mixer = config.size("hidden_size", "n_embed"), read_attention(config)
    matrices = (
        *renamed(attention(hidden, mixer, name="self_attention", output_bias=True), _MODULES),
        *map(_biased_down, gated_mlp(hidden, config.size("intermediate_size"))),
        *pre_norms(hidden),
    )
    tied = config.flag("tie_word_embeddings", default=True)
    layers = [Layer((mixer,), matrices)] * config.layers()
    return language_model(config, "TeleChat", layers, tied=tied, layer_path="transformer.h")


def _biased_down(matrix: Matrix) -> Matrix:
    return replace(matrix, bias=matrix.name.endswith("down_proj"))
