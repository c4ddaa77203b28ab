"""Youtu-LLM: DeepSeek's latent attention, a gated MLP in every layer, tied embeddings."""

from __future__ import annotations

from catalog.architectures.deepseek import read_latent_attention
from catalog.blocks import Layer, Shape, gated_mlp, language_model, pre_norms
from catalog.mixers import latent_attention
from catalog.reading import Fields

ARCHITECTURES = ("YoutuForCausalLM",)
MODEL_TYPES = ("youtu",)


def read(config: Fields) -> Shape:
    """Tied unless the config says no (transformers 5.19 YoutuConfig)."""
    hidden, mla = config.size("hidden_size"), read_latent_attention(config)
    biases = config.flag("attention_bias", default=False)
    config.require(not biases, "attention_bias", "false: biased latent attention is not described here")
    matrices = (
        *latent_attention(hidden, mla),
        *gated_mlp(hidden, config.size("intermediate_size")),
        *pre_norms(hidden),
    )
    tied = config.flag("tie_word_embeddings", default=True)
    return language_model(config, "Youtu", [Layer((mla,), matrices)] * config.layers(), tied=tied)
