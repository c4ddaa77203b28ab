"""GLM-5.3 Flash: Kimi's delta attention in three layers of four, latent attention without positions in the fourth.

An indexer chooses among pooled keys; four residual streams are mixed before and after each half of a layer.

Source: vLLM 0.32.0 `vllm/models/glm5next`; transformers 5.19's Glm5NextTextConfig for what a config leaves out.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.deepseek import mixture, predictor
from catalog.architectures.glm4v import ocr_tower
from catalog.architectures.kimi import delta_attention
from catalog.blocks import Layer, Shape, gated_mlp, language_model, linear, pre_norms, table
from catalog.mixers import latent_attention, sparse_indexer
from catalog.model import Indexer, LatentAttention, Matrix, Part, VisionTower
from catalog.reading import Fields, sparse_layers, text_section

ARCHITECTURES = ("Glm5NextForConditionalGeneration", "Glm5NextForCausalLM")
MODEL_TYPES = ("glm5_next", "glm5_next_text")

_DELTA = "linear_attention"
_KINDS = (_DELTA, "indexed_attention", "deepseek_sparse_attention", "full_attention")


def read(config: Fields) -> Shape:
    """The language model, behind a tower where there is one."""
    text, vision = text_section(config), config.optional_section("vision_config")
    path = "model.layers" if vision is None else "model.language_model.layers"
    hidden, count = text.size("hidden_size"), text.layers()
    tied = text.flag("tie_word_embeddings", default=False)
    shape = language_model(text, "GLM-5.3", _layers(text, hidden, count), tied=tied, layer_path=path)
    return shape if vision is None else replace(shape, vision=_tower(vision))


def _tower(vision: Fields) -> VisionTower:
    matrices = ocr_tower(vision, vision.size("projection_intermediate_size", default=10_240))
    return VisionTower(matrices, vision.layers("depth"), vision.size("hidden_size"))


def _layers(text: Fields, hidden: int, count: int) -> list[Layer]:
    streams = _streams(hidden, text.size("hc_mult", default=4, largest=64))
    delta, latent = _delta_layer(text, hidden), _latent_layer(text, hidden)
    experts, dense = mixture(text, hidden), gated_mlp(hidden, text.size("intermediate_size"))
    sparse = sparse_layers(text, count, text.count("first_k_dense_replace", default=3))
    layers = [
        replace(mixer, matrices=(*mixer.matrices, *(experts if each else dense), *pre_norms(hidden), *streams))
        for mixer, each in zip(_mixers(text, count, delta, latent), sparse, strict=True)
    ]
    predictors = text.count("num_nextn_predict_layers", default=0, largest=64)
    last = replace(latent, matrices=(*latent.matrices, *experts, *pre_norms(hidden)))
    return [*layers, *([predictor(last, hidden)] * predictors)]


def _mixers(text: Fields, count: int, delta: Layer, latent: Layer) -> list[Layer]:
    if "layer_types" not in text:
        return [latent if i % 4 == 3 else delta for i in range(count)]
    kinds = text.words("layer_types", length=count)
    text.require(set(kinds) <= set(_KINDS), "layer_types", f"a list of {', '.join(_KINDS)}")
    return [delta if kind == _DELTA else latent for kind in kinds]


def _delta_layer(text: Fields, hidden: int) -> Layer:
    state, matrices = delta_attention(hidden, text.optional_section("linear_attn_config") or text)
    return Layer((state,), matrices)


def _latent_layer(text: Fields, hidden: int) -> Layer:
    """Projections in 16 bit, as in published checkpoints; the pool of keys has weights of its own."""
    indexer = Indexer(
        text.size("index_n_heads", default=32, largest=2**16),
        text.size("index_head_dim", default=128),
        text.size("index_topk", default=2048),
        compression=text.size("index_kpool", default=16, largest=2**10),
        open_values=2 * text.size("index_head_dim", default=128),  # a key and its score
    )
    mla = LatentAttention(
        query_heads=text.size("num_attention_heads", largest=2**16),
        kv_rank=text.size("kv_lora_rank"),
        rope_dim=text.count("qk_rope_head_dim", default=0),
        nope_dim=text.size("qk_nope_head_dim"),
        value_dim=text.size("v_head_dim"),
        q_rank=text.size("q_lora_rank"),
        indexer=indexer,
    )
    plain = (replace(m, quantizable=False) for m in latent_attention(hidden, mla))
    return Layer((mla,), (*plain, *_indexer(hidden, text.size("q_lora_rank"), indexer)))


def _indexer(hidden: int, q_rank: int, indexer: Indexer) -> tuple[Matrix, ...]:
    name = "self_attn.indexer"
    part: Part = "attention"
    return (
        *(replace(m, quantizable=False) for m in sparse_indexer(hidden, q_rank, indexer)),
        table(f"{name}.index_kpool_compress_ape", part, indexer.compression, indexer.head_dim, stored_as="fp32"),
        linear(f"{name}.index_kpool_compress_gate", part, indexer.head_dim, hidden, quantizable=False),
    )


def _streams(hidden: int, count: int) -> tuple[Matrix, ...]:
    """Manifold-constrained hyper-connections (arXiv:2512.24880), in fp32 on every rank."""
    mixed = (2 + count) * count

    def one(half: str, name: str, outputs: int, inputs: int = 1) -> Matrix:
        return table(f"hc_{half}_{name}", "other", outputs, inputs, stored_as="fp32")

    halves = ("attn", "ffn")
    functions = (one(half, "fn", mixed, count * hidden) for half in halves)
    return (*functions, *(one(half, "base", mixed) for half in halves), *(one(half, "scale", 3) for half in halves))
