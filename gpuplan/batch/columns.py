"""What the columns of a table mean: the name of one, as anybody writes it -> an option of `plan` and a unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gpuplan.batch.cells import KINDS, UNITS, normal_unit
from gpuplan.batch.errors import BadQuestions
from gpuplan.errors import nearest

ALWAYS_KEPT = ("id", "name", "label", "team", "owner", "note", "notes", "comment")
"""Columns that say nothing to the planner and are handed through."""

OTHER_NAMES = {
    "model": "model_id model_name repo repo_id checkpoint hf_model",
    "isl": "input_tokens input_length prompt_tokens tokens_in mean_input_tokens",
    "osl": "output_tokens output_length completion_tokens tokens_out mean_output_tokens",
    "min_tps": "tps throughput tokens_per_second output_tokens_per_second min_throughput min_tokens_per_second",
    "requests_per_second": "rps qps request_rate requests",
    "concurrency": "users concurrent_users concurrent_requests in_flight",
    "max_ttft": "ttft time_to_first_token",
    "max_tpot": "tpot time_per_output_token",
    "budget": "max_cost max_price budget_per_hour cost_limit",
    "max_gpus": "gpus_at_most max_gpu_count",
    "max_power": "power max_watts power_limit",
    "gpu": "gpus only_gpu only_gpus",
    "exclude_gpu": "exclude_gpus not_gpu gpus_excluded",
    "provider": "providers cloud clouds",
    "region": "regions",
    "billing": "billings",
    "quantization": "quant weight_format weight_formats weights",
    "kv_cache_dtype": "kv_cache_format kv_dtype",
    "engine": "engines",
    "max_model_len": "context context_length max_context",
    "tensor_parallel": "tp",
    "pipeline_parallel": "pp",
    "objective": "goal",
}
"""An option's parameter -> what else its column is called."""

_BY_NAME = {**{name: name for name in KINDS}, **{o: n for n, others in OTHER_NAMES.items() for o in others.split()}}
_IN_BRACKETS = re.compile(r"[(\[]([^)\]]*)[)\]]\s*$")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: as it is written.
        option: the parameter that it fills; None = it is handed through.
        unit: of bare numbers in it; "" = that of the option.
    """

    title: str
    option: str | None
    unit: str = ""


def understand_columns(titles: Sequence[str], kept: Sequence[str] = ()) -> tuple[Column, ...]:
    """What each column means.

    Args:
        titles: as they are written, in any order.
        kept: titles that are handed through although they mean nothing to the planner.

    Raises:
        BadQuestions: a column means nothing, or two mean the same.

    >>> [(each.option, each.unit) for each in understand_columns(["Model", "max TPOT (ms)", "budget_usd_per_hour"])]
    [('model', ''), ('max_tpot', 'ms'), ('budget', 'usd/h')]
    """
    columns = tuple(_column(title, kept) for title in titles)
    seen: dict[str, str] = {}
    for column in columns:
        if column.option is not None and column.option in seen:
            first = seen[column.option]
            raise BadQuestions(
                f"The columns {first[:60]!r} and {column.title[:60]!r} both mean {column.option}; keep one."
            )
        if column.option is not None:
            seen[column.option] = column.title
    return columns


def _column(title: str, kept: Sequence[str]) -> Column:
    if title in kept:
        return Column(title, None)
    bracket = _IN_BRACKETS.search(title)
    plain = bare(title[: bracket.start()] if bracket else title)
    option, unit = _option_and_suffix(plain)
    if option is None:
        if plain in ALWAYS_KEPT:
            return Column(title, None)
        raise BadQuestions(
            f"The column {title[:60]!r} is no option of `plan`.{nearest(plain, _BY_NAME)} Name it with --keep to hand "
            "it through; docs/batch.md lists the others."
        )
    said = unit_of(bracket[1]) if bracket else unit
    if said not in UNITS[KINDS[option]]:
        allowed = ", ".join(each for each in UNITS[KINDS[option]] if each)
        raise BadQuestions(f"The column {title[:60]!r} is in {said[:20]!r}; {option} is in {allowed or 'no unit'}.")
    return Column(title, option, said)


def bare(title: str) -> str:
    """A title as names are compared.

    >>> bare("--Max TPOT")
    'max_tpot'
    """
    return re.sub(r"[^a-z0-9]+", "_", title.casefold()).strip("_")


def _option_and_suffix(bare: str) -> tuple[str | None, str]:
    """The option that a name means, and the unit that it ends with: "max_tpot_ms"."""
    if bare in _BY_NAME:
        return _BY_NAME[bare], ""
    words = bare.split("_")
    for end in range(len(words) - 1, 0, -1):
        option, unit = _BY_NAME.get("_".join(words[:end])), unit_of(" ".join(words[end:]))
        if option is not None and unit in UNITS[KINDS[option]]:
            return option, unit
    return None, ""


def unit_of(text: str) -> str:
    """A unit as it is compared: "USD per hour" and "$/hr" are the same.

    >>> unit_of("$ / hr"), unit_of("USD per hour"), unit_of("Tokens per second"), unit_of("milliseconds")
    ('usd/h', 'usd/h', 'tok/s', 'ms')
    """
    return normal_unit(text)
