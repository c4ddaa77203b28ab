"""One cell of the columnar tables as the record that a plan shows."""

from __future__ import annotations

import math
from collections.abc import Callable

from optimizer.memory.vram import MemoryColumns
from optimizer.performance.estimate import EstimateColumns
from optimizer.plan import Estimate, Interval, Memory

NINE_IN_TEN = (0.05, 0.95)
"""The ends of the interval that is shown."""

EVEN_ODDS = 0.5
"""The confidence of the estimate itself."""


def memory_at(memory: MemoryColumns, row: int = 0, batch: int = 0) -> Memory:
    """Bytes per GPU of one row at one batch size."""
    return Memory(
        total_bytes=int(memory.total_bytes[row]),
        budget_bytes=int(memory.budget_bytes[row]),
        weight_bytes=int(memory.weight_bytes[row]),
        kv_cache_bytes=int(memory.kv_pool_bytes[row, batch]),
        activation_bytes=int(memory.activation_bytes[row, batch]),
        graph_bytes=int(memory.graph_bytes[row, batch]),
        non_torch_bytes=int(memory.non_torch_bytes[row]),
        draft_weight_bytes=int(memory.draft_bytes[row]),
        adapter_bytes=int(memory.adapter_bytes[row]),
        offloaded_weight_bytes=int(memory.offloaded_bytes[row]),
        kv_bytes_per_token=float(memory.kv_bytes_per_token[row]),
        kv_tokens=int(memory.kv_tokens[row, batch]),
        requests_that_fit=int(memory.requests_capacity[row, batch]),
    )


def estimate_at(
    speed: EstimateColumns, concurrency: int, row: int = 0, batch: int = 0, confidence: float = 0.5
) -> Estimate:
    """Speed of one row at one batch size with its error bars.

    Args:
        speed: the columns.
        concurrency: requests in flight on the replica.
        row, batch: which cell.
        confidence: the chance with which what is planned is kept.
    """
    watts = float(speed.power_watts[row, batch])
    interval = error_bars(speed, row, confidence)
    return Estimate(
        concurrency=concurrency,
        output_tokens_per_second=interval("throughput", float(speed.output_tokens_per_second[row, batch])),
        requests_per_second=float(speed.requests_per_second[row, batch]),
        ttft_seconds=interval("ttft", float(speed.ttft_seconds[row, batch])),
        tpot_seconds=interval("tpot", float(speed.tpot_seconds[row, batch])),
        power_watts=watts if math.isfinite(watts) else None,
        calibration=speed.calibration[row],
    )


def error_bars(speed: EstimateColumns, row: int, confidence: float) -> Callable[[str, float], Interval]:
    """What makes an Interval of a metric ("tpot", "ttft", "throughput") and its estimate, for one row."""

    def interval(metric: str, value: float) -> Interval:
        low, high = (float(speed.error_at(metric, end)[row]) for end in NINE_IN_TEN)
        known = math.isfinite(low) and math.isfinite(high)
        kept = confidence if metric != "throughput" else 1 - confidence
        return Interval(
            value=value,
            low=value * low if known else None,
            high=value * high if known else None,
            planned=value if confidence == EVEN_ODDS else value * float(speed.error_at(metric, kept)[row]),
        )

    return interval
