"""Qwen 2.5-Omni: the thinker, which reads text, images and sound and writes text; engines serve only this part.

The talker and its vocoder, which speak, run elsewhere and are not counted.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.qwen_vl import qwen2_5_tower
from catalog.audio_towers import audio_width, whisper_convolutions, whisper_layers
from catalog.blocks import Shape, table, vision_linear
from catalog.inner import filled, read_language_model
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniModel")
MODEL_TYPES = ("qwen2_5_omni", "qwen2_5_omni_thinker")


def read(config: Fields) -> Shape:
    """Qwen 2.5 behind Qwen 2.5-VL's tower and Whisper's layers, whose positions are computed."""
    thinker = config.section("thinker_config")
    text = read_language_model(thinker, "text_config", model_type="qwen2_5_omni_text")
    vision = filled(thinker.section("vision_config"), "qwen2_5_omni_vision_encoder")
    audio = filled(thinker.section("audio_config"), "qwen2_5_omni_audio_encoder")
    matrices = (*qwen2_5_tower(vision), *_sound_encoder(audio))
    tower = VisionTower(matrices, vision.layers("depth"), vision.size("hidden_size"))
    return replace(text, layer_path="thinker.model.layers", vision=tower)


def _sound_encoder(audio: Fields) -> tuple[Matrix, ...]:
    """On every rank as a whole: vLLM takes transformers' own."""
    output = audio.size("output_dim")
    return (
        *whisper_convolutions(audio),
        *whisper_layers(audio, divided=False),
        table("audio_tower.audio_bos_eos_token", "vision", 2, output),
        vision_linear("audio_tower.proj", output, audio_width(audio), bias=True),
    )
