"""JetMoE: experts in attention (each with its own queries and output) and in the MLP; keys and values are shared."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, language_model, linear, norm, pre_norms, router
from catalog.model import Attention, Matrix, Part
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("JetMoeForCausalLM",)
MODEL_TYPES = ("jetmoe",)


def read(config: Fields) -> Shape:
    """A token's queries are those of the experts it chose, so it has `num_experts_per_tok` times the KV heads.

    Every rank holds whole layers: the library's class, which vLLM 0.32 runs, says of no matrix how to divide it.

    Source: JetMoE (arXiv:2404.07413), section 2.
    """
    hidden, inner = config.size("hidden_size"), config.size("intermediate_size")
    experts = config.size("num_local_experts", default=8, largest=LARGEST_EXPERTS)
    top_k = config.size("num_experts_per_tok", default=2, largest=experts)
    kv_heads = config.size("num_key_value_heads", default=16, largest=2**16)
    head = config.size("kv_channels", default=128)
    mixer, width = Attention(kv_heads * top_k, kv_heads, head, head), kv_heads * head

    def mixture(name: str, part: Part, outputs: int, inputs: int) -> tuple[Matrix, ...]:
        """Router, two matrices per expert, and one shift for all of them."""
        return (
            router(hidden, experts, name=f"{name}.router.layer"),
            linear(f"{name}.input_linear", part, outputs, hidden, copies=experts, active_copies=top_k),
            linear(f"{name}.output_linear", part, hidden, inputs, copies=experts, active_copies=top_k),
            norm(f"{name}.bias", hidden, part=part),
        )

    matrices = (
        linear("self_attention.kv_proj", "attention", 2 * width, hidden),
        *mixture("self_attention.experts", "attention", width, width),
        *mixture("mlp", "experts", 2 * inner, inner),
        *pre_norms(hidden),
    )
    tied = config.flag("tie_word_embeddings", default=True)
    return language_model(config, "JetMoE", [Layer((mixer,), matrices)] * config.layers(), tied=tied)
