"""Gemma 3n: four residual streams, small embeddings per layer, later layers that read earlier caches, sound and sight.

Source: vLLM 0.32.0 `vllm/model_executor/models/gemma3n.py` and `gemma3n_mm.py`; transformers 5.19's configs for what a
config.json leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.architectures.gemma import sandwich_norms
from catalog.architectures.gemma4 import per_layer_embedding, per_layer_gate
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    linear,
    norm,
    outside,
    row,
    table,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import LARGEST_CONTEXT, LARGEST_LAYERS, Fields, windows

ARCHITECTURES = ("Gemma3nForConditionalGeneration", "Gemma3nForCausalLM")
MODEL_TYPES = ("gemma3n", "gemma3n_text")

_TOWERS = {"mobilenetv5_300m_enc": (294_126_912, 84)}
"""Parameters and blocks of the vision towers that timm builds by name, counted with timm 1.0.31."""


def read(config: Fields) -> Shape:
    """The text model, or one with two encoders whose text is in text_config."""
    if "text_config" not in config:
        return _text_shape(config, "model.layers")
    shape = _text_shape(config.section("text_config"), "model.language_model.layers")
    return replace(shape, vision=_encoders(config, shape.hidden_size))


def _text_shape(text: Fields, layer_path: str) -> Shape:
    hidden, vocabulary, count = (
        text.size("hidden_size", default=2048),
        text.size("vocab_size", default=262_400),
        text.layers(),
    )
    width = text.size("hidden_size_per_layer_input", default=256)
    streams = text.size("altup_num_inputs", default=4, largest=64)
    tied = text.flag("tie_word_embeddings", default=True)
    rest = (
        *sandwich_norms(hidden),
        *per_layer_gate(hidden, width),
        *_alternating_updates(hidden, streams),
        *_learned_residual(hidden, text.size("laurel_rank", default=64)),
    )
    widths = _intermediate_sizes(text, count)
    return Shape(
        family="Gemma 3n",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=text.size("max_position_embeddings", default=32_768, largest=LARGEST_CONTEXT),
        tied_embeddings=tied,
        layers=[
            Layer((mixer,), (*_projections(text, hidden, mixer), *gated_mlp(hidden, inner), *rest))
            for mixer, inner in zip(_attentions(text, count), widths, strict=True)
        ],
        outside=(
            *outside(vocabulary, hidden, tied=tied),
            *per_layer_embedding(text.size("vocab_size_per_layer_input", default=262_144), count, hidden, width),
            *_streams(hidden, streams),
        ),
        layer_path=layer_path,
    )


def _attentions(text: Fields, count: int) -> list[Attention]:
    """Every fifth layer sees everything; the last layers have no keys of their own."""
    heads = text.size("num_attention_heads", default=8, largest=2**10)
    kv_heads = text.size("num_key_value_heads", default=2, largest=2**10)
    head = text.size("head_dim", default=256)
    shared = text.count("num_kv_shared_layers", default=15, largest=LARGEST_LAYERS)
    slides = [(i + 1) % 5 != 0 for i in range(count)]
    reaches = windows(text, count, slides)
    return [
        Attention(heads, kv_heads, head, head, window=reach, shares_kv=i >= count - shared)
        for i, reach in enumerate(reaches)
    ]


def _projections(text: Fields, hidden: int, mixer: Attention) -> tuple[Matrix, ...]:
    biased = text.flag("attention_bias", default=False)
    norms = (mixer.head_dim, mixer.head_dim)
    return attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=norms)


def _intermediate_sizes(text: Fields, count: int) -> Sequence[int]:
    """One width for all layers, or one for each."""
    if isinstance(text.get("intermediate_size"), list):
        sizes = text.sizes("intermediate_size", length=count)
        text.require(bool(sizes), "intermediate_size", "one width per layer")
        return sizes
    return [text.size("intermediate_size", default=16_384)] * count


def _alternating_updates(hidden: int, streams: int) -> tuple[Matrix, ...]:
    """AltUp (arXiv:2301.13310): every layer works on one stream and predicts the others; on every rank."""
    return (
        linear("altup.correction_coefs", "other", streams, streams),
        linear("altup.prediction_coefs", "other", streams**2, streams),
        linear("altup.modality_router", "other", streams, hidden),
        norm("altup.router_norm", hidden),
        table("altup.correct_output_scale", "other", hidden, stored_as="fp32"),
    )


def _learned_residual(hidden: int, rank: int) -> tuple[Matrix, ...]:
    """LAuReL (arXiv:2411.07501): a low-rank detour beside attention."""
    return (
        linear("laurel.linear_left", "other", rank, hidden, "column"),
        linear("laurel.linear_right", "other", hidden, rank, "row"),
        norm("laurel.post_laurel_norm", hidden),
    )


def _streams(hidden: int, streams: int) -> tuple[Matrix, ...]:
    """What makes the further streams of the embedding, and one of them at the end."""
    names = ("model.altup_projections", "model.altup_unembed_projections")
    return tuple(linear(n, "other", hidden, hidden, "column", copies=streams - 1) for n in names if streams > 1)


def _encoders(config: Fields, hidden: int) -> VisionTower:
    vision, audio = config.section("vision_config"), config.section("audio_config")
    name = str(vision.word("architecture", default="mobilenetv5_300m_enc"))
    vision.require(name in _TOWERS, "architecture", f"one of {', '.join(_TOWERS)}")
    parameters, blocks = _TOWERS[name]
    width = vision.size("hidden_size", default=2048)
    matrices = (
        vision_norm("vision_tower", parameters),
        *_joined("embed_vision", vision, width, hidden),
        *_sound_encoder(audio),
        *_joined("embed_audio", audio, audio.size("hidden_size", default=1536), hidden),
    )
    return VisionTower(matrices, blocks, width)


def _joined(name: str, encoder: Fields, width: int, hidden: int) -> tuple[Matrix, ...]:
    """What brings an encoder's vectors, and its few tokens, into the language model."""
    return (
        table(f"{name}.embedding", "vision", encoder.size("vocab_size", default=128), width, "vocabulary"),
        vision_norm(f"{name}.hard_embedding_norm", width),
        vision_norm(f"{name}.soft_embedding_norm", width),
        row(f"{name}.embedding_projection", hidden, width),
    )


def _sound_encoder(audio: Fields) -> tuple[Matrix, ...]:
    """A conformer behind two convolutions that halve frames and frequencies; every rank holds it all."""
    width, layers = (
        audio.size("hidden_size", default=1536),
        audio.size("conf_num_hidden_layers", default=12, largest=LARGEST_LAYERS),
    )
    head = width // audio.size("conf_num_attention_heads", default=8, largest=width)

    def block(name: str, outputs: int, inputs: int, copies: int = layers) -> Matrix:
        return vision_linear(f"audio_tower.conformer.{name}", outputs, inputs, copies=copies)

    return (
        *_subsampling(audio, width),
        block("attention.attn.qkv_proj", 3 * width, width),
        block("attention.attn.relative_position_embedding.pos_proj", width, width),
        block("attention.post", width, width),
        block("ffw_layer_1", 4 * width, width, 2 * layers),
        block("ffw_layer_2", width, 4 * width, 2 * layers),
        block("lconv1d.linear_start", 2 * width, width),
        block("lconv1d.linear_end", width, width),
        vision_norm(
            "audio_tower.conformer.lconv1d.depthwise_conv1d",
            width * audio.size("conf_conv_kernel_size", default=5, largest=1024),
            copies=layers,
        ),
        vision_norm("audio_tower.conformer.attention.attn.per_dim_scale", head, copies=layers),
        vision_norm("audio_tower.conformer.norms", 9 * width, copies=layers),
    )


def _subsampling(audio: Fields, width: int) -> tuple[Matrix, ...]:
    """Two convolutions with norms over channels, and a projection of what is left of the mel bins."""
    left, inputs, name = audio.size("input_feat_size", default=128), 1, "audio_tower.subsample_conv_projection"
    channels = audio.sizes("sscp_conv_channel_size", length=2) if "sscp_conv_channel_size" in audio else (128, 32)
    matrices: list[Matrix] = []
    for i, outputs in enumerate(channels):
        matrices += [
            vision_linear(f"{name}.conv_{i}.conv", outputs, 9 * inputs),
            vision_norm(f"{name}.conv_{i}.norm", outputs),
        ]
        left, inputs = (left + 1) // 2, outputs
    return (*matrices, vision_linear(f"{name}.input_proj_linear", width, left * inputs))
