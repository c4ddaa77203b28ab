"""OPT: learned positions, biases everywhere, LayerNorm, a plain MLP, and an LM head tied to the embedding."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, norm, plain_mlp, table
from catalog.reading import Fields

ARCHITECTURES = ("OPTForCausalLM",)
MODEL_TYPES = ("opt",)

FIRST_POSITION = 2
"""Rows of the position table before the first token's. Source: transformers `OPTLearnedPositionalEmbedding`."""


def read(config: Fields) -> Shape:
    """As wide as its embedding; OPT 350M, whose embedding is narrower, is refused."""
    hidden = config.size("hidden_size")
    narrow = config.size("word_embed_proj_dim", default=hidden)
    config.require(narrow == hidden, "word_embed_proj_dim", f"hidden_size = {hidden}")
    mixer = read_attention(config)
    matrices = (
        *attention(hidden, mixer, qkv_bias=True, output_bias=True),
        *plain_mlp(hidden, config.size("ffn_dim"), bias=True),
        norm("self_attn_layer_norm", hidden, bias=True),
        norm("final_layer_norm", hidden, bias=True),
    )
    layers = [Layer((mixer,), matrices)] * config.layers()
    shape = language_model(config, "OPT", layers, tied=True, layer_path="model.decoder.layers")
    positions = table("embed_positions", "embedding", shape.max_context_tokens + FIRST_POSITION, hidden)
    return replace(shape, outside=(shape.outside[0], positions, norm("final_layer_norm", hidden, bias=True)))
