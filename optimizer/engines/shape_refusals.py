"""Shapes of a replica that no engine starts, or none runs well: each with the sentence that says why."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from catalog.model import ModelSpec
from catalog.quantization import find_scheme
from optimizer.memory.weights import is_row_parallel_expert
from optimizer.replica_columns import Bools, Ints, ReplicaColumns

RefusedShape = tuple[Bools, str]
"""Which rows are refused, shape (rows,), and the sentence that says why."""
TENSOR_PARALLEL_ACROSS_MACHINES = (
    "a tensor-parallel group that spans machines is slower than pipeline stages across them, and is not planned"
)


def parallelism_refusals(spec: ModelSpec, rows: ReplicaColumns) -> Iterator[RefusedShape]:
    """Shapes that no engine runs well, whatever the widths of the model."""
    tp, pp, dp, ep = rows.tensor_parallel, rows.pipeline_parallel, rows.data_parallel, rows.expert_parallel
    experts = routed_experts(spec)
    yield pp > spec.layer_count, f"more pipeline stages than the model's {spec.layer_count} layers"
    if experts:
        yield ep > experts, f"more expert-parallel ranks than the model's {experts} experts"
        yield (ep > 1) & (ep != tp * dp), "expert parallelism deals experts out to all TP x DP ranks, never to some"
    else:
        yield ep > 1, "expert parallelism needs experts, and this model is dense"
        yield dp > 1, "attention-DP inside a replica pays only with experts; a dense model takes more replicas instead"
    yield (dp > 1) & (pp > 1), "pipeline stages together with attention-DP are not planned: no measured run supports it"
    yield tp > rows.gpus_per_node, TENSOR_PARALLEL_ACROSS_MACHINES
    split = (tp <= rows.gpus_per_node) & (rows.gpus_per_node % np.maximum(tp, 1) != 0) & (rows.nodes > 1)
    yield split, "machines whose GPUs do not divide into whole tensor-parallel groups"
    yield (rows.nodes > 1) & np.isnan(rows.internode_bytes_per_second), "no network between these machines is known"


def routed_experts(spec: ModelSpec) -> int:
    """Routed experts of a layer; 0 for a dense model."""
    return max((m.copies for g in spec.layers for m in g.matrices if m.sharding == "expert"), default=0)


def division_refusals(spec: ModelSpec, rows: ReplicaColumns, least_expert_block: int | None) -> Iterator[RefusedShape]:
    """Tensor parallelism that does not divide heads, widths or quantization blocks."""
    tp = rows.tensor_parallel
    if spec.query_heads:
        yield spec.query_heads % tp != 0, f"the model's {spec.query_heads} attention heads are not divisible by TP"
    for heads in _kv_head_counts(spec):
        uneven = np.where(tp <= heads, heads % tp != 0, tp % heads != 0)
        yield uneven, f"the model's {heads} KV heads neither divide by TP nor divide TP"
    yield from _width_refusals(spec, rows, least_expert_block)


def _kv_head_counts(spec: ModelSpec) -> list[int]:
    counts = {getattr(mixer, "kv_heads", 0) for mixer in spec.mixers}
    return sorted(counts - {0})


def _width_refusals(spec: ModelSpec, rows: ReplicaColumns, least_expert_block: int | None) -> Iterator[RefusedShape]:
    """One refusal per distinct width and block, so that a thousand-layer model costs no more than one layer."""
    expert_ranks = np.where(rows.expert_parallel > 1, 1, rows.tensor_parallel * rows.data_parallel)
    seen: set[tuple[int, int, str]] = set()
    for group in spec.layers:
        for matrix in group.matrices:
            by_inputs = matrix.sharding == "row" or (matrix.sharding == "expert" and is_row_parallel_expert(matrix))
            if not matrix.gemm or matrix.sharding not in ("column", "row", "expert"):
                continue
            width, ranks = matrix.inputs if by_inputs else matrix.outputs, rows.tensor_parallel
            ranks = expert_ranks if matrix.sharding == "expert" else ranks
            block = _must_divide(matrix.stored_as, by_inputs=by_inputs)
            if least_expert_block and matrix.sharding == "expert" and _is_square(matrix.stored_as):
                block = min(block, least_expert_block)
            key = (width, block, matrix.sharding)
            if key not in seen:
                seen.add(key)
                yield from _uneven(matrix.name, width, block, matrix.stored_as, ranks)


def _is_square(scheme_name: str) -> bool:
    """Whether one scale belongs to a square of values: DeepSeek's fp8."""
    block = find_scheme(scheme_name).block
    return block is not None and block[0] == block[1] > 1


def _must_divide(scheme_name: str, *, by_inputs: bool) -> int:
    """Values that a shard must hold a multiple of: the quantization block along the divided axis."""
    scheme = find_scheme(scheme_name)
    if scheme.block is None or scheme.format == "mxfp4":
        return 1  # mxfp4 kernels pad their shards
    return max(scheme.block[1 if by_inputs else 0], 1)


def _uneven(name: str, width: int, block: int, scheme: str, ranks: Ints) -> Iterator[RefusedShape]:
    yield width % ranks != 0, f"{name} is {width} wide, which TP does not divide"
    if block > 1:
        cut = (ranks > 1) & (width % ranks == 0) & ((width // ranks) % block != 0)
        yield cut, f"TP cuts {name} ({width} wide) inside {scheme} blocks of {block}"
