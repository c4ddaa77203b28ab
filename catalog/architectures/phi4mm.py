"""Phi 4 Multimodal: Phi 4 Mini behind SigLIP and a conformer that hears, with an adapter for each of the two."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.llama import text_shape
from catalog.audio_towers import halving_convolutions, halving_factor
from catalog.blocks import Shape, vision_linear, vision_norm
from catalog.model import Matrix
from catalog.reading import Fields
from catalog.towers import layers_up_to, siglip

ARCHITECTURES = ("Phi4MMForCausalLM",)
MODEL_TYPES = ("phi4mm",)

_SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 448,
    "patch_size": 14,
    "model_type": "siglip_vision_model",
}
"""As vLLM 0.32.0 `vllm/model_executor/models/phi4mm.py` writes it down; no config states it."""


def read(config: Fields) -> Shape:
    """Text keys at the top level. The adapters are loaded only when LoRA is asked for.

    Source: vLLM 0.32.0 `vllm/model_executor/models/phi4mm.py`, `phi4mm_audio.py`.
    """
    shape = text_shape(config, "Phi")
    hidden, vision = shape.hidden_size, Fields(_SIGLIP, "the image processor")
    processor = config.optional_section("img_processor") or Fields({})
    tower = siglip(vision, layers_up_to(vision, processor, "layer_idx", -2, first=0), last_norm=False)
    matrices = (
        *tower.matrices,
        vision_norm("image_embed.separators", 2 * tower.hidden_size),
        *_projection("image_embed.img_projection", tower.hidden_size, hidden),
        *_hearing(config.section("audio_processor").section("config"), hidden),
    )
    idle = (*tower.idle, *_adapters(config, shape))
    return replace(shape, family="Phi 4 Multimodal", vision=replace(tower, matrices=matrices, idle=idle))


def _projection(name: str, width: int, hidden: int, copies: int = 1) -> tuple[Matrix, ...]:
    return (
        vision_linear(f"{name}.0", hidden, width, copies=copies, bias=True),
        vision_linear(f"{name}.2", hidden, hidden, copies=copies, bias=True),
    )


def _hearing(audio: Fields, hidden: int) -> tuple[Matrix, ...]:
    """A conformer whose positions are T5's biases, and one projection for speech alone, one for speech with images."""
    width, bins, heads = audio.size("attention_dim"), audio.size("input_size"), audio.size("attention_heads")
    relative = audio.section("relative_attention_bias_args").size("t5_bias_max_distance")
    channels = audio.section("nemo_conv_settings").size("conv_channels")
    return (
        *halving_convolutions("encoder.embed", width, bins, channels, halving_factor(audio, "time_reduction", 4)),
        vision_norm("encoder.encoder_embedding", 2 * bins),
        vision_norm("encoder.relative_attention_bias", 2 * relative * heads),
        *_conformer_layers(audio, width),
        *_projection("audio_projection", width, hidden, copies=2),
    )


def _conformer_layers(audio: Fields, width: int) -> tuple[Matrix, ...]:
    """Half an MLP, attention, a gated convolution, half an MLP."""
    layers, inner = audio.layers("num_blocks"), audio.size("linear_units")
    kernel = audio.size("kernel_size", largest=1024)
    for name in ("ext_pw_out_channel", "depthwise_seperable_out_channel"):
        audio.require(audio.size(name) == width, name, f"attention_dim = {width}: other convolutions are not described")
    return (
        vision_linear("feed_forward.up", 2 * inner, width, copies=2 * layers, bias=True),
        vision_linear("feed_forward.down", width, inner, copies=2 * layers, bias=True),
        vision_linear("self_attn", width, width, copies=4 * layers, bias=True),
        vision_linear("conv.glu", 2 * width, width, copies=layers, bias=True),
        vision_norm("conv.glu.biases", 2 * width, copies=layers),
        vision_linear("conv.depthwise", width, kernel, copies=layers, bias=True),
        vision_linear("conv.pointwise", width, width, copies=2 * layers, bias=True),
        vision_norm("norms", 5 * width, copies=layers, bias=True),
    )


def _adapters(config: Fields, shape: Shape) -> tuple[Matrix, ...]:
    """Two low-rank matrices for each of a layer's fused projections, per adapter."""
    matrices = {matrix.name.rpartition(".")[2]: matrix for matrix in shape.layers[0].matrices}
    fused = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
    sizes = [(sum(matrices[name].outputs for name in names), matrices[names[0]].inputs) for names in fused]
    return tuple(
        vision_linear(f"{name}.{i}", outputs + inputs, section.size("r"), copies=len(shape.layers))
        for name in ("vision_lora", "speech_lora")
        if (section := config.optional_section(name)) is not None
        for i, (outputs, inputs) in enumerate(sizes)
    )
