"""Step 3: multi-matrix factorization attention (one key and value head, a narrow shared query), experts, vision."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.step3p7 import layers_with_experts
from catalog.blocks import (
    Layer,
    Shape,
    column,
    gated_mlp,
    language_model,
    linear,
    norm,
    pre_norms,
    routed_experts,
    router,
    row,
    table,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields, text_section

ARCHITECTURES = ("Step3VLForConditionalGeneration", "Step3TextForCausalLM")
MODEL_TYPES = ("step3_vl", "step3_text")


def read(config: Fields) -> Shape:
    """The language model, behind its vision tower unless it is published alone."""
    text, vision = _language_model(text_section(config)), config.optional_section("vision_config")
    return text if vision is None else replace(text, vision=_vision(config, vision, text.hidden_size))


def _language_model(config: Fields) -> Shape:
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


def _vision(config: Fields, vision: Fields, text_hidden: int) -> VisionTower:
    """An encoder, two convolutions that shrink what it saw, and a projector. Defaults are vLLM 0.32's."""
    width, layers = (
        vision.size("hidden_size", default=1792),
        vision.size("num_hidden_layers", default=63, largest=LARGEST_LAYERS),
    )
    wide, out = vision.size("intermediate_size", default=3072), vision.size("output_hidden_size", default=4096)
    heads = vision.size("num_attention_heads", default=16, largest=width)
    patch, image = vision.size("patch_size", default=14, largest=1024), vision.size("image_size", default=728)
    pixels = vision.size("num_channels", default=3, largest=64) * patch**2
    matrices = (
        vision_linear("vision_model.embeddings.patch_embedding", width, pixels, bias=True),
        table("vision_model.embeddings.position_embedding", "vision", (image // patch) ** 2 + 1, width),
        table("vision_model.embeddings.class_embedding", "vision", width),
        column("layers.self_attn.qkv_proj", 3 * width, width, copies=layers, bias=True, granule=max(1, width // heads)),
        row("layers.self_attn.out_proj", width, width, copies=layers, bias=True),
        column("layers.mlp.fc1", wide, width, copies=layers, bias=True),
        row("layers.mlp.fc2", width, wide, copies=layers, bias=True),
        vision_norm("layers.layer_norm1", width, copies=layers, bias=True),
        vision_norm("layers.layer_norm2", width, copies=layers, bias=True),
        vision_linear("vit_downsampler", out, 4 * width, bias=True),
        vision_linear("vit_downsampler2", 2 * out, 9 * out, bias=True),
        vision_linear("vit_large_projector", text_hidden, 2 * out, bias=config.flag("projector_bias", default=True)),
    )
    return VisionTower(matrices, layers, width)
