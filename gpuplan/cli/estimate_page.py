"""How an estimate is shown: speed, where the time goes, what other loads would cost, and energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuplan.cli.console import (
    Ink,
    Line,
    Part,
    Styled,
    aligned,
    bar,
    duration,
    header,
    quantity,
    usd,
    wrapped,
)
from gpuplan.cli.layout_page import heading
from gpuplan.cli.plan_page import BLANK, EVEN_ODDS, arrivals, between, titled
from gpuplan.cli.plot import Point, plot

if TYPE_CHECKING:
    from gpuplan.calculators.answers import EstimateAnswer
    from gpuplan.calculators.loads import LoadPoint
    from gpuplan.calculators.step_times import StepTime
    from optimizer.energy import Energy
    from optimizer.requirements import ServiceLevel

BAR = 24
RATE = "output_tokens_per_second"


def page(answer: EstimateAnswer, ink: Ink) -> list[Line]:
    """The estimate's page."""
    work = answer.workload
    lines = [*heading(answer.layout, ink), *_speed(answer, ink), *_verdict(answer)]
    for sentence in answer.warnings:
        lines += wrapped(sentence, ink.width, 2, "yellow", mark="! ")
    lines += [BLANK]
    if answer.arrivals is not None:
        lines += [(Styled("Random arrivals", "bold"),), *arrivals(answer.arrivals), BLANK]
    plain = " that guesses nothing" if answer.layout.options.speculation is not None else ""
    lines += [*_time(f"Where a decode step{plain} goes", answer.decode, ink), BLANK]
    chunk = "" if answer.prompt.tokens >= work.input_tokens else f" of {answer.prompt.tokens:,.0f} tokens"
    title = f"Where the step of a lone prompt{chunk} goes"
    lines += [*_time(title, answer.prompt, ink), BLANK]
    lines += _loads(answer, ink)
    if answer.energy is not None:
        lines += [BLANK, *_energy(answer.energy, ink)]
    return lines


def _speed(answer: EstimateAnswer, ink: Ink) -> list[Line]:
    made, work = answer.estimate, answer.workload
    load = f"{made.concurrency:,} requests in flight, {work.input_tokens:,} tokens in and {work.output_tokens:,} out"
    rows: list[list[Part]] = [
        header(["", "expected", "9 of 10 within", *(["planned", "chance to miss"] if _careful(answer) else [])]),
        [
            "output tok/s",
            *between(made.output_tokens_per_second, quantity),
            *_planned(answer, RATE, ""),
        ],
        ["requests/s", quantity(made.requests_per_second)],
        ["TTFT", *between(made.ttft_seconds, duration), *_planned(answer, "ttft_seconds", "--max-ttft")],
        ["TPOT", *between(made.tpot_seconds, duration), *_planned(answer, "tpot_seconds", "--max-tpot")],
        ["a decode step", duration(answer.decode_step_seconds)],
        ["a prompt", duration(answer.prefill_seconds)],
    ]
    if answer.usd_per_million_output_tokens is not None:
        rows.append(["USD per million", usd(answer.usd_per_million_output_tokens)])
    sure = f"; {100 * answer.asked.service_level.confidence:g}% confidence" if _careful(answer) else ""
    return [*titled("Speed", f"{load}; {made.calibration}{sure}", ink), *aligned(rows, right=(1,))]


def _careful(answer: EstimateAnswer) -> bool:
    """Whether limits or a confidence were asked for, so that the end that is counted on matters."""
    return bool(answer.risks) or answer.asked.service_level.confidence != EVEN_ODDS


def _planned(answer: EstimateAnswer, name: str, option: str) -> list[Part]:
    """What is counted on with the confidence, and the chance of missing the limit."""
    if not _careful(answer):
        return []
    say = quantity if name == RATE else duration
    chance = next((risk.chance for risk in answer.risks if risk.option == option), None)
    return [say(getattr(answer.estimate, name).planned), "" if chance is None else f"{100 * chance:.0f}%"]


def _starts(answer: EstimateAnswer) -> bool:
    """Whether the KV cache holds one longest request, without which the engine refuses to start."""
    return answer.longest_context >= answer.layout.max_model_len


def _verdict(answer: EstimateAnswer) -> list[Line]:
    if answer.fits:
        return []
    if not _starts(answer):
        longest, context = answer.longest_context, answer.layout.max_model_len
        said = f"The engine does not start: one request of max_model_len {context:,} has no room."
        enough = longest >= answer.workload.tokens_per_request
        next_step = (
            f"  --max-model-len {longest} starts." if enough else "  `plan memory` says what would make it start."
        )
        return [BLANK, (Styled(said, "red"),), (next_step,)]
    said = (
        f"Memory does not hold {answer.estimate.concurrency:,} such requests at once: they would queue or be preempted."
    )
    return [BLANK, (Styled(said, "red"),), ("  `plan memory` shows how many fit.",)]


# ── where the time goes ──────────────────────────────────────────────────────────────────────────────────────────────


def _time(title: str, step: StepTime, ink: Ink) -> list[Line]:
    said = (
        f"  {duration(step.seconds)}, mostly {step.bound}-bound; physics allows {duration(step.limit_seconds)} "
        f"({100 * step.share_of_limit:.0f}% reached)"
    )
    rows: list[list[Part]] = [header(["", "time", "%", "", "bound by", "of its limit"])]
    for part in step.parts:
        reached = "" if part.limit_seconds is None else f"{100 * part.limit_seconds / part.seconds:.0f}%"
        filled = Styled(bar(part.seconds, step.seconds, BAR, ink), "cyan")
        rows.append([part.name, duration(part.seconds), f"{100 * part.share:.1f}", filled, part.bound, reached])
    return [(Styled(title, "bold"), Styled(said, "dim")), *aligned(rows, right=(1, 2, 5))]


# ── what if ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _loads(answer: EstimateAnswer, ink: Ink) -> list[Line]:
    priced = answer.asked.usd_per_gpu_hour is not None
    names = ["requests", "TTFT", "TPOT", "tok/s", "tok/s per GPU", "W", "J/token", *(["USD/M"] if priced else []), ""]
    rows: list[list[Part]] = [header(names)]
    for load in answer.loads:
        price = load.usd_per_million_output_tokens
        cells: list[Part] = [
            f"{load.concurrency:,}",
            duration(load.ttft_seconds),
            duration(load.tpot_seconds),
            quantity(load.output_tokens_per_second),
            quantity(load.output_tokens_per_second_per_gpu),
            "" if load.gpu_watts is None else f"{load.gpu_watts:,.0f}",
            "" if load.gpu_joules_per_output_token is None else f"{load.gpu_joules_per_output_token:.3g}",
        ]
        cells += [usd(price)] if price is not None else []
        rows.append([*cells, _remark(load, answer)])
    told = "  requests in flight on the whole replica" + (", USD per million output tokens" if priced else "")
    title = (Styled("What if", "bold"), Styled(told, "dim"))
    table = aligned(rows, right=tuple(range(len(names) - 1)))
    return [title, *table, *_largest(answer), BLANK, *_plotted(answer, ink)]


def _remark(load: LoadPoint, answer: EstimateAnswer) -> Part:
    said = []
    if load.concurrency == answer.estimate.concurrency:
        said.append("asked")
    if not load.fits:
        said.append("beyond memory or max_num_seqs")
    if not load.keeps_service_level:
        said.append("beyond the service level")
    return Styled(", ".join(said), "yellow" if len(said) > ("asked" in said) else "dim")


def _largest(answer: EstimateAnswer) -> list[Line]:
    level = _level(answer.asked.service_level)
    most = answer.largest_concurrency
    if most is None and not _starts(answer):
        return []
    if most is None:
        why = f"Not even one request keeps {level}." if level else "Not even one such request fits in memory."
        return [(f"  {why}",)]
    return [
        (f"  Largest: {most:,} requests in flight" + (f" keep {level}." if level else ", by memory and max_num_seqs."),)
    ]


def _level(level: ServiceLevel) -> str:
    said = [("TTFT", level.ttft_seconds), ("TPOT", level.tpot_seconds)]
    return " and ".join(f"{name} up to {duration(limit)}" for name, limit in said if limit is not None)


def _plotted(answer: EstimateAnswer, ink: Ink) -> list[Line]:
    loads = [load for load in answer.loads if load.fits] or list(answer.loads)
    points = [_point(load, stressed=False) for load in loads]
    points += [_point(load, stressed=True) for load in loads if load.concurrency == answer.estimate.concurrency]
    return plot(points, "output tok/s of one request", "output tok/s per GPU", ink)


def _point(load: LoadPoint, *, stressed: bool) -> Point:
    return Point(1 / load.tpot_seconds, load.output_tokens_per_second_per_gpu, stressed)


# ── energy ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _energy(used: Energy, ink: Ink) -> list[Line]:
    rows: list[list[Part]] = [
        header(["", "GPUs", "at the wall"]),
        ["power", f"{used.gpu_watts:,.0f} W", f"{used.wall_watts:,.0f} W"],
        ["per output token", _joules(used.gpu_joules_per_output_token), _joules(used.wall_joules_per_output_token)],
    ]
    if used.idle_gpu_watts is not None:
        rows.append(["idle", f"{used.idle_gpu_watts:,.0f} W"])
    if used.electricity_usd_per_hour is not None and used.electricity_usd_per_million_output_tokens is not None:
        million = f"{usd(used.electricity_usd_per_million_output_tokens)} USD per million tokens"
        rows.append(["electricity", "", f"{usd(used.electricity_usd_per_hour)} USD/h, {million}"])
    if used.grams_co2e_per_hour is not None and used.grams_co2e_per_million_output_tokens is not None:
        million = f"{quantity(used.grams_co2e_per_million_output_tokens)} g per million tokens"
        rows.append(["CO2e", "", f"{quantity(used.grams_co2e_per_hour)} g/h, {million}"])
    return [(Styled("Energy", "bold"),), *aligned(rows, right=(1,)), *_sources(used.supply.sources, ink)]


def _joules(amount: float) -> str:
    return f"{amount:.3g} J"


def _sources(sources: Sequence[str], ink: Ink) -> list[Line]:
    return [line for source in sources for line in wrapped(source, ink.width, 2, "dim")]
