"""Qwen 3-Omni: the thinker, which reads text, images and sound and writes text; engines serve only this part.

The talker and its vocoder, which speak, are in the Instruct checkpoint but run in a process of their own, and are not
counted.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import qwen3
from catalog.architectures.qwen_vl import qwen3_tower
from catalog.blocks import Shape, column, row, vision_linear, vision_norm
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("Qwen3OmniMoeForConditionalGeneration",)
MODEL_TYPES = ("qwen3_omni_moe",)

_KERNEL = 3 * 3
"""Each of the three convolutions looks at 3 x 3 and halves frequencies and frames."""


def read(config: Fields) -> Shape:
    """Qwen 3's mixture of experts behind Qwen 3-VL's tower and an encoder of sound."""
    thinker = config.section("thinker_config")
    vision = thinker.section("vision_config")
    tied = thinker.flag("tie_word_embeddings", default=False)
    shape = qwen3.text_shape(thinker.section("text_config"), tied=tied, layer_path="thinker.model.layers")
    sound = sound_tower(thinker.section("audio_config"))
    matrices = (*qwen3_tower(vision), *sound.matrices)
    layers, width = vision.layers("depth"), vision.size("hidden_size")
    return replace(shape, vision=replace(sound, matrices=matrices, layers=layers, hidden_size=width))


def sound_tower(audio: Fields) -> VisionTower:
    """The encoder of sound, which is whole on every rank where TP does not divide its heads (20 of them)."""
    heads = audio.size("encoder_attention_heads", largest=2**10)
    matrices, layers = _sound_encoder(audio, heads), audio.layers("encoder_layers")
    return VisionTower(matrices, layers, audio.size("d_model"), heads, "audio_tower.")


def _sound_encoder(audio: Fields, heads: int) -> tuple[Matrix, ...]:
    """Convolutions, then Whisper's layers with biases everywhere; its positions are computed, not stored.

    Source: vLLM, vllm/model_executor/models/qwen3_omni_moe_thinker.py, Qwen3OmniMoeAudioEncoder.
    """
    hidden, depth, width = audio.size("d_model"), audio.layers("encoder_layers"), audio.size("encoder_ffn_dim")
    audio.require(hidden % heads == 0, "d_model", f"divisible by encoder_attention_heads = {heads}")
    channels = audio.size("downsample_hidden_size", largest=2**16)
    return (
        vision_linear("audio_tower.conv2d1", channels, _KERNEL, bias=True),
        vision_linear("audio_tower.conv2d2_3", channels, channels * _KERNEL, copies=2, bias=True),
        vision_linear("audio_tower.conv_out", hidden, channels * _frequencies_left(audio)),
        column("audio_tower.self_attn.qkv", 3 * hidden, hidden, copies=depth, bias=True, granule=hidden // heads),
        row("audio_tower.self_attn.out_proj", hidden, hidden, copies=depth, bias=True),
        column("audio_tower.fc1", width, hidden, copies=depth, bias=True),
        row("audio_tower.fc2", hidden, width, copies=depth, bias=True),
        vision_norm("audio_tower.norms", 2 * hidden, copies=depth, bias=True),
        vision_norm("audio_tower.ln_post", hidden, bias=True),
        vision_linear("audio_tower.proj1", hidden, hidden, bias=True),
        vision_linear("audio_tower.proj2", audio.size("output_dim"), hidden, bias=True),
    )


def _frequencies_left(audio: Fields) -> int:
    """Mel bins after three convolutions of stride 2: 128 become 16."""
    left = audio.size("num_mel_bins", largest=2**16)
    for _ in range(3):
        left = (left + 1) // 2
    return left
