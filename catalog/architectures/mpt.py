"""MPT: no positions (ALiBi), no biases, a plain MLP, and an LM head that is the embedding."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, embedding_and_head, norm, plain_mlp
from catalog.model import Attention
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("MPTForCausalLM", "MptForCausalLM")
MODEL_TYPES = ("mpt",)


def read(config: Fields) -> Shape:
    """Sizes under names of its own, attention in a section; what is left out is as in transformers' `MptConfig`."""
    hidden, vocabulary = config.size("d_model"), config.size("vocab_size")
    mixer, biased = _attention(config, hidden), not config.flag("no_bias", default=True)
    width = hidden * config.size("expansion_ratio", default=4, largest=64)
    matrices = (
        *attention(hidden, mixer, name="attn", qkv_bias=biased, output_bias=biased),
        *plain_mlp(hidden, width, name="ffn", bias=biased),
        *(norm(name, hidden, bias=biased) for name in ("norm_1", "norm_2")),
    )
    return Shape(
        family="MPT",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=config.size("max_seq_len", default=2048, largest=LARGEST_CONTEXT),
        tied_embeddings=True,
        layers=[Layer((mixer,), matrices)] * config.layers("n_layers"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=True, name="transformer.wte"),
            norm("transformer.norm_f", hidden, bias=biased),
        ),
        layer_path="transformer.blocks",
    )


def _attention(config: Fields, hidden: int) -> Attention:
    """Heads, of which `kv_n_heads` keep keys and values; learned positions, which have a table, are refused."""
    heads = config.size("n_heads", largest=hidden)
    section = config.optional_section("attn_config") or Fields({})
    section.require(section.flag("alibi", default=True), "alibi", "true, as engines serve no MPT with other positions")
    kv_heads = section.size("kv_n_heads", default=heads, largest=heads)
    config.require(hidden % heads == 0, "n_heads", f"a divisor of d_model = {hidden}")
    section.require(heads % kv_heads == 0, "kv_n_heads", f"a divisor of n_heads = {heads}")
    return Attention(heads, kv_heads, hidden // heads, hidden // heads)
