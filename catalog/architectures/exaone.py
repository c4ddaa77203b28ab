"""EXAONE 3 and 3.5, and EXAONE Deep: Llama's layers under the names of GPT-2."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, embedding_and_head, gated_mlp, norm
from catalog.reading import Fields, max_context

ARCHITECTURES = ("ExaoneForCausalLM",)
MODEL_TYPES = ("exaone",)


def read(config: Fields) -> Shape:
    """Defaults are those of the family's own `ExaoneConfig`: an MLP four times as wide, and a tied LM head."""
    hidden, vocabulary, mixer = config.size("hidden_size"), config.size("vocab_size"), read_attention(config)
    tied = config.flag("tie_word_embeddings", default=True)
    biased = config.flag("attention_bias", "bias", default=False)
    matrices = (
        *attention(hidden, mixer, name="attn.attention", qkv_bias=biased, output_bias=biased),
        *gated_mlp(
            hidden, config.size("intermediate_size", default=4 * hidden), bias=config.flag("mlp_bias", default=False)
        ),
        norm("ln_1", hidden),
        norm("ln_2", hidden),
    )
    return Shape(
        family="EXAONE 3",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=[Layer((mixer,), matrices)] * config.layers("num_layers", "num_hidden_layers"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=tied, name="transformer.wte"),
            norm("transformer.ln_f", hidden),
        ),
        layer_path="transformer.h",
    )
