"""One plan as one JSON file: what was asked, what it was asked of, the answer, and which facts and program gave it.

Version 2 is this. Version 1 is what `plan --json` prints: the answer alone; it is read as a plan without own files.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from gpuplan.electricity import Place
from gpuplan.saving.errors import BadPlanFile
from gpuplan.saving.fingerprints import Fingerprints, fingerprints
from optimizer.plan import Plan
from optimizer.requirements import Frozen

FORMAT: Literal["gpuplan plan"] = "gpuplan plan"
VERSION: Literal[2] = 2
MOST_DIGITS = 100
"""Digits of a whole number: any number of a plan has fewer, and beyond 308 it is no float."""

LARGEST_FILE_BYTES = 32 << 20
"""A plan with every alternative takes a tenth of a MiB."""

_Noun = TypeVar("_Noun", bound=BaseModel)


class Sources(Frozen):
    """What the asker gave beside the question.

    Attributes:
        offers_file, offers_digest: own machines and prices: where they were, and a hash of what they said.
        factors_dir, factors_digest: own factors, the same.
        place: electricity that was said to be otherwise than bundled.
        prices_as_of: the day whose prices were planned with; None = the newest.
    """

    offers_file: str | None = None
    offers_digest: str | None = None
    factors_dir: str | None = None
    factors_digest: str | None = None
    place: Place = Place()
    prices_as_of: str | None = None


class PlanFile(Frozen):
    """A saved plan; the question is `plan.question`, the program's version `plan.gpuplan_version`.

    Attributes:
        fingerprints: of the bundled data; None in a file of version 1, which has `plan.data_fingerprint` alone.
    """

    format: Literal["gpuplan plan"] = FORMAT
    version: Literal[2] = VERSION
    fingerprints: Fingerprints | None
    sources: Sources = Sources()
    plan: Plan


def saved(plan: Plan, sources: Sources) -> PlanFile:
    """A plan that was made just now, ready to be written."""
    return PlanFile(fingerprints=fingerprints(), sources=sources, plan=plan)


def write_plan_file(path: str | Path, file: PlanFile) -> None:
    """Write a plan; a plan that is there is replaced whole or not at all.

    Raises:
        BadPlanFile: the place cannot be written, or holds something that is no plan.
    """
    place = Path(path)
    check_replaceable(place, read_plan_file)
    write_whole(place, file.model_dump_json(indent=2) + "\n")


def write_whole(place: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        BadPlanFile: the place cannot be written.
    """
    beside = place.with_name(f"{place.name}.{os.getpid()}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(place)
    except (OSError, ValueError) as error:
        raise BadPlanFile(f"{str(place)!r} cannot be written: {_reason(error)}.") from error


def check_replaceable(place: Path, read: Callable[[Path], object]) -> None:
    """Nobody's data is lost to a mistyped name: what is there is replaced when `read` reads it as a plan.

    Raises:
        BadPlanFile: something else is there.
    """
    try:
        if not place.exists() or place.stat().st_size == 0:
            return
        read(place)
    except BadPlanFile as error:
        raise BadPlanFile(f"{str(place)!r} is there and is no plan, so it is not overwritten; name another.") from error
    except (OSError, ValueError) as error:
        raise BadPlanFile(f"{str(place)!r} cannot be written: {_reason(error)}.") from error


def read_plan_file(path: str | Path) -> PlanFile:
    """Read a plan that anybody may have written: a file of this or an older version, or what `plan --json` printed.

    Raises:
        BadPlanFile: it cannot be read, is no plan, is newer than this program, or contradicts itself.
    """
    return parse_plan(content_of(path), repr(str(path)))


def content_of(path: str | Path) -> bytes:
    """What a file holds.

    Raises:
        BadPlanFile: it cannot be read, or is larger than any plan.
    """
    try:
        size = Path(path).stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise BadPlanFile(f"{str(path)!r} is larger than {LARGEST_FILE_BYTES >> 20} MiB, so it is no plan.")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise BadPlanFile(f"{str(path)!r} cannot be read: {_reason(error)}.") from error


def parse_plan(content: bytes, name: str) -> PlanFile:
    """The same of a file's content; `name` is what errors call it."""
    return plan_in(json_object(content, name), name)


def plan_in(record: Mapping[str, Any], name: str) -> PlanFile:
    """The same of a JSON object."""
    migrate = _MIGRATIONS.get(_version(record, name))
    current = migrate(record) if migrate else record
    file = checked(PlanFile, current, name)
    problem = next(_contradictions(file.plan), None)
    if problem is not None:
        raise BadPlanFile(f"{name} contradicts itself: {problem}; save the plan again.")
    return file


def json_object(content: bytes, name: str) -> Mapping[str, Any]:
    """A JSON object whose numbers are those that a plan may have, and whose keys stand once.

    Raises:
        BadPlanFile: it is none.
    """
    try:
        record = json.loads(
            content.decode("utf-8-sig"),
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_no_number,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as error:
        raise BadPlanFile(f"{name} is not JSON: {str(error)[:100]}; --save writes plans.") from error
    if not isinstance(record, dict):
        raise BadPlanFile(f"{name} holds a {type(record).__name__}, not a plan; --save writes plans.")
    return record


def _whole(word: str) -> int:
    if len(word) > MOST_DIGITS:
        raise ValueError(f"{word[:MOST_DIGITS]}... has {len(word)} digits, more than any number of a plan")
    return int(word)


def _finite(word: str) -> float:
    if not math.isfinite(number := float(word)):
        raise ValueError(f"{word[:MOST_DIGITS]} is larger than any number of a plan")
    return number


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return record


def _version(record: Mapping[str, Any], name: str) -> int:
    """Which version this is; 1 has no word for it."""
    if record.get("format") == FORMAT:
        version = record.get("version")
        if version == VERSION:
            return VERSION
        raise BadPlanFile(
            f"{name} is a plan of version {str(version)[:20]}; this program reads versions 1 and {VERSION}: get the "
            "gpuplan that wrote it, or plan again."
        )
    if record.get("schema_version") == "1":
        return 1
    raise BadPlanFile(f'{name} is JSON and no plan: it lacks "format": {json.dumps(FORMAT)}; --save writes plans.')


def _from_answer(record: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1, what `plan --json` prints -> version 2."""
    return {"format": FORMAT, "version": VERSION, "fingerprints": None, "plan": record}


_MIGRATIONS: Mapping[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {1: _from_answer}


def checked(noun: type[_Noun], record: Mapping[str, Any], name: str) -> _Noun:
    """A JSON object as a noun.

    Raises:
        BadPlanFile: it is none; the first thing that is wrong is said with its place.
    """
    try:
        return noun.model_validate_json(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    except (ValidationError, UnicodeEncodeError, RecursionError) as wrong:
        raise BadPlanFile(f"{name} is no plan that this program wrote: {_first(wrong)}.") from None


def _first(wrong: Exception) -> str:
    """The first thing that is wrong, with its place in the file."""
    if not isinstance(wrong, ValidationError):
        return str(wrong)[:100]
    first = wrong.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part)[:40] for part in first["loc"])
    return f"at {place}: {re.sub(r'^Value error, ', '', str(first['msg']))[:200]}" if place else str(first["msg"])[:200]


def _contradictions(plan: Plan) -> Any:
    """What no plan of ours says: numbers and parts that do not go together."""
    bought = plan.status != "infeasible"
    if (
        bought != (plan.totals is not None)
        or bought != bool(plan.lines)
        or bought != (plan.cost_usd_per_hour is not None)
    ):
        yield f"it is {plan.status}, and its machines, its totals or its cost say otherwise"
    if len(plan.proof.solver) > 200 or len(plan.model) > 4096:
        yield "its names are longer than any"
    for number, line in enumerate(plan.lines):
        memory, shared = line.memory, line.shares_machines_of_line
        if not 0 < memory.budget_bytes <= memory.total_bytes or memory.kv_bytes_per_token <= 0:
            yield f"the memory of lines.{number} is that of no GPU"
        if shared is not None and not 0 <= shared < number:
            yield f"lines.{number} shares the machines of a line that is not before it"
        if line.estimate.output_tokens_per_second.value <= 0:
            yield f"lines.{number} serves nothing"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "not a path"
