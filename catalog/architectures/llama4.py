"""Llama 4: chunked attention in three layers of four, one routed and one shared expert per token, a vision tower."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    column,
    gated_mlp,
    outside,
    pre_norms,
    routed_experts,
    router,
    row,
    table,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import LARGEST_CONTEXT, LARGEST_EXPERTS, LARGEST_LAYERS, Fields, max_context

ARCHITECTURES = ("Llama4ForConditionalGeneration",)
MODEL_TYPES = ("llama4",)


def read(config: Fields) -> Shape:
    """Text in text_config; layers without rope attend to everything, the others to chunks."""
    text = config.section("text_config")
    hidden, vocabulary = text.size("hidden_size"), text.size("vocab_size")
    tied = text.flag("tie_word_embeddings", default=False)
    step = text.size("interleave_moe_layer_step", default=1, largest=LARGEST_LAYERS)
    layers = [_layer(text, hidden, mixer, sparse=(i + 1) % step == 0) for i, mixer in enumerate(_mixers(text))]
    return Shape(
        family="Llama 4",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
        layer_path="language_model.model.layers",
        vision=_tower(config.section("vision_config"), hidden),
    )


def _mixers(text: Fields) -> list[Attention]:
    """Every fourth layer is full attention without rope, unless the config lists which layers have rope."""
    count = text.layers()
    chunk = text.optional_size("attention_chunk_size", largest=LARGEST_CONTEXT)
    if "no_rope_layers" in text and text.sequence("no_rope_layers"):
        has_rope = [value != 0 for value in text.sequence("no_rope_layers", length=count)]
    else:
        every = text.size("no_rope_layer_interval", default=4, largest=LARGEST_LAYERS)
        has_rope = [(i + 1) % every != 0 for i in range(count)]
    plain = read_attention(text)
    chunked = Attention(
        plain.query_heads, plain.kv_heads, plain.head_dim, plain.head_dim, window=chunk, chunked=chunk is not None
    )
    return [chunked if rope else plain for rope in has_rope]


def _layer(text: Fields, hidden: int, mixer: Attention, *, sparse: bool) -> Layer:
    experts = text.size("num_local_experts", largest=LARGEST_EXPERTS)
    top_k = text.size("num_experts_per_tok", default=1, largest=experts)
    width = text.size("intermediate_size")
    biased = text.flag("attention_bias", default=False)
    if sparse:
        mlp: tuple[Matrix, ...] = (
            router(hidden, experts, name="feed_forward.router"),
            *routed_experts(hidden, width, experts, top_k, name="feed_forward.experts"),
            *gated_mlp(hidden, width, name="feed_forward.shared_expert", part="shared_experts"),
        )
    else:
        mlp = gated_mlp(hidden, text.size("intermediate_size_mlp"), name="feed_forward")
    return Layer(
        (mixer,),
        (*attention(hidden, mixer, qkv_bias=biased, output_bias=biased), *mlp, *pre_norms(hidden)),
    )


def _tower(vision: Fields, hidden: int) -> VisionTower:
    """An encoder with biases, a pixel-shuffle adapter of two matrices, and the projector into the language model."""
    width, layers, inner = vision.size("hidden_size"), vision.layers(), vision.size("intermediate_size")
    patch = vision.size("patch_size", largest=1024)
    patches = (vision.size("image_size", largest=2**14) // patch) ** 2
    heads = vision.size("num_attention_heads", largest=2**10)
    adapted, out = vision.size("projector_input_dim"), vision.size("projector_output_dim")
    matrices = (
        column("patch_embedding.linear", width, vision.size("num_channels", default=3) * patch**2),
        table("class_embedding", "vision", width),
        table("positional_embedding_vlm", "vision", patches + 1, width),
        vision_norm("layernorm_pre_post", 2 * width, bias=True),
        column("self_attn.qkv_proj", 3 * width, width, copies=layers, bias=True, granule=max(1, width // heads)),
        row("self_attn.o_proj", width, width, copies=layers, bias=True),
        column("mlp.fc1", inner, width, copies=layers, bias=True),
        row("mlp.fc2", width, inner, copies=layers, bias=True),
        vision_norm("norms", 2 * width, copies=layers, bias=True),
        column("vision_adapter.mlp.fc1", adapted, inner),
        row("vision_adapter.mlp.fc2", out, adapted),
        column("multi_modal_projector.linear_1", hidden, vision.size("vision_output_dim")),
    )
    return VisionTower(matrices, layers, width)
