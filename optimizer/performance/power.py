"""How hot: the power that a replica's GPUs draw while they serve.

    watts = idle + (limit - idle) * min(1, awake + compute * flop_share + memory * byte_share)

with the share of the datasheet's flop and of its bandwidth that the run uses. The three terms are fitted on measured
steady states (ML.ENERGY); a GPU whose idle power is not known gets the mean idle share of those that are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from optimizer.performance.factors import Factors
from optimizer.performance.operations import Work
from optimizer.performance.rates import Datasheet
from optimizer.performance.serving import Serving
from optimizer.replica_columns import Floats, Ints, ReplicaColumns


def replica_watts(
    rows: ReplicaColumns,
    shares: Floats,
    factors: Factors,
) -> Floats:
    """Watts of all GPUs of each replica, host not included.

    Args:
        rows: replicas.
        shares: (rows, batches), busy share from `busy_share`.
        factors: its `power`.

    Returns:
        (rows, batches); NaN where the GPU's power limit is not known.
    """
    idle_share = factors.power["idle_share"]
    limits = [gpu.power_watts or float("nan") for gpu in rows.gpus]
    idles = [gpu.idle_watts or limit * idle_share for gpu, limit in zip(rows.gpus, limits, strict=True)]
    idle, limit = rows.gather(idles)[:, None], rows.gather(limits)[:, None]
    return rows.gpu_count[:, None] * (idle + (limit - idle) * np.minimum(shares, 1.0))


def busy_share(
    work: Work,
    sheet: Datasheet,
    run: Serving,
    batches: Floats | Ints,
    input_tokens: Floats | float,
    output_tokens: Floats | float,
    power: Mapping[str, float],
) -> Floats:
    """Fitted mix of the shares of peak flop and of peak bandwidth, (rows, batches)."""
    flop, byte = shares_of_peak(work, sheet, run, batches, input_tokens, output_tokens)
    return power["awake"] + power["compute"] * flop + power["memory"] * byte


def shares_of_peak(
    work: Work,
    sheet: Datasheet,
    run: Serving,
    batches: Floats | Ints,
    input_tokens: Floats | float,
    output_tokens: Floats | float,
) -> tuple[Floats, Floats]:
    """What part of the datasheet's flop and of its bandwidth a closed loop uses, each (rows, batches).

    Args:
        work, sheet: per row.
        run: its serving estimate.
        batches, input_tokens, output_tokens: of the run.
    """
    stages = work.pipeline_parallel[:, None]
    flop_seconds = ((work.dense_flop + work.expert_flop) / sheet.flop_per_second).sum(axis=1)
    weights = (work.dense_bytes + work.expert_bytes).sum(axis=1) + work.head_bytes
    tokens_per_second = batches * (input_tokens + output_tokens) / run.cycle_seconds
    flop = tokens_per_second * flop_seconds[:, None] / stages
    read = weights[:, None] + batches / stages * work.decode_kv_bytes[:, None]
    return flop, read / (sheet.bytes_per_second[:, None] * run.tpot_seconds * stages)
