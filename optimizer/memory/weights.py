"""How many bytes of weights each rank holds: every matrix divided as tensor, expert and pipeline parallelism divide it.

A key is one way to divide a model: TP, PP, attention-DP and expert-parallel ranks. Many rows of a candidate table share
one, so this room works on keys, never on rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from catalog.model import LatentAttention, Layers, Matrix, ModelSpec, VisionTower
from catalog.quantization import find_scheme, stored_bytes
from optimizer.memory.pipelines import Spans

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

COPY_BITS = 16
"""What an unquantized copy of a weight takes."""

VOCABULARY_GRANULE = 64
"""Rows of the vocabulary are padded to a multiple of this before TP divides them (Megatron's and vLLM's default)."""


@dataclass(frozen=True)
class Division:
    """Ways to divide a model over ranks; every array has shape (keys,).

    Attributes:
        tensor_parallel: ranks that share attention and dense matrices.
        data_parallel: attention-DP ranks; without expert parallelism the experts are divided by TP x DP, as vLLM
            does ("MoE layers form a tensor-parallel group of TP x DP").
        expert_parallel: ranks that whole experts are dealt out to; 1 = every expert is divided.
        expert_intermediate_granule, expert_hidden_granule: what the MoE kernel pads each expert's sizes to a multiple
            of; 1 = nothing.
    """

    tensor_parallel: Ints
    data_parallel: Ints
    expert_parallel: Ints
    expert_intermediate_granule: Ints
    expert_hidden_granule: Ints

    @classmethod
    def of(cls, tensor_parallel: Ints, data_parallel: Ints | int = 1, expert_parallel: Ints | int = 1) -> Division:
        """Without padding of experts.

        >>> Division.of(np.array([1, 8])).expert_parallel
        array([1, 1])
        """
        one = np.ones_like(tensor_parallel)
        return cls(tensor_parallel, one * data_parallel, one * expert_parallel, one, one)


def shard_bytes(matrix: Matrix, division: Division) -> Ints:
    """Bytes of one matrix on the rank that holds most of it, shape (keys,).

    column      ceil(outputs / granule / TP) * granule outputs
    row         ceil(inputs / granule / TP) * granule inputs
    kv_heads    the same as column, but at least one granule (a KV head): TP > heads replicates
    expert      ceil(copies / EP) whole experts; without EP every expert is divided by TP x DP; then padded
    vocabulary  outputs padded to a multiple of 64, then divided by TP
    replicated  everything

    Source: Shoeybi et al. 2019, Megatron-LM (arXiv:1909.08053), section 3; vLLM `ColumnParallelLinear`,
    `QKVParallelLinear`, `VocabParallelEmbedding`, `FusedMoEParallelConfig`.

    >>> q_proj = Matrix("q_proj", "attention", 8192, 8192, "column", granule=128)
    >>> shard_bytes(q_proj, Division.of(np.array([1, 4])))
    array([134217728,  33554432])
    """
    outputs, inputs, copies = shard_shape(matrix, division)
    whole = np.asarray(stored_bytes(matrix, outputs, inputs, copies), dtype=np.int64)
    whole = whole - find_scheme(matrix.stored_as).input_bytes * inputs * copies  # engines drop GPTQ's group indices
    return whole + _recut_scales(matrix, outputs, inputs, copies) if matrix.sharding == "expert" else whole


LEAST_BLOCK = 32
"""Experts' blocks and groups are cut no finer."""


def _recut_scales(matrix: Matrix, outputs: Ints, inputs: Ints, copies: Ints) -> Ints:
    """Bytes that scales of a shard of experts take beyond one for every block that it touches, shape (keys,).

    Square fp8 blocks that TP cuts become the largest smaller squares that it does not cut, groups of integers smaller
    groups, of which GPTQ's have no zero points (its integers are symmetric); of NVFP4's sixteens only whole ones have a
    scale.

    Source: vLLM 0.32.0 `vllm/model_executor/layers/fused_moe/oracle/fp8.py`, `refine_fp8_moe_block_shape`;
    `quantization/modelopt.py`, `ModelOptNvFp4FusedMoE.create_weights`; `quantization/moe_wna16.py`.
    """
    scheme = find_scheme(matrix.stored_as)
    if scheme.block is None or scheme.format not in ("fp8", "nvfp4", "int4", "int8") or 0 in scheme.block:
        return np.zeros_like(outputs)
    high, wide = scheme.block
    cut = inputs if is_row_parallel_expert(matrix) else outputs
    blocks = -(-outputs // high) * -(-inputs // wide)
    bits = round(scheme.scale_bytes_per_block * 8)
    kept: Ints | int = bits
    if scheme.format == "nvfp4":
        recut = outputs * (inputs // wide)
    elif high == wide:
        edge = _finer(cut, np.gcd(outputs, inputs), wide)
        recut = -(-outputs // edge) * -(-inputs // edge)
    else:
        group = _finer(cut, cut, wide)
        recut = -(-outputs // high) * -(-inputs // group)
        kept = np.where((group != wide) & (scheme.input_bytes > 0), COPY_BITS, bits)
    return np.asarray(copies * (kept * recut - bits * blocks) // 8)


def _finer(cut: Ints, divides: Ints, block: int) -> Ints:
    """The block; where TP cuts it, the largest part of it that divides `divides`, if that is not too small."""
    finer = np.gcd(divides, block)
    return np.where((cut % block != 0) & (finer >= LEAST_BLOCK), finer, block)


def shard_shape(matrix: Matrix, division: Division) -> tuple[Ints, Ints, Ints]:
    """Outputs, inputs and copies of the largest shard, each of shape (keys,)."""
    whole = np.ones_like(division.tensor_parallel)
    outputs, inputs, copies = (
        whole * matrix.outputs,
        whole * matrix.inputs,
        whole * (0 if matrix.on_host else matrix.copies),
    )
    ranks = division.tensor_parallel
    if matrix.sharding in ("column", "kv_heads"):
        outputs = _divided(outputs, ranks, matrix.granule)
    elif matrix.sharding == "row":
        inputs = _divided(inputs, ranks, matrix.granule if matrix.inputs % matrix.granule == 0 else 1)
    elif matrix.sharding == "vocabulary":
        outputs = _divided(_divided(outputs, whole, VOCABULARY_GRANULE), ranks, 1)
    elif matrix.sharding == "expert":
        split = np.where(division.expert_parallel > 1, 1, ranks * division.data_parallel)
        copies = _divided(copies, division.expert_parallel, 1)
        inner, hidden = division.expert_intermediate_granule, division.expert_hidden_granule
        if is_row_parallel_expert(matrix):
            outputs, inputs = _padded(outputs, hidden), _padded(_divided(inputs, split, 1), inner)
        else:
            outputs, inputs = _padded(_divided(outputs, split, 1), inner), _padded(inputs, hidden)
    return outputs, inputs, copies


def is_row_parallel_expert(matrix: Matrix) -> bool:
    """Whether an undealt expert's matrix is divided along its inputs (its down projection), not its outputs."""
    return "down" in matrix.name or matrix.name.endswith(("w2", "wo", "output_linear"))


def _divided(extent: Ints, ranks: Ints, granule: int) -> Ints:
    """Largest share of an extent that keeps granules whole."""
    granules = -(-extent // granule)
    return -(-granules // ranks) * granule


def _padded(extent: Ints, granule: Ints) -> Ints:
    return -(-extent // granule) * granule


def layer_bytes(group: Layers, division: Division) -> Ints:
    """Weight bytes of one layer of a group on the fullest rank, shape (keys,)."""
    return _total((shard_bytes(matrix, division) for matrix in allocated_matrices(group)), division)


def latent_copies(group: Layers, division: Division, *, absorbed: bool = False) -> Ints:
    """Bytes of what an engine derives from one layer's up-projection of latent attention and keeps, shape (keys,).

    Decoding multiplies queries and outputs with its halves directly, which needs them unquantized; a 16-bit one is used
    in place, a quantized one is copied:

        2 * outputs / TP * kv_rank

    Absorbed, the halves are multiplied with the projections before and behind them, in the width of the weights:

        heads / TP * kv_rank * (query inputs + hidden size) + 2 * heads / TP * rope_dim * query inputs

    Args:
        group: layers of one kind.
        division: ways to divide the model.
        absorbed: whether the engine keeps the products.

    Source: vLLM 0.33.0 `vllm/model_executor/layers/attention/mla_attention.py`; 0.7.3
    `vllm/attention/backends/mla/utils.py`, both in `process_weights_after_loading`.
    """
    bytes_held = np.zeros_like(division.tensor_parallel)
    latent = next((mixer for mixer in group.mixers if isinstance(mixer, LatentAttention)), None)
    if latent is None:
        return bytes_held
    for matrix in group.matrices:
        bits = find_scheme(matrix.stored_as).bits_per_weight
        if absorbed and matrix.name.endswith(("q_b_proj", "q_proj", "o_proj")):
            bytes_held += _absorbed(matrix, latent, division, 1 if bits == FP8_BITS else COPY_BITS // 8)
        elif not absorbed and matrix.name.endswith("kv_b_proj") and bits < COPY_BITS:
            outputs, inputs, _ = shard_shape(matrix, division)
            bytes_held += COPY_BITS // 8 * outputs * inputs
    return bytes_held


def idle_indexers(spec: ModelSpec, division: Division) -> Ints:
    """Bytes of an indexer in each layer of a group that shares another's choice of tokens, shape (groups, keys).

    Engines that do not know of sharing build one as in the layers that choose for themselves.
    """
    indexers = [_indexer_bytes(group, division) for group in spec.layers]
    own = next((each for each in indexers if each.any()), np.zeros_like(division.tensor_parallel))
    return np.stack([own * _shares_a_choice(group) for group in spec.layers])


def _indexer_bytes(group: Layers, division: Division) -> Ints:
    return _total((shard_bytes(matrix, division) for matrix in group.matrices if ".indexer." in matrix.name), division)


def _shares_a_choice(group: Layers) -> bool:
    latent = (mixer for mixer in group.mixers if isinstance(mixer, LatentAttention))
    return any(mixer.indexer is not None and mixer.indexer.shared for mixer in latent)


FP8_BITS = 8


def _absorbed(matrix: Matrix, latent: LatentAttention, division: Division, width_bytes: int) -> Ints:
    """The product of a projection of queries or outputs with one half of the up-projection, shape (keys,)."""
    heads = _divided(np.asarray(latent.query_heads), division.tensor_parallel, 1)
    if matrix.name.endswith("o_proj"):
        return np.asarray(width_bytes * heads * latent.kv_rank * matrix.outputs)
    rotary = COPY_BITS // 8 * heads * latent.rope_dim * matrix.inputs
    return np.asarray(width_bytes * heads * latent.kv_rank * matrix.inputs + rotary)


def allocated_matrices(group: Layers) -> tuple[Matrix, ...]:
    """A layer's matrices as engines allocate them: a value projection even where values equal keys (Gemma 4).

    Source: vLLM 0.33.0 `vllm/model_executor/models/gemma4.py`: k_proj is loaded into the K and the V slot of a fused
    projection.
    """
    keys = [matrix for matrix in group.matrices if matrix.name.endswith("k_proj") and matrix.sharding == "kv_heads"]
    values = [matrix for matrix in group.matrices if matrix.name.endswith("v_proj")]
    same = [replace(matrix, name=matrix.name.replace("k_proj", "v_proj")) for matrix in keys] if not values else []
    return (*group.matrices, *same)


def _total(parts: Iterable[Ints], division: Division) -> Ints:
    return sum(parts, start=np.zeros_like(division.tensor_parallel))


def layers_by_stage(spec: ModelSpec, spans: Spans) -> Ints:
    """How many layers of each group every stage runs, shape (stages, groups).

    Multi-token-prediction layers none; drafts lie behind the last layer, on the last stage.
    """
    return spans.counts(layers_of_groups(spec))


def layers_of_groups(spec: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Which layers each group's are; none of multi-token prediction's."""
    return tuple(() if group.next_token_prediction else group.indices for group in spec.layers)


def weights_by_stage(spec: ModelSpec, division: Division, spans: Spans, layers: Ints | None = None) -> Ints:
    """Weight bytes of every stage on its fullest rank, shape (stages, keys).

    The first stage adds the embedding and the vision tower, the last one the LM head (the embedding once more when it
    is tied and there are several stages) and the final norm.

    Args:
        spec: the model.
        division: ways to divide each stage.
        spans: the layers of each stage, of pipelines of any depths.
        layers: `layer_bytes` of each group, shape (groups, keys), where they are known already.
    """
    if layers is None:
        layers = np.stack([layer_bytes(group, division) for group in spec.layers])
    stages = _stored_layers(spec, layers_by_stage(spec, spans)) @ layers
    for matrix in spec.outside:
        stages += holders(matrix, spec, spans)[:, None] * shard_bytes(matrix, division)
    if spec.vision is not None:
        stages += spans.is_first[:, None] * tower_bytes(spec.vision, division)
    return stages


def tower_bytes(tower: VisionTower, division: Division) -> Ints:
    """Weight bytes of a vision tower on one rank, shape (keys,): divided by TP, or whole where TP does not divide it.

    Source: vLLM 0.33.0 `vllm/model_executor/models/vision.py`, `is_vit_use_data_parallel`; `intern_vit.py`, where only
    attention is whole.
    """
    ranks = division.tensor_parallel
    divided = is_tower_divisible(tower, ranks) if tower.whole_heads is None else tower.whole_heads % ranks == 0
    whole = replace(division, tensor_parallel=np.where(divided, ranks, 1))
    parts = (
        shard_bytes(matrix, whole if matrix.name.startswith(tower.whole_names) else division)
        for matrix in tower.matrices
    )
    return _total(parts, division)


def is_tower_divisible(tower: VisionTower, ranks: Ints) -> Bools:
    """Whether TP divides the heads and widths of all that it divides of a tower, shape (keys,).

    Where it does not, engines start only if told to keep the tower whole on every rank.
    """
    parts = [matrix.outputs // matrix.granule for matrix in tower.matrices if matrix.sharding == "column"]
    parts += [matrix.inputs for matrix in tower.matrices if matrix.sharding == "row"]
    return np.asarray(np.all([part % ranks == 0 for part in (0, *parts)], axis=0), dtype=np.bool_)


def _stored_layers(spec: ModelSpec, counts: Ints) -> Ints:
    """Times that groups' weights are stored on each stage; a shared block at most `stored_copies` times."""
    copies = [group.stored_copies for group in spec.layers]
    return np.minimum(counts, [np.iinfo(np.int64).max if most is None else most for most in copies])


def holders(matrix: Matrix, spec: ModelSpec, spans: Spans) -> Bools:
    """Stages that hold a matrix from outside the layers."""
    if matrix.part != "embedding":
        return spans.is_last
    return spans.is_first | spans.is_last if spec.tied_embeddings else spans.is_first
