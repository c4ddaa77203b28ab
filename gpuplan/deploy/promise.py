"""What a plan promised beside what a benchmark measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gpuplan.deploy.errors import BadPlan, BadResult, CannotDeploy
from gpuplan.deploy.read import text_of
from optimizer.plan import Interval, Plan

Verdict = Literal["kept", "broken", "not asked"]
LIKE = 0.1
"""A load or a length that differs by more than this share is another question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a benchmark measured; None where it did not.

    Attributes:
        tool: "vllm bench serve" or "guidellm".
        model: as it was asked for.
        output_tokens_per_second, requests_per_second: over the run.
        ttft_seconds, tpot_seconds: by "mean" or a percentile such as "95".
        concurrency: requests in flight, when that was given.
        input_tokens, output_tokens: of the mean request.
        failed, completed: requests.
    """

    tool: str
    model: str
    output_tokens_per_second: float
    requests_per_second: float
    ttft_seconds: Mapping[str, float]
    tpot_seconds: Mapping[str, float]
    concurrency: float | None
    input_tokens: float | None
    output_tokens: float | None
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity: what was asked for, what was expected, what was measured.

    Attributes:
        name: in words.
        unit: of all numbers.
        asked: the promise; None = nothing was asked.
        expected: the plan's estimate, None where it gives none.
        measured: by the benchmark.
        verdict: whether the promise is kept.
        as_expected: whether the measurement lies in the estimate's error bar; None where it has none.
    """

    name: str
    unit: str
    asked: float | None
    expected: Interval | None
    measured: float
    verdict: Verdict
    as_expected: bool | None


@dataclass(frozen=True, slots=True)
class PromiseCheck:
    """A whole comparison, and what makes it unequal."""

    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]

    @property
    def asked(self) -> bool:
        """Whether anything that was measured had been promised."""
        return any(each.verdict != "not asked" for each in self.comparisons)

    @property
    def kept(self) -> bool:
        """Whether no promise is broken."""
        return all(each.verdict != "broken" for each in self.comparisons)


@dataclass(frozen=True, slots=True)
class PromiseAnswer:
    """A comparison with its verdict; the JSON of `plan check promise`.

    Attributes:
        kept: whether no promise is broken.
        comparisons, warnings: see `PromiseCheck`.
        measured: what the benchmark said.
    """

    kept: bool
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    measured: Measured
    schema_version: Literal["1"] = "1"


def read_result(path: Path) -> Measured:
    """What a benchmark wrote: `vllm bench serve --save-result`, or `guidellm run --output kind=json`.

    Raises:
        BadResult: it cannot be read, or is neither.
    """
    try:
        loaded = json.loads(text_of(path))
    except BadPlan as unreadable:
        raise BadResult(str(unreadable).replace("it is no plan", "it is no result")) from None
    except (ValueError, RecursionError):
        raise BadResult(f"{path} is not JSON; give what the benchmark wrote.") from None
    if not isinstance(loaded, dict):
        raise BadResult(f"{path} holds a {type(loaded).__name__}, not the object that a benchmark writes.")
    if "benchmarks" in loaded:
        return _guidellm(loaded, str(path))
    if "output_throughput" in loaded:
        return _vllm(loaded, str(path))
    raise BadResult(
        f"{path} has neither output_throughput (vllm bench serve --save-result) nor benchmarks (guidellm run)."
    )


def _number(holder: Mapping[str, Any], key: str, where: str) -> float:
    value = holder.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise BadResult(f"{where}: {key} is {str(value)[:40]!r}, which is no number of 0 or more.")
    return float(value)


def _vllm(loaded: Mapping[str, Any], where: str) -> Measured:
    """Source: vLLM 0.33.0 `vllm/benchmarks/serve.py`; times are in milliseconds."""
    completed = int(_number(loaded, "completed", where))
    concurrency = loaded.get("max_concurrency")
    return Measured(
        tool="vllm bench serve",
        model=str(loaded.get("model_id", "")),
        output_tokens_per_second=_number(loaded, "output_throughput", where),
        requests_per_second=_number(loaded, "request_throughput", where),
        ttft_seconds=_vllm_times(loaded, "ttft", where),
        tpot_seconds=_vllm_times(loaded, "tpot", where),
        concurrency=None if concurrency is None else _number(loaded, "max_concurrency", where),
        input_tokens=_number(loaded, "total_input_tokens", where) / completed if completed else None,
        output_tokens=_number(loaded, "total_output_tokens", where) / completed if completed else None,
        completed=completed,
        failed=int(_number(loaded, "failed", where)) if "failed" in loaded else 0,
    )


def _vllm_times(loaded: Mapping[str, Any], name: str, where: str) -> dict[str, float]:
    times = {"mean": _number(loaded, f"mean_{name}_ms", where) / 1000}
    for key in loaded:
        if key.startswith("p") and key.endswith(f"_{name}_ms"):
            times[key.removeprefix("p").removesuffix(f"_{name}_ms")] = _number(loaded, key, where) / 1000
    return times


def _guidellm(loaded: Mapping[str, Any], where: str) -> Measured:
    """Source: guidellm 0.8.1, GenerativeBenchmarksReport; times are in milliseconds."""
    try:
        run = loaded["benchmarks"][0]
        metrics = run["metrics"]
        totals = metrics["request_totals"]
        times = {name: metrics[f"{key}_ms"]["successful"] for name, key in GUIDELLM_TIMES.items()}
        tokens = {name: metrics[name]["successful"] for name in ("prompt_token_count", "output_token_count")}
        return Measured(
            tool="guidellm",
            model=_guidellm_model(loaded),
            output_tokens_per_second=_number(metrics["output_tokens_per_second"]["successful"], "mean", where),
            requests_per_second=_number(metrics["requests_per_second"]["successful"], "mean", where),
            ttft_seconds=_guidellm_times(times["ttft"], where),
            tpot_seconds=_guidellm_times(times["tpot"], where),
            concurrency=_number(metrics["request_concurrency"]["successful"], "mean", where),
            input_tokens=_number(tokens["prompt_token_count"], "mean", where),
            output_tokens=_number(tokens["output_token_count"], "mean", where),
            completed=int(_number(totals, "successful", where)),
            failed=int(_number(totals, "errored", where)),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as missing:
        raise BadResult(f"{where} lacks {str(missing)[:60]}, which guidellm 0.8.1 writes.") from None


GUIDELLM_TIMES = {"ttft": "time_to_first_token", "tpot": "inter_token_latency"}
"""guidellm's inter-token latency of a request is (end - first token) / (tokens - 1), which is TPOT here."""


def _guidellm_times(summary: Mapping[str, Any], where: str) -> dict[str, float]:
    times = {"mean": _number(summary, "mean", where) / 1000}
    for name, value in summary.get("percentiles", {}).items():
        if name.startswith("p") and name[1:].isdigit() and isinstance(value, int | float):
            times[str(int(name[1:]) if name != "p999" else "99.9")] = value / 1000
    return times


def _guidellm_model(loaded: Mapping[str, Any]) -> str:
    backend = loaded["config"]["spec"]["backend"]
    return str(backend.get("model") or "")


def check_promise(plan: Plan, measured: Measured) -> PromiseCheck:
    """What was promised, expected and measured, side by side.

    Args:
        plan: the answer; its demand and service level are the promises, its totals the expectation.
        measured: of the whole deployment.

    Raises:
        CannotDeploy: the plan is of nothing.
        BadResult: the benchmark did not measure what was promised.
    """
    if plan.totals is None or not plan.lines:
        raise CannotDeploy("Nothing was planned, so nothing was promised.")
    if measured.completed == 0:
        raise BadResult(f"None of the benchmark's {measured.failed} requests was answered, so nothing was measured.")
    asked, level = plan.question.demand, plan.question.service_level
    at = _held(plan)
    estimates = [line.estimate for line in plan.lines]
    slowest = max(estimates, key=lambda each: each.ttft_seconds.planned)
    slowest_token = max(estimates, key=lambda each: each.tpot_seconds.planned)
    wanted = plan.question.wanted_output_tokens_per_second or None
    comparisons = [
        _compare(
            "output",
            "tokens/s",
            wanted,
            plan.totals.output_tokens_per_second,
            measured.output_tokens_per_second,
            least=True,
        ),
        _compare("requests", "1/s", asked.requests_per_second, None, measured.requests_per_second, least=True),
    ]
    for name, limit, times, estimate in (
        ("TTFT", level.ttft_seconds, measured.ttft_seconds, slowest.ttft_seconds),
        ("TPOT", level.tpot_seconds, measured.tpot_seconds, slowest_token.tpot_seconds),
    ):
        label = name if at == "mean" else f"{name} p{at}"
        comparisons.append(_compare(label, "s", limit, estimate, _time(times, at, label), least=False))
    return PromiseCheck(tuple(comparisons), tuple(_unequal(plan, measured)))


def _held(plan: Plan) -> str:
    """The mean, or the percentile in which limits are kept under random arrivals."""
    arrivals = next((line.estimate.arrivals for line in plan.lines if line.estimate.arrivals), None)
    return "mean" if arrivals is None else f"{arrivals.percentile:g}"


def _time(times: Mapping[str, float], at: str, label: str) -> float:
    if at not in times:
        raise BadResult(
            f"The benchmark has no {label}; it has {', '.join(times)}: run the one that `plan deploy --format "
            "benchmark` writes."
        )
    return times[at]


MET = 0.99
"""A rate that is sent at random comes out within a hundredth of itself; so much is not a broken promise."""


def _compare(
    name: str, unit: str, asked: float | None, expected: Interval | None, measured: float, *, least: bool
) -> Comparison:
    verdict: Verdict = "not asked"
    if asked is not None:
        verdict = "kept" if (measured >= asked * MET if least else measured <= asked) else "broken"
    inside = None
    if expected is not None and expected.low is not None and expected.high is not None:
        inside = expected.low <= measured <= expected.high
    return Comparison(name, unit, asked, expected, measured, verdict, inside)


def _unequal(plan: Plan, measured: Measured) -> list[str]:
    """What was measured otherwise than it was planned."""
    work, totals = plan.question.workload, plan.totals
    said = []
    if measured.failed:
        said.append(f"{measured.failed} of {measured.failed + measured.completed} requests failed.")
    pairs = [("input tokens", work.input_tokens, measured.input_tokens)]
    pairs += [("output tokens", work.output_tokens, measured.output_tokens)]
    if totals is not None and plan.question.demand.requests_per_second is None:
        pairs += [("requests in flight", totals.concurrency, measured.concurrency)]
    for name, planned, seen in pairs:
        if seen is not None and abs(seen - planned) > LIKE * planned:
            said.append(f"Planned were {planned:g} {name}, measured with {seen:.4g}: another question.")
    return said
