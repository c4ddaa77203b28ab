"""StableLM and Orion: Llama's layers with LayerNorms; StableLM 2 with biased queries and keys, its 12B in parallel."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms
from catalog.reading import Fields

ARCHITECTURES = ("StableLmForCausalLM", "StableLMEpochForCausalLM", "OrionForCausalLM")
MODEL_TYPES = ("stablelm", "stablelm_epoch", "orion")


def read(config: Fields) -> Shape:
    """Norms of queries and keys have one scale per head; halves side by side share their first norm."""
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    normed = config.flag("qk_layernorm", default=False)
    norms = (mixer.query_heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim) if normed else None
    together = config.flag("use_parallel_residual", default=False)
    matrices = (
        *attention(hidden, mixer, qkv_bias=config.flag("use_qkv_bias", default=False), qk_norm=norms),
        *gated_mlp(hidden, config.size("intermediate_size")),
        *pre_norms(hidden, bias=True)[: 1 if together else 2],
    )
    family = "Orion" if config.get("model_type") == "orion" else "StableLM"
    return language_model(config, family, [Layer((mixer,), matrices)] * config.layers(), shifted=True)
