"""A word to those who asked for no latency: how long people will wait, and what it would cost that they need not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from optimizer.plan import Line
from optimizer.requirements import Objective, Requirements, ServiceLevel
from optimizer.search import Search
from optimizer.uniform import keep_limits, uniform_plans

PATIENCE_TTFT_SECONDS = 5
PATIENCE_TOKENS_PER_SECOND = 10
"""People read about this many tokens per second; slower answers, asked for or not, deserve a word."""
NOBODY_WAITS_SECONDS = {"--max-ttft": 100, "--max-tpot": 2}
"""Limits from which on milliseconds were probably meant."""


def slow_answers(search: Search, requirements: Requirements, lines: tuple[Line, ...]) -> Iterator[str]:
    """What to know of a plan that keeps people waiting because nobody asked for latency; nothing where it does not."""
    level = requirements.service_level
    yield from meant_milliseconds(level)
    ttft = max(line.estimate.ttft_seconds.value for line in lines)
    tpot = max(line.estimate.tpot_seconds.value for line in lines)
    late = level.ttft_seconds is None and ttft > PATIENCE_TTFT_SECONDS
    slow = level.tpot_seconds is None and tpot * PATIENCE_TOKENS_PER_SECOND > 1
    if late:
        yield f"No --max-ttft was asked for: at full load the first token takes {ttft:.0f} s."
    if slow:
        yield f"No --max-tpot was asked for: at full load a user gets {1 / tpot:.1f} tokens per second."
    if late or slow:
        yield from _price_of_patience(search, _for_readers(requirements))


def meant_milliseconds(level: ServiceLevel) -> Iterator[str]:
    """A question about each limit that is so long that a unit was probably left out."""
    for option, asked in (("--max-ttft", level.ttft_seconds), ("--max-tpot", level.tpot_seconds)):
        if asked is not None and asked >= NOBODY_WAITS_SECONDS[option]:
            yield f"{option} {asked:g} is in seconds: if milliseconds were meant, type {option} {asked:g}ms."


def _for_readers(requirements: Requirements) -> Requirements:
    """The same question for people who read along; what was asked of latency stays where it is stricter."""
    level = requirements.service_level
    patient = ServiceLevel(
        ttft_seconds=min(level.ttft_seconds or math.inf, PATIENCE_TTFT_SECONDS),
        tpot_seconds=min(level.tpot_seconds or math.inf, 1 / PATIENCE_TOKENS_PER_SECOND),
        confidence=level.confidence,
        percentile=level.percentile,
    )
    return requirements.model_copy(update={"service_level": patient})


def _price_of_patience(search: Search, question: Requirements) -> Iterator[str]:
    """The cheapest plan of one kind of machine and replica that keeps readers' limits: a mix may cost less."""
    if question.objective is not Objective.COST:
        return
    plans = uniform_plans(search.columns(question), question)
    costs = np.where(keep_limits(plans, question), plans.cost_usd_per_hour, np.inf)
    if np.isfinite(costs).any():
        best, level = int(np.argmin(costs)), question.service_level
        limits = f"--max-ttft {level.ttft_seconds:g}s --max-tpot {1e3 * (level.tpot_seconds or 0):g}ms"
        yield (
            f"For people who read along, {limits} gives "
            f"a plan for {costs[best]:.2f} USD/h or less, on {plans.gpu(best)}."
        )
