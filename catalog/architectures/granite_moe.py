"""Granite 3 with experts, alone or beside a shared MLP; Granite with sliding windows and attention sinks."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    language_model,
    linear,
    pre_norms,
    routed_experts,
    router,
    table,
)
from catalog.model import Attention, Matrix, Part
from catalog.reading import LARGEST_EXPERTS, LARGEST_SIZE, Fields, windows

ARCHITECTURES = (
    "GraniteMoeForCausalLM",
    "GraniteMoeSharedForCausalLM",
    "GraniteSWAForCausalLM",
    "GraniteMoeSWAForCausalLM",
)
MODEL_TYPES = ("granitemoe", "granitemoeshared", "granite_swa", "granitemoe_swa")


def read(config: Fields) -> Shape:
    """With sliding windows, every fourth layer sees everything, from the first on. Only the dense one ties its head."""
    hidden, kind = config.size("hidden_size"), str(config.get("model_type"))
    dense, count = kind == "granite_swa", config.layers()
    shared = config.count("shared_intermediate_size", default=0, largest=LARGEST_SIZE)
    feed_forward = _mlp(config, hidden) if dense else experts_and_shared_mlp(config, hidden, shared)
    layers = []
    for window in windows(config, count, [kind.endswith("_swa") and i % 4 != 0 for i in range(count)]):
        mixer = read_attention(config, window)
        matrices = (*_attention(config, hidden, mixer), *feed_forward, *pre_norms(hidden))
        layers.append(Layer((mixer,), matrices))
    return language_model(config, "Granite", layers, tied=config.flag("tie_word_embeddings", default=dense))


def _attention(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    """With windows come sinks, one learned value per head, unless `attention_sinks` says otherwise."""
    biased, sliding = config.flag("attention_bias", default=False), str(config.get("model_type")).endswith("_swa")
    matrices = attention(hidden, mixer, qkv_bias=biased, output_bias=biased)
    if not config.flag("attention_sinks", default=sliding):
        return matrices
    return (*matrices, table("self_attn.sinks", "attention", mixer.query_heads, sharding="column"))


def _mlp(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    return gated_mlp(hidden, config.size("intermediate_size"), bias=config.flag("mlp_bias", default=False))


def experts_and_shared_mlp(config: Fields, hidden: int, shared: int) -> tuple[Matrix, ...]:
    """Routed experts, if there are any, and an MLP `shared` wide that every token passes; its gate and up are one."""
    experts = config.optional_size("num_local_experts", largest=LARGEST_EXPERTS)
    config.require(experts is not None or shared > 0, "num_local_experts", "at least 1 where no MLP is shared")
    routed = () if experts is None else _experts(config, hidden, experts)
    return (*routed, *_shared_mlp(hidden, shared, "mlp" if experts is None else "shared_experts"))


def _experts(config: Fields, hidden: int, experts: int) -> tuple[Matrix, ...]:
    top_k = config.size("num_experts_per_tok", largest=experts)
    width, name = config.size("intermediate_size"), "block_sparse_moe"
    return (
        router(hidden, experts, name=f"{name}.router.layer"),
        *routed_experts(hidden, width, experts, top_k, name=f"{name}.experts"),
    )


def _shared_mlp(hidden: int, width: int, part: Part) -> tuple[Matrix, ...]:
    if not width:
        return ()
    return (
        linear("shared_mlp.input_linear", part, 2 * width, hidden, "column"),
        linear("shared_mlp.output_linear", part, hidden, width, "row"),
    )
