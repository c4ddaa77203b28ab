"""Candidates under random arrivals: how many requests per second each may take so that its limits are kept.

A closed loop's candidate has a batch and the throughput that follows from it. Here the batch is only how many slots
there are; what is planned is the highest rate of arrivals at which TTFT and TPOT stay within their limits in the asked
percentile, never more than `BUSIEST` of what the slots can take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from optimizer.candidates import BATCHES, Candidates
from optimizer.cells import EVEN_ODDS, error_bars
from optimizer.performance.arrivals import (
    BUSIEST,
    Curve,
    OpenLoop,
    Wait,
    finer,
    last_kept,
    open_loop,
    operating_points,
)
from optimizer.performance.estimate import EstimateColumns
from optimizer.plan import Arrivals, Estimate, Percentiles
from optimizer.replica_columns import Bools, Floats, Ints, ReplicaColumns, take_rows
from optimizer.requirements import ServiceLevel, Workload


@dataclass(frozen=True)
class Opened:
    """Rows of one evaluation at the rates that they may take, for each number of slots; arrays (rows, batches).

    Attributes:
        run: what requests meet.
        watts: of the replica.
        data_parallel: (rows, 1).
    """

    run: OpenLoop
    watts: Floats
    data_parallel: Ints


@dataclass(frozen=True)
class Arriving:
    """Replicas that requests come to, and what of it does not depend on the limits.

    Attributes:
        speed: of the rows in a closed loop at all `batches`; every value known.
        rows: the replicas.
        workload: lengths.
        batches: slots per attention-DP rank.
    """

    speed: EstimateColumns
    rows: ReplicaColumns
    workload: Workload
    batches: Ints = field(default_factory=lambda: BATCHES)

    @cached_property
    def curve(self) -> Curve:
        """What each row does at many numbers of requests in flight."""
        return fine_curve(self.speed, self.workload.output_tokens, self.batches)

    @cached_property
    def slots(self) -> Floats:
        """(batches,)."""
        return self.batches.astype(np.float64)

    @cached_property
    def top(self) -> Floats:
        """(rows, batches): requests per second and rank with all slots taken."""
        return self.speed.requests_per_second / self.rows.data_parallel[:, None]

    @cached_property
    def stable(self) -> Ints:
        """(rows, batches): the last point whose requests have slots, at a rate that these can take; -1 = none."""
        seated = np.searchsorted(self.curve.in_flight, self.slots, side="right") - 1

        def taken(point: Ints) -> Bools:
            return np.asarray(np.take_along_axis(self.curve.rate, point, axis=1) <= BUSIEST * self.top)

        return last_kept(taken, np.broadcast_to(seated, self.top.shape))

    def at(self, point: Ints, row: Ints, slots: Floats, top: Floats) -> OpenLoop:
        """What requests meet at points of these rows; all arrays of shapes that broadcast."""
        pipeline = self.rows.pipeline_parallel.astype(np.float64)[row]
        lengths = self.workload.output_tokens, self.speed.tokens_per_step
        return open_loop(self.curve, point, slots, top, pipeline, np.asarray(self.speed.prompt_chunks), *lengths, row)


def opened(here: Arriving, level: ServiceLevel) -> Opened:
    """The highest rate of each row and number of slots that keeps the limits.

    Args:
        here: the replicas.
        level: limits, the percentile in which they are kept, and with which confidence.

    Returns:
        Where no rate keeps the limits, the least rate that is considered; its TTFT or TPOT is above them.
    """
    speed, curve, every = here.speed, here.curve, np.arange(here.rows.rows)[:, None]
    limits = [(metric, _limit(speed, metric, asked, level)) for metric, asked in _asked(level) if asked is not None]
    share = level.held_percentile / 100

    def keeps(point: Ints, row: Ints = every, slots: Floats = here.slots, top: Floats = here.top) -> Bools:
        run = here.at(point, row, slots, top)
        kept = [getattr(run, metric).at(share) <= limit[row] for metric, limit in limits]
        return np.asarray(np.logical_and.reduce(kept))

    point = np.maximum(_last_kept(keeps, here.stable, here.slots, here.top) if limits else here.stable, 0)
    watts = np.interp(np.log(curve.in_flight), np.log(here.slots), np.arange(len(here.slots)))
    run = here.at(point, every, here.slots, here.top)
    return Opened(run, _between(speed.power_watts, watts[point]), here.rows.data_parallel[:, None])


def _last_kept(keeps: Callable[..., Bools], stable: Ints, slots: Floats, top: Floats) -> Ints:
    """(rows, batches): the last point up to `stable` that keeps the limits; -1 where none does.

    With slots for everybody the limits end at one point of each row. Only where requests wait for a slot at that
    point, and too long, must the cell's own be looked for.
    """
    endless = np.full((1, 1), np.inf)
    alone = last_kept(lambda point: keeps(point, slots=endless, top=endless), stable.max(axis=1, keepdims=True))
    point = np.minimum(stable, alone)
    row, column = np.nonzero(~keeps(np.maximum(point, 0)) & (point >= 0))
    cells = row, slots[column], top[row, column]
    point[row, column] = last_kept(lambda point: keeps(point, *cells), point[row, column] - 1)
    return point


def _asked(level: ServiceLevel) -> tuple[tuple[str, float | None], ...]:
    return (("ttft", level.ttft_seconds), ("tpot", level.tpot_seconds))


def _limit(speed: EstimateColumns, metric: str, asked: float, level: ServiceLevel) -> Floats:
    """(rows,): what the estimate may be, so that the limit is kept with the confidence."""
    factor = np.ones(len(speed.nearness)) if level.confidence == EVEN_ODDS else speed.error_at(metric, level.confidence)
    return np.asarray(asked / factor)


def _between(values: Floats, place: Floats) -> Floats:
    """(rows, batches) values at fractional places along the second axis, in a line."""
    left = np.minimum(place.astype(np.int64), values.shape[1] - 1)
    right = np.minimum(left + 1, values.shape[1] - 1)
    low, high = (np.take_along_axis(values, index, axis=1) for index in (left, right))
    return np.asarray(low + (place - left) * (high - low))


def coarse_curve(speed: EstimateColumns, output_tokens: float, batches: Ints) -> Curve:
    """What a replica does at a few numbers of requests in flight, without the host's work, which no slot waits for."""
    in_flight = batches.astype(np.float64)
    work = output_tokens / speed.tokens_per_step * speed.decode_step_seconds
    return Curve(
        in_flight,
        in_flight / (work + in_flight * speed.prompt_seconds),
        speed.decode_step_seconds,
        speed.prompt_seconds,
        speed.host_seconds,
    )


def fine_curve(speed: EstimateColumns, output_tokens: float, batches: Ints) -> Curve:
    """What a replica does at many numbers of requests in flight."""
    return finer(coarse_curve(speed, output_tokens, batches), operating_points(float(batches[-1])))


def at_rate(
    speed: EstimateColumns, rows: ReplicaColumns, batches: Ints, output_tokens: float, rate: float, slots: float
) -> tuple[OpenLoop, float]:
    """One replica at a rate that its slots can take, and how many requests it then decodes.

    Args:
        speed: of its one row in a closed loop at all `batches`.
        rows: the replica.
        batches: requests in flight per attention-DP rank.
        output_tokens: of the mean request.
        rate: requests per second on the whole replica.
        slots: requests at once per rank.
    """
    ranks, coarse = float(rows.data_parallel[0]), coarse_curve(speed, output_tokens, batches)
    points = operating_points(float(batches[-1]))
    fine = finer(coarse, points)
    decoding = float(np.exp(np.interp(np.log(rate / ranks), np.log(fine.rate[0]), np.log(points))))
    points = np.unique(np.append(points, decoding))
    top = np.exp(np.interp(np.log(slots), np.log(batches), np.log(speed.requests_per_second[0] / ranks)))
    point = np.asarray([[int(np.searchsorted(points, decoding))]])
    limits = [np.full((1, 1), float(value)) for value in (slots, top, rows.pipeline_parallel[0], speed.prompt_chunks)]
    taken, most, pipeline, chunks = limits
    curve, per_step = finer(coarse, points), speed.tokens_per_step
    run = open_loop(curve, point, taken, most, pipeline, chunks, output_tokens, per_step)
    return run, decoding


@dataclass(frozen=True)
class Part:
    """The candidates of one evaluation: their places in the table, their cells of its rows, and those rows."""

    places: Ints
    cells: tuple[Ints, Ints]
    here: Arriving


def parts_of(candidates: Candidates, workload: Workload) -> tuple[Part, ...]:
    """What every service level finds the same of the candidates."""
    return tuple(_part(candidates, number, workload) for number in range(len(candidates.evaluations)))


def _part(candidates: Candidates, number: int, workload: Workload) -> Part:
    evaluation, places = candidates.evaluations[number], np.flatnonzero(candidates.evaluation == number)
    used, row = np.unique(candidates.row[places], return_inverse=True)
    here = Arriving(take_rows(evaluation.estimate, used), evaluation.rows.take(used), workload)
    return Part(places, (row.reshape(-1), candidates.batch[places]), here)


def under_arrivals(candidates: Candidates, parts: tuple[Part, ...], level: ServiceLevel) -> Candidates:
    """The same candidates with the rates that they may take, and what requests then meet in the asked percentile.

    Args:
        candidates: in a closed loop.
        parts: of them, from `parts_of`.
        level: limits, the percentile in which they are kept, and with which confidence.
    """
    times = (candidates.ttft_seconds, candidates.tpot_seconds)
    columns: list[Any] = [
        column.copy()
        for column in (candidates.output_tokens_per_second, *times, candidates.power_watts, candidates.concurrency)
    ]
    for part in parts:
        planned = _planned(opened(part.here, level), part.here.workload, level)
        for column, values in zip(columns, planned, strict=True):
            column[part.places] = values[part.cells]
    tokens, ttft, tpot, watts, requests = columns
    return replace(
        candidates,
        output_tokens_per_second=tokens,
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        power_watts=watts,
        concurrency=requests,
    )


def _planned(found: Opened, workload: Workload, level: ServiceLevel) -> tuple[Floats | Ints, ...]:
    """What a candidate has: tokens per second, TTFT, TPOT, watts, requests in flight."""
    run, share = found.run, level.held_percentile / 100
    in_flight = np.maximum(np.round(run.in_flight * found.data_parallel), 1).astype(np.int64)
    tokens = run.rate * found.data_parallel * workload.output_tokens
    return tokens, run.ttft.at(share), run.tpot.at(share), found.watts, in_flight


def open_estimate(
    speed: EstimateColumns, rows: ReplicaColumns, workload: Workload, level: ServiceLevel, row: int, batch: int
) -> Estimate:
    """Speed of one row with the slots of one batch, at the rate that it may take.

    Args:
        speed: of all rows in a closed loop, at all of `BATCHES`.
        rows: the replicas.
        workload, level: as in `Arriving` and `opened`.
        row, batch: which cell.
    """
    one = np.asarray([row], dtype=np.int64)
    speed, rows = take_rows(speed, one), rows.take(one)
    return _estimate(speed, opened(Arriving(speed, rows, workload), level), batch, workload, level)


def _estimate(speed: EstimateColumns, found: Opened, batch: int, workload: Workload, level: ServiceLevel) -> Estimate:
    tokens, ttft, tpot, watts, in_flight = (float(v[0, batch]) for v in _planned(found, workload, level))
    bars = error_bars(speed, 0, level.confidence)
    return Estimate(
        concurrency=int(in_flight),
        output_tokens_per_second=bars("throughput", tokens),
        requests_per_second=tokens / workload.output_tokens,
        ttft_seconds=bars("ttft", ttft),
        tpot_seconds=bars("tpot", tpot),
        power_watts=watts if np.isfinite(watts) else None,
        calibration=speed.calibration[0],
        arrivals=_arrivals(found, batch, level),
    )


def estimate_at_rate(
    speed: EstimateColumns,
    rows: ReplicaColumns,
    batches: Ints,
    workload: Workload,
    level: ServiceLevel,
    requests_per_second: float,
    slots: int,
) -> Estimate:
    """One replica at a rate of arrivals.

    Args:
        speed: of its one row in a closed loop at all `batches`.
        rows: the replica.
        batches: requests in flight per attention-DP rank.
        workload, level: as in `Arriving` and `opened`.
        requests_per_second: on the whole replica.
        slots: per rank; one of `batches`.

    Raises:
        Overrun: the slots cannot take that rate, or only with queues that grow at every breath.
    """
    most = BUSIEST * float(speed.requests_per_second[0, int(np.searchsorted(batches, slots))])
    if requests_per_second > most:
        raise Overrun(requests_per_second, most)
    run, decoding = at_rate(speed, rows, batches, workload.output_tokens, requests_per_second, slots)
    at = np.interp(np.log([[decoding]]), np.log(batches), np.arange(len(batches)))
    return _estimate(
        speed, Opened(run, _between(speed.power_watts, at), rows.data_parallel[:, None]), 0, workload, level
    )


class Overrun(Exception):
    """More requests come than a replica may take: `asked` and `most` per second."""

    def __init__(self, asked: float, most: float) -> None:
        super().__init__(asked, most)
        self.asked, self.most = asked, most


def _arrivals(found: Opened, batch: int, level: ServiceLevel) -> Arrivals:
    run, cell = found.run, (0, batch)
    rate = float(run.rate[cell] * found.data_parallel[0, 0])
    ttft, tpot = (_cell(wait, batch) for wait in (run.ttft, run.tpot))
    shares = [
        float(wait.kept(asked)[0, 0])
        for wait, asked in ((ttft, level.ttft_seconds), (tpot, level.tpot_seconds))
        if asked is not None
    ]
    return Arrivals(
        requests_per_second=rate,
        percentile=level.held_percentile,
        busy_share=float(run.busy[cell]),
        slot_wait_share=float(run.slot_wait[cell]),
        ttft_seconds=_percentiles(ttft),
        tpot_seconds=_percentiles(tpot),
        within_limits_share=float(np.prod(shares)) if shares else None,
        goodput_requests_per_second=rate * float(np.prod(shares)) if shares else None,
    )


def _cell(wait: Wait, batch: int) -> Wait:
    one = slice(batch, batch + 1)
    parts = (wait.least, wait.excess, wait.variance, wait.rare, wait.rare_seconds)
    return Wait(*(part[:, one] if part.ndim else part for part in parts))


def _percentiles(wait: Wait) -> Percentiles:
    p50, p95, p99 = (float(wait.at(share)[0, 0]) for share in (0.5, 0.95, 0.99))
    return Percentiles(mean=float(wait.mean[0, 0]), p50=p50, p95=p95, p99=p99)
