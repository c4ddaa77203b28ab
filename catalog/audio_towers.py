"""Encoders of sound that several families put before a language model, as weight matrices: Whisper's, conformers'."""

from __future__ import annotations

from catalog.blocks import column, row, table, vision_linear, vision_norm
from catalog.model import Matrix
from catalog.reading import Fields

_KERNEL = 3
"""Taps of the two convolutions over frames."""


def whisper_convolutions(audio: Fields) -> tuple[Matrix, ...]:
    """Two convolutions over mel bins, of which the second halves the frames."""
    hidden = audio_width(audio)
    return (
        vision_linear("audio_tower.conv1", hidden, _KERNEL * audio.size("num_mel_bins"), bias=True),
        vision_linear("audio_tower.conv2", hidden, _KERNEL * hidden, bias=True),
    )


def whisper_positions(audio: Fields, *, stored_as: str) -> Matrix:
    """One vector per frame of the longest sound."""
    frames = audio.size("max_source_positions")
    return table("audio_tower.embed_positions", "vision", frames, audio_width(audio), stored_as=stored_as)


def whisper_layers(audio: Fields, *, divided: bool) -> tuple[Matrix, ...]:
    """Layers with biases everywhere but in the keys, and the norm behind them.

    Args:
        audio: a config with Whisper's sizes under Whisper's or the usual names.
        divided: whether TP divides them: vLLM's own layers, not transformers' as they are.
    """
    hidden, layers = audio_width(audio), audio_layers(audio)
    width, head = audio.size("encoder_ffn_dim", "intermediate_size"), _head_dim(audio)
    norms = (
        vision_norm("audio_tower.layers.norms", 2 * hidden, copies=layers, bias=True),
        vision_norm("audio_tower.layer_norm", hidden, bias=True),
    )
    if divided:
        return (
            column("audio_tower.layers.self_attn.qv_proj", 2 * hidden, hidden, copies=layers, bias=True, granule=head),
            column("audio_tower.layers.self_attn.k_proj", hidden, hidden, copies=layers, granule=head),
            row("audio_tower.layers.self_attn.out_proj", hidden, hidden, copies=layers, bias=True),
            column("audio_tower.layers.fc1", width, hidden, copies=layers, bias=True),
            row("audio_tower.layers.fc2", hidden, width, copies=layers, bias=True),
            *norms,
        )
    return (
        vision_linear("audio_tower.layers.self_attn.qv_proj", 2 * hidden, hidden, copies=layers, bias=True),
        vision_linear("audio_tower.layers.self_attn.k_proj", hidden, hidden, copies=layers),
        vision_linear("audio_tower.layers.self_attn.out_proj", hidden, hidden, copies=layers, bias=True),
        vision_linear("audio_tower.layers.fc1", width, hidden, copies=layers, bias=True),
        vision_linear("audio_tower.layers.fc2", hidden, width, copies=layers, bias=True),
        *norms,
    )


def audio_width(audio: Fields) -> int:
    """Width of the encoder."""
    return audio.size("d_model", "hidden_size")


def audio_layers(audio: Fields) -> int:
    """How many layers it has."""
    return audio.layers("encoder_layers", "num_hidden_layers")


def _head_dim(audio: Fields) -> int:
    hidden, heads = audio_width(audio), audio.size("encoder_attention_heads", "num_attention_heads", largest=2**10)
    audio.require(hidden % heads == 0, "encoder_attention_heads", f"a divisor of the width, {hidden}")
    return hidden // heads


def halving_convolutions(name: str, width: int, bins: int, channels: int, factor: int) -> tuple[Matrix, ...]:
    """What shortens sound before a conformer: 3 x 3, the first in full, the others by channel and then across.

    Args:
        name: module path.
        width: of the conformer.
        bins: mel bins, which are halved with the frames.
        channels: of every convolution.
        factor: by how much frames are shortened, a power of two from 4 on.

    Source: vLLM 0.32.0 `vllm/model_executor/models/phi4mm_utils.py`, `NemoConvSubsampling`; transformers 5.19
    `models/parakeet/modeling_parakeet.py`.
    """
    others = factor.bit_length() - 2
    return (
        vision_linear(f"{name}.conv", channels, 9, bias=True),
        vision_linear(f"{name}.depthwise", channels, 9, copies=others, bias=True),
        vision_linear(f"{name}.pointwise", channels, channels, copies=others, bias=True),
        vision_linear(f"{name}.out", width, channels * -(-bins // factor), bias=True),
    )


def halving_factor(audio: Fields, name: str, default: int) -> int:
    """By how much a conformer's convolutions shorten sound."""
    factor = audio.size(name, default=default, largest=1024)
    audio.require(factor >= 4 and factor & (factor - 1) == 0, name, "a power of 2, at least 4")
    return factor
