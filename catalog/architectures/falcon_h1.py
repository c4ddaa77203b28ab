"""Falcon-H1: attention and Mamba-2 side by side in every layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, embedding_and_head, gated_mlp, norm
from catalog.mixers import Mamba2, mamba2
from catalog.reading import Fields, max_context

ARCHITECTURES = ("FalconH1ForCausalLM",)
MODEL_TYPES = ("falcon_h1",)


def read(config: Fields) -> Shape:
    """Each layer keeps keys and values as well as a recurrent state."""
    hidden, vocabulary = config.size("hidden_size"), config.size("vocab_size")
    tied = config.flag("tie_word_embeddings", default=False)
    heads, mamba = read_attention(config), _mamba(config, hidden)
    bias = config.flag("attention_bias", default=False)
    width, mlp_bias = config.size("intermediate_size"), config.flag("mlp_bias", default=False)
    matrices = (
        *attention(hidden, heads, qkv_bias=bias, output_bias=bias),
        *mamba2(mamba, name="mamba"),
        *gated_mlp(hidden, width, name="feed_forward", bias=mlp_bias),
        norm("input_layernorm", hidden),
        norm("pre_ff_layernorm", hidden),
    )
    ends = embedding_and_head(vocabulary, hidden, tied=tied)
    return Shape(
        family="Falcon-H1",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=[Layer((heads, mamba.state), matrices)] * config.layers(),
        outside=(*ends, norm("model.final_layernorm", hidden)),
    )


def _mamba(config: Fields, hidden: int) -> Mamba2:
    heads = config.size("mamba_n_heads", largest=2**16)
    expanded = hidden * config.size("mamba_expand", default=2, largest=64)
    width = config.size("mamba_d_ssm", default=expanded)
    config.require(width % heads == 0, "mamba_n_heads", f"a divisor of mamba_d_ssm = {width}")
    return Mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=width // heads,
        state_dim=config.size("mamba_d_state"),
        groups=config.size("mamba_n_groups", largest=2**16),
        kernel=config.size("mamba_d_conv", largest=64),
        projection_bias=config.flag("mamba_proj_bias", default=False),
        convolution_bias=config.flag("mamba_conv_bias", default=True),
        norm=config.flag("mamba_rms_norm", default=False),
    )
