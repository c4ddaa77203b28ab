"""The JSON schema of a fleet file, made from the words that the reader knows: for editors, and for who writes one.

YAML and JSON files hold to it; of a CSV each row is a service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from gpu_db.offer import BILLINGS, RESTRICTIONS
from gpuplan.fleets.vocabulary import BUYING, LIMITS, OWNED, PURCHASE, SERVICE, Word, several_names
from optimizer.fleet.gpu_parts import Way
from optimizer.fleet.services import QUOTA_UNITS

Schema = dict[str, Any]

SINGLE: Schema = {"type": ["string", "number"]}
TRUTH: Schema = {"enum": [True, False, "yes", "no", "true", "false"]}
NUMBER: Schema = {"type": ["string", "integer"]}
SIZE: Schema = {
    "type": "object",
    "properties": {"isl": SINGLE, "osl": SINGLE, "share": SINGLE},
    "required": ["isl", "osl"],
    "additionalProperties": False,
}
OWN_KINDS: dict[str, list[Schema]] = {
    "required": [TRUTH],
    "survive_losing_one_machine": [TRUTH],
    "sizes": [{"type": "string"}, {"type": "array", "items": SIZE, "minItems": 1}],
}
"""Words that are neither a single value nor a list of them."""
NAMED: dict[str, Iterable[str]] = {"billing": BILLINGS, "allow": RESTRICTIONS}


def fleet_file_schema() -> Schema:
    """JSON Schema 2020-12 of a fleet file.

    >>> sorted(fleet_file_schema()["properties"])[:4]
    ['buying', 'defaults', 'demand', 'limits']
    """
    service = mapping(SERVICE)
    purchase = mapping(PURCHASE)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Fleet",
        "description": "The question of `plan fleet`; values are typed as on the command line: 2k, 50ms, 5kW, 30%.",
        "type": "object",
        "properties": {
            "name": SINGLE,
            "services": {"type": "array", "minItems": 1, "items": service | {"required": ["name"]}},
            "defaults": service,
            "limits": mapping(LIMITS, dict.fromkeys(QUOTA_UNITS, QUOTAS)),
            "buying": mapping(BUYING, {"purchase": {"anyOf": [purchase, {"type": "boolean"}]}}),
            "owned": {"type": "array", "items": mapping(OWNED) | {"required": ["gpu", "gpus", "machines"]}},
            "share_gpus": {"anyOf": _kinds_of_names(get_args(Way))},
            "offers": {"type": "string", "description": "A CSV of own machines and prices, beside this file."},
            "demand": {"type": "string", "description": "A CSV of demand by month, beside this file."},
        },
        "required": ["services"],
        "additionalProperties": False,
    }


QUOTAS: Schema = {"type": "object", "additionalProperties": NUMBER}


def mapping(known: Mapping[str, Word], also: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these words and no others."""
    properties = {key: of_word(key, word) for key, word in known.items()} | dict(also or {})
    return {"type": "object", "properties": properties, "additionalProperties": False}


def of_word(key: str, word: Word) -> Schema:
    """What may stand at one word; nothing at all is as good as leaving it out."""
    return {"anyOf": [*_kinds(key, word), {"type": "null"}]}


def _kinds(key: str, word: Word) -> list[Schema]:
    if key in OWN_KINDS:
        return OWN_KINDS[key]
    if key in NAMED:
        return _kinds_of_names(NAMED[key])
    if word.read is several_names:
        return [SINGLE, {"type": "array", "items": SINGLE, "minItems": 1}]
    return [SINGLE]


def _kinds_of_names(names: Iterable[str]) -> list[Schema]:
    """Some of these names: a list, or one word with commas."""
    return [{"type": "string"}, {"type": "array", "items": {"enum": sorted(names)}, "minItems": 1}]
