"""DBRX: grouped-query attention and a mixture of experts in every layer, LayerNorms without shifts."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, embedding_and_head, linear, norm, routed_experts, router
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields, max_context

ARCHITECTURES = ("DbrxForCausalLM",)
MODEL_TYPES = ("dbrx",)


def read(config: Fields) -> Shape:
    """Attention and experts have sections of their own, which leave out what is as in transformers' DbrxConfig."""
    hidden, vocabulary = config.size("d_model"), config.size("vocab_size")
    mixer = _attention(config, hidden)
    matrices = (*_projections(hidden, mixer), *_experts(config.section("ffn_config"), hidden))
    return Shape(
        family="DBRX",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=False,
        layers=[Layer((mixer,), matrices)] * config.layers("n_layers"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=False, name="transformer.wte"),
            norm("transformer.norm_f", hidden),
        ),
        layer_path="transformer.blocks",
    )


def _attention(config: Fields, hidden: int) -> Attention:
    heads = config.size("n_heads", largest=2**16)
    kv_heads = config.section("attn_config").size("kv_n_heads", default=1, largest=heads)
    config.require(hidden % heads == 0, "d_model", f"divisible by {heads} attention heads")
    config.require(heads % kv_heads == 0, "n_heads", f"a multiple of kv_n_heads = {kv_heads}")
    return Attention(heads, kv_heads, hidden // heads, hidden // heads)


def _projections(hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    """Queries, keys and values are one module, which TP divides in three ways."""
    head, name = mixer.head_dim, "norm_attn_norm.attn.Wqkv"
    keys = linear(name, "attention", mixer.kv_heads * head, hidden, "kv_heads", granule=head)
    return (
        linear(name, "attention", hidden, hidden, "column", granule=head),
        keys,
        keys,
        linear("norm_attn_norm.attn.out_proj", "attention", hidden, hidden, "row", granule=head),
        norm("norm_attn_norm.norm_1", hidden),
        norm("norm_attn_norm.norm_2", hidden),
    )


def _experts(feed_forward: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = feed_forward.size("moe_num_experts", default=4, largest=LARGEST_EXPERTS)
    top_k = feed_forward.size("moe_top_k", default=1, largest=experts)
    width = feed_forward.size("ffn_hidden_size", default=3584)
    return (
        router(hidden, experts, name="ffn.router.layer"),
        *routed_experts(hidden, width, experts, top_k, name="ffn.experts.mlp"),
    )
