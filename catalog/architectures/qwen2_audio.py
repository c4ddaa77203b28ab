"""Qwen 2-Audio: Qwen 1's shape of a language model behind Whisper's encoder."""

from __future__ import annotations

from dataclasses import replace

from catalog.audio_towers import audio_layers, audio_width, whisper_convolutions, whisper_layers, whisper_positions
from catalog.blocks import UNDECIDED, Shape, vision_linear
from catalog.inner import filled, read_language_model
from catalog.model import VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("Qwen2AudioForConditionalGeneration",)
MODEL_TYPES = ("qwen2_audio",)


def read(config: Fields) -> Shape:
    """Every rank has the whole encoder: vLLM takes transformers' own."""
    text = read_language_model(config, "text_config", model_type="qwen2")
    audio = filled(config.section("audio_config"), "qwen2_audio_encoder")
    width = audio_width(audio)
    matrices = (
        *whisper_convolutions(audio),
        whisper_positions(audio, stored_as=UNDECIDED),
        *whisper_layers(audio, divided=False),
        vision_linear("multi_modal_projector.linear", text.hidden_size, width, bias=True),
    )
    return replace(text, vision=VisionTower(matrices, audio_layers(audio), width))
