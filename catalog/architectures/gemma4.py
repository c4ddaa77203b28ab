"""Gemma 4: wide heads in full-attention layers, shared caches and per-layer embeddings in E2B and E4B, a vision tower.

In models with `attention_k_eq_v`, full-attention layers use their keys as values: no v_proj is stored, but keys and
values are both cached. (vLLM 0.32 allocates the unused v_proj all the same: 0.4% of the 31B.)
"""

from __future__ import annotations

from dataclasses import dataclass

from catalog.architectures.gemma import sandwich_norms
from catalog.blocks import (
    Layer,
    Shape,
    attention,
    embedding_and_head,
    gated_mlp,
    linear,
    norm,
    routed_experts,
    router,
    table,
    vision_linear,
    vision_norm,
)
from catalog.model import Attention, Matrix, VisionTower
from catalog.reading import LARGEST_EXPERTS, Fields, max_context, windows

ARCHITECTURES = ("Gemma4ForConditionalGeneration", "Gemma4ForCausalLM")
MODEL_TYPES = ("gemma4", "gemma4_text")


@dataclass(frozen=True, slots=True)
class _Text:
    """What the layers of one model have in common."""

    fields: Fields
    hidden: int
    layers: int
    shared_layers: int
    per_layer_input: int | None
    keys_are_values: bool
    windows: tuple[int | None, ...]


def read(config: Fields) -> Shape:
    """Text in text_config, vision in vision_config; audio is not described and refused."""
    text = _read_text(config.section("text_config") if "text_config" in config else config)
    config.require("audio_config" not in config, "audio_config", "null: Gemma 4 with audio is not described here")
    fields = text.fields
    tied = fields.flag("tie_word_embeddings", default=True)
    vocabulary = fields.size("vocab_size", default=262_144)  # transformers' Gemma4TextConfig
    vision = config.optional_section("vision_config")
    return Shape(
        family="Gemma 4",
        hidden_size=text.hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(fields),
        tied_embeddings=tied,
        layers=[_layer(text, i) for i in range(text.layers)],
        outside=(
            *embedding_and_head(vocabulary, text.hidden, tied=tied),
            *_small_embedding(text),
            norm("model.norm", text.hidden),
        ),
        layer_path="model.language_model.layers",
        vision=None if vision is None else _tower(vision, text.hidden),
    )


def _read_text(fields: Fields) -> _Text:
    count = fields.layers()
    return _Text(
        fields=fields,
        hidden=fields.size("hidden_size"),
        layers=count,
        shared_layers=fields.count("num_kv_shared_layers", default=0, largest=count - 1),
        per_layer_input=fields.optional_size("hidden_size_per_layer_input"),
        keys_are_values=fields.flag("attention_k_eq_v", default=False),
        windows=windows(fields, count, [(i + 1) % 6 != 0 for i in range(count)]),
    )


def _layer(text: _Text, index: int) -> Layer:
    mixer = _attention(text, index)
    width = text.fields.size("intermediate_size")
    doubled = mixer.shares_kv and text.fields.flag("use_double_wide_mlp", default=False)
    matrices = (
        *_projections(text, mixer),
        *gated_mlp(text.hidden, 2 * width if doubled else width),
        *sandwich_norms(text.hidden),
        *_experts(text),
        *(() if text.per_layer_input is None else per_layer_gate(text.hidden, text.per_layer_input)),
    )
    return Layer((mixer,), matrices)


def _attention(text: _Text, index: int) -> Attention:
    """Heads of one layer: per_layer_config states what differs, older configs have two global keys."""
    fields, window = text.fields, text.windows[index]
    heads, head = fields.size("num_attention_heads", largest=2**10), fields.size("head_dim")
    kv_heads = fields.size("num_key_value_heads", largest=2**10)
    own = _own_section(fields, index)
    if own is not None:
        head, kv_heads = own.size("head_dim", default=head), own.size("num_key_value_heads", default=kv_heads)
    elif window is None:
        head = fields.size("global_head_dim", default=head)
        kv_heads = fields.size("num_global_key_value_heads", default=kv_heads, largest=2**10)
    shares = index >= text.layers - text.shared_layers
    return Attention(heads, kv_heads, head, head, window=window, shares_kv=shares)


def _own_section(fields: Fields, index: int) -> Fields | None:
    own = fields.optional_section("per_layer_config")
    return None if own is None else own.optional_section(f"{index:02d}", str(index))


def _projections(text: _Text, mixer: Attention) -> tuple[Matrix, ...]:
    biased = text.fields.flag("attention_bias", default=False)
    norms = (mixer.head_dim, mixer.head_dim)
    matrices = attention(text.hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=norms)
    if text.keys_are_values and mixer.window is None:
        return tuple(m for m in matrices if not m.name.endswith("v_proj"))
    return matrices


def _experts(text: _Text) -> tuple[Matrix, ...]:
    """The mixture beside the dense MLP of the 26B-A4B, with three norms and two scales of its own."""
    if not text.fields.flag("enable_moe_block", default=False):
        return ()
    experts = text.fields.size("num_experts", largest=LARGEST_EXPERTS)
    top_k = text.fields.size("top_k_experts", largest=experts)
    names = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2")
    return (
        router(text.hidden, experts, name="router.proj"),
        table("router.scale", "router", text.hidden),
        table("router.per_expert_scale", "router", experts),
        *routed_experts(text.hidden, text.fields.size("moe_intermediate_size"), experts, top_k, name="experts"),
        *(norm(name, text.hidden) for name in names),
    )


def _small_embedding(text: _Text) -> tuple[Matrix, ...]:
    if text.per_layer_input is None:
        return ()
    rows = text.fields.size("vocab_size_per_layer_input", default=262_144)  # transformers' Gemma4TextConfig
    return per_layer_embedding(rows, text.layers, text.hidden, text.per_layer_input)


def per_layer_gate(hidden: int, width: int) -> tuple[Matrix, ...]:
    """What a layer does with its small embedding of the token."""
    return (
        linear("per_layer_input_gate", "other", width, hidden),
        linear("per_layer_projection", "other", hidden, width),
        norm("post_per_layer_input_norm", hidden),
    )


def per_layer_embedding(rows: int, layers: int, hidden: int, width: int) -> tuple[Matrix, ...]:
    """One small embedding per token and layer: half of E4B's parameters."""
    return (
        table("model.embed_tokens_per_layer", "embedding", rows, layers * width, "vocabulary"),
        linear("model.per_layer_model_projection", "other", layers * width, hidden, "column"),
        norm("model.per_layer_projection_norm", width),
    )


def _tower(vision: Fields, hidden: int) -> VisionTower:
    """A small Gemma that sees: two position tables, four norms a layer; every rank holds it all."""
    width, layers, inner = vision.size("hidden_size"), vision.layers(), vision.size("intermediate_size")
    heads, head = vision.size("num_attention_heads", largest=2**10), vision.size("head_dim")
    kv = head * vision.size("num_key_value_heads", default=heads, largest=2**10)
    positions = vision.size("position_embedding_size")
    matrices = (
        vision_linear("patch_embedder.input_proj", width, 3 * vision.size("patch_size", largest=1024) ** 2),
        vision_norm("patch_embedder.position_embedding_table", 2 * positions * width),
        vision_linear("self_attn.q_proj", heads * head, width, copies=layers),
        vision_linear("self_attn.kv_proj", 2 * kv, width, copies=layers),
        vision_linear("self_attn.o_proj", width, heads * head, copies=layers),
        vision_norm("self_attn.qk_norm", 2 * head, copies=layers),
        vision_linear("mlp.gate_up_proj", 2 * inner, width, copies=layers),
        vision_linear("mlp.down_proj", width, inner, copies=layers),
        vision_norm("norms", 4 * width, copies=layers),
        vision_linear("embed_vision.embedding_projection", hidden, width),
    )
    return VisionTower(matrices, layers, width)
