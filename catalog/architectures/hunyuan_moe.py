"""Hunyuan: normalized queries and keys; in the MoE (A13B) experts and one shared MLP in every layer."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm, pre_norms, routed_experts, router
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("HunYuanMoEV1ForCausalLM", "HunYuanDenseV1ForCausalLM")
MODEL_TYPES = ("hunyuan_v1_moe", "hunyuan_v1_dense")


def read(config: Fields) -> Shape:
    """Sizes of experts may differ by layer: the config then lists them."""
    config.require(not config.flag("use_cla", default=False), "use_cla", "false: shared caches are not described here")
    hidden, count, mixer = config.size("hidden_size"), config.layers(), read_attention(config)
    rest = (*_attention(config, hidden, mixer), *pre_norms(hidden))
    if config.get("model_type") == "hunyuan_v1_dense":
        dense = Layer((mixer,), (*rest, *gated_mlp(hidden, config.size("intermediate_size"))))
        return language_model(config, "Hunyuan", [dense] * count)
    per_layer = zip(
        _by_layer(config, count, "num_experts", "num_local_experts"),
        _by_layer(config, count, "moe_topk", "num_experts_per_tok"),
        _by_layer(config, count, "moe_intermediate_size", "intermediate_size"),
        _by_layer(config, count, "num_shared_expert", default=1),
        strict=True,
    )
    layers = [Layer((mixer,), (*rest, *_experts(config, hidden, *sizes))) for sizes in per_layer]
    return language_model(config, "Hunyuan", layers)


def _by_layer(config: Fields, count: int, *names: str, default: int | None = None) -> tuple[int, ...]:
    """A size that is one number for all layers, or a list with one for each."""
    name = next((n for n in names if n in config), names[0])
    if isinstance(config.get(name), list):
        return config.sizes(name, length=count)
    size = config.size(name) if default is None else config.size(name, default=default)
    return (size,) * count


def _attention(config: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    biased = config.flag("attention_bias", default=False)
    head = mixer.head_dim
    norms = (norm(f"self_attn.{name}_layernorm", head, part="attention") for name in ("query", "key"))
    return (*attention(hidden, mixer, qkv_bias=biased, output_bias=biased), *norms)


def _experts(config: Fields, hidden: int, experts: int, top_k: int, width: int, shared: int) -> tuple[Matrix, ...]:
    config.require(top_k <= experts <= LARGEST_EXPERTS, "num_experts", f"{top_k} (moe_topk) to {LARGEST_EXPERTS}")
    always = config.size("intermediate_size") * shared
    return (
        router(hidden, experts, name="mlp.gate.wg"),
        *routed_experts(hidden, width, experts, top_k),
        *gated_mlp(hidden, always, name="mlp.shared_mlp", part="shared_experts"),
    )
