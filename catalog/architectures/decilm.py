"""DeciLM: Deci's 7B, whose layers differ in KV heads, and NVIDIA's pruned Llamas (Nemotron Super and Ultra of 2025).

In the latter every layer has its own heads and MLP, or none.
"""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, linear, norm, pre_norms
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("DeciLMForCausalLM",)
MODEL_TYPES = ("nemotron-nas", "deci")

_ROUNDED_TO = 256
"""Widths of the MLPs are rounded up to this (`_find_multiple` in NVIDIA's configuration_decilm.py)."""


def read(config: Fields) -> Shape:
    """block_configs has one entry per layer; where it is missing, num_key_value_heads_per_layer has."""
    hidden = config.size("hidden_size")
    if "block_configs" not in config and "num_key_value_heads_per_layer" in config:
        return _first_decilm(config, hidden)
    blocks = config.sections("block_configs", length=config.layers())
    return language_model(config, "Nemotron", [_layer(config, hidden, block) for block in blocks])


def _layer(config: Fields, hidden: int, block: Fields) -> Layer:
    mixers, attention_matrices = _attention(config, hidden, block.section("attention"))
    return Layer(mixers, (*attention_matrices, *_mlp(config, hidden, block.section("ffn"))))


def _first_decilm(config: Fields, hidden: int) -> Shape:
    """Deci's own models: Llama's layers but for the KV heads.

    vLLM ran them from 2023 on, with as many KV heads in every layer as the largest has (its decilm.py, pull request
    2062); engines of 2026 read block_configs only.
    """
    heads = config.size("num_attention_heads", largest=hidden)
    config.require(hidden % heads == 0, "num_attention_heads", f"a divisor of hidden_size = {hidden}")
    layers = []
    for kv_heads in config.sizes("num_key_value_heads_per_layer", length=config.layers()):
        config.require(heads % kv_heads == 0, "num_key_value_heads_per_layer", f"divisors of {heads} heads")
        mixer = Attention(heads, kv_heads, hidden // heads, hidden // heads)
        mlp = gated_mlp(hidden, config.size("intermediate_size"))
        layers.append(Layer((mixer,), (*attention(hidden, mixer), *mlp, *pre_norms(hidden))))
    return language_model(config, "DeciLM", layers)


def _attention(config: Fields, hidden: int, own: Fields) -> tuple[tuple[Attention, ...], tuple[Matrix, ...]]:
    if own.flag("no_op", default=False):
        return (), ()
    before = norm("input_layernorm", hidden)
    if own.flag("replace_with_linear", default=False):
        return (), (before, linear("self_attn.linear_attn", "attention", hidden, hidden))
    heads = config.size("num_attention_heads", largest=hidden)
    group = own.size("n_heads_in_group", largest=heads)
    own.require(heads % group == 0 and hidden % heads == 0, "n_heads_in_group", f"a divisor of {heads} heads")
    head = config.size("head_dim", default=hidden // heads)
    mixer = Attention(
        heads, heads // group, head, head, window=own.optional_size("window_length", largest=LARGEST_CONTEXT)
    )
    biased = config.flag("attention_bias", default=False)
    return (mixer,), (*attention(hidden, mixer, qkv_bias=biased, output_bias=biased), before)


def _mlp(config: Fields, hidden: int, own: Fields) -> tuple[Matrix, ...]:
    """Width 2/3 of ffn_mult times hidden_size, rounded up."""
    if own.flag("no_op", default=False):
        return ()
    before = norm("post_attention_layernorm", hidden)
    if own.flag("replace_with_linear", default=False):
        return before, linear("mlp.linear_mlp", "mlp", hidden, hidden)
    width = int(2 * own.number("ffn_mult") * hidden / 3)
    own.require(0 < width < 2**24, "ffn_mult", "a multiple of hidden_size that gives a sensible width")
    width += -width % _ROUNDED_TO
    return (before, *gated_mlp(hidden, width, bias=config.flag("mlp_bias", default=False)))
