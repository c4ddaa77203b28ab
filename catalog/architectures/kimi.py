"""Kimi VL and K2.5 (Moonlight and K2 with a vision tower), Kimi Linear and K3 (delta between latent attention)."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import deepseek
from catalog.blocks import (
    Layer,
    Shape,
    gated_mlp,
    linear,
    norm,
    outside,
    pre_norms,
    routed_experts,
    router,
    table,
    vision_linear,
    vision_norm,
)
from catalog.mixers import latent_attention
from catalog.model import LatentAttention, Matrix, RecurrentState, Sharding, StateArray, VisionTower
from catalog.reading import Fields, max_context, sparse_layers, text_section

ARCHITECTURES = (
    "KimiK25ForConditionalGeneration",
    "KimiLinearForCausalLM",
    "KimiK3ForConditionalGeneration",
    "KimiVLForConditionalGeneration",
)
MODEL_TYPES = ("kimi_k25", "kimi_linear", "kimi_k3", "kimi_vl")


def read(config: Fields) -> Shape:
    """The language model by its kind of attention; behind a vision tower where there is one."""
    text, vision = text_section(config), config.optional_section("vision_config")
    path = "model.layers" if vision is None else "language_model.model.layers"
    if "linear_attn_config" in text or "linear_num_heads" in text:
        family = "Kimi Linear" if vision is None else "Kimi K3"
        shape = replace(_delta_text(text, family), layer_path=path)
    else:
        shape = deepseek.text_shape(text, "Kimi VL" if config.get("model_type") == "kimi_vl" else "Kimi K2", path)
    return shape if vision is None else replace(shape, vision=_vision(vision, shape.hidden_size))


def _vision(vision: Fields, text_hidden: int) -> VisionTower:
    """MoonViT: patches, learned positions, encoder layers, and a projector that merges 2 x 2 patches."""
    width, layers = (
        vision.size("vt_hidden_size", "hidden_size"),
        vision.layers("vt_num_hidden_layers", "num_hidden_layers"),
    )
    patch, merge = vision.size("patch_size", largest=1024), vision.sizes("merge_kernel_size", length=2)
    height, breadth = vision.size("init_pos_emb_height"), vision.size("init_pos_emb_width")
    matrices = (
        vision_linear(
            "patch_embed.proj", width, 3 * patch * patch, bias=vision.flag("patch_embed_proj_bias", default=True)
        ),
        table("patch_embed.pos_emb", "vision", height * breadth, width),
        *_vision_layers(vision, width, layers),
        _vision_norm(vision, "final_layernorm", width),
        *_projector(vision, width, width * merge[0] * merge[1], text_hidden),
    )
    return VisionTower(
        matrices, layers, width, vision.optional_size("vt_num_attention_heads", "num_attention_heads", largest=2**16)
    )


def _vision_layers(vision: Fields, width: int, layers: int) -> tuple[Matrix, ...]:
    intermediate = vision.size("vt_intermediate_size", "intermediate_size")
    inner = vision.size("qkv_hidden_size", default=width)
    attention_bias, linear_bias = vision.flag("attn_bias", default=True), vision.flag("linear_bias", default=True)

    def split(name: str, outputs: int, inputs: int, by: Sharding, bias: bool) -> Matrix:
        return linear(name, "vision", outputs, inputs, by, copies=layers, bias=bias)

    return (
        split("blocks.wqkv", 3 * inner, width, "column", attention_bias),
        split("blocks.wo", width, inner, "row", attention_bias),
        split("blocks.mlp.fc0", intermediate, width, "column", linear_bias),
        split("blocks.mlp.fc1", width, intermediate, "row", linear_bias),
        _vision_norm(vision, "blocks.norm0", width, copies=layers),
        _vision_norm(vision, "blocks.norm1", width, copies=layers),
    )


def _vision_norm(vision: Fields, name: str, width: int, copies: int = 1) -> Matrix:
    """A LayerNorm with its shift, unless the config asks for RMSNorm."""
    return vision_norm(name, width, copies=copies, bias=vision.word("norm_type", default="layernorm") == "layernorm")


def _projector(vision: Fields, width: int, merged: int, text_hidden: int) -> tuple[Matrix, ...]:
    if vision.word("mm_projector_type", default="patchmerger") == "patchmergerv2":
        return (
            vision_linear("mm_projector.linear_1", merged, merged),
            vision_linear("mm_projector.linear_2", text_hidden, merged),
            vision_norm("mm_projector.post_norm", text_hidden),
        )
    return (
        vision_norm("mm_projector.pre_norm", width, bias=True),
        vision_linear("mm_projector.linear_1", merged, merged, bias=True),
        vision_linear("mm_projector.linear_2", text_hidden, merged, bias=True),
    )


def _delta_text(text: Fields, family: str) -> Shape:
    hidden, vocabulary, count = text.size("hidden_size"), text.size("vocab_size"), text.layers()
    tied = text.flag("tie_word_embeddings", default=False)
    delta_layers = _delta_layers(text, count)
    state, delta = delta_attention(hidden, text.optional_section("linear_attn_config") or text)
    mla = deepseek.read_latent_attention(text)
    latent = (*latent_attention(hidden, mla), *_output_gate(text, hidden, mla))
    sparse = sparse_layers(text, count, text.count("first_k_dense_replace", default=0))
    mixture, extra = _latent_mixture(text, hidden), _block_residuals(text, hidden)
    layers = []
    for i in range(count):
        feed_forward = mixture if sparse[i] else gated_mlp(hidden, text.size("intermediate_size"))
        mixer, matrices = (state, delta) if i in delta_layers else (mla, latent)
        layers.append(Layer((mixer,), (*matrices, *feed_forward, *pre_norms(hidden), *extra)))
    last = (norm("model.output_attn_res_norm", hidden), linear("model.output_attn_res_proj", "other", 1, hidden))
    return Shape(
        family=family,
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=(*outside(vocabulary, hidden, tied=tied), *(last if extra else ())),
    )


def _delta_layers(text: Fields, count: int) -> set[int]:
    """Moonshot's configs list them, counted from 1; transformers' KimiLinearConfig writes the kind of every layer."""
    if "linear_attn_config" in text:
        return {i - 1 for i in text.section("linear_attn_config").sizes("kda_layers")}
    kinds = text.words("layer_types", length=count)
    return {i for i, kind in enumerate(kinds) if kind == "linear_attention"}


def delta_attention(
    hidden: int, config: Fields, *, full_rank_decay: bool = False
) -> tuple[RecurrentState, tuple[Matrix, ...]]:
    """Kimi delta attention: a delta net that decays each key channel by itself. Engines keep its state in fp32.

    Decay and output gate are projected through `head_dim` values, or at once where they are of full rank.

    Source: Kimi Linear (arXiv:2510.26692), section 3; vLLM 0.32 for storage types.
    """
    heads = config.size("linear_num_heads", "num_heads", largest=2**16)
    head_dim = config.size("linear_head_dim", "head_dim")
    kernel, width = config.size("linear_conv_kernel_dim", "short_conv_kernel_size", largest=64), heads * head_dim
    arrays = (
        StateArray("convolution", (kernel - 1, 3 * width), 1, "bf16"),
        StateArray("recurrence", (heads, head_dim, head_dim), 0, "fp32"),
    )
    matrices = (
        *(_delta_projection(f"self_attn.{n}_proj", width, hidden, head_dim) for n in "qkv"),
        *_delta_gate("g", hidden, width, head_dim, full_rank=config.flag("use_full_rank_gate", default=False)),
        *_delta_gate("f", hidden, width, head_dim, full_rank=full_rank_decay),
        linear("self_attn.b_proj", "linear_attention", heads, hidden, "column"),
        *_delta_vectors(heads, head_dim, kernel),
        linear("self_attn.o_proj", "linear_attention", hidden, width, "row", granule=head_dim),
    )
    return RecurrentState("kimi_delta_attention", arrays, heads, head_dim, head_dim), matrices


def _delta_projection(name: str, outputs: int, inputs: int, head_dim: int) -> Matrix:
    return linear(name, "linear_attention", outputs, inputs, "column", granule=head_dim)


def _delta_gate(letter: str, hidden: int, width: int, head_dim: int, *, full_rank: bool) -> tuple[Matrix, ...]:
    if full_rank:
        return (_delta_projection(f"self_attn.{letter}_proj", width, hidden, head_dim),)
    low = linear(f"self_attn.{letter}_a_proj", "linear_attention", head_dim, hidden)
    return low, _delta_projection(f"self_attn.{letter}_b_proj", width, head_dim, head_dim)


def _delta_vectors(heads: int, head_dim: int, kernel: int) -> tuple[Matrix, ...]:
    width = heads * head_dim

    def split(name: str, outputs: int, inputs: int = 1) -> Matrix:
        return table(f"self_attn.{name}", "linear_attention", outputs, inputs, "column", stored_as="fp32")

    return (
        split("conv1d", 3 * width, kernel),
        split("dt_bias", width),
        split("A_log", heads),
        norm("self_attn.o_norm", head_dim, part="linear_attention"),
    )


def _output_gate(text: Fields, hidden: int, mla: LatentAttention) -> tuple[Matrix, ...]:
    if not text.flag("mla_use_output_gate", default=False):
        return ()
    width = mla.query_heads * mla.value_dim
    return (linear("self_attn.g_proj", "attention", width, hidden, "column", granule=mla.value_dim),)


def _block_residuals(text: Fields, hidden: int) -> tuple[Matrix, ...]:
    """K3's residual attention over blocks of layers: a norm and one score per half-layer."""
    if "attn_res_block_size" not in text:
        return ()
    names = ("self_attention_res", "mlp_res")
    norms = tuple(norm(f"{n}_norm", hidden) for n in names)
    scores = (linear(f"{n}_proj", "other", 1, hidden, stored_as="bf16", quantizable=False) for n in names)
    return (*norms, *scores)


def _latent_mixture(text: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Routed experts between a projection into a narrower space and one back, on every rank; a wide shared expert.

    The two projections are in 16 bit: vLLM 0.32.0 `vllm/models/kimi_k3/nvidia/model.py` builds them without scheme.
    """
    name = "block_sparse_moe"
    width, inner = text.size("moe_intermediate_size"), text.optional_size("routed_expert_hidden_size")
    experts = text.size("num_experts", largest=2**16)
    top_k = text.size("num_experts_per_token", "num_experts_per_tok", largest=experts)
    shared = text.count("num_shared_experts", default=0)
    narrow: tuple[Matrix, ...] = ()
    if inner is not None:
        narrow = (
            linear(f"{name}.routed_expert_down_proj", "mlp", inner, hidden, quantizable=False),
            linear(f"{name}.routed_expert_up_proj", "mlp", hidden, inner, quantizable=False),
        )
        if text.flag("latent_moe_use_norm", default=False):
            narrow += (norm(f"{name}.routed_expert_norm", inner),)
    always = gated_mlp(hidden, shared * width, name=f"{name}.shared_experts", part="shared_experts") if shared else ()
    return (
        router(hidden, experts, name=f"{name}.gate"),
        *routed_experts(inner or hidden, width, experts, top_k, name=f"{name}.experts"),
        *narrow,
        *always,
    )
