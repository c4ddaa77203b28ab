"""gpt-oss: biased attention with a learned sink per head, sliding windows in every other layer, biased experts."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, pre_norms, routed_experts, router, table
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields, windows

ARCHITECTURES = ("GptOssForCausalLM",)
MODEL_TYPES = ("gpt_oss",)


def read(config: Fields) -> Shape:
    """Every layer is a mixture of experts; even ones have a sliding window."""
    hidden = config.size("hidden_size")
    count = config.layers()
    mixers = [read_attention(config, window) for window in windows(config, count, [i % 2 == 0 for i in range(count)])]
    return language_model(config, "gpt-oss", [Layer((mixer,), _matrices(config, hidden, mixer)) for mixer in mixers])


def _matrices(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    experts = config.size("num_local_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", "experts_per_token", largest=experts)
    biased = config.flag("attention_bias", default=True)
    return (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        table("self_attn.sinks", "attention", mixer.query_heads, sharding="column"),
        router(hidden, experts, name="mlp.router", bias=True),
        *routed_experts(hidden, config.size("intermediate_size"), experts, top_k, bias=True),
        *pre_norms(hidden),
    )
