"""Command R, R+, A and Aya (Cohere): attention and MLP side by side behind one norm, tied; Cohere 2 with windows."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm, table
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_LAYERS, Fields, windows

ARCHITECTURES = ("CohereForCausalLM", "Cohere2ForCausalLM")
MODEL_TYPES = ("cohere", "cohere2")


def read(config: Fields) -> Shape:
    """Cohere 2 has a window in three layers of four. Every norm is a scale without shift."""
    hidden, biased = config.size("hidden_size"), config.flag("attention_bias", default=False)
    layers = []
    for window in _windows(config):
        mixer = read_attention(config, window)
        matrices = (
            *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
            *(_head_norms(mixer) if config.flag("use_qk_norm", default=False) else ()),
            *gated_mlp(hidden, config.size("intermediate_size")),
            norm("input_layernorm", hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return language_model(config, "Command", layers, tied=config.flag("tie_word_embeddings", default=True))


def _windows(config: Fields) -> tuple[int | None, ...]:
    """Cohere counts the tokens before the newest, so engines keep one more than `sliding_window`.

    Source: vLLM 0.32 commandr.py; the default pattern is that of transformers `Cohere2Config`.
    """
    count = config.layers()
    if config.get("model_type") == "cohere":
        return (None,) * count
    every = config.size("sliding_window_pattern", default=4, largest=LARGEST_LAYERS)
    slides = [(i + 1) % every != 0 for i in range(count)]
    return tuple(None if window is None else window + 1 for window in windows(config, count, slides))


def _head_norms(mixer: Attention) -> tuple[Matrix, ...]:
    """A scale of its own for every head, divided with the heads (Command R+)."""
    head = mixer.head_dim
    return (
        table("self_attn.q_norm", "attention", mixer.query_heads * head, sharding="column", granule=head),
        table("self_attn.k_norm", "attention", mixer.kv_heads * head, sharding="kv_heads", granule=head),
    )
