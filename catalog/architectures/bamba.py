"""Bamba: Mamba-2 in most layers, attention in some, and a gated MLP in all."""

from __future__ import annotations

from catalog.architectures.granite_hybrid import attention_layer, read_mamba
from catalog.blocks import Layer, Shape, embedding_and_head, gated_mlp, norm
from catalog.reading import LARGEST_LAYERS, Fields, max_context

ARCHITECTURES = ("BambaForCausalLM",)
MODEL_TYPES = ("bamba",)


def read(config: Fields) -> Shape:
    """Attention in the layers of `attn_layer_indices`, as Jamba names its modules."""
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", default=False)
    bias = config.flag("mlp_bias", default=False)
    rest = (
        *gated_mlp(hidden, config.size("intermediate_size"), name="feed_forward", bias=bias),
        norm("input_layernorm", hidden),
        norm("pre_ff_layernorm", hidden),
    )
    attending, mamba = attention_layer(config, hidden), read_mamba(config, hidden)
    mixers = [attending if i in _attention_layers(config) else mamba for i in range(count)]
    return Shape(
        family="Bamba",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=[Layer(mixer.mixers, (*mixer.matrices, *rest)) for mixer in mixers],
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=tied),
            norm("model.final_layernorm", hidden),
        ),
    )


def _attention_layers(config: Fields) -> frozenset[int]:
    if "attn_layer_indices" not in config:
        return frozenset()
    indices = config.sizes("attn_layer_indices", least=0)
    config.require(max(indices, default=0) < LARGEST_LAYERS, "attn_layer_indices", "positions of layers")
    return frozenset(indices)
