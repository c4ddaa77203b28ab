"""Qwen 3-ASR: a small Qwen 3 behind Qwen 3-Omni's encoder of sound."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.qwen3_omni import sound_tower
from catalog.blocks import Shape
from catalog.inner import filled, read_language_model
from catalog.reading import Fields

ARCHITECTURES = ("Qwen3ASRForConditionalGeneration", "Qwen3ASRRealtimeGeneration")
MODEL_TYPES = ("qwen3_asr",)


def read(config: Fields) -> Shape:
    """Published configs hold both parts in thinker_config, transformers' at the top."""
    thinker = config.section("thinker_config") if "thinker_config" in config else config
    text = read_language_model(thinker, "text_config", model_type="qwen3", tied=True)
    tower = sound_tower(filled(thinker.section("audio_config"), "qwen3_asr_encoder"))
    return replace(text, layer_path="thinker.model.layers", vision=tower)
