"""Dated facts about an engine, read from its data file; a fact without a source does not load."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, cast

Version = tuple[int, ...]
Facts = dict[str, Any]

RELEASE_PARTS = 3
"""Numbers that a release has; "0.21" is 0.21.0."""


@cache
def load_facts(engine: str) -> Facts:
    """The data file of an engine.

    Raises:
        ValueError: an entry has no source; the file must be corrected.
    """
    text = files(__package__).joinpath(f"data/{engine}.json").read_text(encoding="utf-8")
    facts = cast(Facts, json.loads(text))
    for name in ("kernels", "kv_formats", "memory_utilization", "batch_defaults"):
        for entry in facts[name]:
            if not entry.get("source"):
                raise ValueError(f"{engine}.json: an entry of {name!r} has no source: {entry}. Add where it was read.")
    return facts


@cache
def parse_version(version: str) -> Version:
    """A version as three comparable numbers or more; what follows them (rc1, .dev0) is dropped.

    >>> parse_version("0.20.1rc1") > parse_version("0.9.2")
    True
    >>> parse_version("0.21") == parse_version("0.21.0")
    True
    """
    numbers: list[int] = []
    for part in version.split("."):
        digits = ""
        for letter in part:
            if not letter.isdigit():
                break
            digits += letter
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers + [0] * (RELEASE_PARTS - len(numbers))) if numbers else ()


def fact_at(entries: list[Facts], version: str) -> Facts:
    """The newest entry whose `since` is not after a version; entries are in rising order.

    >>> fact_at([{"since": "0.0.0", "value": 1}, {"since": "0.20.0", "value": 2}], "0.19.3")["value"]
    1
    """
    asked = parse_version(version)
    return [entry for entry in entries if parse_version(entry["since"]) <= asked][-1]
