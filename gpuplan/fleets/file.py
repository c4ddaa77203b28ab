"""A fleet as people write it (YAML, JSON or CSV) -> Fleet, or one sentence for every problem in the file.

Words and units are those of the command line: `max_tpot: 50ms`, `isl: 2k`. Nothing in the file is guessed: an unknown
word is refused with the nearest known one, a value that stands twice is refused too.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from gpu_db.offer import BILLINGS
from gpuplan.cli import words
from gpuplan.errors import BadWord, GpuplanError, nearest
from optimizer.fleet.gpu_parts import Way
from optimizer.fleet.services import QUOTA_UNITS, Fleet, FleetLimits, MonthDemand, OwnedMachines, Purchase, Service

LARGEST_FILE_BYTES = 50_000_000
MOST_PROBLEMS = 50
LONGEST_SHOWN = 60
LONGEST_SENTENCE = 600
MOST_WORDS = 1_000


class BadFleetFile(GpuplanError):
    """A fleet file that cannot be used; `problems` holds one sentence each, `sentences` those that are shown."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        left_out = len(self.problems) - MOST_PROBLEMS
        self.sentences = (*self.problems[:MOST_PROBLEMS], *([f"and {left_out} more"] if left_out > 0 else []))
        super().__init__("\n".join(self.sentences))


@dataclass(frozen=True)
class FleetFile:
    """What a file says.

    Attributes:
        fleet: the question.
        offers_file: a CSV of own machines and prices that it names.
        demand_file: a CSV of demand by month or scenario that it names.
        skipped: problems of services that were left out, one sentence each.
    """

    fleet: Fleet
    offers_file: Path | None = None
    demand_file: Path | None = None
    skipped: tuple[str, ...] = ()


Reader = Callable[[Any], Any]
Noun = TypeVar("Noun", bound=BaseModel)


@dataclass(frozen=True)
class Word:
    """One key of the file: where its value goes, and how it is read."""

    place: tuple[str, ...]
    read: Reader


@dataclass
class _Problems:
    """Sentences about one file, collected."""

    file: str
    sentences: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        place, said = f"{self.file}, {where}" if where else self.file, what.rstrip(".")
        cut = said if len(said) <= LONGEST_SENTENCE else f"{said[:LONGEST_SHOWN]}... ({len(said):,} characters)"
        self.sentences.append(f"{place}: {cut}{'' if cut.endswith('?') else '.'}")


def shown(value: object) -> str:
    """A value as a sentence can hold it.

    >>> shown("x" * 100)[-6:], shown([1, 2])
    ('xxx...', 'a list')
    """
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


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


def read_fleet(path: str | Path, *, skip_bad: bool = False) -> FleetFile:
    """Read a fleet.

    Args:
        path: a .yaml, .yml, .json or .csv file; see docs/fleet.md for its words.
        skip_bad: leave services with problems out and say so, instead of refusing the file.

    Raises:
        BadFleetFile: with one sentence for every problem.
    """
    file = Path(path)
    content = _content(file)
    problems = _Problems(file.name)
    if not isinstance(content, Mapping):
        raise BadFleetFile([f"{file.name}: it holds {shown(content)}; write `services:` and a list of services."])
    _refuse_unknown(content, TOP, "", problems)
    services, bad = _services(content, file.name)
    rest = _rest(content, problems)
    if problems.sentences or (bad and not skip_bad):
        raise BadFleetFile([*problems.sentences, *bad])
    if not services:
        raise BadFleetFile([*bad, f"{file.name}: no service is left to plan; write at least one under `services:`."])
    try:
        fleet = Fleet(services=tuple(services), **rest)
    except ValidationError as wrong:
        raise BadFleetFile([f"{file.name}: {sentence}" for sentence in _complaints(wrong, {})]) from None
    return FleetFile(fleet, _neighbour(file, content, "offers"), _neighbour(file, content, "demand"), tuple(bad))


TERMS = ("limits", "buying", "owned", "share_gpus", "offers", "name")


def read_terms(path: str | Path) -> tuple[dict[str, Any], Path | None]:
    """Read what a whole fleet shares, for services that stand elsewhere: a fleet file without services.

    Returns:
        Fields of a Fleet besides its services, and a CSV of own machines and prices that the file names.

    Raises:
        BadFleetFile: with one sentence for every problem.
    """
    file = Path(path)
    content, problems = _content(file), _Problems(file.name)
    if not isinstance(content, Mapping):
        raise BadFleetFile([f"{file.name}: it holds {shown(content)}; write `limits:`, `buying:` or `owned:`."])
    _refuse_unknown(content, TERMS, "", problems)
    fields = _rest(content, problems)
    if problems.sentences:
        raise BadFleetFile(problems.sentences)
    return fields, _neighbour(file, content, "offers")


DEMAND_COLUMNS = ("month", "service", "scenario", "min_tps", "requests_per_second", "concurrency")


def read_demand(path: str | Path) -> tuple[MonthDemand, ...]:
    """Read demand by month: a CSV with month, service, and min_tps, requests_per_second or concurrency.

    A row with none of the three asks for nothing in that month. `scenario` tells apart what may come true.

    Raises:
        BadFleetFile: with one sentence for every problem.
    """
    file = Path(path)
    rows = _content(file)["services"] if file.suffix.lower() == ".csv" else None
    if not rows:
        raise BadFleetFile([f"{file.name}: demand by month is a .csv with the columns {', '.join(DEMAND_COLUMNS)}."])
    problems = _Problems(file.name)
    found = [_month(row, number, problems) for number, row in enumerate(rows, 1)]
    keys = [(one.scenario, one.month, one.service) for one in found if one is not None]
    if len(set(keys)) < len(keys) and not problems.sentences:
        twice = next(key for key in keys if keys.count(key) > 1)
        problems.add(f"month {twice[1]}, service {twice[2]!r}", "it stands twice; keep one row")
    if problems.sentences:
        raise BadFleetFile(problems.sentences)
    return tuple(one for one in found if one is not None)


_DEMAND = {key: Word(SERVICE[key].place, SERVICE[key].read) for key in DEMAND_COLUMNS[3:]}
_MONTH = {**_words(month=("month", _name), service=("service", _name), scenario=("scenario", _name)), **_DEMAND}


def _month(row: Mapping[str, str], number: int, problems: _Problems) -> MonthDemand | None:
    where = f"row {number}"
    values = _read(row, _MONTH, where, problems)
    return _build(MonthDemand, {"demand": None, **values}, _MONTH, where, problems)


def _neighbour(file: Path, content: Mapping[str, Any], key: str) -> Path | None:
    """A file that this one names, relative to it.

    Raises:
        BadFleetFile: it is no name.
    """
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise BadFleetFile([f"{file.name}, {key}: it is {shown(value)}; write the name of a CSV beside this file."])
    return None if value is None else file.parent / value


def _content(file: Path) -> Any:
    """What the file holds, as plain Python."""
    readers: dict[str, Callable[[str], Any]] = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".csv": _csv}
    read = readers.get(file.suffix.lower())
    if read is None:
        raise BadFleetFile([f"{file.name}: a fleet is written in .yaml, .json or .csv, not {file.suffix or 'this'!r}."])
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise BadFleetFile([f"{file.name}: it has {size:,} bytes; at most {LARGEST_FILE_BYTES:,} are read."])
        return read(file.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise BadFleetFile([f"{file.name}: byte {error.start} is not UTF-8 text."]) from error
        reason = getattr(error, "strerror", None) or str(error)
        if "integer string conversion" in reason:
            reason = "a number in it has thousands of digits"
        raise BadFleetFile([f"{file.name}: it cannot be read: {reason}."]) from error
    except RecursionError as error:
        raise BadFleetFile([f"{file.name}: its lists are nested too deeply."]) from error


def _yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML's safe subset, which refuses a key that stands twice."""

    def mapping(loader: Any, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1 and key != "<<"]
        if twice:
            raise ValueError(f"{twice[0]!r} stands twice, near line {node.start_mark.line + 1}")
        loader.flatten_mapping(node)
        build = loader.construct_object
        return {build(key, deep=True): build(value, deep=True) for key, value in node.value}

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"not YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(f"not YAML: {error}") from error


def _json(text: str) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands twice")
        return dict(found)

    return json.loads(text, object_pairs_hook=pairs)


def _csv(text: str) -> Any:
    """One service per row; its columns are the words of a service."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if not any(header):
        raise ValueError("it is empty; write a header such as name,model,min_tps and a row per service")
    if len(header) > MOST_WORDS:
        raise ValueError(f"it has {len(header):,} columns; at most {MOST_WORDS:,} are read")
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if twice:
        raise ValueError(f"the column {twice[0]!r} stands twice")
    wrong = [number for number, row in enumerate(rows[1:], 2) if any(row) and len(row) != len(header)]
    if wrong:
        raise ValueError(f"line {wrong[0]} has {len(rows[wrong[0] - 1])} cells, the header {len(header)}")
    named = (dict(zip(header, row, strict=True)) for row in rows[1:] if any(cell.strip() for cell in row))
    return {"services": [{key: cell.strip() for key, cell in row.items() if cell.strip()} for row in named]}


def _services(content: Mapping[str, Any], file: str) -> tuple[list[Service], list[str]]:
    """The services that can be read, and a sentence for every problem of the others."""
    rows, defaults = content.get("services"), content.get("defaults") or {}
    if not isinstance(rows, list) or not rows:
        raise BadFleetFile([f"{file}: `services:` is {shown(rows)}; write a list with at least one service."])
    if not isinstance(defaults, Mapping):
        raise BadFleetFile([f"{file}: `defaults:` is {shown(defaults)}; write words of a service."])
    services, sentences = [], []
    taken: set[str] = set()
    for number, row in enumerate(rows, 1):
        problems = _Problems(file)
        service = _service(row, number, defaults, problems)
        if service is not None and service.name in taken:
            problems.add(f"service {service.name!r}", "another service has this name; names must differ")
        sentences += problems.sentences
        if service is not None and not problems.sentences:
            taken.add(service.name)
            services.append(service)
    return services, sentences


def _service(row: Any, number: int, defaults: Mapping[str, Any], problems: _Problems) -> Service | None:
    if not isinstance(row, Mapping):
        problems.add(f"service {number}", f"it is {shown(row)}; write its words, such as `name: chat`")
        return None
    where = f"service {shown(row['name'])}" if row.get("name") else f"service {number}"
    values = _read({**_defaults_for(row, defaults), **row}, SERVICE, where, problems)
    if problems.sentences:
        return None
    single = {"input_tokens": values.pop("isl", None), "output_tokens": values.pop("osl", None)}
    given = {key: value for key, value in single.items() if value is not None}
    if given and "sizes" in values:
        problems.add(where, "isl and osl are of one size, and `sizes` names several; keep one of them")
        return None
    if given:
        values["sizes"] = [{"input_tokens": 1024, "output_tokens": 512, **given}]
    return _build(Service, {"demand": {}, **values}, SERVICE, where, problems)


def _defaults_for(row: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Defaults that a service does not contradict: its own sizes replace the usual size, and the other way round."""
    instead = ("isl", "osl") if "sizes" in row else ("sizes",) if {"isl", "osl"} & set(row) else ()
    return {key: value for key, value in defaults.items() if key not in instead}


def _rest(content: Mapping[str, Any], problems: _Problems) -> dict[str, Any]:
    """Everything of a fleet but its services."""
    found: dict[str, Any] = {"limits": _limits(content.get("limits") or {}, problems)}
    found["buying"] = _buying(content.get("buying") or {}, problems)
    if content.get("name") is not None:
        found["name"] = str(content["name"])[:200]
    if content.get("share_gpus") is not None:
        found["share_gpus"] = _try(listed(way_of_sharing), content["share_gpus"], "share_gpus", problems)
    owned = content.get("owned") or []
    if not isinstance(owned, list):
        problems.add("owned", f"it is {shown(owned)}; write a list of machines")
        owned = []
    found["owned"] = [one for at, row in enumerate(owned, 1) if (one := _owned(row, at, problems)) is not None]
    return found


def _owned(row: Any, number: int, problems: _Problems) -> OwnedMachines | None:
    where = f"owned {number}"
    if not isinstance(row, Mapping):
        problems.add(where, f"it is {shown(row)}; write gpu, gpus and machines")
        return None
    values = _read({"name": f"owned {number}", **row}, OWNED, where, problems)
    return _build(OwnedMachines, values, OWNED, where, problems)


def _limits(content: Any, problems: _Problems) -> FleetLimits | None:
    if not isinstance(content, Mapping):
        problems.add("limits", f"it is {shown(content)}; write budget, max_gpus, max_power or quotas")
        return None
    quotas = []
    for kind in QUOTA_UNITS:
        names = content.get(kind) or {}
        if not isinstance(names, Mapping):
            problems.add(f"limits, {kind}", f"it is {shown(names)}; write names with their most, such as `H100: 64`")
            continue
        for name, most in names.items():
            count = _try(scalar(words.count_or_none), most, f"limits, {kind} {name}", problems)
            quotas.append({"kind": kind, "name": str(name), "most": count})
    plain = {key: value for key, value in content.items() if key not in QUOTA_UNITS}
    values = _read(plain, LIMITS, "limits", problems, also=QUOTA_UNITS)
    return _build(FleetLimits, {**values, "quotas": quotas}, LIMITS, "limits", problems)


def _buying(content: Any, problems: _Problems) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        problems.add("buying", f"it is {shown(content)}; write billing, spot_share, allow or purchase")
        return {}
    plain = {key: value for key, value in content.items() if key != "purchase"}
    values = _read(plain, BUYING, "buying", problems, also=("purchase",))
    unknown = [word for word in values.get("billings", ()) if word not in BILLINGS]
    if unknown:
        problems.add("buying, billing", f"{shown(unknown[0])} is none of {', '.join(BILLINGS)}")
    purchase = content.get("purchase")
    if purchase is not None and purchase is not False:
        terms = purchase if isinstance(purchase, Mapping) else {}
        read = _read(terms, PURCHASE, "buying, purchase", problems)
        values["purchase"] = _build(Purchase, read, PURCHASE, "buying, purchase", problems)
    return values


def _try(read: Reader, value: Any, where: str, problems: _Problems) -> Any:
    try:
        return read(value)
    except BadWord as wrong:
        problems.add(where, str(wrong))
        return None


def _read(
    row: Mapping[str, Any], known: Mapping[str, Word], where: str, problems: _Problems, also: Iterable[str] = ()
) -> dict[str, Any]:
    """The values of one mapping, each at its place; problems are collected."""
    _refuse_unknown(row, (*known, *also), where, problems)
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key in known and value is not None:
            read = _try(known[key].read, value, f"{where}, {key}", problems)
            _put(values, known[key].place, read)
    return values


def _put(values: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    *outer, last = place
    for name in outer:
        values = values.setdefault(name, {})
    values[last] = value


def _refuse_unknown(row: Mapping[str, Any], known: Sequence[str], where: str, problems: _Problems) -> None:
    for key in row:
        if not isinstance(key, str) or key not in known:
            hint = nearest(str(key), known) or f" The words are {', '.join(known)}."
            problems.add(where, f"{shown(key)} is no word here.{hint}")


def _build(
    noun: type[Noun], values: Mapping[str, Any], known: Mapping[str, Word], where: str, problems: _Problems
) -> Noun | None:
    """One noun, or None with its problems collected."""
    if problems.sentences:
        return None
    try:
        return noun.model_validate(values)
    except ValidationError as wrong:
        for sentence in _complaints(wrong, known):
            problems.add(where, sentence)
        return None


def _complaints(wrong: ValidationError, known: Mapping[str, Word]) -> Iterator[str]:
    """What pydantic found, said with the file's own words."""
    places = {word.place: key for key, word in known.items()}
    errors = wrong.errors(include_url=False, include_input=False)[:MOST_PROBLEMS]
    inner = [error for error in errors if error["type"] != "too_short"]  # a list whose only word is refused is "empty"
    for error in inner or errors:
        loc = tuple(str(part) for part in error["loc"])
        key = next((places[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in places), ".".join(loc))
        message = _in_words(error["type"], error.get("ctx", {})) or str(error["msg"]).removeprefix("Value error, ")
        yield f"{key}: {message}" if key else message


def _in_words(kind: str, limits: Mapping[str, Any]) -> str:
    """A complaint about how much there is; "" for all others."""
    if kind == "missing":
        return "it is missing; write it"
    if kind == "string_too_long":
        return f"it is longer than {limits['max_length']:,} characters"
    if kind == "too_long":
        return f"it names {limits['actual_length'] or 'more'}; at most {limits['max_length']:,} are planned with"
    return ""
