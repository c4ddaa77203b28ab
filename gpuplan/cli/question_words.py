"""A question -> the options that ask it: the inverse of `gpuplan.cli.question`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuplan.cli.question import PLACES

if TYPE_CHECKING:
    from gpuplan.electricity import Place
    from optimizer.requirements import EngineOptions, Requirements, Workload

Words = Iterator[tuple[str, str]]

_PLACE = {
    "grid": "grams_co2e_per_kilowatt_hour",
    "electricity": "usd_per_kilowatt_hour",
    "pue": "pue",
}
"""An option of where machines stand -> the field of Place that it fills."""

_BESIDES = (
    "isl",
    "osl",
    "lengths",
    "shared-prefix-tokens",
    "prefix-hit-rate",
    "speculative",
    "acceptance-rate",
    "max-lora-rank",
    "max-loras",
    "lora-target-modules",
    "decode-context-parallel",
    "language-model-only",
    "no-mix",
)
QUESTION_OPTIONS = frozenset({*(key.replace("_", "-") for key in PLACES), *_BESIDES, *_PLACE})
"""Every option that is part of a question, without its dashes: what a link may hold."""


def words_of(question: Requirements, place: Place | None = None) -> list[tuple[str, str]]:
    """The options that ask this question, those at their defaults left out; flags have an empty word.

    >>> from optimizer.requirements import Demand, Requirements
    >>> words_of(Requirements(model="llama-3.3-70b", demand=Demand(output_tokens_per_second=500)))
    [('model', 'llama-3.3-70b'), ('min-tps', '500.0')]
    """
    return [*_fields(question), *_work(question.workload), *_options(question.options), *_mix(question), *_at(place)]


def typed(
    words: list[tuple[str, str]], flags: frozenset[str] = frozenset({"no-mix", "language-model-only"})
) -> list[str]:
    """Options as the words of a command line.

    >>> typed([("model", "-x"), ("no-mix", "")])
    ['--model=-x', '--no-mix']
    """
    return [f"--{name}" if name in flags else f"--{name}={word}" for name, word in words]


def _fields(question: Requirements) -> Words:
    """Options that fill one field each, where that is not its default."""
    for key, path in PLACES.items():
        value: object = question
        default: object = type(question).model_construct(model="")
        for name in path:
            value, default = getattr(value, name), getattr(default, name)
        if value != default:
            yield from ((key.replace("_", "-"), word) for word in _each(value))


def _each(value: object) -> list[str]:
    """One word for one value; several are repeated."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return [] if value is None else [str(value)]


def _work(work: Workload) -> Words:
    default = type(work)()
    if work.input_tokens != default.input_tokens:
        yield "isl", str(work.input_tokens)
    if work.output_tokens != default.output_tokens:
        yield "osl", str(work.output_tokens)
    if work.lengths:
        yield "lengths", ",".join(f"{each.tokens}:{each.weight!r}" for each in work.lengths)
    if work.shared_prefix_tokens:
        yield "shared-prefix-tokens", str(work.shared_prefix_tokens)


def _options(options: EngineOptions) -> Words:
    speculation, adapters = options.speculation, options.adapters
    if speculation is not None:
        draft = f":{speculation.draft}" if speculation.draft else ""
        yield "speculative", f"{speculation.method}:{speculation.tokens}{draft}"
        if speculation.acceptance_rate is not None:
            yield "acceptance-rate", repr(speculation.acceptance_rate)
    if adapters is not None:
        yield "max-lora-rank", str(adapters.rank)
        yield "max-loras", str(adapters.loaded)
        yield from (("lora-target-modules", target) for target in adapters.targets)
    if options.decode_context_parallel > 1:
        yield "decode-context-parallel", str(options.decode_context_parallel)
    if options.language_model_only:
        yield "language-model-only", ""


def _mix(question: Requirements) -> Words:
    if not question.choices.mix:
        yield "no-mix", ""


def _at(place: Place | None) -> Words:
    for option, field in _PLACE.items():
        value = None if place is None else getattr(place, field)
        if value is not None:
            yield option, repr(value)
