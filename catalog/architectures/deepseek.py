"""DeepSeek V2 to V3.2, Kimi K2, GLM-5, Mistral Large 3 and A.X K1: latent attention, dense layers, then experts."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import (
    UNDECIDED,
    Layer,
    Shape,
    gated_mlp,
    linear,
    norm,
    outside,
    pre_norms,
    routed_experts,
    router,
)
from catalog.mixers import latent_attention, sparse_indexer
from catalog.model import Indexer, LatentAttention, Matrix
from catalog.reading import Fields, max_context, sparse_layers

ARCHITECTURES = (
    "DeepseekV2ForCausalLM",
    "DeepseekV3ForCausalLM",
    "DeepseekV32ForCausalLM",
    "GlmMoeDsaForCausalLM",
    "Glm4MoeLiteForCausalLM",
    "MistralLarge3ForCausalLM",
    "Mistral4ForCausalLM",
    "AXK1ForCausalLM",
)
MODEL_TYPES = (
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "kimi_k2",
    "glm_moe_dsa",
    "glm4_moe_lite",
    "mistral4",
    "axk1",
    "AXK1",
)

_FAMILIES = {
    "deepseek_v2": "DeepSeek V2",
    "deepseek_v3": "DeepSeek V3",
    "deepseek_v32": "DeepSeek V3.2",
    "kimi_k2": "Kimi K2",
    "glm_moe_dsa": "GLM-5",
    "glm4_moe_lite": "GLM-4.7",
    "mistral4": "Mistral",
    **dict.fromkeys(("axk1", "AXK1"), "A.X K1"),
}


def read(config: Fields) -> Shape:
    """Latent attention in every layer, with an indexer where the config has one."""
    return text_shape(config, _FAMILIES.get(str(config.get("model_type")), "DeepSeek V3"))


def text_shape(text: Fields, family: str, layer_path: str = "model.layers") -> Shape:
    """The language model that `text` describes."""
    hidden, vocabulary, count = text.size("hidden_size"), text.size("vocab_size"), text.layers()
    tied = text.flag("tie_word_embeddings", default=False)
    indexers = _indexers(text, count)
    mla = read_latent_attention(text)
    sparse = sparse_layers(text, count, text.count("first_k_dense_replace", default=0))
    layers = [_layer(text, hidden, replace(mla, indexer=indexers[i]), dense=not sparse[i]) for i in range(count)]
    predictors = text.count("num_nextn_predict_layers", default=0, largest=64)
    if predictors:  # they share no other layer's indexer
        own = replace(mla, indexer=_read_indexer(text))
        layers += [predictor(_layer(text, hidden, own, dense=False), hidden)] * predictors
    return Shape(
        family=family,
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied),
        layer_path=layer_path,
    )


def read_latent_attention(text: Fields) -> LatentAttention:
    """Heads and ranks as DeepSeek's configs state them."""
    return LatentAttention(
        query_heads=text.size("num_attention_heads", largest=2**16),
        kv_rank=text.size("kv_lora_rank"),
        rope_dim=text.size("qk_rope_head_dim"),
        nope_dim=text.size("qk_nope_head_dim"),
        value_dim=text.size("v_head_dim"),
        q_rank=text.optional_size("q_lora_rank"),
    )


def predictor(layer: Layer, hidden: int) -> Layer:
    """A multi-token-prediction layer: a layer of the model behind norms and a projection of two streams to one.

    Source: DeepSeek-V3 (arXiv:2412.19437), section 2.2. Embedding and head are the model's own.
    """
    front = (
        norm("enorm", hidden),
        norm("hnorm", hidden),
        linear("eh_proj", "other", hidden, 2 * hidden, stored_as="bf16", quantizable=False),
        norm("shared_head.norm", hidden),
    )
    return replace(layer, matrices=(*front, *layer.matrices), next_token_prediction=True)


def mixture(text: Fields, hidden: int, *, name: str = "mlp") -> tuple[Matrix, ...]:
    """Router, routed experts and the shared expert, which is as wide as `n_shared_experts` routed ones."""
    width = text.size("moe_intermediate_size")
    experts = text.size("n_routed_experts", "num_local_experts", largest=2**16)
    top_k = text.size("num_experts_per_tok", largest=experts)
    shared = text.count("n_shared_experts", default=0)
    always = gated_mlp(hidden, shared * width, name=f"{name}.shared_experts", part="shared_experts") if shared else ()
    precise = text.get("model_type") == "glm4_moe_lite"  # vLLM 0.32 glm4_moe.py: params_dtype float32
    return (
        router(hidden, experts, name=f"{name}.gate", stored_as="fp32" if precise else UNDECIDED),
        *routed_experts(hidden, width, experts, top_k, name=f"{name}.experts"),
        *always,
    )


def _layer(text: Fields, hidden: int, mla: LatentAttention, *, dense: bool) -> Layer:
    feed_forward = gated_mlp(hidden, text.size("intermediate_size")) if dense else mixture(text, hidden)
    matrices = (*latent_attention(hidden, mla), *_indexer(hidden, mla), *feed_forward, *pre_norms(hidden))
    closed = not dense and text.get("model_type") in ("axk1", "AXK1")
    behind = (norm("post_mlp_layernorm", hidden),) if closed else ()
    return Layer((mla,), (*matrices, *behind))


def _indexer(hidden: int, mla: LatentAttention) -> tuple[Matrix, ...]:
    if mla.indexer is None or mla.indexer.shared or mla.q_rank is None:
        return ()
    return sparse_indexer(hidden, mla.q_rank, mla.indexer)


def _indexers(text: Fields, count: int) -> list[Indexer | None]:
    """The indexer of each layer; GLM-5.2's "shared" layers reuse the choice of the layer before."""
    indexer = _read_indexer(text)
    if indexer is None:
        return [None] * count
    if "indexer_types" not in text:
        return [indexer] * count
    kinds = text.words("indexer_types", length=count)
    text.require(set(kinds) <= {"full", "shared"}, "indexer_types", 'a list of "full" and "shared"')
    return [replace(indexer, shared=kind == "shared") for kind in kinds]


def _read_indexer(text: Fields) -> Indexer | None:
    if "index_topk" not in text:
        return None
    text.require("q_lora_rank" in text, "q_lora_rank", "a number, as the indexer reads the compressed queries")
    heads, head_dim = text.size("index_n_heads", largest=2**16), text.size("index_head_dim")
    return Indexer(heads, head_dim, text.size("index_topk"))
