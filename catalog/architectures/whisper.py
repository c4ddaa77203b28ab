"""Whisper: an encoder of sound, and a decoder whose layers attend to their own tokens and to the encoder's."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import (
    Layer,
    Shape,
    attention,
    column,
    linear,
    norm,
    row,
    table,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import LARGEST_CONTEXT, Fields

ARCHITECTURES = ("WhisperForConditionalGeneration",)
MODEL_TYPES = ("whisper",)

_KERNEL = 3
"""Taps of the two convolutions over frames."""


def read(config: Fields) -> Shape:
    """Every decoder layer keeps the keys of the answer, and those of the encoder's frames however long that is."""
    hidden, vocabulary = config.size("d_model"), config.size("vocab_size")
    positions = config.size("max_target_positions", default=448, largest=LARGEST_CONTEXT)
    tied = config.flag("tie_word_embeddings", default=True)
    return Shape(
        family="Whisper",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=positions,
        tied_embeddings=tied,
        layers=[_decoder_layer(config, hidden)] * config.layers("decoder_layers"),
        outside=(
            table("model.decoder.embed_tokens", "embedding", vocabulary, hidden),  # TP does not divide it
            *(() if tied else (linear("proj_out", "lm_head", vocabulary, hidden, "vocabulary"),)),
            table("model.decoder.embed_positions", "embedding", positions, hidden),
            norm("model.decoder.layer_norm", hidden, bias=True),
        ),
        layer_path="model.decoder.layers",
        vision=_encoder(config, hidden),
        notes=("The time of its encoder, which hears every request first, is not in the speeds.",),
    )


def _decoder_layer(config: Fields, hidden: int) -> Layer:
    heads, width = config.size("decoder_attention_heads", largest=2**10), config.size("decoder_ffn_dim")
    config.require(hidden % heads == 0, "d_model", f"divisible by decoder_attention_heads = {heads}")
    head, frames = hidden // heads, config.size("max_source_positions", default=1500)
    own = Attention(heads, heads, head, head)
    cross = Attention(heads, heads, head, head, window=frames, cross=True)
    matrices = (
        *_attention(hidden, own, "self_attn"),
        *_attention(hidden, cross, "encoder_attn"),
        linear("fc1", "mlp", width, hidden, "column", bias=True),
        linear("fc2", "mlp", hidden, width, "row", bias=True),
        *(norm(f"{n}_layer_norm", hidden, bias=True) for n in ("self_attn", "encoder_attn", "final")),
    )
    return Layer((own, cross), matrices)


def _attention(hidden: int, mixer: Attention, name: str) -> tuple[Matrix, ...]:
    """Biases everywhere but in the keys."""
    query, key, value, output = attention(hidden, mixer, name=name, qkv_bias=True, output_bias=True)
    return query, replace(key, bias=False), value, replace(output, name=f"{name}.out_proj")


def _encoder(config: Fields, hidden: int) -> VisionTower:
    """Convolutions over mel bins, positions, and layers with biases everywhere but in the keys."""
    layers, width = config.layers("encoder_layers"), config.size("encoder_ffn_dim")
    heads = config.size("encoder_attention_heads", largest=2**10)
    config.require(hidden % heads == 0, "d_model", f"divisible by encoder_attention_heads = {heads}")
    head, mels = hidden // heads, config.size("num_mel_bins", default=80)
    frames = config.size("max_source_positions", default=1500)
    name = "model.encoder"
    matrices = (
        vision_linear(f"{name}.conv1", hidden, _KERNEL * mels, bias=True),
        vision_linear(f"{name}.conv2", hidden, _KERNEL * hidden, bias=True),
        table(f"{name}.embed_positions", "vision", frames, hidden),
        column(f"{name}.self_attn.qv_proj", 2 * hidden, hidden, copies=layers, bias=True, granule=head),
        column(f"{name}.self_attn.k_proj", hidden, hidden, copies=layers, granule=head),
        row(f"{name}.self_attn.out_proj", hidden, hidden, copies=layers, bias=True),
        column(f"{name}.fc1", width, hidden, copies=layers, bias=True),
        row(f"{name}.fc2", hidden, width, copies=layers, bias=True),
        vision_norm(f"{name}.layer_norms", 2 * hidden, copies=layers, bias=True),
        vision_norm(f"{name}.layer_norm", hidden, bias=True),
    )
    return VisionTower(matrices, layers, hidden)
