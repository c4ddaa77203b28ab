"""Ultravox: any language model behind Whisper's encoder, joined by an MLP over stacked frames."""

from __future__ import annotations

from dataclasses import replace

from catalog.audio_towers import audio_layers, audio_width, whisper_convolutions, whisper_layers, whisper_positions
from catalog.blocks import UNDECIDED, Shape, vision_linear, vision_norm
from catalog.inner import filled, read_language_model
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("UltravoxModel",)
MODEL_TYPES = ("ultravox",)


def read(config: Fields) -> Shape:
    """Both parts must be described here: a config that only names other repositories does not say their sizes."""
    text = read_language_model(config, "text_config", model_type="llama")
    audio = filled(config.section("audio_config"), "whisper")
    width = audio_width(audio)
    matrices = (
        *whisper_convolutions(audio),
        whisper_positions(audio, stored_as=UNDECIDED),
        *whisper_layers(audio, divided=True),
        *_projector(config, width, text.hidden_size),
    )
    return replace(
        text, layer_path="language_model.model.layers", vision=VisionTower(matrices, audio_layers(audio), width)
    )


def _projector(config: Fields, width: int, hidden: int) -> tuple[Matrix, ...]:
    """Defaults are those of vLLM's UltravoxConfig. Since version 0.5 the second norm lies between the matrices.

    Source: vLLM 0.32.0 `vllm/model_executor/models/ultravox.py`, `UltravoxFeedForwardProjector`.
    """
    layers = config.count("num_projector_layers", default=0)
    config.require(layers == 0, "num_projector_layers", "0: projectors with layers of their own are not described here")
    stacked, inner = (
        width * config.size("stack_factor", default=8, largest=64),
        config.size("hidden_size", default=4096),
    )
    halved = inner // 2 if config.word("projector_act", default="swiglu") == "swiglu" else inner
    last = halved if config.flag("projector_ln_mid", default=False) else hidden
    return (
        vision_norm("multi_modal_projector.ln_pre", stacked),
        vision_linear("multi_modal_projector.linear_1", inner, stacked),
        vision_linear("multi_modal_projector.linear_2", hidden, halved),
        vision_norm("multi_modal_projector.ln", last),
    )
