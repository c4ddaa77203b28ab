"""MiniCPM 1, 2 and 4, dense or with experts, and MiniCPM 3, whose latent attention vLLM keeps expanded in its cache."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.deepseek import read_latent_attention
from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms, routed_experts, router
from catalog.mixers import latent_attention
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("MiniCPMForCausalLM", "MiniCPM3ForCausalLM")
MODEL_TYPES = ("minicpm", "minicpm3")


def read(config: Fields) -> Shape:
    """Embeddings are tied unless the config says no, as in the publisher's configuration class."""
    hidden = config.size("hidden_size")
    latent = "kv_lora_rank" in config
    attending = _expanded(config, hidden) if latent else _grouped(config, hidden)
    layer = Layer(attending.mixers, (*attending.matrices, *_feed_forward(config, hidden), *pre_norms(hidden)))
    tied = config.flag("tie_word_embeddings", default=True)
    shape = language_model(config, "MiniCPM 3" if latent else "MiniCPM", [layer] * config.layers(), tied=tied)
    return replace(shape, notes=(_UNPACKED,)) if latent else shape


_UNPACKED = "Its cache is as vLLM keeps it, latent vectors unpacked; engines that keep them packed need far less."


def _grouped(config: Fields, hidden: int) -> Layer:
    mixer = read_attention(config)
    return Layer((mixer,), attention(hidden, mixer))


def _expanded(config: Fields, hidden: int) -> Layer:
    """Keys and values of every head, values filled up to the size of keys (vLLM 0.32 minicpm3.py)."""
    mla = read_latent_attention(config)
    head = mla.nope_dim + mla.rope_dim
    return Layer((Attention(mla.query_heads, mla.query_heads, head, head),), latent_attention(hidden, mla))


def _feed_forward(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts, width = config.count("num_experts", default=0, largest=LARGEST_EXPERTS), config.size("intermediate_size")
    if not experts:
        return gated_mlp(hidden, width)
    top_k = config.size("num_experts_per_tok", largest=experts)
    return router(hidden, experts), *routed_experts(hidden, width, experts, top_k)
