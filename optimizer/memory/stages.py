"""Rows spread over their pipeline stages, and back: the poorest stage decides for the replica.

A flat table has one entry per stage of each row, rows in order. Without pipeline parallelism it is the rows themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine
from optimizer.memory.activations import forward_bytes_per_token
from optimizer.memory.adapters import Adapters, adapters_by_stage
from optimizer.memory.distinct import distinct_columns
from optimizer.memory.encoder import encoder_bytes_per_token
from optimizer.memory.weights import (
    Division,
    latent_copies,
    layer_bytes,
    layers_by_stage,
    pipeline_stages,
    weights_by_stage,
)
from optimizer.replica_columns import ReplicaColumns

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Stages:
    """The flat table; arrays have shape (stages,) unless said otherwise.

    Attributes:
        row: index of the replica row.
        number: 0 for a row's first stage.
        first: index of each row's first stage, shape (rows,).
        is_last: whether the stage samples.
        layers: layers it runs.
        weight_bytes: on its fullest rank, as they are served.
        forward_bytes_per_token: of a forward pass.
        encoder_bytes_per_token: of encoding an image, on the first stage; zero elsewhere and for text models.
        adapter_bytes: LoRA buffers.
        layer_bytes: weights of the stage's largest layer.
    """

    row: Ints
    number: Ints
    first: Ints
    is_last: Bools
    layers: Ints
    weight_bytes: Ints
    forward_bytes_per_token: Floats
    encoder_bytes_per_token: Floats
    adapter_bytes: Ints
    layer_bytes: Ints

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


def lay_out_stages(spec: ModelSpec, engine: Engine, rows: ReplicaColumns, adapters: Adapters | None = None) -> Stages:
    """The stages of all rows with what the model puts on them.

    Args:
        spec: the model.
        engine: whose kernels may pad experts.
        rows: shapes of one replica; a row with more stages than layers gets empty ones.
        adapters: LoRA adapters loaded at once.
    """
    keys, key_of_row = distinct_columns(_division_columns(spec, engine, rows))
    on_keys, first_of_key = _keys(spec, keys, adapters, copies_latent=engine.copies_latent)
    depth = rows.pipeline_parallel
    first = np.cumsum(depth) - depth
    row = np.repeat(np.arange(rows.rows), depth)
    number = np.arange(row.size) - first[row]
    weights, added = on_keys.stages[:, first_of_key[key_of_row[row]] + number]
    key = key_of_row[row]
    return Stages(
        row=row,
        number=number,
        first=first,
        is_last=number == depth[row] - 1,
        layers=_layers(spec, depth, first, row.size),
        weight_bytes=weights,
        forward_bytes_per_token=on_keys.forward[key],
        encoder_bytes_per_token=np.where(number == 0, on_keys.encoder[key], 0),
        adapter_bytes=added,
        layer_bytes=on_keys.layer[key],
    )


def _division_columns(spec: ModelSpec, engine: Engine, rows: ReplicaColumns) -> Ints:
    """What decides a rank's weights, shape (6, rows): pipeline stages, then the fields of a Division."""
    paddings = np.array([engine.expert_padding(spec, gpu) for gpu in rows.gpus], dtype=np.int64)
    padding = paddings.reshape(-1, 2)[rows.gpu].T
    return np.stack([rows.pipeline_parallel, rows.tensor_parallel, rows.data_parallel, rows.expert_parallel, *padding])


@dataclass(frozen=True)
class _OnKeys:
    """What the ways to divide a model put on a rank.

    Attributes:
        stages: weights and adapters of the stages of all keys in a row, shape (2, stages of all keys).
        forward, encoder: bytes per token, shape (keys,).
        layer: weights of the largest layer, shape (keys,).
    """

    stages: Ints
    forward: Floats
    encoder: Floats
    layer: Ints


def _keys(spec: ModelSpec, keys: Ints, adapters: Adapters | None, *, copies_latent: bool) -> tuple[_OnKeys, Ints]:
    """What lies on the stages of all keys, and where each key's stages begin."""
    depth = keys[0]
    first = np.cumsum(depth) - depth
    flat = np.zeros((2, int(depth.sum())), dtype=np.int64)
    for stages in np.unique(depth):
        chosen = np.flatnonzero(depth == stages)
        division = Division(*keys[1:, chosen])
        places = first[chosen][None, :] + np.arange(stages)[:, None]
        flat[0, places] = weights_by_stage(spec, division, int(stages))
        if copies_latent:
            flat[0, places] += _copies_by_stage(spec, division, int(stages))
        if adapters is not None:
            flat[1, places] = adapters_by_stage(spec, adapters, division, int(stages))
    whole = Division(*keys[1:])
    layer = np.max([layer_bytes(group, whole) for group in spec.layers], axis=0)
    forward, encoder = forward_bytes_per_token(spec, whole), encoder_bytes_per_token(spec, whole)
    return _OnKeys(flat, forward, encoder, layer), first


def _copies_by_stage(spec: ModelSpec, division: Division, pipeline_parallel: int) -> Ints:
    """Unquantized copies of latent attention's up-projections on every stage, shape (stages, keys)."""
    copies = np.stack([latent_copies(group, division) for group in spec.layers])
    return layers_by_stage(spec, pipeline_parallel) @ copies


def _layers(spec: ModelSpec, depth: Ints, first: Ints, size: int) -> Ints:
    """Layers of every stage of every row."""
    layers = np.zeros(size, dtype=np.int64)
    for stages in np.unique(depth):
        starts = first[depth == stages]
        layers[starts[:, None] + np.arange(stages)] = pipeline_stages(spec.layer_count, int(stages))
    return layers
