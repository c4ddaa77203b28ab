"""A ModelSpec as plain JSON and back, exactly: how bundled models are kept on disk.

Only what differs from a field's default is written. Objects of several kinds (the mixers of a layer) carry their class
name under "is".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass

from catalog import model
from catalog.model import Layers, Matrix, ModelSpec

_CLASSES: dict[str, type] = {
    name: kind for name, kind in vars(model).items() if isinstance(kind, type) and is_dataclass(kind)
}
_SHORT = {Matrix: "M", Layers: "L"}
_BY_SHORT = {"M": Matrix, "L": Layers}


def to_record(value: object) -> object:
    """A spec, or anything in it, as what `json.dumps` takes."""
    if isinstance(value, tuple | list):
        return [to_record(v) for v in value]
    if not is_dataclass(value):
        return value
    kind = type(value)
    record: dict[str, object] = {"is": _SHORT.get(kind, kind.__name__)}
    for f in fields(value):
        own = getattr(value, f.name)
        if own != _default(f):
            record[f.name] = to_record(own)
    return record


def _default(f: Field[object]) -> object:
    if f.default is not MISSING:
        return f.default
    return MISSING if f.default_factory is MISSING else f.default_factory()


def from_record(record: object) -> ModelSpec:
    """The spec that `to_record` wrote.

    Raises:
        ValueError: the record is not of a ModelSpec.
    """
    spec = _decode(record)
    if not isinstance(spec, ModelSpec):
        raise ValueError(f"A bundled model must be a ModelSpec record, not {type(spec).__name__}.")
    return spec


def _decode(value: object) -> object:
    if isinstance(value, list):
        return tuple([_decode(v) for v in value])
    if not isinstance(value, Mapping):
        return value
    name = value["is"]
    kind = _BY_SHORT.get(name) or _CLASSES[name]
    return kind(**{key: _decode(v) for key, v in value.items() if key != "is"})
