"""Qwen 2 and 2.5 and what is distilled into them: Llama's layers with biased query, key and value projections."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms
from catalog.reading import LARGEST_CONTEXT, Fields, windows

ARCHITECTURES = ("Qwen2ForCausalLM",)
MODEL_TYPES = ("qwen2", "qwen2_5_omni_text")


def read(config: Fields) -> Shape:
    """The dense text models."""
    return text_shape(config, "Qwen 2.5")


def text_shape(text: Fields, family: str, layer_path: str = "model.layers") -> Shape:
    """The language model that `text` describes."""
    hidden = text.size("hidden_size")
    layers = []
    for window in qwen_windows(text):
        mixer = read_attention(text, window)
        matrices = (
            *attention(hidden, mixer, qkv_bias=True),
            *gated_mlp(hidden, text.size("intermediate_size")),
            *pre_norms(hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return language_model(text, family, layers, layer_path=layer_path)


def qwen_windows(text: Fields) -> tuple[int | None, ...]:
    """Sliding windows only when switched on; then from layer `max_window_layers` on, unless layer_types says where."""
    count = text.layers()
    if not text.flag("use_sliding_window", default=False):
        return (None,) * count
    first = text.count("max_window_layers", default=count, largest=LARGEST_CONTEXT)
    return windows(text, count, [i >= first for i in range(count)])
