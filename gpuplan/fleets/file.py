"""A fleet as people write it (YAML, JSON or CSV) -> Fleet, or one sentence for every problem in the file.

Words and units are those of the command line: `max_tpot: 50ms`, `isl: 2k`. Nothing in the file is guessed: an unknown
word is refused with the nearest known one, a value that stands twice is refused too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gpu_db.offer import BILLINGS
from gpuplan.cli import words
from gpuplan.errors import BadWord, nearest
from gpuplan.fleets.errors import MOST_PROBLEMS, BadFleetFile, Problems, shown
from gpuplan.fleets.plain import read_plain
from gpuplan.fleets.vocabulary import (
    BUYING,
    DEMAND_COLUMNS,
    LIMITS,
    MONTH,
    OWNED,
    PURCHASE,
    SERVICE,
    TERMS,
    TOP,
    Reader,
    Word,
    listed,
    scalar,
    way_of_sharing,
)
from optimizer.fleet.services import QUOTA_UNITS, Fleet, FleetLimits, MonthDemand, OwnedMachines, Purchase, Service

Noun = TypeVar("Noun", bound=BaseModel)


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


def read_fleet(path: str | Path, *, skip_bad: bool = False) -> FleetFile:
    """Read a fleet.

    Args:
        path: a .yaml, .yml, .json or .csv file; see docs/fleet.md for its words.
        skip_bad: leave services with problems out and say so, instead of refusing the file.

    Raises:
        BadFleetFile: with one sentence for every problem.
    """
    file = Path(path)
    content = read_plain(file)
    problems = Problems(file.name)
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


def read_terms(path: str | Path) -> tuple[dict[str, Any], Path | None]:
    """Read what a whole fleet shares, for services that stand elsewhere: a fleet file without services.

    Returns:
        Fields of a Fleet besides its services, and a CSV of own machines and prices that the file names.

    Raises:
        BadFleetFile: with one sentence for every problem.
    """
    file = Path(path)
    content, problems = read_plain(file), Problems(file.name)
    if not isinstance(content, Mapping):
        raise BadFleetFile([f"{file.name}: it holds {shown(content)}; write `limits:`, `buying:` or `owned:`."])
    _refuse_unknown(content, TERMS, "", problems)
    fields = _rest(content, problems)
    if problems.sentences:
        raise BadFleetFile(problems.sentences)
    return fields, _neighbour(file, content, "offers")


def read_demand(path: str | Path) -> tuple[MonthDemand, ...]:
    """Read demand by month: a CSV with month, service, and min_tps, requests_per_second or concurrency.

    A row with none of the three asks for nothing in that month. `scenario` tells apart what may come true.

    Raises:
        BadFleetFile: with one sentence for every problem.
    """
    file = Path(path)
    rows = read_plain(file)["services"] if file.suffix.lower() == ".csv" else None
    if not rows:
        raise BadFleetFile([f"{file.name}: demand by month is a .csv with the columns {', '.join(DEMAND_COLUMNS)}."])
    problems = Problems(file.name)
    found = [_month(row, number, problems) for number, row in enumerate(rows, 1)]
    keys = [(one.scenario, one.month, one.service) for one in found if one is not None]
    if len(set(keys)) < len(keys) and not problems.sentences:
        twice = next(key for key in keys if keys.count(key) > 1)
        problems.add(f"month {twice[1]}, service {twice[2]!r}", "it stands twice; keep one row")
    if problems.sentences:
        raise BadFleetFile(problems.sentences)
    return tuple(one for one in found if one is not None)


def _month(row: Mapping[str, str], number: int, problems: Problems) -> MonthDemand | None:
    where = f"row {number}"
    values = _read(row, MONTH, where, problems)
    return _build(MonthDemand, {"demand": None, **values}, MONTH, where, problems)


def _neighbour(file: Path, content: Mapping[str, Any], key: str) -> Path | None:
    """A file that this one names, relative to it.

    Raises:
        BadFleetFile: it is no name.
    """
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise BadFleetFile([f"{file.name}, {key}: it is {shown(value)}; write the name of a CSV beside this file."])
    return None if value is None else file.parent / value


def _services(content: Mapping[str, Any], file: str) -> tuple[list[Service], list[str]]:
    """The services that can be read, and a sentence for every problem of the others."""
    rows, defaults = content.get("services"), content.get("defaults") or {}
    if not isinstance(rows, list) or not rows:
        held = "an empty list" if rows == [] else shown(rows)
        raise BadFleetFile([f"{file}: `services:` is {held}; write a list with at least one service."])
    if not isinstance(defaults, Mapping):
        raise BadFleetFile([f"{file}: `defaults:` is {shown(defaults)}; write words of a service."])
    services, sentences = [], []
    taken: set[str] = set()
    for number, row in enumerate(rows, 1):
        problems = Problems(file)
        service = _service(row, number, defaults, problems)
        if service is not None and service.name in taken:
            problems.add(f"service {service.name!r}", "another service has this name; names must differ")
        sentences += problems.sentences
        if service is not None and not problems.sentences:
            taken.add(service.name)
            services.append(service)
    return services, sentences


def _service(row: Any, number: int, defaults: Mapping[str, Any], problems: Problems) -> Service | None:
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


def _rest(content: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
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


def _owned(row: Any, number: int, problems: Problems) -> OwnedMachines | None:
    where = f"owned {number}"
    if not isinstance(row, Mapping):
        problems.add(where, f"it is {shown(row)}; write gpu, gpus and machines")
        return None
    values = _read({"name": f"owned {number}", **row}, OWNED, where, problems)
    return _build(OwnedMachines, values, OWNED, where, problems)


def _limits(content: Any, problems: Problems) -> FleetLimits | None:
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


def _buying(content: Any, problems: Problems) -> dict[str, Any]:
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


def _try(read: Reader, value: Any, where: str, problems: Problems) -> Any:
    try:
        return read(value)
    except BadWord as wrong:
        problems.add(where, str(wrong))
        return None


def _read(
    row: Mapping[str, Any], known: Mapping[str, Word], where: str, problems: Problems, also: Iterable[str] = ()
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


def _refuse_unknown(row: Mapping[str, Any], known: Sequence[str], where: str, problems: Problems) -> None:
    for key in row:
        if not isinstance(key, str) or key not in known:
            hint = nearest(str(key), known) or f" The words are {', '.join(known)}."
            problems.add(where, f"{shown(key)} is no word here.{hint}")


def _build(
    noun: type[Noun], values: Mapping[str, Any], known: Mapping[str, Word], where: str, problems: Problems
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
