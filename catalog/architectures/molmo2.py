"""Molmo 2: a Qwen 3- or OLMo-like language model behind SigLIP, of which two layers are read."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import read_attention
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    column,
    gated_mlp,
    language_model,
    pre_norms,
    row,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import Fields
from catalog.towers import layers_up_to

ARCHITECTURES = ("Molmo2ForConditionalGeneration",)
MODEL_TYPES = ("molmo2",)


def read(config: Fields) -> Shape:
    """Defaults are those of vLLM's TextConfig, VitConfig and AdapterConfig (0.32.0 `molmo2.py`)."""
    text = _text(config.section("text_config", "llm_config"))
    return replace(
        text, vision=_tower(config.section("vit_config"), config.section("adapter_config"), text.hidden_size)
    )


def _text(text: Fields) -> Shape:
    """Some tokens are read but never written, so the embedding has more rows than the head, which is not tied."""
    hidden, mixer = text.size("hidden_size"), read_attention(text)
    matrices = (
        *attention(hidden, mixer, qkv_bias=text.flag("qkv_bias", default=True), qk_norm=_qk_norm(text, mixer)),
        *gated_mlp(hidden, text.size("intermediate_size")),
        *pre_norms(hidden),
    )
    shape = language_model(text, "Molmo 2", [Layer((mixer,), matrices)] * text.layers(), tied=False)
    rows = shape.vocabulary + text.count("additional_vocab_size", default=128, largest=2**20)
    return replace(shape, outside=(replace(shape.outside[0], outputs=rows), *shape.outside[1:]))


def _qk_norm(text: Fields, mixer: Attention) -> tuple[int, int] | None:
    """Per head as in Qwen 3, or over all heads at once as in OLMo."""
    if not text.flag("use_qk_norm", default=False):
        return None
    if text.word("qk_norm_type", default="olmo") == "qwen3":
        return mixer.head_dim, mixer.head_dim
    return mixer.query_heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim


def _tower(vision: Fields, adapter: Fields, hidden: int) -> VisionTower:
    """Layers up to the deepest that is read; attention that pools patches; a gated projector."""
    width, count = vision.size("hidden_size"), vision.layers()
    read_layers = layers_up_to(vision, adapter, "vit_layers", -3)
    patch = vision.size("image_patch_size", default=14, largest=1024)
    matrices = (
        vision_norm("image_vit.positional_embedding", vision.size("image_num_pos", default=577) * width),
        vision_linear("image_vit.patch_embedding", width, 3 * patch**2, bias=True),
        *_layers(vision, read_layers),
        *_adapter(adapter, width, hidden),
    )
    return VisionTower(matrices, read_layers, width, idle=_layers(vision, count - read_layers))


def _layers(vision: Fields, layers: int) -> tuple[Matrix, ...]:
    if layers == 0:
        return ()
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    mixer = read_attention(vision)
    inputs = (mixer.query_heads + 2 * mixer.kv_heads) * mixer.head_dim
    return (
        column("resblocks.attention.wqkv", inputs, width, copies=layers, bias=True, granule=mixer.head_dim),
        row("resblocks.attention.wo", width, mixer.query_heads * mixer.head_dim, copies=layers, bias=True),
        column("resblocks.feed_forward.w1", inner, width, copies=layers, bias=True),
        row("resblocks.feed_forward.w2", width, inner, copies=layers, bias=True),
        vision_norm("resblocks.norms", 2 * width, copies=layers, bias=True),
    )


def _adapter(adapter: Fields, vision_width: int, hidden: int) -> tuple[Matrix, ...]:
    width, inner, mixer = adapter.size("hidden_size"), adapter.size("intermediate_size"), read_attention(adapter)
    pooled = vision_width * (len(adapter.sequence("vit_layers")) if "vit_layers" in adapter else 2)
    inputs = (mixer.query_heads + 2 * mixer.kv_heads) * mixer.head_dim
    return (
        column("image_pooling_2d.wqkv", inputs, pooled, bias=True, granule=mixer.head_dim),
        row("image_pooling_2d.wo", width, mixer.query_heads * mixer.head_dim, bias=True),
        column("image_projector.w1_w3", 2 * inner, width),
        row("image_projector.w2", hidden, inner),
    )
