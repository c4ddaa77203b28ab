"""How hot: the power that a replica's GPUs draw while they serve.

    watts = idle + (limit - idle) * min(1, busy * flop_share ^ exponent)

`flop_share` is what part of the datasheet's flop the run uses; `busy` and `exponent` are fitted on measured steady
states (ML.ENERGY). A GPU that decodes a few requests already draws most of its limit, and each doubling of its work
adds a little: so watts rise slowly with load, and joules per token fall. A GPU whose idle power is not known gets the
mean idle share of those that are.

Tried and left out: a term for the share of the bandwidth, terms for experts, collectives and host time. They fit the
measured GPUs better, and one that was left out of the fit worse.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gpu_db.gpu import Gpu
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
        shares: (rows, batches), from `busy_share`.
        factors: its `power`.

    Returns:
        (rows, batches); NaN where the GPU's power limit is not known.
    """
    idles, limits = idle_and_limit_watts(rows, factors)
    idle, limit = idles[:, None], limits[:, None]
    watts = (limit - idle) * np.minimum(shares, 1.0)
    watts += idle
    watts *= rows.gpu_count[:, None].astype(np.float64)
    return watts


def idle_and_limit_watts(rows: ReplicaColumns, factors: Factors) -> tuple[Floats, Floats]:
    """One GPU of each replica with nothing to do, and at its power limit, each (rows,); NaN without a known limit."""
    limits = [gpu.power_watts or float("nan") for gpu in rows.gpus]
    return rows.gather([idle_watts(gpu, factors) for gpu in rows.gpus]), rows.gather(limits)


def idle_watts(gpu: Gpu, factors: Factors) -> float:
    """What a GPU draws with nothing to do; NaN where neither that nor its power limit is known."""
    return gpu.idle_watts or (gpu.power_watts or float("nan")) * factors.power["idle_share"]


def busy_share(flop_share: Floats, power: Mapping[str, float]) -> Floats:
    """Share of what lies between idle and limit that a run draws; above 1 counts as 1.

    >>> float(busy_share(np.array(0.0), {"busy": 0.98, "exponent": 0.09}))
    0.0
    """
    return np.asarray(power["busy"] * flop_share ** power["exponent"])


def flop_share(
    work: Work,
    sheet: Datasheet,
    run: Serving,
    batches: Floats | Ints,
    input_tokens: Floats | float,
    output_tokens: Floats | float,
) -> Floats:
    """What part of the datasheet's flop a closed loop uses, (rows, batches).

    Args:
        work, sheet: per row.
        run: its serving estimate.
        batches, input_tokens, output_tokens: of the run.
    """
    tokens = np.asarray(batches * (input_tokens + output_tokens), dtype=np.float64)
    return flop_share_of(flop_seconds(work, sheet), work.pipeline_parallel, tokens, run)


def flop_seconds(work: Work, sheet: Datasheet) -> Floats:
    """Seconds that one token takes if every product runs at its datasheet's rate, (rows,)."""
    return np.asarray(((work.dense_flop + work.expert_flop) / sheet.flop_per_second).sum(axis=1))


def flop_share_of(seconds: Floats, stages: Floats, tokens: Floats, run: Serving) -> Floats:
    """`flop_share` of rows whose `flop_seconds` are known.

    Args:
        seconds, stages: of one token, and of the pipeline, each (rows,).
        tokens: that all requests have in one cycle of the run, prompts and answers.
        run: its serving estimate.
    """
    share = tokens / run.cycle_seconds
    share *= seconds[:, None]
    share /= stages[:, None]
    return share
