"""What MiMo-V2.5 sees and hears with: an encoder of images with grouped keys, and a small transformer of sounds.

Source: vLLM 0.32 `vllm/model_executor/models/mimo_v2_omni.py` and `mimo_audio.py`, which give the defaults. The
tokenizer of sounds has a config of its own in the repository and is not counted.
"""

from __future__ import annotations

from catalog.blocks import column, linear, row, table, vision_linear, vision_norm
from catalog.model import Matrix, VisionTower
from catalog.reading import LARGEST_LAYERS, Fields

QWEN2_VOCABULARY = 151936
"""Of transformers' Qwen2Config, whose embedding the encoder of sounds has and never looks anything up in."""


def towers(vision: Fields, audio: Fields | None) -> VisionTower:
    """Both together, as one encoder."""
    layers = vision.size("depth", default=28, largest=LARGEST_LAYERS)
    width = vision.size("hidden_size", default=1280)
    heard = () if audio is None else _audio(audio)
    return VisionTower((*_vision(vision, width, layers), *heard), layers, width)


def _vision(vision: Fields, width: int, layers: int) -> tuple[Matrix, ...]:
    patch, frames = vision.size("patch_size", default=16, largest=1024), vision.size("temporal_patch_size", default=2)
    merged = width * vision.size("spatial_merge_size", default=2, largest=64) ** 2
    wide = vision.size("intermediate_size", default=4608)
    return (
        vision_linear("visual.patch_embed.proj", width, 3 * frames * patch**2),
        *_vision_attention(vision, width, layers),
        column("visual.blocks.mlp.gate_proj", wide, width, copies=layers, bias=True),
        column("visual.blocks.mlp.up_proj", wide, width, copies=layers, bias=True),
        row("visual.blocks.mlp.down_proj", width, wide, copies=layers, bias=True),
        vision_norm("visual.blocks.norm1", width, copies=layers),
        vision_norm("visual.blocks.norm2", width, copies=layers),
        vision_norm("visual.merger.ln_q", width),
        column("visual.merger.mlp.0", merged, merged),
        row("visual.merger.mlp.2", vision.size("out_hidden_size", default=2048), merged),
    )


def _vision_attention(vision: Fields, width: int, layers: int) -> tuple[Matrix, ...]:
    """Heads of 64; a sink per head in the layers with windows."""
    heads = vision.size("num_heads", default=32, largest=2**16)
    groups = vision.size("num_key_value_heads", default=8, largest=heads)
    key, value = vision.size("qk_channels", default=64), vision.size("kv_channels", default=64)
    full = vision.sizes("fullatt_block_indexes", least=0) if "fullatt_block_indexes" in vision else (7, 15, 23, 31)
    slides = layers - sum(index < layers for index in set(full))
    sinks = slides if vision.flag("use_sink", default=False) else 0

    def grouped(name: str, head: int) -> Matrix:
        return linear(name, "vision", groups * head, width, "kv_heads", copies=layers, bias=True, granule=head)

    return (
        column("visual.blocks.attn.q", heads * key, width, copies=layers, bias=True, granule=key),
        grouped("visual.blocks.attn.k", key),
        grouped("visual.blocks.attn.v", value),
        row("visual.blocks.attn.proj", width, heads * value, copies=layers, bias=True),
        *((table("visual.blocks.attn.sinks", "vision", heads, copies=sinks),) if sinks else ()),
    )


def _audio(audio: Fields) -> tuple[Matrix, ...]:
    """Embeddings of each channel's codes, layers of Qwen 2, a projection of several tokens to one: on every rank."""
    width, layers = audio.size("input_local_dim"), audio.layers("input_local_layers")
    channels, codes = audio.size("audio_channels", largest=1024), _codes(audio)
    joined, out = width * audio.size("group_size", largest=1024), audio.size("out_hidden_size")
    name = "audio_encoder.input_local_transformer"
    return (
        table("audio_encoder.speech_embeddings", "vision", codes, width, copies=channels),
        table(f"{name}.embed_tokens", "vision", QWEN2_VOCABULARY, width),
        *_audio_layers(audio, f"{name}.layers", width, layers),
        *((vision_norm(f"{name}.norm", width),) if audio.flag("add_post_norm", default=True) else ()),
        *_audio_projection(audio, joined, out),
    )


def _codes(audio: Fields) -> int:
    """How many codes a channel has: one number, written as a word."""
    word = str(audio.get("speech_vocab_size"))
    audio.require(word.isdecimal() and 0 < int(word[:9]) < 2**24, "speech_vocab_size", "one number for all channels")
    return int(word[:9])


def _audio_layers(audio: Fields, name: str, width: int, layers: int) -> tuple[Matrix, ...]:
    wide = audio.size("input_local_intermediate_size")
    return (
        vision_linear(f"{name}.self_attn.qkv_proj", 3 * width, width, copies=layers, bias=True),
        vision_linear(f"{name}.self_attn.o_proj", width, width, copies=layers),
        vision_linear(f"{name}.mlp.gate_up_proj", 2 * wide, width, copies=layers),
        vision_linear(f"{name}.mlp.down_proj", width, wide, copies=layers),
        vision_norm(f"{name}.norms", 2 * width, copies=layers),
    )


def _audio_projection(audio: Fields, joined: int, out: int) -> tuple[Matrix, ...]:
    count = audio.size("projection_layers", default=1, largest=2)
    if count == 1:
        return (vision_linear("audio_encoder.projection", out, joined),)
    return (
        vision_linear("audio_encoder.projection.mlp.0", 4 * joined, joined),
        vision_linear("audio_encoder.projection.mlp.2", out, 4 * joined),
    )
