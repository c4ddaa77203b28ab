"""PLaMo 3: windows in all but every eighth layer, norms before and after both halves, normalized queries and keys.

Source: the configuration class in PLaMo 3's repositories, for what a config leaves out; vLLM 0.32.0
`vllm/model_executor/models/plamo3.py`.
"""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm
from catalog.reading import LARGEST_CONTEXT, LARGEST_LAYERS, Fields

ARCHITECTURES = ("Plamo3ForCausalLM",)
MODEL_TYPES = ("plamo3",)

_NORMS = ("pre_mixer_norm", "post_mixer_norm", "pre_mlp_norm", "post_mlp_norm")


def read(config: Fields) -> Shape:
    """Layers with one kind of shape; which of them see everything follows from a period."""
    hidden, count = config.size("hidden_size"), config.layers()
    every = config.size("sliding_window_pattern", default=8, largest=LARGEST_LAYERS)
    window = config.size("window_size", default=2048, largest=LARGEST_CONTEXT)
    layers = [_layer(config, hidden, None if (i + 1) % every == 0 else window) for i in range(count)]
    tied = config.flag("tie_word_embeddings", default=True)
    return language_model(config, "PLaMo 3", layers, tied=tied, layer_path="model.layers.layers")


def _layer(config: Fields, hidden: int, window: int | None) -> Layer:
    mixer = read_attention(config, window)
    matrices = (
        *attention(hidden, mixer, name="mixer", qk_norm=(mixer.head_dim, mixer.head_dim)),
        *gated_mlp(hidden, config.size("intermediate_size")),
        *(norm(name, hidden) for name in _NORMS),
    )
    return Layer((mixer,), matrices)
