"""LongCat-Flash: two latent attentions and two dense MLPs in every layer, and experts that bypass the second half."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.deepseek import predictor, read_latent_attention
from catalog.blocks import Layer, Shape, gated_mlp, language_model, linear, norm, routed_experts, router, table
from catalog.mixers import latent_attention
from catalog.model import LatentAttention, Matrix
from catalog.reading import LARGEST_EXPERTS, Fields

ARCHITECTURES = ("LongcatFlashForCausalLM", "LongcatFlashNgramForCausalLM")
MODEL_TYPES = ("longcat_flash", "longcat_flash_ngram")


def read(config: Fields) -> Shape:
    """All layers are alike. Source: LongCat-Flash (arXiv:2509.01322), section 2."""
    hidden, mla = config.size("hidden_size"), read_latent_attention(config)
    dense = config.size("ffn_hidden_size", "intermediate_size")
    halves = [_half(hidden, mla, dense, f".{half}") for half in (0, 1)]
    whole = Layer((mla, mla), (*halves[0], *halves[1], *_experts(config, hidden)))
    predictors = config.count("num_nextn_predict_layers", default=0, largest=64)  # half a layer each, without experts
    layers = [whole] * config.layers("num_layers")
    layers += [predictor(Layer((mla,), _half(hidden, mla, dense)), hidden)] * predictors
    shape = language_model(config, "LongCat", layers)
    return replace(shape, outside=(*_ngrams(config, hidden), *shape.outside))


def _ngrams(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """LongCat-Flash-Lite's: embeddings of the 2 to `emb_neighbor_num` last tokens, by hashes of several sizes.

    Source: vLLM 0.32 longcat_flash_ngram.py: one table for all hashes, one projection for each.
    """
    if "ngram_vocab_size_ratio" not in config:
        return ()
    ratio = config.size("ngram_vocab_size_ratio", largest=2**12)
    neighbours, splits = config.size("emb_neighbor_num", largest=64), config.size("emb_split_num", largest=64)
    tables = splits * (neighbours - 1)
    config.require(0 < tables <= hidden, "emb_neighbor_num", f"at least 2, for at most {hidden} tables")
    rows, width = sum(ratio * config.size("vocab_size") + 2 * i + 1 for i in range(tables)), hidden // tables
    return (
        table("model.ngram_embeddings.embedders", "embedding", rows, width, "vocabulary"),
        linear("model.ngram_embeddings.post_projs", "embedding", hidden, width, copies=tables, quantizable=False),
    )


def _half(hidden: int, mla: LatentAttention, dense: int, number: str = "") -> tuple[Matrix, ...]:
    return (
        *latent_attention(hidden, mla, name=f"self_attn{number}"),
        *gated_mlp(hidden, dense, name=f"mlps{number}"),
        norm(f"input_layernorm{number}", hidden),
        norm(f"post_attention_layernorm{number}", hidden),
    )


def _experts(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """The router also scores `zero_expert_num` experts that return their input: they have no weights.

    A token's share of them is taken to be theirs of all experts: 8 of 12 chosen have weights in LongCat-Flash, which
    makes 28 billion parameters active; 27 on average were published (arXiv:2509.01322).
    """
    experts = config.size("n_routed_experts", largest=LARGEST_EXPERTS)
    top_k = config.size("moe_topk", "num_experts_per_tok", largest=experts)
    scored = experts + config.count("zero_expert_num", default=0)
    active = max(1, round(top_k * experts / scored))
    return (
        router(hidden, scored, name="mlp.router.classifier", stored_as="fp32"),  # vLLM 0.32 longcat_flash.py
        *routed_experts(hidden, config.size("expert_ffn_hidden_size", "moe_intermediate_size"), experts, active),
    )
