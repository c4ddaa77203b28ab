"""Mamba-2 and Codestral Mamba: a recurrent state in every layer and no attention."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, embedding_and_head, norm
from catalog.mixers import Mamba2, mamba2
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("Mamba2ForCausalLM",)
MODEL_TYPES = ("mamba2",)

UNLIMITED_CONTEXT = 2**20
"""Mamba has no positions and a state of fixed size, so its configs state no limit: a million tokens stands for none."""


def read(config: Fields) -> Shape:
    """The same mixer in every layer."""
    hidden, vocabulary = config.size("hidden_size"), config.size("vocab_size")
    tied = config.flag("tie_word_embeddings", default=False)
    shape = _mixer(config, hidden)
    layer = Layer((shape.state,), (*mamba2(shape, name="mixer"), norm("norm", hidden)))
    ends = embedding_and_head(vocabulary, hidden, tied=tied, name="backbone.embeddings")
    return Shape(
        family="Mamba 2",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=config.size("max_position_embeddings", default=UNLIMITED_CONTEXT, largest=LARGEST_CONTEXT),
        tied_embeddings=tied,
        layers=[layer] * config.layers("num_hidden_layers", "n_layer"),
        outside=(*ends, norm("backbone.norm_f", hidden)),
        layer_path="backbone.layers",
    )


def _mixer(config: Fields, hidden: int) -> Mamba2:
    heads, head_dim = config.size("num_heads", largest=2**16), config.size("head_dim")
    width = hidden * config.size("expand", default=2, largest=64)
    config.require(heads * head_dim == width, "num_heads", f"expand * hidden_size / head_dim = {width / head_dim:g}")
    return Mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        state_dim=config.size("state_size"),
        groups=config.size("n_groups", default=8, largest=2**16),
        kernel=config.size("conv_kernel", default=4, largest=64),
        projection_bias=config.flag("use_bias", default=False),
        convolution_bias=config.flag("use_conv_bias", default=True),
    )
