"""Step 3: multi-matrix factorization attention (one key and value head, a narrow shared query), then experts."""

from __future__ import annotations

from catalog.architectures.step3p7 import layers_with_experts
from catalog.blocks import Layer, Shape, gated_mlp, language_model, linear, norm, pre_norms, routed_experts, router
from catalog.model import Attention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("Step3TextForCausalLM",)
MODEL_TYPES = ("step3_text",)


def read(config: Fields) -> Shape:
    """Attention is alike in every layer; `moe_layers_enum` lists the layers that have experts."""
    hidden, count = config.size("hidden_size"), config.layers()
    mixer, weights = _attention(config, hidden)
    sparse, plain = _mixture(config, hidden), gated_mlp(hidden, config.size("intermediate_size"))
    config.require("moe_layers_enum" in config, "moe_layers_enum", "numbers of layers divided by commas")
    chosen = layers_with_experts(config, count)
    layers = [
        Layer((mixer,), (*weights, *(sparse if i in chosen else plain), *pre_norms(hidden))) for i in range(count)
    ]
    return language_model(config, "Step 3", layers)


def _attention(config: Fields, hidden: int) -> tuple[Attention, tuple[Matrix, ...]]:
    """Query, key and value are projected on every rank; `wq` makes the heads' queries of the shared one.

    Source: Step-3 (arXiv:2507.19427), section 3; vLLM 0.32 step3_text.py.
    """
    heads, head_dim = config.size("num_attention_heads", largest=2**16), config.size("head_dim", default=256)
    groups = config.size("num_attention_groups", default=1, largest=heads)
    config.require(groups == 1, "num_attention_groups", "1: heads share one key and value")
    shared = config.size("share_q_dim", default=head_dim)
    return Attention(heads, 1, head_dim, head_dim), (
        linear("self_attn.q_proj", "attention", shared, hidden),
        linear("self_attn.k_proj", "attention", head_dim, hidden),
        linear("self_attn.v_proj", "attention", head_dim, hidden),
        norm("self_attn.inter_norm", shared, part="attention"),
        linear("self_attn.wq", "attention", heads * head_dim, shared, "column", granule=head_dim),
        linear("self_attn.o_proj", "attention", hidden, heads * head_dim, "row", granule=head_dim),
    )


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("moe_num_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("moe_top_k", largest=experts)
    return (
        router(hidden, experts, name="moe.gate"),
        *routed_experts(hidden, config.size("moe_intermediate_size"), experts, top_k, name="moe.experts"),
        *gated_mlp(hidden, config.size("share_expert_dim"), name="share_expert", part="shared_experts"),
    )
