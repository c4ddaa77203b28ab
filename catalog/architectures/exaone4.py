"""EXAONE 4: norms after each half, normalized queries and keys per head, full attention in every fourth layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, norm, outside
from catalog.reading import Fields, max_context, windows

ARCHITECTURES = ("Exaone4ForCausalLM",)
MODEL_TYPES = ("exaone4",)


def read(config: Fields) -> Shape:
    """The 1.2B has full attention only; the 32B states its layer_types."""
    hidden, vocabulary = config.size("hidden_size"), config.size("vocab_size")
    tied = config.flag("tie_word_embeddings", default=False)
    layers = []
    for window in windows(config, config.layers()):
        mixer = read_attention(config, window)
        matrices = (
            *attention(hidden, mixer, qk_norm=(mixer.head_dim, mixer.head_dim)),
            *gated_mlp(hidden, config.size("intermediate_size")),
            norm("post_attention_layernorm", hidden),
            norm("post_feedforward_layernorm", hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return Shape(
        family="EXAONE 4",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
    )
