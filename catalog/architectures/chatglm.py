"""ChatGLM 2 and 3, GLM-4 9B of 2024: Llama's layers with a bias in query, key and value, under names of their own."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, embedding_and_head, gated_mlp, norm, pre_norms
from catalog.model import Attention
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("ChatGLMModel", "ChatGLMForConditionalGeneration")
MODEL_TYPES = ("chatglm",)


def read(config: Fields) -> Shape:
    """The first ChatGLM, whose positions are two-dimensional, lacks kv_channels and is refused."""
    hidden, vocabulary, mixer = config.size("hidden_size"), config.size("padded_vocab_size"), _attention(config)
    biased = config.flag("add_bias_linear", default=False)
    matrices = (
        *attention(
            hidden,
            mixer,
            name="self_attention",
            qkv_bias=biased or config.flag("add_qkv_bias", default=False),
            output_bias=biased,
        ),
        *gated_mlp(hidden, config.size("ffn_hidden_size"), bias=biased),
        *pre_norms(hidden),
    )
    tied = config.flag("tie_word_embeddings", default=False)
    names = {"name": "transformer.embedding.word_embeddings", "head_name": "transformer.output_layer"}
    return Shape(
        family="ChatGLM",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=config.size("seq_length", largest=LARGEST_CONTEXT),
        tied_embeddings=tied,
        layers=[Layer((mixer,), matrices)] * config.layers("num_layers"),
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=tied, **names),
            norm("transformer.encoder.final_layernorm", hidden),
        ),
        layer_path="transformer.encoder.layers",
    )


def _attention(config: Fields) -> Attention:
    heads, head = config.size("num_attention_heads", largest=2**16), config.size("kv_channels", largest=2**14)
    grouped = config.flag("multi_query_attention", default=False)
    kv_heads = config.size("multi_query_group_num", largest=heads) if grouped else heads
    config.require(heads % kv_heads == 0, "multi_query_group_num", f"a divisor of num_attention_heads = {heads}")
    return Attention(heads, kv_heads, head, head)
