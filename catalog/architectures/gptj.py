"""GPT-J: attention without biases and a plain MLP with them, side by side behind one LayerNorm."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Layer, Shape, attention, embedding_and_head, norm, plain_mlp
from catalog.model import Attention
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("GPTJForCausalLM",)
MODEL_TYPES = ("gptj",)


def read(config: Fields) -> Shape:
    """Sizes have the names of GPT-2; the LM head has a bias."""
    hidden, vocabulary = config.size("n_embd"), config.size("vocab_size")
    heads = config.size("n_head", largest=hidden)
    config.require(hidden % heads == 0, "n_head", f"a divisor of n_embd = {hidden}")
    mixer = Attention(heads, heads, hidden // heads, hidden // heads)
    matrices = (
        *attention(hidden, mixer, name="attn"),
        *plain_mlp(hidden, config.size("n_inner", default=4 * hidden), bias=True),
        norm("ln_1", hidden, bias=True),
    )
    embedding, head = embedding_and_head(vocabulary, hidden, tied=False, name="transformer.wte")
    return Shape(
        family="GPT-J",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=config.size("n_positions", largest=LARGEST_CONTEXT),
        tied_embeddings=False,
        layers=[Layer((mixer,), matrices)] * config.layers("n_layer"),
        outside=(embedding, replace(head, bias=True), norm("transformer.ln_f", hidden, bias=True)),
        layer_path="transformer.h",
    )
