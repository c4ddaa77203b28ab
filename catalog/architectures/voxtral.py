"""Voxtral: a Mistral language model behind Whisper's encoder, which hears in chunks of half a minute."""

from __future__ import annotations

from dataclasses import replace

from catalog.audio_towers import audio_layers, audio_width, whisper_convolutions, whisper_layers, whisper_positions
from catalog.blocks import Shape, vision_linear
from catalog.inner import filled, read_language_model
from catalog.model import VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("VoxtralForConditionalGeneration",)
MODEL_TYPES = ("voxtral",)

_TEXT = {
    "vocab_size": 131_072,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 30,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "head_dim": 128,
}
"""What transformers 5.19's VoxtralConfig takes for keys that its text_config leaves out."""


def read(config: Fields) -> Shape:
    """The adapter sees several frames at once: as many values as the encoder's MLPs are wide."""
    own = config.section("text_config")
    whole = Fields({**config.values, "text_config": {**_TEXT, **own.values}}, config.where)
    text = read_language_model(whole, "text_config", model_type="llama")
    audio = filled(config.section("audio_config"), "voxtral_encoder")
    width, hidden = audio_width(audio), text.hidden_size
    joined = width * audio.size("downsample_factor", largest=64) if "downsample_factor" in audio else _mlp_width(audio)
    matrices = (
        *whisper_convolutions(audio),
        whisper_positions(audio, stored_as="fp32"),
        *whisper_layers(audio, divided=True),
        vision_linear("audio_language_adapter.w_in", hidden, joined),
        vision_linear("audio_language_adapter.w_out", hidden, hidden),
    )
    return replace(
        text, layer_path="language_model.model.layers", vision=VisionTower(matrices, audio_layers(audio), width)
    )


def _mlp_width(audio: Fields) -> int:
    return audio.size("encoder_ffn_dim", "intermediate_size")
