"""What a plan promises of what is expected: the end of each error bar on which the promise holds, and what may miss it.

With a confidence of 0.9 a replica is planned with the throughput that 9 of 10 cases reach and with the TTFT and TPOT
that 9 of 10 stay under; with 0.5, the default, with the estimates themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from optimizer.candidates import Candidates
from optimizer.cells import EVEN_ODDS
from optimizer.performance.certainty import Spread
from optimizer.plan import Estimate, Line, Risk
from optimizer.replica_columns import Floats
from optimizer.requirements import EngineOptions, Requirements, ServiceLevel

Errors = Mapping[str, Mapping[str, Spread]]
"""How measured / predicted scatters, by calibration and metric."""

HALVINGS = 40
"""Bisections of a chance: to the twelfth digit."""


def promised(candidates: Candidates, confidence: float) -> Candidates:
    """The same candidates with the speed that each reaches with this confidence instead of the expected one.

    Args:
        candidates: with their expected speed.
        confidence: the chance that each of TTFT, TPOT and throughput is kept, at least 0.5.

    Returns:
        Candidates without those of whose errors nothing is known, if the confidence asks for them.
    """
    if confidence == EVEN_ODDS or not len(candidates):
        return candidates
    slow, fast = (_factors(candidates, metric, confidence) for metric in ("ttft", "tpot"))
    rate = _factors(candidates, "throughput", 1 - confidence)
    return replace(
        candidates,
        ttft_seconds=np.where(np.isfinite(slow), candidates.ttft_seconds * slow, np.inf),
        tpot_seconds=np.where(np.isfinite(fast), candidates.tpot_seconds * fast, np.inf),
        output_tokens_per_second=np.where(np.isfinite(rate), candidates.output_tokens_per_second * rate, 0.0),
    )


def _factors(candidates: Candidates, metric: str, probability: float) -> Floats:
    """(candidates,): measured / predicted stays below this."""
    factors = np.empty(len(candidates))
    for number, evaluation in enumerate(candidates.evaluations):
        mine = candidates.evaluation == number
        factors[mine] = evaluation.estimate.error_at(metric, probability)[candidates.row[mine]]
    return factors


def risks_of(question: Requirements, lines: Sequence[Line], errors: Errors) -> tuple[Risk, ...]:
    """The chance of missing each target of speed, by the error bars; None where nothing tells."""
    return tuple(_risks(question, lines, errors))


def _risks(question: Requirements, lines: Sequence[Line], errors: Errors) -> Iterator[Risk]:
    demand, level, work = question.demand, question.service_level, question.workload
    if demand.output_tokens_per_second is not None:
        chance = _chance_of_less(lines, errors, demand.output_tokens_per_second)
        yield Risk(option="--min-tps", asked=demand.output_tokens_per_second, chance=chance)
    if demand.requests_per_second is not None:
        chance = _chance_of_less(lines, errors, demand.requests_per_second * work.output_tokens)
        yield Risk(option="--requests-per-second", asked=demand.requests_per_second, chance=chance)
    yield from latency_risks([line.estimate for line in lines], level, errors)


def latency_risks(estimates: Sequence[Estimate], level: ServiceLevel, errors: Errors) -> Iterator[Risk]:
    """The chance that any of several replicas misses TTFT or TPOT, if they err together."""
    for option, metric, asked in (
        ("--max-ttft", "ttft", level.ttft_seconds),
        ("--max-tpot", "tpot", level.tpot_seconds),
    ):
        if asked is not None:
            chances = [_chance_of_more(each, errors, metric, asked) for each in estimates]
            yield Risk(option=option, asked=asked, chance=_largest(chances))


def _largest(chances: Sequence[float | None]) -> float | None:
    known = [chance for chance in chances if chance is not None]
    return max(known) if len(known) == len(chances) else None


def _chance_of_more(made: Estimate, errors: Errors, metric: str, asked_seconds: float) -> float | None:
    expected = {"ttft": made.ttft_seconds, "tpot": made.tpot_seconds}[metric].value
    below = errors[made.calibration][metric].below(asked_seconds / expected)
    return None if np.isnan(below) else 1 - below


def _chance_of_less(lines: Sequence[Line], errors: Errors, asked: float) -> float | None:
    """The chance that all lines together give less, if they err together (the careful assumption)."""
    spreads = [errors[line.estimate.calibration]["throughput"] for line in lines]
    rates = [line.replicas * line.estimate.output_tokens_per_second.value for line in lines]

    def reached(chance: float) -> float:
        return sum(rate * spread.at(chance) for rate, spread in zip(rates, spreads, strict=True))

    if np.isnan(reached(EVEN_ODDS)):
        return None
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < asked else (low, middle)
    return min(max(high, 1 - spreads[0].most), spreads[0].most)


def about_options(options: EngineOptions) -> Iterator[str]:
    """What memory counts and speed does not, and what speed rests on that nobody measured."""
    said = {
        "LoRA adapters": options.adapters is not None,
        "decode context parallelism": options.decode_context_parallel > 1,
    }
    unknown = [name for name, asked in said.items() if asked]
    if unknown:
        yield f"Speed is estimated as without {', '.join(unknown)}: memory counts them, speed does not yet."
    if options.speculation is not None:
        rate = options.speculation.acceptance_rate
        yield f"Speed rests on {rate:g} of the guessed tokens being right, as stated: no run that guesses was measured."
