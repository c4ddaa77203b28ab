"""Falcon 7B, 40B and 180B: few KV heads, attention and a plain MLP side by side, no biases; an LM head that is tied."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, embedding_and_head, norm, plain_mlp
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("FalconForCausalLM", "RWForCausalLM")
MODEL_TYPES = ("falcon", "RefinedWebModel", "RefinedWeb")

TRAINED_TOKENS = 2048
"""Context where the config states none. Source: transformers `FalconConfig`."""


def read(config: Fields) -> Shape:
    """Two designs: one KV head and one norm (7B); num_kv_heads, and a norm for each half (40B and 180B)."""
    hidden, vocabulary = config.size("hidden_size"), config.size("vocab_size")
    wide = config.flag("new_decoder_architecture", default=config.get("model_type") == "RefinedWeb")
    mixer, biased = _attention(config, hidden, wide=wide), config.flag("bias", default=False)
    tied = config.flag("tie_word_embeddings", default=True)
    width = config.size("ffn_hidden_size", default=4 * hidden)
    matrices = (
        *attention(hidden, mixer, name="self_attention", qkv_bias=biased, output_bias=biased),
        *plain_mlp(hidden, width, bias=biased),
        *_norms(config, hidden, wide=wide),
    )
    return Shape(
        family="Falcon",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=config.size("max_position_embeddings", default=TRAINED_TOKENS, largest=LARGEST_CONTEXT),
        tied_embeddings=tied,
        layers=[Layer((mixer,), matrices)] * config.layers("num_hidden_layers", "n_layer"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=tied, name="transformer.word_embeddings"),
            norm("transformer.ln_f", hidden, bias=True),
        ),
        layer_path="transformer.h",
    )


def _attention(config: Fields, hidden: int, *, wide: bool) -> Attention:
    """The 7B's files may state num_kv_heads, which multi_query overrules, as in transformers."""
    heads = config.size("num_attention_heads", "n_head", largest=hidden)
    one = not wide and config.flag("multi_query", default=True)
    kv_heads = 1 if one else config.size("num_kv_heads", "n_head_kv", default=heads, largest=heads)
    config.require(hidden % heads == 0 and heads % kv_heads == 0, "num_kv_heads", f"a divisor of {heads} heads")
    return Attention(heads, kv_heads, hidden // heads, hidden // heads)


def _norms(config: Fields, hidden: int, *, wide: bool) -> tuple[Matrix, ...]:
    """LayerNorms before attention and MLP; one for both where they are parallel in the older design."""
    if wide and config.size("num_ln_in_parallel_attn", default=2, largest=2) == 2:
        return norm("ln_attn", hidden, bias=True), norm("ln_mlp", hidden, bias=True)
    first = norm("input_layernorm", hidden, bias=True)
    if config.flag("parallel_attn", default=True):
        return (first,)
    return first, norm("post_attention_layernorm", hidden, bias=True)
