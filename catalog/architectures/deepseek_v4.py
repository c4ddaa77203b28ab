"""DeepSeek V4: a sliding window beside a compressed cache, four residual streams, experts chosen by hash at first."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import (
    UNDECIDED,
    Layer,
    Shape,
    embedding_and_head,
    gated_mlp,
    linear,
    norm,
    routed_experts,
    router,
    table,
)
from catalog.model import Compressor, Indexer, LatentAttention, Matrix, Mixer
from catalog.reading import Fields, max_context

ARCHITECTURES = ("DeepseekV4ForCausalLM",)
MODEL_TYPES = ("deepseek_v4", "deepseek_ref")

_RATIOS = {
    "sliding_attention": 0,
    "compressed_sparse_attention": 4,
    "heavily_compressed_attention": 128,
}
_OVERLAPPING = 4
"""Windows of this ratio overlap by half, so each token makes two contributions; others do not overlap."""


def read(config: Fields) -> Shape:
    """Each layer by its compression ratio.

    Source: the DeepSeek-V4 report, section 2; vLLM 0.32 for storage types and for what TP divides.
    """
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", default=False)
    scheme, ratios = _attention_scheme(config), _ratios(config, count)
    rest = (*_mixture(config, hidden), *_streams(config, hidden), norm("attn_norm", hidden), norm("ffn_norm", hidden))
    by_ratio = {r: Layer(_mixers(config, r), (*_attention(config, hidden, r, scheme), *rest)) for r in set(ratios)}
    layers = [by_ratio[ratio] for ratio in ratios]
    sliding = Layer(_mixers(config, 0), (*_attention(config, hidden, 0, scheme), *rest))
    predictors = config.count("num_nextn_predict_layers", default=0, largest=64)
    layers += [_predictor(config, sliding, hidden, scheme, i) for i in range(predictors)]
    ends = embedding_and_head(vocabulary, hidden, tied=tied, name="embed", head_name="head")
    return Shape(
        family="DeepSeek V4",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=(*ends, norm("norm", hidden), *_stream_head(config, hidden)),
        layer_path="layers",
    )


def _ratios(config: Fields, count: int) -> list[int]:
    """Tokens per entry of each layer's compressed cache; 0 = none. A list may go on for the prediction layers."""
    if "layer_types" in config:
        kinds = config.words("layer_types", length=count)
        config.require(set(kinds) <= set(_RATIOS), "layer_types", f"a list of {', '.join(_RATIOS)}")
        return [_RATIOS[kind] for kind in kinds]
    ratios = config.sizes("compress_ratios", least=0)
    config.require(len(ratios) >= count, "compress_ratios", f"a list of at least {count} values")
    config.require(set(ratios) <= set(_RATIOS.values()), "compress_ratios", "a list of 0, 4 and 128")
    return list(ratios[:count])


def _attention_scheme(config: Fields) -> str:
    """DeepSeek's own fp8, whose scales take one byte; other quantizers name their modules."""
    quantization = config.optional_section("quantization_config")
    is_fp8 = quantization is not None and quantization.get("quant_method") == "fp8"
    return "fp8_block128_ue8m0" if is_fp8 else UNDECIDED


def _expert_scheme(config: Fields) -> str:
    """With DeepSeek's own fp8, experts are MXFP4 or fp8 as `expert_dtype` says, or requantized to NVFP4."""
    quantization = config.optional_section("quantization_config")
    if quantization is None or quantization.get("quant_method") != "fp8":
        return UNDECIDED
    if str(quantization.get("moe_quant_algo")).upper() == "NVFP4":
        return "nvfp4"
    word = config.word("expert_dtype", default="fp8")
    config.require(word in ("fp4", "fp8"), "expert_dtype", '"fp4" or "fp8"')
    return "mxfp4" if word == "fp4" else "fp8_block128"


def _mixers(config: Fields, ratio: int) -> tuple[Mixer, ...]:
    """A window over the newest tokens and, with a ratio, one compressed entry for every `ratio` tokens."""
    window = _window(config)
    if ratio == 0:
        return (window,)
    head_dim = window.kv_rank + window.rope_dim
    compressed = replace(window, window=None, compression=ratio, compressor=_compressor(head_dim, ratio))
    if ratio != _OVERLAPPING:
        return window, compressed
    indexer = _indexer(config)
    return window, replace(compressed, indexer=indexer)


def _window(config: Fields) -> LatentAttention:
    """Keys and values are one vector of `head_dim`, of which the last part carries the positions."""
    head_dim, rope = config.size("head_dim"), config.size("qk_rope_head_dim", default=64)
    config.require(rope < head_dim, "qk_rope_head_dim", f"less than head_dim = {head_dim}")
    return LatentAttention(
        query_heads=config.size("num_attention_heads", largest=2**16),
        kv_rank=head_dim - rope,
        rope_dim=rope,
        nope_dim=head_dim - rope,
        value_dim=head_dim,
        q_rank=config.size("q_lora_rank"),
        window=config.size("sliding_window"),
    )


def _compressor(head_dim: int, ratio: int) -> Compressor:
    """Values and scores of every token that is not compressed yet."""
    series = 2 if ratio == _OVERLAPPING else 1
    return Compressor(values=2 * series * head_dim, window=series * ratio)


def _indexer(config: Fields) -> Indexer:
    head_dim = config.size("index_head_dim")
    return Indexer(
        heads=config.size("index_n_heads", largest=2**16),
        head_dim=head_dim,
        top_k=config.size("index_topk"),
        compression=_OVERLAPPING,
        compressor=_compressor(head_dim, _OVERLAPPING),
    )


def _attention(config: Fields, hidden: int, ratio: int, scheme: str) -> tuple[Matrix, ...]:
    mla = _window(config)
    assert mla.q_rank is not None  # _window requires it
    heads, head_dim, q_rank = mla.query_heads, mla.kv_rank + mla.rope_dim, mla.q_rank
    groups, rank = config.size("o_groups", largest=2**16), config.size("o_lora_rank")
    config.require(heads * head_dim % groups == 0, "o_groups", "a divisor of the width of all heads")
    return (
        # Engines fuse the two, and quantizers list them under the fused name.
        linear("attn.fused_wqa_wkv", "attention", q_rank, hidden, stored_as=scheme),
        linear("attn.fused_wqa_wkv", "attention", head_dim, hidden, stored_as=scheme),
        norm("attn.q_norm", q_rank, part="attention"),
        norm("attn.kv_norm", head_dim, part="attention"),
        linear("attn.wq_b", "attention", heads * head_dim, q_rank, "column", granule=head_dim, stored_as=scheme),
        linear(
            "attn.wo_a",
            "attention",
            groups * rank,
            heads * head_dim // groups,
            "column",
            granule=rank,
            stored_as=scheme,
        ),
        linear("attn.wo_b", "attention", hidden, groups * rank, "row", granule=rank, stored_as=scheme),
        table("attn.attn_sink", "attention", heads, sharding="column", stored_as="fp32"),
        *(_compressor_weights("attn.compressor", hidden, head_dim, ratio) if ratio else ()),
        *(_indexer_weights(config, hidden, q_rank, scheme) if ratio == _OVERLAPPING else ()),
    )


def _compressor_weights(name: str, hidden: int, head_dim: int, ratio: int) -> tuple[Matrix, ...]:
    """Values, scores, a bias for each position of a window and a norm: on every rank, never quantized."""
    width = head_dim * (2 if ratio == _OVERLAPPING else 1)
    return (
        linear(f"{name}.wkv", "attention", width, hidden, stored_as="bf16", quantizable=False),
        linear(f"{name}.wgate", "attention", width, hidden, stored_as="bf16", quantizable=False),
        table(f"{name}.ape", "attention", ratio, width, stored_as="fp32"),
        norm(f"{name}.norm", head_dim, part="attention"),
    )


def _indexer_weights(config: Fields, hidden: int, q_rank: int, scheme: str) -> tuple[Matrix, ...]:
    indexer, name = _indexer(config), "attn.indexer"
    return (
        linear(f"{name}.wq_b", "attention", indexer.heads * indexer.head_dim, q_rank, stored_as=scheme),
        linear(f"{name}.weights_proj", "attention", indexer.heads, hidden, stored_as="bf16", quantizable=False),
        *_compressor_weights(f"{name}.compressor", hidden, indexer.head_dim, _OVERLAPPING),
    )


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Router, experts and the shared expert. The hash table of the first layers is a buffer, not a parameter."""
    width, experts = config.size("moe_intermediate_size"), config.size("n_routed_experts", largest=2**16)
    top_k = config.size("num_experts_per_tok", largest=experts)
    shared = config.count("n_shared_experts", default=1)
    scheme, always_scheme = _expert_scheme(config), _attention_scheme(config)
    always = gated_mlp(hidden, shared * width, name="ffn.shared_experts", part="shared_experts") if shared else ()
    return (
        router(hidden, experts, name="ffn.gate"),
        *(replace(m, stored_as=scheme) for m in routed_experts(hidden, width, experts, top_k, name="ffn.experts")),
        *(replace(m, stored_as=always_scheme) for m in always),
    )


def _streams(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Hyper-connections in front of both halves of a layer: how the residual streams mix, in fp32."""
    streams = config.size("hc_mult", default=4, largest=64)
    weights = (2 + streams) * streams
    return tuple(m for half in ("attn", "ffn") for m in _mixing(f"hc_{half}", weights, streams * hidden, 3))


def _stream_head(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """What merges the streams before the LM head."""
    streams = config.size("hc_mult", default=4, largest=64)
    return _mixing("hc_head", streams, streams * hidden, 1)


def _mixing(name: str, weights: int, inputs: int, scales: int) -> tuple[Matrix, ...]:
    return (
        linear(f"{name}_fn", "other", weights, inputs, stored_as="fp32", quantizable=False),
        table(f"{name}_base", "other", weights, stored_as="fp32"),
        table(f"{name}_scale", "other", scales, stored_as="fp32"),
    )


def _predictor(config: Fields, layer: Layer, hidden: int, scheme: str, index: int) -> Layer:
    """A multi-token-prediction layer: a sliding layer behind projections of the embedding and of the stream."""
    front = (
        norm("enorm", hidden),
        norm("hnorm", hidden),
        linear("e_proj", "other", hidden, hidden, stored_as=scheme),
        linear("h_proj", "other", hidden, hidden, stored_as=scheme),
        norm("norm", hidden),
        *_stream_head(config, hidden),
    )
    return replace(layer, matrices=(*front, *layer.matrices), path=f"mtp.{index}", next_token_prediction=True)
