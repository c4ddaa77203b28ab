"""Which release of an engine a measured row tells of: by version, wording, month, issue or model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from gpuplan.measuring.cells import Version, version
from gpuplan.measuring.errors import Unpredictable
from optimizer.engines.engine import Engine
from optimizer.engines.errors import UnknownEngine
from optimizer.engines.facts import parse_version
from optimizer.engines.find import find_engine

FIRST_V1 = "0.8.0"
"""The first release whose default engine is V1."""
ASSUMED_LEGACY = "0.7.3"
"""The last release whose only engine was V0."""
LATE_LEGACY = "0.7.4"
"""Stands for V0 inside the releases that had both engines: as 0.7.3, but for the copies of latent attention."""
ASSUMED = "0.19.0"
"""The middle of the versions that logs of the second engine (V1) state, for those that state none."""


def engine_of(row: Mapping[str, str], family: str) -> tuple[Engine, list[str]]:
    """The engine at the version whose behaviour the row tells of, and what was assumed.

    Raises:
        Unpredictable: the engine is not described here.
    """
    name = row.get("engine", "").strip()
    said = version(row.get("engine_version", ""))
    try:
        newest = find_engine(name)
    except UnknownEngine as error:
        raise Unpredictable(str(error)) from error
    wanted = (
        _behaviour(said, row, family) if newest.name == "vllm" else said.number or _by_month(said.month, newest.name)
    )
    try:
        engine = find_engine(name, wanted)
    except UnknownEngine:
        engine = newest
    return engine, [] if said.number else [engine.title]


def _behaviour(said: Version, row: Mapping[str, str], family: str) -> str:
    """The vLLM release that behaves as a row's: releases with two engines count as the one that ran."""
    legacy = said.legacy or _sounds_legacy(row.get("quote", ""), said)
    if legacy:
        older = said.number is not None and parse_version(said.number) < parse_version(FIRST_V1)
        return said.number or ASSUMED_LEGACY if older else LATE_LEGACY
    number = said.number or _by_month(said.month) or _by_issue(row.get("source", "")) or _by_family(family)
    return max(number, FIRST_V1, key=parse_version)


def _sounds_legacy(quote: str, said: Version) -> bool:
    """Whether a log's wording is that of vLLM's first engine, where no version says otherwise."""
    return said.number is None and any(mark in quote for mark in ("# GPU blocks", "# cuda blocks", "# CUDA blocks"))


@cache
def _releases(engine: str = "vllm") -> dict[str, Any]:
    text = files(__package__).joinpath(f"data/{engine}_releases.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known


DATED = ("vllm", "sglang")
"""Engines whose releases are known by month."""


def _by_month(month: str | None, engine: str = "vllm") -> str | None:
    """The release that was current in a month; None when no month is said, or an engine's releases are not known."""
    return None if month is None or engine not in DATED else _current(_releases(engine)["releases"], month)


_ISSUE = re.compile(r"\bvllm-project/vllm#(\d{1,7})\b")


def _by_issue(source: str) -> str | None:
    """The release that was current when vLLM's issue was opened that a row was read in; None when it is from elsewhere.

    >>> _by_issue("vllm-project/vllm#27508"), _by_issue("a blog")
    ('0.11.0', None)
    """
    number = _ISSUE.search(source)
    return None if number is None else _current(_releases()["issues"], int(number[1]))


def _current(since: list[list[Any]], when: str | int) -> str | None:
    return next((str(release) for start, release in reversed(since) if start <= when), None)


def _by_family(family: str) -> str:
    """The middle version of a family's logs; of all logs where a family has too few."""
    return str(_releases()["families"].get(family, ASSUMED))
