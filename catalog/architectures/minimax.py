"""MiniMax: Text-01 and M1 (lightning attention), M2 (plain attention), M3 (block-sparse attention, vision)."""

from __future__ import annotations

from dataclasses import replace

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
from catalog.model import Attention, Indexer, Matrix, Part, RecurrentState, Sharding, StateArray, VisionTower
from catalog.reading import Fields, max_context, text_section

ARCHITECTURES = (
    "MiniMaxForCausalLM",
    "MiniMaxText01ForCausalLM",
    "MiniMaxM1ForCausalLM",
    "MiniMaxM2ForCausalLM",
    "MiniMaxM3ForCausalLM",
    "MiniMaxM3SparseForCausalLM",
    "MiniMaxM3SparseForConditionalGeneration",
)
MODEL_TYPES = ("minimax", "minimax_text_01", "minimax_m1", "minimax_m2", "minimax_m3", "minimax_m3_vl")

LINEAR: Part = "linear_attention"
_EXPERT_NAMES = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


def read(config: Fields) -> Shape:
    """By model_type; M3 behind a vision tower where the config has one."""
    text, kind = text_section(config), str(config.get("model_type"))
    if not kind.startswith("minimax_m3"):
        return _m2(text) if kind == "minimax_m2" else _lightning(text)
    tower = config.optional_section("vision_config")
    path = "model.layers" if tower is None else "language_model.model.layers"
    shape = replace(_m3(text), layer_path=path)
    return shape if tower is None else replace(shape, vision=_m3_vision(config, tower, shape.hidden_size))


def _shape(text: Fields, family: str, layers: list[Layer]) -> Shape:
    hidden, vocabulary = text.size("hidden_size"), text.size("vocab_size")
    tied = text.flag("tie_word_embeddings", default=False)
    return Shape(
        family=family,
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
    )


def _heads(text: Fields) -> Attention:
    heads = text.size("num_attention_heads", largest=2**16)
    kv_heads = text.size("num_key_value_heads", default=heads, largest=2**16)
    text.require(heads % kv_heads == 0, "num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    head_dim = text.size("head_dim", default=max(1, text.size("hidden_size") // heads))
    return Attention(heads, kv_heads, head_dim, head_dim)


def _experts(text: Fields, hidden: int, *, router_in_fp32: bool) -> tuple[Matrix, ...]:
    """Router and experts under the names of the checkpoints. M2 and M3 route in fp32 (vLLM 0.32)."""
    width = text.size("moe_intermediate_size", "intermediate_size")
    experts = text.size("num_local_experts", largest=2**16)
    top_k = text.size("num_experts_per_tok", largest=experts)
    gate = router(hidden, experts, name="block_sparse_moe.gate")
    return (
        replace(gate, stored_as="fp32") if router_in_fp32 else gate,
        *(_renamed(m) for m in routed_experts(hidden, width, experts, top_k, name="block_sparse_moe.experts")),
    )


def _renamed(expert: Matrix) -> Matrix:
    path, _, last = expert.name.rpartition(".")
    return replace(expert, name=f"{path}.{_EXPERT_NAMES[last]}")


def _m2(text: Fields) -> Shape:
    hidden, mixer = text.size("hidden_size"), _heads(text)
    norms: tuple[Matrix, ...] = ()
    if text.flag("use_qk_norm", default=True):  # over all heads of a rank
        norms = (
            table("self_attn.q_norm", "attention", mixer.query_heads * mixer.head_dim, sharding="column"),
            table(
                "self_attn.k_norm",
                "attention",
                mixer.kv_heads * mixer.head_dim,
                sharding="kv_heads",
                granule=mixer.head_dim,
            ),
        )
    matrices = (
        *attention(hidden, mixer),
        *norms,
        *_experts(text, hidden, router_in_fp32=True),
        *pre_norms(hidden),
    )
    return _shape(text, "MiniMax M2", [Layer((mixer,), matrices)] * text.layers())


def _lightning(text: Fields) -> Shape:
    """Layers of lightning attention with a few of softmax attention between them; experts in all.

    Source: MiniMax-01 (arXiv:2501.08313), section 2.
    """
    hidden, mixer, count = text.size("hidden_size"), _heads(text), text.layers()
    rest = (*_experts(text, hidden, router_in_fp32=False), *pre_norms(hidden))
    state, linear_weights = _lightning_attention(hidden, mixer)
    by_kind = {
        True: Layer((mixer,), (*attention(hidden, mixer), *rest)),
        False: Layer((state,), (*linear_weights, *rest)),
    }
    return _shape(text, "MiniMax 01", [by_kind[is_full] for is_full in _full_attention_layers(text, count)])


def _full_attention_layers(text: Fields, count: int) -> list[bool]:
    """Which layers have softmax attention; transformers' default is every other, the first included."""
    if "layer_types" in text:
        kinds = text.words("layer_types", length=count)
        allowed = {"full_attention", "linear_attention"}
        text.require(set(kinds) <= allowed, "layer_types", "a list of full_attention and linear_attention")
        return [kind == "full_attention" for kind in kinds]
    if "attn_type_list" in text:
        return [kind == 1 for kind in text.sizes("attn_type_list", length=count, least=0)]
    return [i % 2 == 0 for i in range(count)]


def _lightning_attention(hidden: int, heads: Attention) -> tuple[RecurrentState, tuple[Matrix, ...]]:
    width, head_dim = heads.query_heads * heads.head_dim, heads.head_dim
    state = StateArray("recurrence", (heads.query_heads, head_dim, head_dim), 0, "bf16")
    name, part = "self_attn", LINEAR
    return RecurrentState("lightning_attention", (state,), heads.query_heads, head_dim, head_dim), (
        linear(f"{name}.qkv_proj", part, 3 * width, hidden, "column", granule=3 * head_dim),
        linear(f"{name}.output_gate", part, width, hidden, "column", granule=head_dim),
        linear(f"{name}.out_proj", part, hidden, width, "row", granule=head_dim),
        table(f"{name}.norm", part, width, sharding="column", granule=head_dim),
    )


def _m3(text: Fields) -> Shape:
    hidden, heads, count = text.size("hidden_size"), _heads(text), text.layers()
    sparse = text.section("sparse_attention_config")
    chosen = sparse.sizes("sparse_attention_freq", length=count, least=0)
    has_experts = text.sizes("moe_layer_freq", length=count, least=0)
    indexer = _m3_indexer(sparse)
    norms = (heads.head_dim, heads.head_dim) if text.flag("use_qk_norm", default=True) else None
    plain = attention(hidden, heads, qk_norm=norms, gated=text.flag("attention_output_gate", default=False))
    index = _m3_index_weights(hidden, indexer)
    layers = []
    for is_sparse, is_mixture in zip(chosen, has_experts, strict=True):
        mixer = replace(heads, indexer=indexer) if is_sparse else heads
        matrices = (*plain, *(index if is_sparse else ()), *_m3_feed_forward(text, hidden, bool(is_mixture)))
        layers.append(Layer((mixer,), (*matrices, *pre_norms(hidden))))
    return _shape(text, "MiniMax M3", layers)


def _m3_indexer(sparse: Fields) -> Indexer:
    block = sparse.size("sparse_block_size", largest=2**16)
    heads, head_dim = sparse.size("sparse_num_index_heads", largest=2**16), sparse.size("sparse_index_dim")
    top_k = block * sparse.size("sparse_topk_blocks", largest=2**16)
    return Indexer(heads, head_dim, top_k, block=block, keys_stored_as="bf16")


def _m3_index_weights(hidden: int, indexer: Indexer) -> tuple[Matrix, ...]:
    """Query heads divided as KV heads are; one key on every rank."""
    dim = indexer.head_dim
    return (
        linear("self_attn.index_q_proj", "attention", indexer.heads * dim, hidden, "kv_heads", granule=dim),
        linear("self_attn.index_k_proj", "attention", dim, hidden),
        norm("self_attn.index_q_norm", dim, part="attention"),
        norm("self_attn.index_k_norm", dim, part="attention"),
    )


def _m3_feed_forward(text: Fields, hidden: int, is_mixture: bool) -> tuple[Matrix, ...]:
    if not is_mixture:
        return gated_mlp(hidden, text.size("dense_intermediate_size"))
    shared = text.count("n_shared_experts", default=1) * text.size("shared_intermediate_size")
    name = "block_sparse_moe.shared_experts"
    always = gated_mlp(hidden, shared, name=name, part="shared_experts") if shared else ()
    return (*_experts(text, hidden, router_in_fp32=True), *always)


def _m3_vision(config: Fields, vision: Fields, text_hidden: int) -> VisionTower:
    """A CLIP-like tower with rotary positions, and a projector that merges patches after projecting them."""
    width, layers = vision.size("hidden_size"), vision.layers()
    merge = vision.optional_section("img_token_compression_config") or vision
    patch, frames = vision.size("patch_size", largest=1024), merge.size("temporal_patch_size", default=2, largest=64)
    merged = text_hidden * merge.size("spatial_merge_size", default=2, largest=64) ** 2
    projected = config.size("projector_hidden_size", default=text_hidden)
    matrices = (
        table("embeddings.patch_embedding", "vision", width, vision.size("num_channels") * frames * patch * patch),
        vision_norm("pre_layrnorm", width, bias=True),
        *_m3_vision_layers(width, vision.size("intermediate_size"), layers),
        _m3_divided("multi_modal_projector.linear_1", projected, width, "column"),
        _m3_divided("multi_modal_projector.linear_2", text_hidden, projected, "row"),
        _m3_divided("patch_merge_mlp.linear_1", projected, merged, "column"),
        _m3_divided("patch_merge_mlp.linear_2", text_hidden, projected, "row"),
    )
    return VisionTower(matrices, layers, width)


def _m3_divided(name: str, outputs: int, inputs: int, by: Sharding) -> Matrix:
    """A matrix of the projector, which TP divides: its shards are in vLLM's own classes."""
    return linear(name, "vision", outputs, inputs, by, bias=True)


def _m3_vision_layers(width: int, intermediate: int, layers: int) -> tuple[Matrix, ...]:
    def split(name: str, outputs: int, inputs: int, by: Sharding) -> Matrix:
        return linear(f"layers.{name}", "vision", outputs, inputs, by, copies=layers, bias=True)

    return (
        split("self_attn.qkv_proj", 3 * width, width, "column"),
        split("self_attn.out_proj", width, width, "row"),
        split("mlp.fc1", intermediate, width, "column"),
        split("mlp.fc2", width, intermediate, "row"),
        vision_norm("layers.layer_norm1", width, copies=layers, bias=True),
        vision_norm("layers.layer_norm2", width, copies=layers, bias=True),
    )
