"""Rows spread over their pipeline stages, and back: the poorest stage decides for the replica.

A flat table has one entry per stage of each row, rows in order. Stages of a row that hold alike are one entry. Without
pipeline parallelism it is the rows themselves.

There are two such tables: `Stages` with what a stage holds whatever the format of the KV cache is, and `PoolStages`,
which tells more stages apart: those whose layers keep unlike caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.engine import Engine
from optimizer.memory.activations import expert_workspace_bytes_per_token, forward_bytes_per_token
from optimizer.memory.adapters import Adapters, adapters_by_stage
from optimizer.memory.allocator import spare_by_stage
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.distinct import distinct_columns
from optimizer.memory.encoder import encoder_bytes_per_token
from optimizer.memory.pipelines import Spans, pipelines
from optimizer.memory.pools import PagePlans
from optimizer.memory.weights import (
    Division,
    idle_indexers,
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
    """What a model puts on the stages of rows; arrays have shape (stages,) unless said otherwise.

    Attributes:
        depths: of the rows' pipelines, rising.
        row: index of the replica row.
        first: index of each row's first stage, shape (rows,).
        span: index into the spans that hold unlike weights.
        is_last: whether the stage samples.
        layers: layers it runs.
        weight_bytes: on its fullest rank, as they are served.
        spare_bytes: that the allocator adds to them.
        forward_bytes_per_token: of a forward pass.
        workspace_bytes_per_token: of a step, that the experts' kernels keep.
        encoder_bytes_per_token: of encoding an image, on the first stage; zero elsewhere and for text models.
        adapter_bytes: LoRA buffers.
        layer_bytes: weights of the stage's largest layer.
    """

    depths: tuple[int, ...]
    row: Ints
    first: Ints
    span: Ints
    is_last: Bools
    layers: Ints
    weight_bytes: Ints
    spare_bytes: Ints
    forward_bytes_per_token: Floats
    workspace_bytes_per_token: Floats
    encoder_bytes_per_token: Floats
    adapter_bytes: Ints
    layer_bytes: Ints


def lay_out_stages(spec: ModelSpec, engine: Engine, rows: ReplicaColumns, adapters: Adapters | None = None) -> Stages:
    """The stages of all rows with what the model puts on them.

    Args:
        spec: the model.
        engine: whose kernels may pad experts.
        rows: shapes of one replica; a row with more stages than layers gets empty ones.
        adapters: LoRA adapters loaded at once.
    """
    depths = _depths(rows)
    spans = _unlike_spans(spec.layer_count, depths, layers_of_groups(spec))[0]
    keys, key = distinct_columns(_division_columns(spec, engine, rows))
    division = Division(*keys)
    layers = np.stack([layer_bytes(group, division) for group in spec.layers])
    weights = weights_by_stage(spec, division, spans, layers) + _copies_by_stage(spec, engine, division, spans)
    added = np.zeros_like(weights) if adapters is None else adapters_by_stage(spec, adapters, division, spans)
    row, first, span = _spread(spans, rows.pipeline_parallel)
    key = key[row]
    encoder = encoder_bytes_per_token(spec, division)[key]
    keeps = rows.gather([float(engine.keeps_expert_workspace(spec, gpu)) for gpu in rows.gpus])
    repacked = spare_by_stage(spec, division, spans, "mxfp4")
    alike = np.array([_repacks_alike(spec, engine, gpu) for gpu in rows.gpus], dtype=np.int64)[rows.gpu]
    return Stages(
        depths=depths,
        row=row,
        first=first,
        span=span,
        is_last=spans.is_last[span],
        layers=spans.layers[span],
        weight_bytes=weights[span, key],
        spare_bytes=spare_by_stage(spec, division, spans)[span, key] + repacked[span, key] * alike[row],
        forward_bytes_per_token=forward_bytes_per_token(spec, division)[key],
        workspace_bytes_per_token=expert_workspace_bytes_per_token(spec, division)[key] * keeps[row],
        encoder_bytes_per_token=np.where(spans.is_first[span], encoder, 0),
        adapter_bytes=added[span, key],
        layer_bytes=layers.max(axis=0)[key],
    )


def _repacks_alike(spec: ModelSpec, engine: Engine, gpu: Gpu) -> bool:
    """Whether a kernel repacks experts into tensors as large as those that were loaded."""
    return engine.expert_padding(spec, gpu) == engine.expert_padding(spec, gpu, served=False)


@dataclass(frozen=True)
class PoolStages:
    """How the stages of rows cut their KV pools; arrays have shape (stages,) unless said otherwise.

    Attributes:
        row: index of the replica row.
        first: index of each row's first stage, shape (rows,).
        is_last: whether it is the last of its pipeline.
        block_bytes: of one block of the KV pool.
        rates: bytes per token that grow, bytes per token of windows, bytes per request, shape (3, stages).
        span: index into the spans that hold unlike weights.
    """

    row: Ints
    first: Ints
    is_last: Bools
    block_bytes: Ints
    rates: Floats
    span: Ints

    def places(self, stages: Stages, rows: Ints) -> Ints | slice:
        """Where each stage is in the table of what stages hold; shape (stages,), or all of it.

        Args:
            stages: of these rows among others, with the same depths.
            rows: each row's place there, shape (rows,).
        """
        begin = stages.first[rows]
        at = self.span + (begin - stages.span[begin])[self.row]
        whole = np.arange(len(stages.row))
        return slice(None) if np.array_equal(at, whole) else at

    def blocks(self, pool_bytes: Floats) -> Ints:
        """Whole blocks in every stage's pool, shape (stages, batches)."""
        size = self.block_bytes[:, None]
        held = pool_bytes / np.maximum(size, 1).astype(np.float64)
        np.maximum(held, 0, out=held)
        whole = held.astype(np.int64)
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
        fewest = blocks == np.minimum.reduceat(blocks, self.first)[self.row]
        pool = np.where(fewest, pool, np.inf)
        at = np.flatnonzero(pool == np.minimum.reduceat(pool, self.first)[self.row])
        return at[np.searchsorted(at, self.first)]


def cut_pools(
    spec: ModelSpec, rows: ReplicaColumns, pages: PagePlans, depths: tuple[int, ...] | None = None
) -> PoolStages:
    """The stages of all rows with how the KV pool of each is cut.

    Args:
        spec: the model.
        rows: shapes of one replica.
        pages: how the rows' KV pools are cut.
        depths: pipelines to lay out, those of the rows among them; None = those of the rows.
    """
    pipeline = spec.layer_count, depths or _depths(rows), layers_of_groups(spec)
    spans, blocks, rates, weights = _spans_of_plans(*pipeline, pages.plans)
    row, first, span = _spread(spans, rows.pipeline_parallel)
    plan = pages.plan[row]
    return PoolStages(
        row=row,
        first=first,
        is_last=spans.is_last[span],
        block_bytes=blocks[plan, span],
        rates=rates[:, plan, span] / pages.context_parallel,
        span=weights[span],
    )


def _division_columns(spec: ModelSpec, engine: Engine, rows: ReplicaColumns) -> Ints:
    """The fields of a Division, shape (5, rows)."""
    paddings = np.array([engine.expert_padding(spec, gpu) for gpu in rows.gpus], dtype=np.int64)
    padding = paddings.reshape(-1, 2)[rows.gpu].T
    return np.stack([rows.tensor_parallel, rows.data_parallel, rows.expert_parallel, *padding])


def _depths(rows: ReplicaColumns) -> tuple[int, ...]:
    """Of the rows' pipelines, rising."""
    return tuple(np.flatnonzero(np.bincount(rows.pipeline_parallel)).tolist()) or (1,)


GroupLayers = tuple[tuple[int, ...], ...]


@lru_cache(maxsize=64)
def _unlike_spans(layers: int, depths: tuple[int, ...], groups: GroupLayers) -> tuple[Spans, Ints]:
    """The stages of all depths that differ in the layers that they run; and which of them each stage is."""
    spans = pipelines(layers, depths)
    unlike, kind = spans.unlike(spans.counts(groups).T.astype(np.float64))
    return spans.take(unlike), kind


@lru_cache(maxsize=64)
def _spans_of_plans(
    layers: int, depths: tuple[int, ...], groups: GroupLayers, plans: tuple[CachePlan, ...]
) -> tuple[Spans, Ints, Floats, Ints]:
    """The stages of all depths that differ in what they hold; all formats of weights have the same.

    Returns:
        The spans, bytes of a block of shape (plans, spans), rates of shape (3, plans, spans), and which of the spans
        that hold unlike weights each is.
    """
    spans = pipelines(layers, depths)
    blocks = np.array([plan.block_bytes(spans) for plan in plans], dtype=np.int64).reshape(-1, len(spans))
    rates = np.array([plan.rates(spans) for plan in plans]).reshape(-1, 3, len(spans)).swapaxes(0, 1)
    unlike, _ = spans.unlike(np.vstack([spans.counts(groups).T, blocks, *rates]))
    return spans.take(unlike), blocks[:, unlike], rates[:, :, unlike], _unlike_spans(layers, depths, groups)[1][unlike]


def _spread(spans: Spans, depth: Ints) -> tuple[Ints, Ints, Ints]:
    """Each row on the spans of its depth: the rows of all stages, each row's first stage, the spans of all stages."""
    begins = np.flatnonzero(spans.is_first)
    pipeline = np.searchsorted(spans.depth[begins], depth)
    count = np.diff(begins, append=len(spans))[pipeline]
    first = np.cumsum(count) - count
    row = np.repeat(np.arange(len(depth)), count)
    return row, first, np.arange(len(row)) + (begins[pipeline] - first)[row]


def _copies_by_stage(spec: ModelSpec, engine: Engine, division: Division, spans: Spans) -> Ints:
    """What an engine keeps of latent attention beside the checkpoint, on every stage, shape (stages, keys).

    Unquantized copies of up-projections, and indexers of layers that do not use them.
    """
    copies = np.zeros((len(spec.layers), division.tensor_parallel.size), dtype=np.int64)
    if engine.copies_latent:
        copies += np.stack([latent_copies(group, division, absorbed=engine.absorbs_latent) for group in spec.layers])
    if engine.indexes_every_layer:
        copies += idle_indexers(spec, division)
    return np.asarray(layers_by_stage(spec, spans) @ copies)
