"""How a front looks in a terminal: a plot of its first two axes, and its plans in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gpuplan.cli.console import Ink, Line, Part, Styled, aligned, duration, header, quantity, usd
from gpuplan.cli.plot import Point, plot
from optimizer.frontier import Axis, Frontier, FrontPoint

LEAST_SAVING = 0.005
"""Dollars per hour: less is not to be seen in a price of two digits."""
WORDS: dict[Axis, str] = {
    "cost": "USD/h",
    "latency": "request",
    "ttft": "TTFT",
    "tpot": "TPOT",
    "throughput": "tok/s",
    "energy": "J/token",
    "quality": "weights",
}
VALUES: dict[Axis, Callable[[FrontPoint], float]] = {
    "cost": lambda point: point.cost_usd_per_hour,
    "latency": lambda point: point.request_seconds,
    "ttft": lambda point: point.ttft_seconds,
    "tpot": lambda point: point.tpot_seconds,
    "throughput": lambda point: point.output_tokens_per_second,
    "energy": lambda point: point.joules_per_output_token or 0.0,
    "quality": lambda point: float(point.weight_bits),
}


def full(front: Frontier, ink: Ink, *, most: int) -> list[Line]:
    """The whole front.

    Args:
        front: the answer.
        ink: what the terminal can show.
        most: plans to print; those between are left out evenly.
    """
    lines: list[Line] = [(Styled(front.model, "bold"), f"  {_counted(front)}")]
    if not front.points:
        return lines
    if len(front.axes) > 1 and len(front.points) > 1:
        across, up = front.axes[:2]
        marks = [Point(VALUES[across](point), VALUES[up](point)) for point in front.points]
        lines += [(), *plot(marks, _axis(across), _axis(up), ink)]
    lines += [(), *_table(front, _thinned(front.points, most))]
    left_out = len(front.points) - min(most, len(front.points))
    if left_out:
        lines.append((Styled(f"  and {left_out} between them; --points or --json shows all", "dim"),))
    return lines


def _axis(axis: Axis) -> str:
    unit = {"latency": "seconds of a whole request", "ttft": "TTFT in seconds", "tpot": "TPOT in seconds"}.get(axis)
    return unit or {"quality": "bits per weight"}.get(axis, WORDS[axis])


def _counted(front: Frontier) -> str:
    if not front.points:
        return "nothing fits; `plan` says why and what would"
    return (
        f"{len(front.points)} of {front.considered:,} plans are not beaten in {', '.join(front.axes)}"
        if len(front.axes) > 1
        else f"the best of {front.considered:,} plans in {front.axes[0]}"
    )


def _thinned(points: Sequence[FrontPoint], most: int) -> list[FrontPoint]:
    """At most so many, the first and the last among them, evenly spread."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / max(most - 1, 1)
    return [points[round(number * step)] for number in range(most)]


def _table(front: Frontier, points: Sequence[FrontPoint]) -> Iterator[Line]:
    mixed = any(_mix(point) for point in front.points)
    names = ("USD/h", *(("mixed",) if mixed else ()), "request", "TTFT", "TPOT", "tok/s", "J/token", "plan")
    rows: list[Sequence[Part]] = [header(names)]
    rows += [
        (
            usd(point.cost_usd_per_hour),
            *((_mix(point),) if mixed else ()),
            duration(point.request_seconds),
            duration(point.ttft_seconds),
            duration(point.tpot_seconds),
            quantity(point.output_tokens_per_second),
            quantity(point.joules_per_output_token) if point.joules_per_output_token else "",
            described(point),
        )
        for point in points
    ]
    yield from aligned(rows, right=tuple(range(len(names) - 1)))
    if mixed:
        yield (Styled("  mixed: what several kinds of replicas together cost that are no worse (proven)", "dim"),)


def _mix(point: FrontPoint) -> str:
    """What a mix costs where it costs less."""
    mixed = point.mixed_usd_per_hour
    return usd(mixed) if mixed is not None and mixed < point.cost_usd_per_hour - LEAST_SAVING else ""


def described(point: FrontPoint) -> str:
    """What a plan is, in a few words."""
    one = point.replica
    ways = (("TP", one.tensor_parallel), ("PP", one.pipeline_parallel), ("DP", one.data_parallel))
    layout = " ".join(f"{word} {number}" for word, number in ways if number > 1) or "1 GPU"
    machines = f"{point.machines} x {point.offer.provider} {point.offer.gpu_count} x {one.gpu}"
    return (
        f"{point.replicas} x {layout} on {machines}, "
        f"{one.weight_format} weights, {one.kv_cache_format} KV, batch {one.max_num_seqs}"
    )
