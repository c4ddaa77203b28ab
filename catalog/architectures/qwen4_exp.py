"""Qwen 3.8 Flash Next (Qwen4-Exp): four residual streams, sparse attention over pooled keys, embeddings of n-grams.

Source: vLLM 0.32.0 `vllm/models/qwen4_exp`; transformers 5.19's Qwen4ExpTextConfig for what a config leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.architectures.qwen3_5 import feed_forward, gated_attention, read_delta_net, vision_tower
from catalog.blocks import Layer, Shape, embedding_and_head, linear, norm, table
from catalog.mixers import QWEN3_5_INPUTS, gated_delta_net
from catalog.model import Indexer, Matrix, RecurrentState, StateArray
from catalog.primes import primes_from
from catalog.reading import Fields, max_context, text_section

ARCHITECTURES = ("Qwen4ExpForConditionalGeneration", "Qwen4ExpForCausalLM")
MODEL_TYPES = ("qwen4_exp", "qwen4_exp_text")

_DELTA = "linear_attention"
_ATTENDING = ("indexed_attention", "qwen_sparse_attention", "full_attention")
MOST_NGRAM_HEADS, MOST_NGRAM_ROWS = 64, 2**31


def read(config: Fields) -> Shape:
    """Layers by layer_types, a vision tower where there is one, and the layers of multi-token prediction."""
    text, tower = text_section(config), config.optional_section("vision_config")
    hidden, vocabulary = text.size("hidden_size"), text.size("vocab_size")
    tied = text.flag("tie_word_embeddings", default=False)
    predictors = text.count("mtp_num_hidden_layers", default=0, largest=64)
    layers = [*_layers(text, hidden), *(_predictor(text, hidden, i) for i in range(predictors))]
    return Shape(
        family="Qwen 3.8 Flash Next",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=(
            *embedding_and_head(vocabulary, hidden, tied=tied),
            *_streams(text, hidden, "model.hyper_connection_mixer", combines=False),
        ),
        layer_path="model.layers" if tower is None else "model.language_model.layers",
        vision=None if tower is None else vision_tower(tower),
        notes=_host_tables(layers),
    )


def _host_tables(layers: Sequence[Layer]) -> tuple[str, ...]:
    values = sum(matrix.parameters for layer in layers for matrix in layer.matrices if matrix.on_host)
    if not values:
        return ()
    size = f"{values / 1e9:.1f} billion values"
    return (f"Its table of n-grams ({size}) is taken to lie in the host's memory, as vLLM keeps it.",)


def _layers(text: Fields, hidden: int) -> list[Layer]:
    kinds = _layer_kinds(text)
    delta, attending = _delta_layer(text, hidden), _attention_layer(text, hidden)
    layers = [delta if kind == _DELTA else attending for kind in kinds]
    for place, layer in enumerate(_ngram_layers(text, len(kinds))):
        layers[layer] = _with_ngrams(text, hidden, layers[layer], place)
    return layers


def _layer_kinds(text: Fields) -> tuple[str, ...]:
    count = text.layers()
    if "layer_types" not in text:
        every = text.size("full_attention_interval", default=4, largest=count)
        return tuple(_ATTENDING[0] if (i + 1) % every == 0 else _DELTA for i in range(count))
    kinds, known = text.words("layer_types", length=count), (_DELTA, *_ATTENDING)
    text.require(set(kinds) <= set(known), "layer_types", f"a list of {', '.join(known)}")
    return kinds


def _delta_layer(text: Fields, hidden: int) -> Layer:
    shape = read_delta_net(text, hidden)
    return Layer((shape.state,), (*gated_delta_net(shape, QWEN3_5_INPUTS), *_halves(text, hidden)))


def _attention_layer(text: Fields, hidden: int) -> Layer:
    """Gated attention to the tokens that an indexer chose by the means of their keys."""
    mixer, matrices = gated_attention(text, hidden)
    indexer = _read_indexer(text)
    return Layer((replace(mixer, indexer=indexer),), (*matrices, *_indexer(hidden, indexer), *_halves(text, hidden)))


def _read_indexer(text: Fields) -> Indexer | None:
    if "indexer_n_heads" not in text:
        return None
    ratio = text.size("indexer_compress_ratio", largest=2**10)
    return Indexer(
        heads=text.size("indexer_n_heads", largest=2**10),
        head_dim=text.size("indexer_head_dim"),
        top_k=text.size("indexer_budget"),
        compression=ratio,
        keys_stored_as="bf16",
        open_values=text.size("indexer_head_dim"),
    )


def _indexer(hidden: int, indexer: Indexer | None) -> tuple[Matrix, ...]:
    """On every TP rank."""
    if indexer is None:
        return ()
    name, head = "self_attn.indexer", indexer.head_dim
    return (
        linear(f"{name}.index_qk_proj", "attention", (indexer.heads + 1) * head, hidden),
        norm(f"{name}.q_layernorm", head, part="attention"),
        norm(f"{name}.k_layernorm", head, part="attention"),
    )


def _halves(text: Fields, hidden: int) -> tuple[Matrix, ...]:
    """What follows the mixer, and what makes each half's input of the streams and puts its output back."""
    return (
        *feed_forward(text, hidden),
        *_streams(text, hidden, "attn_hyper_connection"),
        *_streams(text, hidden, "mlp_hyper_connection"),
    )


def _streams(text: Fields, hidden: int, name: str, *, combines: bool = True) -> tuple[Matrix, ...]:
    """A low-rank gate over all residual streams, on every rank."""
    count, rank = text.size("hc_count", default=4, largest=64), text.size("hc_lowrank", default=320)
    width = count * hidden
    return (
        norm(f"{name}.hc_norm", width),
        linear(f"{name}.input_mix_weight_down", "other", rank, width),
        linear(f"{name}.input_mix_weight_up", "other", width, rank),
        *((linear(f"{name}.block_inject_weight", "other", count, width),) if combines else ()),
    )


def _ngram_layers(text: Fields, count: int) -> tuple[int, ...]:
    """Layers that add an embedding of the last tokens; configs count them from 1."""
    if "ple_layer_ids" not in text:
        return ()
    ids = sorted(set(text.sizes("ple_layer_ids")))
    text.require(not ids or ids[-1] <= count, "ple_layer_ids", f"made of numbers from 1 to {count}")
    return tuple(i - 1 for i in ids)


def _with_ngrams(text: Fields, hidden: int, layer: Layer, place: int) -> Layer:
    """A layer with the embedding: its projections, and a convolution whose last inputs a sequence keeps."""
    width = text.size("hc_count", default=4, largest=64) * hidden
    size = text.size("ple_embed_dim", default=hidden)
    kernel = text.size("ple_conv_kernel_size", default=4, largest=64)
    reach = (kernel - 1) * text.size("ngram_size", default=3, largest=MOST_NGRAM_HEADS)
    kept = StateArray("convolution", (reach, width), None, "bf16")
    state = RecurrentState("short_convolution", (kept,), 1, width, 1)
    matrices = (
        _ngram_table(text, size, place),
        linear("ple.key_proj", "other", width, size),
        linear("ple.value_proj", "other", hidden, size),
        *(norm(f"ple.norm_{n}", width) for n in ("key", "query", "conv")),
        table("ple.conv1d", "other", width, kernel),
    )
    return Layer((*layer.mixers, state), (*layer.matrices, *matrices))


def _ngram_table(text: Fields, size: int, place: int) -> Matrix:
    """One row per hash of an n-gram; each head hashes into a prime number of rows, and no prime serves twice."""
    orders = text.size("ngram_size", default=3, largest=MOST_NGRAM_HEADS) - 1
    heads = orders * text.size("heads_per_ngram", default=8, largest=MOST_NGRAM_HEADS)
    text.require(0 < heads <= MOST_NGRAM_HEADS and size % heads == 0, "heads_per_ngram", "divisors of ple_embed_dim")
    base = text.size("ngram_vocab_size_base", default=20_000_000, largest=MOST_NGRAM_ROWS)
    granule = text.size("make_ngram_vocab_size_divisible_by", default=128)
    rows = sum(primes_from(base, (place + 1) * heads)[place * heads :])
    padded = -(-rows // granule) * granule
    rows_of_a_head = table("ple.ple_embedding.ngram_embedding", "embedding", padded, size // heads, "vocabulary")
    return replace(rows_of_a_head, on_host=True)  # vLLM's EngramConfig.cpu_offload is on by default


def _predictor(text: Fields, hidden: int, index: int) -> Layer:
    """A multi-token-prediction layer: an attention layer behind two projections, and streams of its own."""
    layer = _attention_layer(text, hidden)
    front = (
        linear("fc_embedding", "other", hidden, hidden),
        linear("fc_hidden", "other", hidden, hidden),
        norm("pre_fc_norm_embedding", hidden),
        norm("pre_fc_norm_hidden", hidden * text.size("hc_count", default=4, largest=64)),
        *_streams(text, hidden, "hyper_connection_mixer", combines=False),
    )
    return Layer(layer.mixers, (*front, *layer.matrices), path=f"mtp.layers.{index}", next_token_prediction=True)
