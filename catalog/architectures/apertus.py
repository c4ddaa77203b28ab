"""Apertus: normalized queries and keys, and a plain MLP whose activation (xIELU) has two learned numbers."""

from __future__ import annotations

from catalog.architectures.llama import layer_windows, read_attention
from catalog.blocks import Layer, Shape, attention, language_model, norm, plain_mlp
from catalog.reading import Fields

ARCHITECTURES = ("ApertusForCausalLM",)
MODEL_TYPES = ("apertus",)


def read(config: Fields) -> Shape:
    """Source: vLLM 0.32 `vllm/model_executor/models/apertus.py`."""
    hidden, biased = config.size("hidden_size"), config.flag("attention_bias", default=False)
    layers = []
    for window in layer_windows(config):
        mixer = read_attention(config, window)
        matrices = (
            *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=(mixer.head_dim, mixer.head_dim)),
            *plain_mlp(hidden, config.size("intermediate_size"), bias=config.flag("mlp_bias", default=False)),
            norm("mlp.act_fn.alpha_p", 1, part="mlp"),
            norm("mlp.act_fn.alpha_n", 1, part="mlp"),
            norm("attention_layernorm", hidden),
            norm("feedforward_layernorm", hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return language_model(config, "Apertus", layers)
