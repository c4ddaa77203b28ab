"""The words of a fleet file: for each key where its value goes and how it is read, in the command line's own terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from gpuplan.cli import words
from gpuplan.errors import BadWord
from gpuplan.fleets.errors import shown
from optimizer.fleet.gpu_parts import Way

MOST_WORDS = 1_000

Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Word:
    """One key of the file: where its value goes, and how it is read."""

    place: tuple[str, ...]
    read: Reader


def scalar(read: Callable[[str], Any]) -> Reader:
    """A reader of words for a value that may also be a bare number."""

    def parse(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadWord(f"{shown(value)} is not a single word or number")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadWord(f"{shown(value)} is not a number that can be planned with")
        whole = isinstance(value, float) and value.is_integer() and abs(value) < words.LARGEST_NUMBER
        return read(str(int(value)) if whole else str(value))

    return parse


def listed(read: Callable[[str], Any]) -> Reader:
    """Several words: a list, or one word with commas (semicolons in a CSV)."""
    one = scalar(read)

    def parse(value: Any) -> tuple[Any, ...]:
        parts = value if isinstance(value, list) else str(value).replace(";", ",").split(",")
        if isinstance(value, Mapping | bool) or not 1 <= len(parts) <= MOST_WORDS:
            raise BadWord(f"{shown(value)} is not a list of 1 to {MOST_WORDS} words")
        return tuple(one(part) for part in parts)

    return parse


def yes_or_no(value: Any) -> bool:
    """Whether something is so: `yes`, `no`, `true`, `false`.

    >>> yes_or_no(True), yes_or_no("no")
    (True, False)
    """
    if isinstance(value, bool):
        return value
    spelled = {"yes": True, "true": True, "no": False, "false": False}
    if str(value).strip().lower() not in spelled:
        raise BadWord(f"{shown(value)} is neither yes nor no")
    return spelled[str(value).strip().lower()]


def whole_number(word: str) -> int:
    """A whole number, below 0 too.

    >>> whole_number("-3")
    -3
    """
    sign = -1 if word.strip().startswith("-") else 1
    return sign * words.count_or_none(word.strip().lstrip("-") if sign < 0 else word)


def part_of_all(word: str) -> float:
    """A share from 0 to 1, or in percent.

    >>> part_of_all("0.3"), part_of_all("30%")
    (0.3, 0.3)
    """
    return words.percentage(word, "a share from 0 to 1 such as 0.3 or 30%")


def way_of_sharing(word: str) -> str:
    """How replicas may share a GPU.

    >>> way_of_sharing("mig")
    'mig'
    """
    if word not in get_args(Way):
        raise BadWord(f"{shown(word)} is none of {', '.join(get_args(Way))}")
    return word


def sizes(value: Any) -> list[dict[str, Any]]:
    """Sizes of requests: `500/100:0.7, 6k/500:0.3`, or a list of {isl, osl, share}.

    >>> sizes("500/100:0.7")
    [{'input_tokens': 500, 'output_tokens': 100, 'share': 0.7}]
    """
    if isinstance(value, list):
        return [_size_of_mapping(one) for one in value[:MOST_WORDS]]
    found: list[dict[str, Any]] = []
    for part in str(value).replace(";", ",").split(","):
        lengths, _, share = part.partition(":")
        isl, slash, osl = lengths.partition("/")
        if not slash:
            raise BadWord(f"{shown(part.strip())} is no size; write INPUT/OUTPUT:SHARE such as 500/100:0.7")
        found.append({"input_tokens": words.tokens(isl), "output_tokens": words.tokens(osl)})
        found[-1] |= {"share": words.rate(share)} if share else {}
    return found


_SIZE = {"isl": "input_tokens", "osl": "output_tokens", "share": "share"}


def _size_of_mapping(one: Any) -> dict[str, Any]:
    if not isinstance(one, Mapping) or not {"isl", "osl"} <= set(one) <= set(_SIZE):
        raise BadWord(f"{shown(one)} is no size; write {{isl: 500, osl: 100, share: 0.7}}")
    readers = {"isl": scalar(words.tokens), "osl": scalar(words.tokens), "share": scalar(words.rate)}
    return {_SIZE[key]: readers[key](value) for key, value in one.items()}


def _words(**kinds: tuple[str, Reader]) -> dict[str, Word]:
    """Keys with a dotted place each."""
    return {key: Word(tuple(place.split(".")), read) for key, (place, read) in kinds.items()}


_name, several_names, _count = scalar(words.name), listed(words.name), scalar(words.count)

SERVICE = _words(
    name=("name", _name),
    model=("models", several_names),
    isl=("isl", scalar(words.tokens)),
    osl=("osl", scalar(words.tokens)),
    sizes=("sizes", sizes),
    min_tps=("demand.output_tokens_per_second", scalar(words.rate)),
    requests_per_second=("demand.requests_per_second", scalar(words.rate)),
    concurrency=("demand.concurrency", _count),
    max_ttft=("service_level.ttft_seconds", scalar(words.seconds)),
    max_tpot=("service_level.tpot_seconds", scalar(words.seconds)),
    confidence=("service_level.confidence", scalar(words.confidence)),
    percentile=("service_level.percentile", scalar(words.percentile)),
    quantization=("choices.weight_formats", several_names),
    quantization_floor=("weight_format_floor", _name),
    kv_cache_dtype=("choices.kv_cache_formats", several_names),
    engine=("choices.engines", several_names),
    gpu=("choices.gpus", several_names),
    exclude_gpu=("choices.gpus_excluded", several_names),
    provider=("choices.providers", several_names),
    region=("choices.regions", several_names),
    max_model_len=("choices.max_model_len", scalar(words.tokens)),
    tensor_parallel=("choices.tensor_parallel", _count),
    pipeline_parallel=("choices.pipeline_parallel", _count),
    max_lora_rank=("options.adapters.rank", _count),
    max_loras=("options.adapters.loaded", _count),
    shares_replicas=("shares_replicas", _name),
    required=("required", yes_or_no),
    priority=("priority", scalar(whole_number)),
    weight=("weight", _count),
    min_replicas=("replicas_at_least", _count),
    survive_losing_one_machine=("survives_losing_one_machine", yes_or_no),
    spot_share=("spot_share_most", scalar(part_of_all)),
)
LIMITS = _words(
    budget=("budget_usd_per_hour", scalar(words.price)),
    max_gpus=("gpus", scalar(words.count_or_none)),
    max_power=("power_watts", scalar(words.watts)),
)
OWNED = _words(
    name=("name", _name),
    gpu=("gpu", _name),
    gpus=("gpus", _count),
    machines=("machines", scalar(words.count_or_none)),
    usd_per_hour=("running_usd_per_hour", scalar(words.price)),
    region=("region", _name),
)
PURCHASE = _words(
    years=("years", scalar(words.rate)),
    usd_per_kwh=("usd_per_kilowatt_hour", scalar(words.per_kilowatt_hour)),
    place=("place", _name),
    room=("room", _name),
    upkeep_per_year=("upkeep_share_per_year", scalar(part_of_all)),
    systems=("systems", several_names),
)
BUYING = _words(
    billing=("billings", several_names),
    spot_share=("spot_share_most", scalar(part_of_all)),
    allow=("allowed_restrictions", several_names),
)
TOP = ("name", "services", "defaults", "limits", "buying", "owned", "share_gpus", "offers", "demand")
"""What stands in a fleet file beside each other."""
TERMS = ("limits", "buying", "owned", "share_gpus", "offers", "name")
"""What a fleet shares, for services that stand elsewhere."""
DEMAND_COLUMNS = ("month", "service", "scenario", "min_tps", "requests_per_second", "concurrency")
MONTH = _words(month=("month", _name), service=("service", _name), scenario=("scenario", _name)) | {
    key: SERVICE[key] for key in DEMAND_COLUMNS[3:]
}
