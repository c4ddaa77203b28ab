"""Muse Glimmer: gated attention over very few KV heads, sliding windows, four norms a layer, a vision tower."""

from __future__ import annotations

from catalog.architectures.gemma import sandwich_norms
from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    column,
    gated_mlp,
    linear,
    outside,
    row,
    table,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import Fields, max_context, windows

ARCHITECTURES = ("MuseGlimmerForConditionalGeneration",)
MODEL_TYPES = ("muse_glimmer",)


def read(config: Fields) -> Shape:
    """Text in text_config, vision in vision_config, the adapter's sizes at the top."""
    text = config.section("text_config")
    hidden, vocabulary = text.size("hidden_size"), text.size("vocab_size")
    tied = config.flag("tie_word_embeddings", default=text.flag("tie_word_embeddings", default=False))
    layers = []
    for window in windows(text, text.layers()):
        mixer = read_attention(text, window)
        layers.append(Layer((mixer,), _matrices(text, hidden, mixer)))
    projection = linear("model.vision_projection", "other", hidden, config.size("projector_hidden_size"))
    return Shape(
        family="Muse Glimmer",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=(*outside(vocabulary, hidden, tied=tied), projection),
        layer_path="model.language_model.layers",
        vision=_tower(config, config.section("vision_config")),
    )


def _matrices(text: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    """The attention's output is gated value by value; queries and keys are normalized without weights."""
    biased = text.flag("attention_bias", default=False)
    gate = mixer.query_heads * mixer.head_dim
    return (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        linear("self_attn.gate_proj", "attention", gate, hidden, "column", granule=mixer.head_dim),
        *gated_mlp(hidden, text.size("intermediate_size")),
        *sandwich_norms(hidden),
    )


def _tower(config: Fields, vision: Fields) -> VisionTower:
    """An encoder with biases; vLLM divides its attention over ranks and holds the rest on each."""
    width, layers, inner = vision.size("hidden_size"), vision.layers(), vision.size("intermediate_size")
    frames = vision.size("patch_temporal", default=2, largest=64)
    positions = vision.size("pos_emb_height", largest=2**12) * vision.size("pos_emb_width", largest=2**12)
    shuffled, adapted = config.size("out_hidden_size"), config.size("projector_hidden_size")
    matrices = (
        vision_linear("patch_embedding", width, frames * 3 * vision.size("patch_size", largest=1024) ** 2),
        table("position_embedding_table", "vision", positions, width),
        vision_norm("ln_pre_post", 2 * width, bias=True),
        column("attn.qkv", 3 * width, width, copies=layers, bias=True),
        row("attn.proj", width, width, copies=layers, bias=True),
        vision_linear("mlp.fc1", inner, width, copies=layers, bias=True),
        vision_linear("mlp.fc2", width, inner, copies=layers, bias=True),
        vision_norm("norms", 2 * width, copies=layers, bias=True),
        vision_linear("vision_adapter.fc1", adapted, shuffled),
        vision_linear("vision_adapter.fc2", adapted, adapted),
    )
    return VisionTower(matrices, layers, width)
