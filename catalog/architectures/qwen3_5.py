"""Qwen3-Next and Qwen3.5 to 3.8, dense and mixture of experts: three gated delta nets, then one gated attention."""

from __future__ import annotations

from catalog.blocks import (
    Layer,
    Shape,
    attention,
    gated_mlp,
    linear,
    norm,
    outside,
    pre_norms,
    routed_experts,
    router,
    table,
    vision_norm,
)
from catalog.mixers import QWEN3_5_INPUTS, QWEN3_NEXT_INPUTS, GatedDeltaNet, gated_delta_net, state_type
from catalog.model import Attention, Matrix, Mixer, VisionTower
from catalog.reading import Fields, max_context, text_section

ARCHITECTURES = (
    "Qwen3NextForCausalLM",
    "Qwen3_5ForConditionalGeneration",
    "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForConditionalGeneration",
    "Qwen3_5MoeForCausalLM",
)
MODEL_TYPES = ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")

_KINDS = ("linear_attention", "full_attention")


def read(config: Fields) -> Shape:
    """Layers of both kinds, a vision tower where there is one, and the layers of multi-token prediction."""
    text, tower = text_section(config), config.optional_section("vision_config")
    hidden, vocabulary, count = text.size("hidden_size"), text.size("vocab_size"), text.layers()
    tied = config.flag("tie_word_embeddings", default=text.flag("tie_word_embeddings", default=False))
    kinds = _layer_kinds(text, count)
    by_kind = {kind: _layer(text, hidden, kind, _is_next(config)) for kind in _KINDS}
    layers = [by_kind[kind] for kind in kinds]
    predictors = text.count("mtp_num_hidden_layers", default=0, largest=64)
    layers += [_predictor(by_kind["full_attention"], hidden, i) for i in range(predictors)]
    return Shape(
        family="Qwen 3 Next" if _is_next(config) else "Qwen 3.5",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
        layer_path="model.layers" if tower is None else "model.language_model.layers",
        vision=None if tower is None else vision_tower(tower),
    )


def _is_next(config: Fields) -> bool:
    return config.get("model_type") == "qwen3_next" or "Qwen3NextForCausalLM" in str(config.get("architectures"))


def _layer_kinds(text: Fields, count: int) -> tuple[str, ...]:
    """The kind of each layer, listed or by the interval of the full ones."""
    if "layer_types" in text:
        kinds = text.words("layer_types", length=count)
        text.require(set(kinds) <= set(_KINDS), "layer_types", f"a list of {' and '.join(_KINDS)}")
        return kinds
    interval = text.size("full_attention_interval", default=4, largest=1024)
    return tuple(_KINDS[(i + 1) % interval == 0] for i in range(count))


def _layer(text: Fields, hidden: int, kind: str, is_next: bool) -> Layer:
    mixer, matrices = gated_attention(text, hidden) if kind == "full_attention" else _delta_net(text, hidden, is_next)
    return Layer((mixer,), (*matrices, *feed_forward(text, hidden), *pre_norms(hidden)))


def gated_attention(text: Fields, hidden: int) -> tuple[Attention, tuple[Matrix, ...]]:
    """Attention whose queries come with a gate of their output."""
    heads = text.size("num_attention_heads", largest=2**16)
    kv_heads, head_dim = text.size("num_key_value_heads", largest=2**16), text.size("head_dim", default=256)
    text.require(heads % kv_heads == 0, "num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    mixer = Attention(heads, kv_heads, head_dim, head_dim)
    bias = text.flag("attention_bias", default=False)
    gated = text.flag("attn_output_gate", default=True)
    norms = (head_dim, head_dim)
    return mixer, attention(hidden, mixer, qkv_bias=bias, output_bias=bias, qk_norm=norms, gated=gated)


def _delta_net(text: Fields, hidden: int, is_next: bool) -> tuple[Mixer, tuple[Matrix, ...]]:
    shape = read_delta_net(text, hidden)
    return shape.state, gated_delta_net(shape, QWEN3_NEXT_INPUTS if is_next else QWEN3_5_INPUTS)


def read_delta_net(text: Fields, hidden: int) -> GatedDeltaNet:
    """Heads as Qwen's configs state them."""
    return GatedDeltaNet(
        hidden=hidden,
        key_heads=text.size("linear_num_key_heads", largest=2**16),
        key_head_dim=text.size("linear_key_head_dim"),
        value_heads=text.size("linear_num_value_heads", largest=2**16),
        value_head_dim=text.size("linear_value_head_dim"),
        kernel=text.size("linear_conv_kernel_dim", largest=64),
        state_stored_as=state_type(text, "mamba_ssm_dtype", default="bf16"),
    )


def feed_forward(text: Fields, hidden: int) -> tuple[Matrix, ...]:
    """A gated MLP, or experts with one gated shared expert."""
    if "num_experts" not in text:
        return gated_mlp(hidden, text.size("intermediate_size"))
    experts = text.size("num_experts", largest=2**16)
    top_k = text.size("num_experts_per_tok", largest=experts)
    shared = text.size("shared_expert_intermediate_size")
    return (
        router(hidden, experts),
        linear("mlp.shared_expert_gate", "router", 1, hidden),
        *routed_experts(hidden, text.size("moe_intermediate_size"), experts, top_k),
        *gated_mlp(hidden, shared, name="mlp.shared_expert", part="shared_experts"),
    )


def _predictor(layer: Layer, hidden: int, index: int) -> Layer:
    """A multi-token-prediction layer: a full-attention layer behind two norms and a projection."""
    front = (
        norm("pre_fc_norm_embedding", hidden),
        norm("pre_fc_norm_hidden", hidden),
        linear("fc", "other", hidden, 2 * hidden),
        norm("norm", hidden),
    )
    return Layer(layer.mixers, (*front, *layer.matrices), path=f"mtp.layers.{index}", next_token_prediction=True)


def vision_tower(vision: Fields) -> VisionTower:
    """The tower of Qwen3-VL and Qwen3.5: patches of two frames, learned positions, a merger of 2 x 2 patches.

    `deepstack_visual_indexes` lists layers whose output goes through a merger of its own.
    """
    width, layers = vision.size("hidden_size"), vision.layers("depth")
    patch, frames = vision.size("patch_size", largest=1024), vision.size("temporal_patch_size", largest=64)
    pixels = vision.size("in_channels", "in_chans", default=3, largest=64) * frames * patch * patch
    merged, out = width * vision.size("spatial_merge_size", largest=64) ** 2, vision.size("out_hidden_size")
    stacked = len(vision.sequence("deepstack_visual_indexes")) if vision.get("deepstack_visual_indexes") else 0
    matrices = (
        table("patch_embed.proj", "vision", width, pixels, bias=True),
        table("pos_embed", "vision", vision.size("num_position_embeddings"), width),
        *_vision_layers(width, vision.size("intermediate_size"), layers),
        vision_norm("merger.norm", width, bias=True),
        *_merger("merger", merged, out, 1),
        *((vision_norm("deepstack.norm", merged, copies=stacked, bias=True),) if stacked else ()),
        *(_merger("deepstack", merged, out, stacked) if stacked else ()),
    )
    return VisionTower(matrices, layers, width)


def _vision_layers(width: int, intermediate: int, layers: int) -> tuple[Matrix, ...]:
    """Encoder layers, divided by TP as the language model's are."""
    return (
        linear("blocks.attn.qkv", "vision", 3 * width, width, "column", copies=layers, bias=True),
        linear("blocks.attn.proj", "vision", width, width, "row", copies=layers, bias=True),
        linear("blocks.mlp.linear_fc1", "vision", intermediate, width, "column", copies=layers, bias=True),
        linear("blocks.mlp.linear_fc2", "vision", width, intermediate, "row", copies=layers, bias=True),
        vision_norm("blocks.norm1", width, copies=layers, bias=True),
        vision_norm("blocks.norm2", width, copies=layers, bias=True),
    )


def _merger(name: str, merged: int, out: int, copies: int) -> tuple[Matrix, ...]:
    return (
        linear(f"{name}.linear_fc1", "vision", merged, merged, "column", copies=copies, bias=True),
        linear(f"{name}.linear_fc2", "vision", out, merged, "row", copies=copies, bias=True),
    )
