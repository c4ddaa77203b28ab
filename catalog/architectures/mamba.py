"""Mamba and Falcon Mamba: a recurrent state in every layer and no attention."""

from __future__ import annotations

from catalog.architectures.mamba2 import UNLIMITED_CONTEXT
from catalog.blocks import Layer, Shape, embedding_and_head, norm
from catalog.mixers import Mamba1, mamba1
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("MambaForCausalLM", "FalconMambaForCausalLM")
MODEL_TYPES = ("mamba", "falcon_mamba")


def read(config: Fields) -> Shape:
    """The same mixer in every layer. Falcon's norms of step, B and C have no weights."""
    hidden, vocabulary = config.size("hidden_size"), config.size("vocab_size")
    tied = config.flag("tie_word_embeddings", default=True)
    shape = _mixer(config, hidden)
    layer = Layer((shape.state,), (*mamba1(shape, name="mixer"), norm("norm", hidden)))
    return Shape(
        family="Falcon Mamba" if config.get("model_type") == "falcon_mamba" else "Mamba",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=config.size("max_position_embeddings", default=UNLIMITED_CONTEXT, largest=LARGEST_CONTEXT),
        tied_embeddings=tied,
        layers=[layer] * config.layers("num_hidden_layers", "n_layer"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=tied, name="backbone.embeddings"),
            norm("backbone.norm_f", hidden),
        ),
        layer_path="backbone.layers",
    )


def _mixer(config: Fields, hidden: int) -> Mamba1:
    """Where a config states intermediate_size, it counts: Falcon Mamba's `expand` is 16 and its width twice hidden."""
    expanded = hidden * config.size("expand", default=2, largest=64)
    automatic = config.get("time_step_rank") in (None, "auto")
    return Mamba1(
        hidden=hidden,
        width=config.size("intermediate_size", default=expanded),
        state_dim=config.size("state_size", default=16),
        kernel=config.size("conv_kernel", default=4, largest=64),
        rank=-(-hidden // 16) if automatic else config.size("time_step_rank"),
        projection_bias=config.flag("use_bias", default=False),
        convolution_bias=config.flag("use_conv_bias", default=True),
    )
