"""Rows spread over their pipeline stages, and back: the poorest stage decides for the replica.

A flat table has one entry per stage of each row, rows in order. Stages of a row that hold alike are one entry. Without
pipeline parallelism it is the rows themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine
from optimizer.memory.activations import forward_bytes_per_token
from optimizer.memory.adapters import Adapters, adapters_by_stage
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.distinct import distinct_columns
from optimizer.memory.encoder import encoder_bytes_per_token
from optimizer.memory.pipelines import Spans, pipelines
from optimizer.memory.pools import PagePlans
from optimizer.memory.weights import (
    Division,
    latent_copies,
    layer_bytes,
    layers_by_stage,
    layers_of_groups,
    weights_by_stage,
)
from optimizer.replica_columns import ReplicaColumns

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_LIMIT = np.iinfo(np.int64).max // 4
"""Blocks of a stage that caches nothing."""


@dataclass(frozen=True)
class Stages:
    """The flat table; arrays have shape (stages,) unless said otherwise.

    Attributes:
        row: index of the replica row.
        first: index of each row's first stage, shape (rows,).
        is_last: whether the stage samples.
        layers: layers it runs.
        weight_bytes: on its fullest rank, as they are served.
        forward_bytes_per_token: of a forward pass.
        encoder_bytes_per_token: of encoding an image, on the first stage; zero elsewhere and for text models.
        adapter_bytes: LoRA buffers.
        layer_bytes: weights of the stage's largest layer.
        block_bytes: of one block of the KV pool.
        rates: bytes per token that grow, bytes per token of windows, bytes per request, shape (3, stages).
    """

    row: Ints
    first: Ints
    is_last: Bools
    layers: Ints
    weight_bytes: Ints
    forward_bytes_per_token: Floats
    encoder_bytes_per_token: Floats
    adapter_bytes: Ints
    layer_bytes: Ints
    block_bytes: Ints
    rates: Floats

    def blocks(self, pool_bytes: Floats) -> Ints:
        """Whole blocks in every stage's pool, shape (stages, batches)."""
        size = self.block_bytes[:, None]
        whole = np.floor(np.maximum(pool_bytes, 0) / np.maximum(size, 1)).astype(np.int64)
        return whole if size.all() else np.where(size > 0, whole, NO_LIMIT)

    def minimum(self, values: Ints) -> Ints:
        """Smallest value among each row's stages: (stages, batches) -> (rows, batches)."""
        return values if len(self.first) == len(self.row) else np.minimum.reduceat(values, self.first, axis=0)

    def every(self, holds: Bools) -> Bools:
        """Whether something holds on all of each row's stages: (stages, batches) -> (rows, batches)."""
        return holds if len(self.first) == len(self.row) else np.logical_and.reduceat(holds, self.first, axis=0)

    def poorest(self, blocks: Ints, pool: Floats) -> Ints:
        """Index of each row's stage with the fewest blocks, then the smallest pool: (stages,) twice -> (rows,)."""
        if len(self.first) == len(self.row):
            return self.first
        return np.lexsort((pool, blocks, self.row))[self.first]


def lay_out_stages(
    spec: ModelSpec, engine: Engine, rows: ReplicaColumns, pages: PagePlans, adapters: Adapters | None = None
) -> Stages:
    """The stages of all rows with what the model puts on them.

    Args:
        spec: the model.
        engine: whose kernels may pad experts.
        rows: shapes of one replica; a row with more stages than layers gets empty ones.
        pages: how the rows' KV pools are cut.
        adapters: LoRA adapters loaded at once.
    """
    spans, blocks, rates = _distinct_spans(spec, rows, pages)
    keys, key = distinct_columns(_division_columns(spec, engine, rows))
    division = Division(*keys)
    weights = weights_by_stage(spec, division, spans) + _copies_by_stage(spec, engine, division, spans)
    added = np.zeros_like(weights) if adapters is None else adapters_by_stage(spec, adapters, division, spans)
    row, first, span = _spread(spans, rows.pipeline_parallel)
    key, plan = key[row], pages.plan[row]
    encoder = encoder_bytes_per_token(spec, division)[key]
    return Stages(
        row=row,
        first=first,
        is_last=spans.is_last[span],
        layers=spans.layers[span],
        weight_bytes=weights[span, key],
        forward_bytes_per_token=forward_bytes_per_token(spec, division)[key],
        encoder_bytes_per_token=np.where(spans.is_first[span], encoder, 0),
        adapter_bytes=added[span, key],
        layer_bytes=np.max([layer_bytes(group, division) for group in spec.layers], axis=0)[key],
        block_bytes=blocks[plan, span],
        rates=rates[:, plan, span] / pages.context_parallel,
    )


def _division_columns(spec: ModelSpec, engine: Engine, rows: ReplicaColumns) -> Ints:
    """The fields of a Division, shape (5, rows)."""
    paddings = np.array([engine.expert_padding(spec, gpu) for gpu in rows.gpus], dtype=np.int64)
    padding = paddings.reshape(-1, 2)[rows.gpu].T
    return np.stack([rows.tensor_parallel, rows.data_parallel, rows.expert_parallel, *padding])


def _distinct_spans(spec: ModelSpec, rows: ReplicaColumns, pages: PagePlans) -> tuple[Spans, Ints, Floats]:
    """The stages of all depths that differ in what they hold.

    Returns:
        The spans, bytes of a block of shape (plans, spans), and rates of shape (3, plans, spans).
    """
    depths = np.flatnonzero(np.bincount(rows.pipeline_parallel)).tolist() or [1]
    return _spans_of_plans(spec.layer_count, tuple(depths), layers_of_groups(spec), pages.plans)


@lru_cache(maxsize=64)
def _spans_of_plans(
    layers: int, depths: tuple[int, ...], groups: tuple[tuple[int, ...], ...], plans: tuple[CachePlan, ...]
) -> tuple[Spans, Ints, Floats]:
    """Of the formats that weights are stored in, all have the same."""
    spans = pipelines(layers, depths)
    blocks = np.array([plan.block_bytes(spans) for plan in plans], dtype=np.int64).reshape(-1, len(spans))
    rates = np.array([plan.rates(spans) for plan in plans]).reshape(-1, 3, len(spans)).swapaxes(0, 1)
    unlike = spans.unlike(np.vstack([spans.counts(groups).T, blocks, *rates]))
    return spans.take(unlike), blocks[:, unlike], rates[:, :, unlike]


def _spread(spans: Spans, depth: Ints) -> tuple[Ints, Ints, Ints]:
    """Each row on the spans of its depth: the rows of all stages, each row's first stage, the spans of all stages."""
    begins = np.flatnonzero(spans.is_first)
    pipeline = np.searchsorted(spans.depth[begins], depth)
    count = np.diff(begins, append=len(spans))[pipeline]
    first = np.cumsum(count) - count
    row = np.repeat(np.arange(len(depth)), count)
    return row, first, np.arange(len(row)) + (begins[pipeline] - first)[row]


def _copies_by_stage(spec: ModelSpec, engine: Engine, division: Division, spans: Spans) -> Ints:
    """Unquantized copies of latent attention's up-projections on every stage, shape (stages, keys)."""
    copies = np.stack([latent_copies(group, division, absorbed=engine.absorbs_latent) for group in spec.layers])
    if not engine.copies_latent or not copies.any():
        return np.zeros((len(spans), division.tensor_parallel.size), dtype=np.int64)
    return layers_by_stage(spec, spans) @ copies
