"""One configuration at many loads: what each gives and costs, and how much a service level allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.cells import EVEN_ODDS, estimate_at
from optimizer.energy import MILLION, SECONDS_PER_HOUR
from optimizer.performance.estimate import EstimateColumns
from optimizer.replica_columns import Bools, Ints, ReplicaColumns
from optimizer.requirements import Frozen, ServiceLevel

MOST_PER_RANK = 4096
"""Requests in flight per attention-DP rank that are looked at; engines are started with fewer."""


class LoadPoint(Frozen):
    """The same configuration with another number of requests in flight.

    Attributes:
        concurrency: on the whole replica.
        gpu_watts, gpu_joules_per_output_token: None when the power limit is not known.
        usd_per_million_output_tokens: at the price that was given; None without one.
        fits: whether memory holds so many requests.
        keeps_service_level: whether TTFT and TPOT stay within what was asked.
    """

    concurrency: int
    ttft_seconds: float
    tpot_seconds: float
    output_tokens_per_second: float
    output_tokens_per_second_per_gpu: float
    gpu_watts: float | None
    gpu_joules_per_output_token: float | None
    usd_per_million_output_tokens: float | None
    fits: bool
    keeps_service_level: bool


@dataclass(frozen=True)
class Sweep:
    """Estimates of one replica at `batches` requests per attention-DP rank, and which of them memory holds."""

    rows: ReplicaColumns
    batches: Ints
    speed: EstimateColumns
    fits: Bools

    def kept(self, level: ServiceLevel) -> Bools:
        """(batches,) whether TTFT and TPOT stay within the service level."""
        ttft, tpot = level.ttft_seconds, level.tpot_seconds
        late, slow = (self._factor(metric, level.confidence) for metric in ("ttft", "tpot"))
        early = self.speed.ttft_seconds[0] * late <= (np.inf if ttft is None else ttft)
        quick = self.speed.tpot_seconds[0] * slow <= (np.inf if tpot is None else tpot)
        return np.asarray(early & quick)

    def _factor(self, metric: str, confidence: float) -> float:
        """What is counted on instead of the estimate."""
        return 1.0 if confidence == EVEN_ODDS else float(self.speed.error_at(metric, confidence)[0])

    def largest(self, level: ServiceLevel) -> int | None:
        """Most requests in flight on the replica that memory and the service level allow; None when not even one."""
        allowed = np.flatnonzero(self.fits & self.kept(level))
        ranks = int(self.rows.data_parallel[0])
        return int(self.batches[allowed[-1]]) * ranks if len(allowed) else None

    def point(self, at: int, level: ServiceLevel, usd_per_gpu_hour: float | None) -> LoadPoint:
        """One load."""
        made = estimate_at(self.speed, int(self.batches[at] * self.rows.data_parallel[0]), 0, at)
        rate, gpus = made.output_tokens_per_second.value, int(self.rows.gpu_count[0])
        return LoadPoint(
            concurrency=made.concurrency,
            ttft_seconds=made.ttft_seconds.value,
            tpot_seconds=made.tpot_seconds.value,
            output_tokens_per_second=rate,
            output_tokens_per_second_per_gpu=rate / gpus,
            gpu_watts=made.power_watts,
            gpu_joules_per_output_token=None if made.power_watts is None else made.power_watts / rate,
            usd_per_million_output_tokens=usd_per_million(usd_per_gpu_hour, gpus, rate),
            fits=bool(self.fits[at]),
            keeps_service_level=bool(self.kept(level)[at]),
        )

    def points(self, asked: int, level: ServiceLevel, usd_per_gpu_hour: float | None) -> tuple[LoadPoint, ...]:
        """Powers of two as far as memory holds them, what was asked (per rank), and the most that is allowed."""
        most = int(self.batches[self.fits][-1]) if self.fits.any() else 1
        shown = {1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most, asked}
        largest = self.largest(level)
        if largest is not None:
            shown.add(largest // int(self.rows.data_parallel[0]))
        places = np.searchsorted(self.batches, sorted(shown))
        return tuple(self.point(int(at), level, usd_per_gpu_hour) for at in places)


def usd_per_million(usd_per_gpu_hour: float | None, gpus: int, output_tokens_per_second: float) -> float | None:
    """Price over throughput; None without a price.

    >>> round(usd_per_million(2.0, 4, 2000), 3)
    1.111
    """
    if usd_per_gpu_hour is None:
        return None
    return usd_per_gpu_hour * gpus / SECONDS_PER_HOUR / output_tokens_per_second * MILLION


def swept(asked: int) -> Ints:
    """Requests per rank that are looked at: every number up to the most, and what was asked."""
    return np.unique(np.append(np.arange(1, MOST_PER_RANK + 1), asked)).astype(np.int64)
