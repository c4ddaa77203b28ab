"""Requests that come when they like: how full a replica gets at a rate of arrivals, how long it keeps people waiting.

Arrivals are random and independent of each other (Poisson). With n requests in flight a replica completes mu(n) of them
per second (the closed loop's throughput), so the number in flight is a birth-death process; requests share the steps,
so how their lengths scatter does not matter (Kelly 1979, section 3.3: processor sharing is insensitive). Around the n
at which mu(n) = rate it is as good as normal, with

    variance = rate / mu'(n)

A new prompt waits for the step that runs, joins the next one with all others that came meanwhile (a queue with gated
service, Takagi 1991), and waits for a slot before that when all are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from optimizer.replica_columns import Floats, Ints

POINTS_PER_OCTAVE = 16
LEAST_IN_FLIGHT = 1 / 16
BUSIEST = 0.95
"""Share of its highest rate at which a replica may be planned: beyond it, the least change of the load is a queue."""

STEPS_SEEN = 1.5
"""Steps that TTFT feels the number in flight in: half of the one that runs, and one's own."""


@dataclass(frozen=True)
class Curve:
    """A replica at numbers of requests in flight per attention-DP rank; every array (rows, points), in seconds.

    Attributes:
        in_flight: (points,) rising.
        rate: requests per second and rank, rising.
        decode_step, prompt, host: as in `Serving`.
    """

    in_flight: Floats
    rate: Floats
    decode_step: Floats
    prompt: Floats
    host: Floats

    @cached_property
    def rate_slope(self) -> Floats:
        """Requests per second more, per request in flight."""
        return slope(self.rate, self.in_flight)

    @cached_property
    def step_slope(self) -> Floats:
        """Seconds of a step more, per request in flight."""
        return slope(self.decode_step, self.in_flight)


@dataclass(frozen=True)
class Points:
    """What curves say at points; arrays of the points' shape, `shortest_step` of that of their rows."""

    in_flight: Floats
    shortest_step: Floats
    rate: Floats
    rate_slope: Floats
    decode_step: Floats
    step_slope: Floats
    prompt: Floats
    host: Floats


def at_points(curve: Curve, point: Ints, row: Ints | None = None) -> Points:
    """What the curves say: gathered by the place in the flat table, which is faster than by row and column.

    Args:
        curve: of all rows.
        point: index into the points, (rows, k), or of any shape if `row` is given.
        row: whose curve each point is on, of a shape that broadcasts with it; None = its own row's.
    """
    row = np.arange(len(curve.rate))[:, None] if row is None else row
    place = point + row * len(curve.in_flight)
    columns = (curve.rate, curve.rate_slope, curve.decode_step, curve.step_slope, curve.prompt, curve.host)
    shortest = curve.decode_step[:, 0].take(row)
    return Points(curve.in_flight[point], shortest, *(each.take(place) for each in columns))


def operating_points(most: float) -> Floats:
    """Numbers of requests in flight that are considered, up to `most`: 16 per octave, from 1/16 on."""
    octaves = np.log2(most / LEAST_IN_FLIGHT)
    points: Floats = LEAST_IN_FLIGHT * 2 ** (np.arange(round(octaves * POINTS_PER_OCTAVE) + 1) / POINTS_PER_OCTAVE)
    return points


def finer(curve: Curve, points: Floats) -> Curve:
    """The curve at other points: logarithms in a line.

    Below the first point nothing is shared: rates are in proportion to the requests in flight and times do not change.
    """
    log, at = np.log(curve.in_flight), np.log(np.maximum(points, curve.in_flight[0]))
    left = np.clip(np.searchsorted(log, at, side="right") - 1, 0, max(len(log) - 2, 0))
    right = np.minimum(left + 1, len(log) - 1)
    width = np.where(right > left, log[right] - log[left], 1.0)
    share = (at - log[left]) / width

    def between(values: Floats) -> Floats:
        logs = np.log(np.maximum(values, TINIEST))
        # `take` keeps rows together in memory, which `logs[:, left]` does not: points are gathered row by row
        return np.asarray(np.exp(logs.take(left, axis=1) * (1 - share) + logs.take(right, axis=1) * share))

    alone = np.minimum(points / curve.in_flight[0], 1.0)
    return Curve(
        points,
        np.maximum.accumulate(between(curve.rate) * alone, axis=1),
        *(between(values) for values in (curve.decode_step, curve.prompt, curve.host)),
    )


TINIEST = 1e-15


@dataclass(frozen=True)
class Wait:
    """A time that scatters over requests; arrays of one shape.

    Attributes:
        least: what every request takes.
        excess, variance: mean and variance of what comes on top: a gamma variable.
        rare, rare_seconds: the share of requests that wait for something else besides, and how long on average, as an
            exponential variable.
    """

    least: Floats
    excess: Floats
    variance: Floats
    rare: Floats = field(default_factory=lambda: np.zeros(()))
    rare_seconds: Floats = field(default_factory=lambda: np.zeros(()))

    @property
    def mean(self) -> Floats:
        """Over all requests."""
        return self.least + self.excess + self.rare * self.rare_seconds

    def at(self, probability: float) -> Floats:
        """The time that is kept with this probability: by all but the rare, or by the rare, whichever is longer.

        A gamma variable's quantile is as good as a normal one's cube (Wilson and Hilferty 1931).
        """
        root = self._root()
        cube = np.maximum(1 - root**2 + normal_quantile(probability) * root, 0.0)
        often = self.least + self.excess * cube**3
        missed = np.maximum(self.rare / (1 - probability), 1.0)
        seldom = self.least + self.excess + self.rare_seconds * np.log(missed)
        return np.asarray(np.where(missed > 1, np.maximum(often, seldom), often))

    def times(self, factor: float) -> Wait:
        """The same with every time longer."""
        variance = self.variance * factor**2
        return Wait(self.least * factor, self.excess * factor, variance, self.rare, self.rare_seconds * factor)

    def kept(self, limit: float) -> Floats:
        """The probability of staying within a limit: the inverse of `at`."""
        root = self._root()
        over = np.maximum(limit - self.least, 0.0) / np.maximum(self.excess, TINIEST)
        often = normal_share((np.cbrt(over) - 1 + root**2) / root)
        late = np.maximum(limit - self.least - self.excess, 0.0) / np.maximum(self.rare_seconds, TINIEST)
        seldom = 1 - self.rare * np.exp(-np.minimum(late, 700.0))
        return np.where(limit >= self.least, np.minimum(often, seldom), 0.0)

    def _root(self) -> Floats:
        """1 / (3 sqrt(k)) of the gamma variable's shape k = mean^2 / variance."""
        return np.asarray(np.sqrt(self.variance) / (3 * np.maximum(self.excess, TINIEST)) + TINIEST)


@dataclass(frozen=True)
class OpenLoop:
    """A replica under random arrivals; arrays of one shape.

    Attributes:
        rate: requests per second and attention-DP rank. in_flight: of them, on average.
        busy: rate / the highest rate of its slots.
        slot_wait: share of the requests that wait for a slot.
        ttft, tpot: of one request.
    """

    rate: Floats
    in_flight: Floats
    busy: Floats
    slot_wait: Floats
    ttft: Wait
    tpot: Wait


def open_loop(
    curve: Curve,
    point: Ints,
    slots: Floats,
    top_rate: Floats,
    pipeline: Floats,
    chunks: Floats,
    output_tokens: float,
    tokens_per_step: float = 1.0,
    row: Ints | None = None,
) -> OpenLoop:
    """What requests meet when the mean number in flight is that of a point.

    Args:
        curve: at fine points.
        point: (rows, k) index into the points.
        slots: (k,) or (rows, k) requests that may be in flight at once per rank.
        top_rate: (rows, k) requests per second and rank with all slots taken; must be above the rate.
        pipeline: (rows, 1) micro-batches.
        chunks: (rows, 1) steps that a prompt needs when it has them for itself; below 1 several share a step.
        output_tokens: of the mean request.
        tokens_per_step: that each running request gets; the curve's rates know it already.
        row: whose curve each point is on, where points are of another shape; all arrays then broadcast with them.
    """
    here = at_points(curve, point, row)
    rate, step, prompt = here.rate, here.decode_step, here.prompt
    spread = rate / here.rate_slope
    swing = here.step_slope**2 * spread
    gate = prompts_together(step / pipeline, prompt, rate, chunks)
    queue = prompts_in_turn(rate, step * chunks / pipeline + prompt, chunks)
    per_step = tpot_of(here, spread, gate, output_tokens / tokens_per_step)
    tpot = per_step.times(1 / tokens_per_step)
    # The host's work holds the rest of a running step on average.
    least = np.maximum(here.host + chunks_latency(step, prompt, chunks, pipeline) - step / pipeline / 2, TINIEST)
    unslotted = gate.mean + queue.excess
    in_flight = rate * (least + unslotted + (output_tokens - 1) * tpot.mean)
    slot_wait, slot_seconds = waiting_for_a_slot(in_flight, spread, slots, rate, top_rate)
    variance = gate.variance + queue.variance + STEPS_SEEN**2 * swing
    ttft = Wait(least, unslotted, variance, slot_wait, slot_seconds)
    return OpenLoop(rate, in_flight, rate / top_rate, slot_wait, ttft, tpot)


def chunks_latency(step: Floats, prompt: Floats, chunks: Floats, pipeline: Floats) -> Floats:
    """From the start of a prompt to its first token when no other prompt is there."""
    return np.asarray(np.maximum(chunks, 1.0) * step + pipeline * prompt)


def tpot_of(here: Points, spread: Floats, gate: Gate, steps: float) -> Wait:
    """Time per step of a request that decodes for so many: of the n that it lives beside, of prompts that join.

    Each step lasts step / (1 - load) on average. The first ones last longer: while one's own prompt was filled in, more
    others came than usual, and that excess fades by the load with every step.
    """
    step, more = here.decode_step, gate.load / (1 - gate.load)
    mean = step / (1 - gate.load) + more * gate.excess / max(steps - 1, 1.0)
    lives = np.maximum(here.in_flight / spread, TINIEST)
    slower = (here.step_slope / (1 - gate.load)) ** 2 * spread * share_of_swing(lives)
    joined = here.rate * steps * mean
    variance = slower + joined * (here.prompt / steps / (1 - gate.load)) ** 2
    least = np.minimum(here.shortest_step, step)
    return Wait(least, np.maximum(mean - least, TINIEST), variance)


def share_of_swing(lives: Floats) -> Floats:
    """How much of the variance of n is left in its mean over one request's life.

    n returns to its mean as exp(-t / relaxation), and a life lasts `lives` relaxations (in_flight / variance: 1 where
    requests do not slow each other): 2 (x - 1 + exp(-x)) / x^2 for the mean over x relaxations.

    >>> share_of_swing(np.array([1e-6, 1.0])).round(3).tolist()
    [1.0, 0.736]
    """
    x = np.maximum(lives, SMALLEST_LIFE)
    return np.asarray(2 * (x - 1 + np.exp(-x)) / x**2)


SMALLEST_LIFE = 1e-3
"""Below it the difference is lost in rounding."""


def slope(values: Floats, points: Floats) -> Floats:
    """(rows, points) change per request in flight, never falling: central differences."""
    rises = np.empty_like(values)
    rises[:, 1:-1] = (values[:, 2:] - values[:, :-2]) / (points[2:] - points[:-2])
    rises[:, 0] = (values[:, 1] - values[:, 0]) / (points[1] - points[0])
    rises[:, -1] = (values[:, -1] - values[:, -2]) / (points[-1] - points[-2])
    return np.maximum(rises, TINIEST)


def waiting_for_a_slot(
    in_flight: Floats, spread: Floats, slots: Floats, rate: Floats, top_rate: Floats
) -> tuple[Floats, Floats]:
    """The share of requests that find all slots taken, and their mean wait, which is exponential.

    Below the slots the number in flight is normal, above them it falls off geometrically by rate / top_rate; the two
    meet at the slots (as Halfin and Whitt 1981 do for equal servers). Who waits, waits 1 / (top_rate - rate) on
    average, as if answers' lengths were exponential: equally long ones wait half as long.
    """
    deviation = np.sqrt(np.maximum(spread, TINIEST))
    z = (slots - in_flight) / deviation
    density = np.exp(-np.minimum(z * z, 1400.0) / 2) / np.sqrt(2 * np.pi) / deviation
    above = density / np.maximum(1 - rate / top_rate, TINIEST)
    return above / (normal_share(z) + above), 1 / np.maximum(top_rate - rate, TINIEST)


@dataclass(frozen=True)
class Gate:
    """What a prompt meets that joins the next step; arrays of one shape.

    `mean` and `variance` of the wait until that step, and of what the prompts of others add to it; `load`, the share of
    time that prompts take; `excess`, by how much the step of one's own prompt is longer than others.
    """

    mean: Floats
    variance: Floats
    load: Floats
    excess: Floats


def prompts_together(step: Floats, prompt: Floats, rate: Floats, chunks: Floats) -> Gate:
    """From arrival to one's own prompt, and what the prompts of others that join the same step add.

    Gated service with a vacation of one step: cycles have the mean step / (1 - rate prompt); all prompts that came in
    one cycle are filled in together in the next (Takagi 1991, chapter 2). The rest of a running cycle is uniform. A
    prompt of several chunks fills its steps alone: what runs when it comes is a step with one chunk, or without.
    """
    load = np.minimum(rate * prompt, BUSIEST)
    cycle = step / (1 - load)
    cycle_variance = rate * cycle * prompt**2 / (1 - load**2)
    seen = cycle + cycle_variance / cycle  # a long cycle is met more often
    others = rate * seen
    together = chunks <= 1
    seen = np.where(together, seen, step + load * prompt / np.maximum(chunks, 1.0))
    mean = seen / 2 + np.where(together, others * prompt, 0.0)
    variance = seen**2 / 12 + np.where(together, others * prompt**2 + cycle_variance * (0.5 + load) ** 2, 0.0)
    own = step + prompt * (1 + np.where(together, others, 0.0))
    return Gate(mean, variance, load, own - cycle)


def prompts_in_turn(rate: Floats, service: Floats, chunks: Floats) -> Wait:
    """The wait for prompts ahead where a prompt fills whole steps: one server with even service.

    W = S u / (2 (1 - u)), u = rate S (Pollaczek and Khinchine), as good as exponential among those who wait.
    """
    load = np.minimum(rate * service, BUSIEST)
    mean = np.where(chunks > 1, service * load / (2 * (1 - load)), 0.0)
    variance = np.where(load > 0, (2 / np.maximum(load, TINIEST) - 1) * mean**2, 0.0)
    return Wait(np.zeros_like(mean), mean, variance)


def last_kept(keeps: Callable[[Ints], np.ndarray[tuple[int, ...], np.dtype[np.bool_]]], most: Ints) -> Ints:
    """(rows, k): the last point up to `most` at which `keeps` holds; -1 where it holds at none.

    Args:
        keeps: of points (rows, k), holding up to some point and at none behind it.
        most: (rows, k) the last point to consider, at least -1.
    """
    low, high = np.full_like(most, -1), most.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        good = keeps(np.maximum(middle, 0)) & (middle <= most)
        low, high = np.where(good, middle, low), np.where(good, high, middle - 1)
    return low


# ── the normal distribution, without scipy ───────────────────────────────────────────────────────────────────────────


def normal_share(z: Floats) -> Floats:
    """The share of a normal variable below z standard deviations, to 1.4e-4 (Bowling et al. 2009).

    >>> round(float(normal_share(np.array(1.2816))), 3)
    0.9
    """
    bounded = np.clip(z, -40.0, 40.0)
    return np.asarray(1 / (1 + np.exp(-np.clip(1.5976 * bounded + 0.07056 * bounded**3, -700, 700))))


def normal_quantile(probability: float) -> float:
    """Standard deviations below which this share of a normal variable lies.

    >>> round(normal_quantile(0.95), 4)
    1.6449
    """
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
