"""GPT-2, and StarCoder and SantaCoder, which have one KV head for all query heads: learned positions, biases."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, embedding_and_head, norm, plain_mlp, table
from catalog.model import Attention
from catalog.reading import Fields

ARCHITECTURES = ("GPTBigCodeForCausalLM", "GPT2LMHeadModel")
MODEL_TYPES = ("gpt_bigcode", "gpt2")


def read(config: Fields) -> Shape:
    """Biases everywhere, and an LM head that is the embedding."""
    hidden, vocabulary = config.size("n_embd"), config.size("vocab_size")
    positions, heads = config.size("n_positions"), config.size("n_head", largest=hidden)
    config.require(hidden % heads == 0, "n_head", f"a divisor of n_embd = {hidden}")
    gpt2 = config.get("model_type") == "gpt2"
    kv_heads = 1 if config.flag("multi_query", default=not gpt2) else heads
    mixer = Attention(heads, kv_heads, hidden // heads, hidden // heads)
    matrices = (
        *attention(hidden, mixer, name="attn", qkv_bias=True, output_bias=True),
        *plain_mlp(hidden, config.size("n_inner", default=4 * hidden), bias=True),
        norm("ln_1", hidden, bias=True),
        norm("ln_2", hidden, bias=True),
    )
    return Shape(
        family="GPT-2" if gpt2 else "StarCoder",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=positions,
        tied_embeddings=True,
        layers=[Layer((mixer,), matrices)] * config.layers("n_layer"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=True, name="transformer.wte"),
            table("transformer.wpe", "embedding", positions, hidden),
            norm("transformer.ln_f", hidden, bias=True),
        ),
        layer_path="transformer.h",
    )
