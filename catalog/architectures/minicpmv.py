"""MiniCPM-V 2.5 to 4.5: a Llama or a Qwen behind SigLIP, joined by learned queries that attend to all patches.

MiniCPM-o is the same with Whisper's encoder of sound; what speaks runs elsewhere and is not counted.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import llama, qwen2, qwen3
from catalog.audio_towers import whisper_convolutions, whisper_layers, whisper_positions
from catalog.blocks import UNDECIDED, Shape, vision_linear, vision_norm
from catalog.inner import filled
from catalog.model import Matrix
from catalog.reading import Fields
from catalog.towers import siglip

ARCHITECTURES = ("MiniCPMV", "MiniCPMO")
MODEL_TYPES = ("minicpmv", "minicpmo")


def read(config: Fields) -> Shape:
    """The language model's keys are at the top; its head is never tied, whatever they say (vLLM 0.32 minicpmv.py)."""
    text = _text(Fields({**config.values, "tie_word_embeddings": False}, config.where))
    vision = Fields({**config.section("vision_config").values, "vision_use_head": False}, "vision_config")
    read_layers = vision.layers() - int(config.flag("drop_vision_last_layer"))
    vision.require(read_layers > 0, "num_hidden_layers", "at least 2, as the last layer is dropped")
    tower = siglip(vision, read_layers, last_norm=True)
    audio = config.optional_section("audio_config")
    joined = (
        *_resampler(config.size("query_num"), text.hidden_size, tower.hidden_size),
        *(() if audio is None else _sound(filled(audio, "whisper"), text.hidden_size)),
    )
    return replace(text, layer_path="llm.model.layers", vision=replace(tower, matrices=(*tower.matrices, *joined)))


def _text(config: Fields) -> Shape:
    """Which language model, by version; the first that this file describes does not state one."""
    version = 2.5 if "version" not in config else _version(config)
    if version in (2.5, 4.0):
        return llama.text_shape(config, "MiniCPM-V")
    if version == 2.6:
        return qwen2.text_shape(config, "MiniCPM-V")
    config.require(version == 4.5, "version", "2.5, 2.6, 4.0 or 4.5, which are described here")
    return replace(qwen3.text_shape(config, tied=False), family="MiniCPM-V")


def _version(config: Fields) -> float:
    """A number, or a number as a string."""
    word = config.get("version")
    if isinstance(word, str):
        config.require(
            word in ("2.5", "2.6", "4.0", "4.5"), "version", "2.5, 2.6, 4.0 or 4.5, which are described here"
        )
        return float(word)
    return config.number("version")


def _sound(audio: Fields, hidden: int) -> tuple[Matrix, ...]:
    """On every rank as a whole. The projector's input is a quarter of the encoder's MLPs: vLLM 0.32 minicpmo.py."""
    return (
        *whisper_convolutions(audio),
        whisper_positions(audio, stored_as=UNDECIDED),
        *whisper_layers(audio, divided=False),
        vision_linear("audio_projection_layer.linear1", hidden, audio.size("encoder_ffn_dim") // 4, bias=True),
        vision_linear("audio_projection_layer.linear2", hidden, hidden, bias=True),
    )


def _resampler(queries: int, hidden: int, width: int) -> tuple[Matrix, ...]:
    """Source: vLLM 0.32.0 `vllm/model_executor/layers/resampler.py`, `BaseResampler`; its positions are computed."""
    narrow = (vision_linear("resampler.kv_proj", hidden, width),) if width != hidden else ()
    return (
        vision_norm("resampler.query", queries * hidden),
        *narrow,
        vision_linear("resampler.attn", hidden, hidden, copies=4, bias=True),
        vision_norm("resampler.norms", hidden, copies=3, bias=True),
        vision_linear("resampler.proj", hidden, hidden),
    )
