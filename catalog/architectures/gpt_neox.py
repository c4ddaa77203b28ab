"""GPT-NeoX and Pythia: biases everywhere but in the LM head, a LayerNorm for each of two halves, a plain MLP."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, embedding_and_head, norm, plain_mlp, pre_norms
from catalog.reading import Fields, max_context

ARCHITECTURES = ("GPTNeoXForCausalLM",)
MODEL_TYPES = ("gpt_neox",)


def read(config: Fields) -> Shape:
    """Whether its halves run side by side changes no weight."""
    hidden, vocabulary, mixer = config.size("hidden_size"), config.size("vocab_size"), read_attention(config)
    tied, biased = config.flag("tie_word_embeddings", default=False), config.flag("attention_bias", default=True)
    matrices = (
        *attention(hidden, mixer, name="attention", qkv_bias=biased, output_bias=biased),
        *plain_mlp(hidden, config.size("intermediate_size"), bias=True),
        *pre_norms(hidden, bias=True),
    )
    ends = embedding_and_head(vocabulary, hidden, tied=tied, name="gpt_neox.embed_in", head_name="embed_out")
    return Shape(
        family="GPT-NeoX",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=[Layer((mixer,), matrices)] * config.layers(),
        outside=(*ends, norm("gpt_neox.final_layer_norm", hidden, bias=True)),
        layer_path="gpt_neox.layers",
    )
