"""BLOOM: biases everywhere, a plain MLP four times as wide, no positions (ALiBi), a norm behind the tied embedding."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, embedding_and_head, norm, plain_mlp, pre_norms
from catalog.model import Attention
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("BloomForCausalLM",)
MODEL_TYPES = ("bloom",)

TRAINED_TOKENS = 2048
"""Context that every published size was trained with; ALiBi has no end. Source: BLOOM (arXiv:2211.05100), table 3."""


def read(config: Fields) -> Shape:
    """Older files of the family name the width n_embed."""
    hidden, vocabulary = config.size("hidden_size", "n_embed"), config.size("vocab_size")
    heads = config.size("n_head", "num_attention_heads", largest=hidden)
    config.require(hidden % heads == 0, "n_head", f"a divisor of hidden_size = {hidden}")
    mixer = Attention(heads, heads, hidden // heads, hidden // heads)
    matrices = (
        *attention(hidden, mixer, name="self_attention", qkv_bias=True, output_bias=True),
        *plain_mlp(hidden, 4 * hidden, bias=True),
        *pre_norms(hidden, bias=True),
    )
    return Shape(
        family="BLOOM",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=config.size("seq_length", default=TRAINED_TOKENS, largest=LARGEST_CONTEXT),
        tied_embeddings=True,
        layers=[Layer((mixer,), matrices)] * config.layers("n_layer", "num_hidden_layers"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=True, name="transformer.word_embeddings"),
            norm("transformer.word_embeddings_layernorm", hidden, bias=True),
            norm("transformer.ln_f", hidden, bias=True),
        ),
        layer_path="transformer.h",
    )
