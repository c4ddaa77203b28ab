"""What guesses tokens, as a part of the weights: the layers and matrices that `with_drafts` put behind the model's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine
from optimizer.memory.speculation import is_draft
from optimizer.memory.weights import Division, latent_copies, layer_bytes, shard_bytes
from optimizer.replica_columns import ReplicaColumns

Ints = NDArray[np.int64]


def draft_weight_bytes(spec: ModelSpec, engine: Engine, rows: ReplicaColumns) -> Ints:
    """Weights of drafts on one rank of the last pipeline stage, shape (rows,); 0 without drafts.

    Args:
        spec: the model with its drafts; see `with_drafts`.
        engine: whose kernels may pad experts or keep copies.
        rows: shapes of one replica.
    """
    total = np.zeros(rows.rows, dtype=np.int64)
    if not any(group.drafts for group in spec.layers):
        return total
    padding = np.array([engine.expert_padding(spec, gpu) for gpu in rows.gpus], dtype=np.int64)[rows.gpu]
    division = Division(rows.tensor_parallel, rows.data_parallel, rows.expert_parallel, padding[:, 0], padding[:, 1])
    for group in spec.layers:
        if group.drafts:
            copies = latent_copies(group, division) if engine.copies_latent else 0
            total += len(group.indices) * (layer_bytes(group, division) + copies)
    for matrix in spec.outside:
        if is_draft(matrix):
            total += shard_bytes(matrix, division)
    return total
