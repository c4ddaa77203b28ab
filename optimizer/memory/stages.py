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
from optimizer.memory.distinct import distinct_columns
from optimizer.memory.weights import Division, pipeline_stages, weights_by_stage
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
        weight_bytes: on its fullest rank.
        forward_bytes_per_token: of a forward pass.
    """

    row: Ints
    number: Ints
    first: Ints
    is_last: Bools
    layers: Ints
    weight_bytes: Ints
    forward_bytes_per_token: Floats

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


def lay_out_stages(spec: ModelSpec, engine: Engine, rows: ReplicaColumns) -> Stages:
    """The stages of all rows with what the model puts on them.

    Args:
        spec: the model.
        engine: whose kernels may pad experts.
        rows: shapes of one replica; a row with more stages than layers gets empty ones.
    """
    keys, key_of_row = distinct_columns(_division_columns(spec, engine, rows))
    weights, forward, first_of_key = _keys(spec, keys)
    depth = rows.pipeline_parallel
    first = np.cumsum(depth) - depth
    row = np.repeat(np.arange(rows.rows), depth)
    number = np.arange(row.size) - first[row]
    return Stages(
        row=row,
        number=number,
        first=first,
        is_last=number == depth[row] - 1,
        layers=_layers(spec, depth, first, row.size),
        weight_bytes=weights[first_of_key[key_of_row[row]] + number],
        forward_bytes_per_token=forward[key_of_row[row]],
    )


def _division_columns(spec: ModelSpec, engine: Engine, rows: ReplicaColumns) -> Ints:
    """What decides a rank's weights, shape (6, rows): pipeline stages, then the fields of a Division."""
    paddings = np.array([engine.expert_padding(spec, gpu) for gpu in rows.gpus], dtype=np.int64)
    padding = paddings.reshape(-1, 2)[rows.gpu].T
    return np.stack([rows.pipeline_parallel, rows.tensor_parallel, rows.data_parallel, rows.expert_parallel, *padding])


def _keys(spec: ModelSpec, keys: Ints) -> tuple[Ints, Floats, Ints]:
    """Weight bytes of the stages of all keys in a row, forward bytes per key, and where each key's stages begin."""
    depth = keys[0]
    first = np.cumsum(depth) - depth
    weights = np.zeros(int(depth.sum()), dtype=np.int64)
    for stages in np.unique(depth):
        chosen = np.flatnonzero(depth == stages)
        divided = weights_by_stage(spec, Division(*keys[1:, chosen]), int(stages))
        weights[first[chosen][None, :] + np.arange(stages)[:, None]] = divided
    return weights, forward_bytes_per_token(spec, Division(*keys[1:])), first


def _layers(spec: ModelSpec, depth: Ints, first: Ints, size: int) -> Ints:
    """Layers of every stage of every row."""
    layers = np.zeros(size, dtype=np.int64)
    for stages in np.unique(depth):
        starts = first[depth == stages]
        layers[starts[:, None] + np.arange(stages)] = pipeline_stages(spec.layer_count, int(stages))
    return layers
