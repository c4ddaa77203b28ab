"""What a model card says of a model's size, for repositories that have no config.

The card is prose. Only what stands in its front matter (`base_model`) or is said plainly ("8.03B parameters", "context
length of 128K") is believed, and a model that rests on it carries the confidence "card".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from catalog.model import Layers, ModelSpec
from catalog.sizes import total_parameters

READ_CHARACTERS = 200_000
_UNITS = {"t": 10**12, "b": 10**9, "m": 10**6, "k": 1000, "trillion": 10**12, "billion": 10**9, "million": 10**6}

_NUMBER = r"(\d{1,4}(?:[.,]\d{1,3})?)"
_PARAMETERS = re.compile(
    rf"{_NUMBER}[ -]?(trillion|billion|million|t|b|m)\b[ *_-]{{0,6}}(?:total[ *_]{{1,4}})?(?:parameters?|params?)\b"
    rf"|(?:parameters?|params?|model size)\b[^\n\d]{{0,40}}{_NUMBER}[ -]?(trillion|billion|million|t|b|m)\b",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context(?:[ -](?:length|window|size))?\b[^\n\d]{0,40}(\d{1,3}(?:,\d{3})+|\d{1,9})[ ]?(k|m)?\b"
    r"|(\d{1,3}(?:,\d{3})+|\d{1,9})[ -]?(k|m)?[ -](?:tokens?[ -])?(?:of )?context\b",
    re.IGNORECASE,
)
_BASE = re.compile(r"^base_model:[ ]*(?:\n[ ]*-[ ]*)?[\"']?([\w.-]+/[\w.-]+)[\"']?[ ]*$", re.MULTILINE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Card:
    """What was found in a card; None = it does not say.

    Attributes:
        parameters: how many, as its author rounds them.
        context_tokens: the longest context.
        base: the model that it was made from.
    """

    parameters: int | None
    context_tokens: int | None
    base: str | None


def read_card(text: str) -> Card:
    """What a card says plainly.

    >>> read_card("A model with 8.03B parameters and a context length of 128K tokens.")
    Card(parameters=8030000000, context_tokens=131072, base=None)
    """
    text = text[:READ_CHARACTERS]
    front = text.split("\n---", 1)[0] if text.startswith("---") else ""
    base = _BASE.search(front)
    return Card(_parameters(text), _context(text), base[1] if base else None)


def _parameters(text: str) -> int | None:
    found = _PARAMETERS.search(text)
    if found is None:
        return None
    number, unit = (found[1], found[2]) if found[1] else (found[3], found[4])
    count = round(float(number.replace(",", ".")) * _UNITS[unit.lower()])
    return count if 10**6 <= count <= 10**13 else None


def _context(text: str) -> int | None:
    found = _CONTEXT.search(text)
    if found is None:
        return None
    number, unit = (found[1], found[2]) if found[1] else (found[3], found[4])
    tokens = int(number.replace(",", "")) * {"k": 1024, "m": 1024**2}.get((unit or "").lower(), 1)
    return tokens if 256 <= tokens <= 2**27 else None


def stretched(spec: ModelSpec, parameters: int) -> ModelSpec:
    """A model of nearly so many parameters: this one with more or fewer of its commonest layer.

    Args:
        spec: a dense model of about that size.
        parameters: how many it shall have.
    """
    common = max(spec.layers, key=lambda group: group.count)
    one = sum(matrix.parameters for matrix in common.matrices)
    count = max(1, common.count + round((parameters - total_parameters(spec)) / one))
    others = tuple(group for group in spec.layers if group is not common)
    return replace(spec, layers=(*_renumbered(others, 0), *_renumbered((replace_count(common, count),), _size(others))))


def replace_count(group: Layers, count: int) -> Layers:
    """So many layers of this kind."""
    return replace(group, indices=tuple(range(count)))


def _size(groups: tuple[Layers, ...]) -> int:
    return sum(group.count for group in groups)


def _renumbered(groups: tuple[Layers, ...], first: int) -> tuple[Layers, ...]:
    """The same groups with their layers numbered one after the other."""
    numbered = []
    for group in groups:
        numbered.append(replace(group, indices=tuple(range(first, first + group.count))))
        first += group.count
    return tuple(numbered)
