"""What one replica's GPUs have to do: matrix products, cache reads and messages, counted from a model's shape.

Nothing here knows how fast anything is. Every count is per GPU and summed over all pipeline stages, as if one GPU
visited every layer: a token passes all stages, so its time is the sum over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from catalog.model import Attention, Indexer, LatentAttention, Layers, Matrix, Mixer, ModelSpec, RecurrentState
from catalog.quantization import find_scheme, stored_bytes
from optimizer.replica_columns import Floats, ReplicaColumns

KERNELS = ("bf16", "fp8", "fp8_block", "int8", "fp4", "weight_only", "mxfp4", "mxfp4_unpacked")
"""Kinds of matrix product that cost differently: by what the tensor cores multiply and how weights are unpacked."""

ACTIVATION_BYTES = 2
"""Activations travel between kernels, and between GPUs, in 16 bit."""


@dataclass(frozen=True)
class Work:
    """Counts of one replica per row; `kernels` is the axis of KERNELS.

    Attributes:
        dense_flop: (rows, kernels) flop per token in matrices that every token uses.
        dense_bytes: (rows, kernels) their weights, read once per step.
        dense_values: (rows,) inputs and outputs of these matrices per token, which go through memory.
        head_flop, head_bytes: (rows,) the logits: only for tokens that are sampled.
        expert_flop: (rows, kernels) flop per token in routed experts, its share on one GPU.
        expert_bytes: (rows, kernels) all experts that one GPU holds.
        expert_values: (rows,) as dense_values.
        experts, experts_per_token: (rows,) how many there are to choose from and how many a token uses; 1 and 1
            without experts.
        expert_ranks: (rows,) GPUs that whole experts are dealt out to (1: every GPU has a slice of each).
        data_parallel: (rows,) attention-DP ranks whose tokens meet in the experts.
        pipeline_parallel: (rows,)
        decode_kv_bytes: (rows,) read per generated token at the mean context of its request: KV cache and states.
        decode_attention_flop: (rows,) the same in flop.
        prefill_attention_flop: (rows,) over one whole prompt.
        prefill_state_flop: (rows,) the same in recurrent layers.
        layers, expert_layers, latent_layers, recurrent_layers: (rows,) how many, which decides how many kernels are
            launched; a latent layer with an indexer counts three times.
        products: (rows, kernels) dense matrix products of one step, each of them at least one launch.
        expert_products: (rows, kernels) layers of routed experts, by the kernel that multiplies them.
        message_bytes: (rows,) one token's hidden state.
        all_reduces: (rows,) per step, when TP > 1.
        norm_reductions: (rows,) of one number per token, for norms over heads that several ranks hold.
        expert_exchanges: (rows,) per step, between attention-DP ranks.
    """

    dense_flop: Floats
    dense_bytes: Floats
    dense_values: Floats
    head_flop: Floats
    head_bytes: Floats
    expert_flop: Floats
    expert_bytes: Floats
    expert_values: Floats
    experts: Floats
    experts_per_token: Floats
    expert_ranks: Floats
    data_parallel: Floats
    pipeline_parallel: Floats
    decode_kv_bytes: Floats
    decode_attention_flop: Floats
    prefill_attention_flop: Floats
    prefill_state_flop: Floats
    layers: Floats
    expert_layers: Floats
    latent_layers: Floats
    recurrent_layers: Floats
    products: Floats
    expert_products: Floats
    message_bytes: Floats
    all_reduces: Floats
    norm_reductions: Floats
    expert_exchanges: Floats

    @staticmethod
    def joined(parts: Iterable[Work]) -> Work:
        """Rows of several models, one below the other."""
        tables = list(parts)
        return Work(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Work)))


def measure_work(
    spec: ModelSpec, rows: ReplicaColumns, kv_bytes_per_value: float, input_tokens: float, output_tokens: float
) -> Work:
    """Count the work of serving one model.

    Args:
        spec: the model as it is stored (quantized or not).
        rows: replicas.
        kv_bytes_per_value: 2 for a bf16 cache, 1 for fp8.
        input_tokens, output_tokens: mean prompt and answer; a token is decoded at a context of
            `input_tokens + output_tokens / 2` on average.

    Returns:
        Counts per row. Multi-token-prediction layers are left out: they run only under speculative decoding.
    """
    layers = [group for group in spec.layers if not group.next_token_prediction]
    tp, ones = rows.tensor_parallel.astype(np.float64), np.ones(rows.rows)
    choices = _expert_choice(layers)
    return Work(
        **_products_work(spec, layers, rows, tp),
        **_mixers_work(layers, tp, input_tokens, output_tokens),
        **_blocks(layers, rows, tp),
        experts=choices[0] * ones,
        experts_per_token=choices[1] * ones,
        expert_ranks=rows.expert_parallel.astype(np.float64),
        data_parallel=rows.data_parallel.astype(np.float64),
        pipeline_parallel=rows.pipeline_parallel.astype(np.float64),
        decode_kv_bytes=decode_kv_bytes(spec, tp, kv_bytes_per_value, mean_context(input_tokens, output_tokens)),
        message_bytes=float(spec.hidden_size * ACTIVATION_BYTES) * ones,
    )


def _products_work(spec: ModelSpec, layers: list[Layers], rows: ReplicaColumns, tp: Floats) -> dict[str, Floats]:
    """Matrix products of a step."""
    ep = rows.expert_parallel.astype(np.float64)
    dense, experts = _Products(rows, tp, ep, spec), _Products(rows, tp, ep, spec)
    for group in layers:
        for matrix in group.matrices:
            (experts if is_routed(matrix) else dense).add(matrix, group.count)
        dense.launch(group)
    head = _logits_matrix(spec)
    return {
        "dense_flop": dense.flop,
        "dense_bytes": dense.bytes,
        "dense_values": dense.values,
        "head_flop": 2.0 * head.outputs * head.inputs / tp,
        "head_bytes": stored_bytes(head, head.outputs, head.inputs, 1) / tp,
        "expert_flop": experts.flop,
        "expert_bytes": experts.bytes,
        "expert_values": experts.values,
        "products": dense.products,
        "expert_products": _routed_layers(layers, rows.rows),
    }


def _mixers_work(layers: list[Layers], tp: Floats, input_tokens: float, output_tokens: float) -> dict[str, Floats]:
    """Attention and recurrent states: flop of a token and of a prompt, and how many layers have them."""
    mixers, ones = [(group.count, mixer) for group in layers for mixer in group.mixers], np.ones_like(tp)
    context = mean_context(input_tokens, output_tokens)
    return {
        "decode_attention_flop": _total(n * _decode_flop(m, tp, context) for n, m in mixers) * ones,
        "prefill_attention_flop": _total(n * _prefill_flop(m, tp, input_tokens) for n, m in mixers) * ones,
        "prefill_state_flop": _total(n * _state_flop(m, tp) * input_tokens for n, m in mixers) * ones,
        "latent_layers": sum(n * _latent_weight(m) for n, m in mixers if isinstance(m, LatentAttention)) * ones,
        "recurrent_layers": sum(n for n, m in mixers if isinstance(m, RecurrentState)) * ones,
    }


def _blocks(layers: list[Layers], rows: ReplicaColumns, tp: Floats) -> dict[str, Floats]:
    """Layers, and the messages that they send."""
    ones = np.ones_like(tp)
    expert_layers = sum(g.count for g in layers if any(is_routed(m) for m in g.matrices))
    return {
        "layers": sum(g.count for g in layers) * ones,
        "expert_layers": expert_layers * ones,
        "all_reduces": np.where(tp > 1, float(sum(g.count * _reductions(g) for g in layers)), 0.0),
        "norm_reductions": np.where(tp > 1, float(sum(g.count * _shared_norms(g) for g in layers)), 0.0),
        "expert_exchanges": np.where(rows.data_parallel > 1, 2.0 * expert_layers, 0.0),
    }


def mean_context(input_tokens: float, output_tokens: float) -> float:
    """Tokens that a request has at hand when a token of its answer is decoded, on average."""
    return input_tokens + output_tokens / 2


def decode_kv_bytes(spec: ModelSpec, tensor_parallel: Floats, kv_bytes_per_value: float, context: float) -> Floats:
    """Bytes of KV cache and states that one generated token reads, shape (rows,); see Work.

    Args:
        spec: the model; layers of multi-token prediction are left out.
        tensor_parallel: shape (rows,).
        kv_bytes_per_value: 2 for a bf16 cache, 1 for fp8.
        context: tokens that the request has at hand.
    """
    layers = [group for group in spec.layers if not group.next_token_prediction]
    mixers = ((group.count, mixer) for group in layers for mixer in group.mixers)
    read = _total(n * _decode_bytes(m, tensor_parallel, context, kv_bytes_per_value) for n, m in mixers)
    return read * np.ones_like(tensor_parallel)


def is_routed(matrix: Matrix) -> bool:
    """Whether only some copies of it serve one token: a routed expert."""
    return matrix.active_copies is not None and matrix.active_copies < matrix.copies


def kernel_of(stored_as: str) -> str:
    """Which of KERNELS multiplies a matrix that is stored in this scheme.

    >>> kernel_of("fp8_tensor"), kernel_of("fp8_block128"), kernel_of("int4_group128"), kernel_of("mxfp4")
    ('fp8', 'fp8_block', 'weight_only', 'mxfp4')
    """
    scheme = find_scheme(stored_as)
    if scheme.name.startswith("mxfp4"):
        return "mxfp4"
    if scheme.weight_only:
        return "weight_only"
    if scheme.compute == "fp8" and scheme.block is not None and min(scheme.block) > 1:
        return "fp8_block"
    return "bf16" if scheme.compute in {"fp32", "fp16"} else scheme.compute


class _Products:
    """Sums matrices over layers, divided as their sharding says."""

    def __init__(self, rows: ReplicaColumns, tp: Floats, ep: Floats, spec: ModelSpec) -> None:
        self._shares = {
            "column": 1 / tp,
            "row": 1 / tp,
            "vocabulary": 1 / tp,
            "kv_heads": 1 / np.minimum(tp, max(spec.kv_heads, 1)),
            "replicated": np.ones(rows.rows),
            "expert": 1 / np.where(ep > 1, ep, tp * rows.data_parallel),
        }
        # A whole expert moves its full vectors; a slice of one has fewer outputs, as any matrix under TP.
        self.flop = np.zeros((rows.rows, len(KERNELS)))
        self.bytes = np.zeros((rows.rows, len(KERNELS)))
        self.products = np.zeros((rows.rows, len(KERNELS)))
        self.values = np.zeros(rows.rows)

    def add(self, matrix: Matrix, layers: int) -> None:
        if not matrix.gemm:
            return
        share = self._shares[matrix.sharding]
        kernel = KERNELS.index(kernel_of(matrix.stored_as))
        used = matrix.copies if matrix.active_copies is None else matrix.active_copies
        size = stored_bytes(matrix, matrix.outputs, matrix.inputs, matrix.copies)
        self.flop[:, kernel] += layers * used * 2.0 * matrix.outputs * matrix.inputs * share
        self.bytes[:, kernel] += layers * float(size) * share
        self.values += layers * used * float(matrix.outputs + matrix.inputs) * share

    def launch(self, group: Layers) -> None:
        """Engines fuse products of the same input: q, k and v; gate and up."""
        fused = {
            (m.part, m.inputs, m.sharding == "row"): KERNELS.index(kernel_of(m.stored_as))
            for m in group.matrices
            if m.gemm and not is_routed(m)
        }
        for kernel in fused.values():
            self.products[:, kernel] += group.count


def _total(parts: Iterable[Floats]) -> Floats:
    return sum(parts, start=np.zeros(1))


def _logits_matrix(spec: ModelSpec) -> Matrix:
    """The LM head, or the embedding that stands in for it."""
    for matrix in spec.outside:
        if matrix.part == "lm_head":
            return matrix
    return Matrix("lm_head", "lm_head", spec.vocabulary, spec.hidden_size, sharding="vocabulary")


def _expert_choice(layers: list[Layers]) -> tuple[int, int]:
    """Experts to choose from and chosen per token, of the largest expert matrix; (1, 1) without any."""
    routed = [m for group in layers for m in group.matrices if is_routed(m)]
    if not routed:
        return 1, 1
    largest = max(routed, key=lambda m: m.parameters)
    return largest.copies, largest.active_copies or largest.copies


def _routed_layers(layers: list[Layers], rows: int) -> Floats:
    """(rows, kernels): how many layers' experts each kernel multiplies."""
    counts = np.zeros(len(KERNELS))
    for group in layers:
        routed = [m for m in group.matrices if is_routed(m)]
        if routed:
            counts[KERNELS.index(kernel_of(max(routed, key=lambda m: m.parameters).stored_as))] += group.count
    return np.tile(counts, (rows, 1))


def _reductions(group: Layers) -> int:
    """All-reduces of one layer under TP: after the mixers, and after the MLP or the experts."""
    has_mlp = any(m.part in {"mlp", "experts", "shared_experts"} for m in group.matrices)
    return (1 if group.mixers else 0) + (1 if has_mlp else 0)


def _shared_norms(group: Layers) -> int:
    """Norms over values that TP deals out, as over all query heads in MiniMax-M2: each sums its squares over ranks."""
    return sum(m.name.endswith("_norm") and m.sharding in {"column", "kv_heads"} for m in group.matrices)


def _attended(tokens: float, window: int | None, chunked: bool = False) -> float:
    """Tokens that a query at the end of `tokens` looks at."""
    if window is None or tokens <= window:
        return tokens
    return window / 2 if chunked else float(window)


def _attended_sum(tokens: float, window: int | None, chunked: bool = False) -> float:
    """Query-key pairs of a causal prompt: n^2 / 2, or a band of it."""
    if window is None or tokens <= window:
        return tokens * tokens / 2
    return tokens * window / 2 if chunked else tokens * window - window * window / 2


def _decode_bytes(mixer: Mixer, tp: Floats, context: float, kv_bytes: float) -> Floats:
    if isinstance(mixer, Attention):
        kv_heads = np.maximum(mixer.kv_heads / tp, 1.0)
        values = _softmax_tokens(mixer, context) * (mixer.head_dim + mixer.value_head_dim)
        return values * kv_heads * kv_bytes + _key_bytes(mixer.indexer, context)
    if isinstance(mixer, LatentAttention):
        return np.ones_like(tp) * _latent_bytes(mixer, context, kv_bytes)
    # A state is read and written back.
    return sum(
        (
            2.0 * _state_bytes(array.shape, array.stored_as) / np.where(array.tp_axis is None, 1.0, tp)
            for array in mixer.arrays
        ),
        start=np.zeros_like(tp),
    )


def _latent_weight(mixer: LatentAttention) -> int:
    """Chains of small kernels in one layer: down and up projections; with an indexer its own projections and choice."""
    return 1 if mixer.indexer is None or mixer.indexer.shared else 3


def _state_bytes(shape: tuple[int, ...], stored_as: str) -> float:
    return float(np.prod(shape)) * find_scheme(stored_as).bits_per_weight / 8


def _softmax_tokens(mixer: Attention, context: float) -> float:
    tokens = _attended(context, mixer.window, mixer.chunked)
    return tokens if mixer.indexer is None else min(tokens, float(mixer.indexer.top_k))


def _key_bytes(indexer: Indexer | None, context: float) -> float:
    """An indexer reads one key per entry of the whole context, unless it reuses an earlier layer's choice."""
    if indexer is None or indexer.shared:
        return 0.0
    return context / indexer.compression * indexer.head_dim * (2 if indexer.keys_stored_as == "bf16" else 1)


def _latent_tokens(mixer: LatentAttention, context: float) -> float:
    entries = _attended(context, mixer.window) / mixer.compression
    return entries if mixer.indexer is None else min(entries, float(mixer.indexer.top_k))


def _latent_bytes(mixer: LatentAttention, context: float, kv_bytes: float) -> float:
    read = _latent_tokens(mixer, context) * (mixer.kv_rank + mixer.rope_dim) * kv_bytes
    return read + _key_bytes(mixer.indexer, context)


def _decode_flop(mixer: Mixer, tp: Floats, context: float) -> Floats:
    """Score and weighted sum, 2 flop each per query head, key and channel; latent attention in its absorbed form."""
    if isinstance(mixer, Attention):
        return (
            2.0 * mixer.query_heads / tp * (mixer.head_dim + mixer.value_head_dim) * _softmax_tokens(mixer, context)
        ) + _indexer_flop(mixer.indexer, context)
    if isinstance(mixer, LatentAttention):
        scores = 2.0 * mixer.query_heads / tp * (2 * mixer.kv_rank + mixer.rope_dim) * _latent_tokens(mixer, context)
        return scores + _indexer_flop(mixer.indexer, context)
    return _state_flop(mixer, tp)


def _state_flop(mixer: Mixer, tp: Floats) -> Floats:
    """One token's update and reading of a recurrent state; 0 where there is none."""
    if isinstance(mixer, RecurrentState):
        return 4.0 * mixer.heads * mixer.head_dim * mixer.state_dim / tp
    return np.zeros_like(tp)


def _indexer_flop(indexer: Indexer | None, keys: float) -> float:
    """Scores of one query, or of all pairs of a prompt, against the keys; none where an earlier layer's are reused."""
    if indexer is None or indexer.shared:
        return 0.0
    return 2.0 * indexer.heads * indexer.head_dim * keys / indexer.compression


def _prefill_flop(mixer: Mixer, tp: Floats, tokens: float) -> Floats:
    if isinstance(mixer, Attention):
        width = mixer.head_dim + mixer.value_head_dim
        window = mixer.window if mixer.indexer is None else mixer.indexer.top_k
        pairs = _attended_sum(tokens, window, mixer.chunked)
        return 2.0 * mixer.query_heads / tp * width * pairs + _indexer_flop(mixer.indexer, _attended_sum(tokens, None))
    if isinstance(mixer, LatentAttention):
        return _latent_prefill_flop(mixer, tp, tokens)
    return np.zeros_like(tp)


def _latent_prefill_flop(mixer: LatentAttention, tp: Floats, tokens: float) -> Floats:
    """Prompts are attended with expanded heads, sparse ones (indexer) in the absorbed form."""
    if mixer.indexer is None:
        width = mixer.nope_dim + mixer.rope_dim + mixer.value_dim
        pairs = _attended_sum(tokens, mixer.window) / mixer.compression
        return 2.0 * mixer.query_heads / tp * width * pairs
    pairs = _attended_sum(tokens / mixer.compression, mixer.indexer.top_k) * mixer.compression
    indexing = _indexer_flop(mixer.indexer, _attended_sum(tokens, None))
    return 2.0 * mixer.query_heads / tp * (2 * mixer.kv_rank + mixer.rope_dim) * pairs + indexing
