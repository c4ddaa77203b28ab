"""dots.ocr: a small Qwen 2 behind a tower of its own, which keeps no table of positions."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import qwen2
from catalog.blocks import Shape, column, row, vision_linear, vision_norm
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields

ARCHITECTURES = ("DotsOCRForCausalLM",)
MODEL_TYPES = ("dots_ocr",)


def read(config: Fields) -> Shape:
    """The language model's keys are at the top. `embed_dim` is the tower's width, `hidden_size` the model's."""
    text, vision = qwen2.text_shape(config, "dots.ocr"), config.section("vision_config")
    return replace(text, vision=VisionTower(_tower(vision), vision.layers(), vision.size("embed_dim")))


def _tower(vision: Fields) -> tuple[Matrix, ...]:
    """RMS norms and gated MLPs; a merger like Qwen 2-VL's. Defaults are those of vLLM's DotsVisionConfig.

    Source: vLLM 0.32.0 `vllm/model_executor/models/dots_ocr.py`.
    """
    width, layers, inner = vision.size("embed_dim"), vision.layers(), vision.size("intermediate_size")
    heads, bias = vision.size("num_attention_heads", largest=2**10), vision.flag("use_bias", default=False)
    vision.require(width % heads == 0, "embed_dim", f"divisible by num_attention_heads = {heads}")
    pixels = vision.size("num_channels", default=3, largest=16) * vision.size("patch_size", largest=1024) ** 2
    merged = width * vision.size("spatial_merge_size", default=2, largest=64) ** 2
    last = (vision_norm("post_trunk_norm", width),) if vision.flag("post_norm", default=True) else ()
    return (
        vision_linear("patch_embed.patchifier.proj", width, pixels, bias=True),
        vision_norm("patch_embed.patchifier.norm", width),
        column("blocks.attn.qkv", 3 * width, width, copies=layers, bias=bias, granule=width // heads),
        row("blocks.attn.proj", width, width, copies=layers, bias=bias),
        column("blocks.mlp.fc13", 2 * inner, width, copies=layers, bias=bias),
        row("blocks.mlp.fc2", width, inner, copies=layers, bias=bias),
        vision_norm("blocks.norms", 2 * width, copies=layers),
        *last,
        vision_norm("merger.ln_q", width, bias=True),
        column("merger.mlp.0", merged, merged, bias=True),
        row("merger.mlp.2", vision.size("hidden_size"), merged, bias=True),
    )
