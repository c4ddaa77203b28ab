"""Cases -> what the performance model says about each, by metric, with the interval that its calibration promises.

closed loop   the model's own case; where memory holds fewer requests than are kept in flight, the others queue
static batch  all prompts, then as many steps as answers are long: the cycle of a closed loop of that size
offline       a closed loop of as many requests as memory holds
rate          random arrivals at that rate, percentiles included; above the highest one, saturated
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gpuplan.fitting.bench import replicas
from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.serving_rows import Case
from optimizer.cells import NINE_IN_TEN
from optimizer.engines.errors import UnknownEngine
from optimizer.engines.find import find_engine
from optimizer.memory.vram import MemorySettings, measure_memory
from optimizer.open_loop import at_rate
from optimizer.performance.arrivals import BUSIEST, OpenLoop, Wait
from optimizer.performance.certainty import METRICS as PLANNED
from optimizer.performance.estimate import EstimateColumns, Factors, estimate
from optimizer.replica_columns import Floats, Ints, ReplicaColumns, take_rows

GRID = np.unique(np.round(2.0 ** np.arange(0, 13.5, 0.5)).astype(np.int64))
MOST_IN_FLIGHT = 2048
"""TensorRT-LLM's default batch limit, of each pipeline stage; benchmarks of other engines raise theirs."""

COUNTED_BATCH = np.array([256], dtype=np.int64)
"""Running requests for which engines set memory aside when the pool's size is asked for."""

TTFT = ("ttft_ms", "ttft_ms_mean", "ttft_ms_median")
TPOT = ("tpot_ms", "tpot_ms_mean", "tpot_ms_median", "itl_ms_mean", "itl_ms")
STEP = ("itl_ms_median",)
TOTAL = ("e2e_ms", "e2e_ms_mean", "e2e_ms_median")
RATES = ("output_tps_total", "output_tps_per_gpu", "total_tps", "requests_per_s")
ENERGY, POWER = "energy_j_per_token", "avg_power_w"
TAILS = ("ttft_ms_p99", "itl_ms_p99", "tpot_ms_p99", "e2e_ms_p99")
METRICS = (*TTFT, *TPOT, *STEP, *TOTAL, *RATES, ENERGY, POWER)

STATISTIC = {
    **dict.fromkeys(TTFT, "mean TTFT of the steady state"),
    **dict.fromkeys(TPOT, "mean time between a request's tokens"),
    **dict.fromkeys(STEP, "one step without prompts: the median gap"),
    **dict.fromkeys(TOTAL, "mean time of a request, queueing for a slot included; of a static batch, the whole batch"),
    "ttft_ms_p99": "TTFT that 99 of 100 requests stay under, at a rate of arrivals",
    "tpot_ms_p99": "TPOT that 99 of 100 requests stay under, at a rate of arrivals",
    "output_tps_total": "output tokens per second of all GPUs",
    "output_tps_per_gpu": "output tokens per second, divided by the GPUs",
    "total_tps": "input and output tokens per second of all GPUs",
    "requests_per_s": "requests per second of all GPUs",
    ENERGY: "joules of all GPUs per output token",
    POWER: "mean watts of all GPUs, hosts not included",
}
"""What each prediction is, whatever statistic its column holds."""

SATURATED = "more requests are sent than served: its TTFT is the depth of a queue"
TAIL = "a tail of its distribution, which the model gives only for TTFT and TPOT at a rate of arrivals"


@dataclass
class Prediction:
    """What is said about one row.

    Attributes:
        values: by metric, in the column's unit. low, high: 90% of left-out measurements lie between.
        reasons: by metric that has no value.
    """

    values: dict[str, float] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    calibration: str = ""
    engine: str = ""
    gpu: str = ""
    model: str = ""


def predict_cases(choices: Sequence[Sequence[Case]], factors: Factors) -> list[Prediction | str]:
    """Each row's prediction, or why it has none.

    Args:
        choices: per row the layouts that it may have had, at least one; the fastest counts.
        factors: from `load_factors()`.
    """
    groups: dict[tuple[object, ...], list[tuple[int, Case]]] = defaultdict(list)
    for number, cases in enumerate(choices):
        for case in cases:
            lengths = (case.input_tokens, case.output_tokens)
            key = (id(case.spec), case.engine, case.planned_steps, case.kv_format, lengths, case.shortcuts)
            groups[key].append((number, case))
    found: dict[int, list[Prediction | str]] = defaultdict(list)
    for members in groups.values():
        speeds = Speeds([case for _, case in members], factors)
        for place, (number, case) in enumerate(members):
            found[number].append(_one(speeds, place, case, factors))
    return [_fastest(found[number]) for number in range(len(choices))]


def _fastest(several: Sequence[Prediction | str]) -> Prediction | str:
    """The fastest layout's prediction, its interval as wide as those of all layouts together."""
    made = [each for each in several if isinstance(each, Prediction)]
    if not made:
        return several[0]
    best = max(made, key=lambda each: each.values["output_tps_total"])
    for metric in best.low:
        held = [each for each in made if metric in each.low]
        best.low[metric] = min(each.low[metric] for each in held)
        best.high[metric] = max(each.high[metric] for each in held)
    return best


class Speeds:
    """Estimates of cases that share model, engine, cache and lengths, on a grid of batch sizes."""

    def __init__(self, cases: Sequence[Case], factors: Factors) -> None:
        first = cases[0]
        self.rows = replicas(cases, {case.gpu: case.card for case in cases})
        self.grid = _grid(cases)
        self.columns: EstimateColumns = estimate(
            first.spec, first.engine, self.rows, first.kv_format, self.grid, first.input_tokens, first.output_tokens,
            factors.planning_ahead(first.engine, first.planned_steps), shortcuts=first.shortcuts,
        )  # fmt: skip
        self._capacity: Floats | str | None = None
        self.first = first

    def capacity(self, place: int) -> float:
        """Requests of mean length that the cache holds, per attention-DP rank.

        Raises:
            Unpredictable: the engine's memory is not described, or the model does not fit.
        """
        if self._capacity is None:
            self._capacity = _capacities(self.first, self.rows)
        if isinstance(self._capacity, str):
            raise Unpredictable(self._capacity)
        held = float(self._capacity[place])
        if held < 1:
            raise Unpredictable("by the memory model it does not fit on these GPUs")
        return held

    def at(self, name: str, place: int, batch: float) -> float:
        """A column at a batch size between those of the grid: logarithms in a line."""
        values = getattr(self.columns, name)[place]
        return float(np.exp(np.interp(math.log(batch), np.log(self.grid), np.log(values))))

    def arriving(self, place: int, case: Case, rate: float, slots: float) -> OpenLoop:
        """Random arrivals at so many requests per second on the whole replica, below what its slots can take."""
        one = np.asarray([place], dtype=np.int64)
        rows = self.rows.take(one)
        return at_rate(take_rows(self.columns, one), rows, self.grid, case.output_tokens, rate, slots)[0]


def _grid(cases: Sequence[Case]) -> Ints:
    stated = [case.batch if case.batch == case.batch else case.load.amount for case in cases]
    exact = {int(batch) for batch in stated if 1 <= batch <= 1e5 and batch == int(batch)}
    per_rank = {batch // case.data_parallel for batch in exact for case in cases}
    return np.unique(np.array([*GRID, *exact, *(each for each in per_rank if each)], dtype=np.int64))


def _capacities(case: Case, rows: ReplicaColumns) -> Floats | str:
    """Requests of mean length in the KV pool, or why it is not known."""
    length = max(round(case.input_tokens + case.output_tokens), 2)
    # TensorRT-LLM admits no request that it might have to evict; the others hold what has been generated so far.
    kept = 1.0 if case.engine.startswith("tensorrt-llm") else 0.5
    held = max(round(case.input_tokens + kept * case.output_tokens), 1)
    try:
        engine = find_engine(case.engine.split()[0])
        settings = MemorySettings(max_model_len=length, tokens_per_request=held, speculation=case.shortcuts.speculation)
        memory = measure_memory(case.spec, engine, rows, case.kv_format, settings, COUNTED_BATCH)
    except (UnknownEngine, ValueError) as reason:
        return f"the memory of {case.engine} is not described: {reason}"[:300]
    return memory.requests_capacity[:, 0].astype(np.float64)


def _one(speeds: Speeds, place: int, case: Case, factors: Factors) -> Prediction | str:
    """One layout's prediction, or why it has none."""
    if np.isnan(speeds.columns.tpot_seconds[place]).any():
        return f"the bandwidth, 16-bit rate or links of {case.gpu} are not known"
    slower = float(factors.birth.get("source_slowness", {}).get(case.source, 1.0))
    try:
        state = _SETTLE[case.load.kind](speeds, place, case, slower).slowed(slower)
    except Unpredictable as reason:
        return str(reason)
    if slower != 1:
        case = replace(case, assumed=(*case.assumed, f"times as in this source's other runs: x {slower:.3g}"))
    said = Prediction(
        assumed=case.assumed, calibration=speeds.columns.calibration[place], engine=case.engine, gpu=case.gpu
    )
    _fill(said, state, case)
    _bound(said, speeds.columns, place, factors)
    return said


@dataclass(frozen=True)
class State:
    """A replica under its load, in seconds; `requests` per second and `watts` of one replica.

    `ttft` is None where it is the depth of a queue. `scatter` is how TTFT and TPOT differ between requests, where that
    is known.
    """

    ttft: float | None
    tpot: float
    step: float
    total: float
    requests: float
    watts: float
    scatter: tuple[Wait, Wait] | None = None

    def slowed(self, slower: float) -> State:
        """The same with every time longer."""
        ttft = None if self.ttft is None else self.ttft * slower
        scatter = self.scatter and (self.scatter[0].times(slower), self.scatter[1].times(slower))
        return State(
            ttft,
            self.tpot * slower,
            self.step * slower,
            self.total * slower,
            self.requests / slower,
            self.watts,
            scatter,
        )


def _at_batch(speeds: Speeds, place: int, case: Case, batch: float) -> State:
    """A closed loop of `batch` requests per attention-DP rank."""
    ttft, tpot, step = (speeds.at(f"{name}_seconds", place, batch) for name in ("ttft", "tpot", "decode_step"))
    held, in_flight = case.held_steps * step, batch * case.data_parallel
    total = in_flight / speeds.at("requests_per_second", place, batch) + held
    return State(
        ttft=ttft + held,
        tpot=tpot,
        step=step,
        total=total,
        requests=in_flight / total,
        watts=speeds.at("power_watts", place, batch),
    )


def _per_rank(case: Case, requests: float) -> float:
    return max(requests / (case.replicas * case.data_parallel), 1.0)


def _closed(speeds: Speeds, place: int, case: Case, slower: float) -> State:
    if case.batch == case.batch:
        return _at_batch(speeds, place, case, max(case.batch / (case.replicas * case.data_parallel), 1.0))
    wanted, held = _per_rank(case, case.load.amount), _held(speeds, place)
    if wanted <= held:
        return _at_batch(speeds, place, case, wanted)
    full = _at_batch(speeds, place, case, held)
    total = wanted * case.data_parallel / full.requests
    waiting = total - full.tpot * (case.output_tokens - 1)
    return State(max(waiting, full.ttft or 0.0), full.tpot, full.step, total, full.requests, full.watts)


def _held(speeds: Speeds, place: int) -> float:
    """Requests that run at once; it ran, so where our memory model has no number nothing tells how many waited."""
    try:
        return speeds.capacity(place)
    except Unpredictable:
        return math.inf


def _static(speeds: Speeds, place: int, case: Case, slower: float) -> State:
    batch = _per_rank(case, case.load.amount)
    loop = _at_batch(speeds, place, case, min(batch, _held(speeds, place)))
    total = batch * case.data_parallel / loop.requests
    prompts = total - case.output_tokens * loop.step
    return State(prompts, loop.step, loop.step, total, loop.requests, loop.watts)


def _offline(speeds: Speeds, place: int, case: Case, slower: float) -> State:
    most = case.max_num_seqs or MOST_IN_FLIGHT * case.pipeline_parallel
    held = min(speeds.capacity(place), most, _per_rank(case, case.load.amount))
    full = _at_batch(speeds, place, case, held)
    return State(None, full.tpot, full.step, full.total, full.requests, full.watts)


def _rate(speeds: Speeds, place: int, case: Case, slower: float) -> State:
    try:
        most = min(speeds.capacity(place), MOST_IN_FLIGHT * case.pipeline_parallel)
    except Unpredictable:
        most = float(MOST_IN_FLIGHT)
    rate = case.load.amount / case.replicas * slower
    if rate >= BUSIEST * speeds.at("requests_per_second", place, most):
        full = _at_batch(speeds, place, case, most)
        return State(None, full.tpot, full.step, full.total, full.requests, full.watts)
    run = speeds.arriving(place, case, rate, most)
    batch = min(max(float(run.in_flight[0, 0]), 1.0), most)
    ttft, tpot = float(run.ttft.mean[0, 0]), float(run.tpot.mean[0, 0])
    return State(
        ttft=ttft,
        tpot=tpot,
        step=speeds.at("decode_step_seconds", place, batch),
        total=ttft + tpot * (case.output_tokens - 1),
        requests=rate,
        watts=speeds.at("power_watts", place, batch),
        scatter=(run.ttft, run.tpot),
    )


_SETTLE: dict[str, Callable[[Speeds, int, Case, float], State]] = {
    "closed": _closed,
    "static": _static,
    "offline": _offline,
    "rate": _rate,
}


def _fill(said: Prediction, state: State, case: Case) -> None:
    requests = state.requests * case.replicas
    tokens = requests * case.output_tokens
    gpus = case.gpus * case.replicas
    times = {TPOT: state.tpot, STEP: state.step, TTFT: state.ttft, TOTAL: None if state.ttft is None else state.total}
    for names, seconds in times.items():
        if seconds is None:
            said.reasons |= dict.fromkeys(names, SATURATED)
        else:
            said.values |= dict.fromkeys(names, seconds * 1e3)
    said.values |= {
        "output_tps_total": tokens,
        "output_tps_per_gpu": tokens / gpus,
        "total_tps": requests * (case.input_tokens + case.output_tokens),
        "requests_per_s": requests,
    }
    if math.isnan(state.watts):
        said.reasons |= dict.fromkeys((ENERGY, POWER), f"the power limit of {case.gpu} is not known")
    else:
        said.values |= {POWER: state.watts * case.replicas, ENERGY: state.watts * case.replicas / tokens}
    said.reasons |= dict.fromkeys(TAILS, SATURATED if state.ttft is None and case.load.kind == "rate" else TAIL)
    if state.scatter is not None:
        said.values |= _percentiles(*state.scatter)


def _percentiles(ttft: Wait, tpot: Wait) -> dict[str, float]:
    """Medians and tails over requests, in milliseconds."""
    return {
        f"{name}_ms_{word}": 1e3 * float(wait.at(share)[0, 0])
        for name, wait in (("ttft", ttft), ("tpot", tpot))
        for word, share in (("median", 0.5), ("p99", 0.99))
    }


def _bound(said: Prediction, columns: EstimateColumns, place: int, factors: Factors) -> None:
    """The interval of each value: measured over predicted, in 90% of cases left out of the fit."""
    pairs = {name: tuple(float(columns.error_at(name, end)[place]) for end in NINE_IN_TEN) for name in PLANNED}
    slow, fast = pairs["throughput"]
    by_metric = {
        **dict.fromkeys((*TPOT, *STEP, "tpot_ms_p99"), pairs["tpot"]),
        **dict.fromkeys((*TTFT, "ttft_ms_p99"), pairs["ttft"]),
        **dict.fromkeys(TOTAL, (1 / fast, 1 / slow)),
        **dict.fromkeys(RATES, pairs["throughput"]),
    }
    for metric, name in ((POWER, "bounds"), (ENERGY, "energy_bounds")):
        if name in factors.power:
            low, high = factors.power[name]
            by_metric[metric] = (low, high)
    for metric, value in said.values.items():
        if metric in by_metric and not any(map(math.isnan, by_metric[metric])):
            least, most = by_metric[metric]
            said.low[metric], said.high[metric] = value * float(least), value * float(most)
