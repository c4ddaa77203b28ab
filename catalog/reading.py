"""Checked access to a config.json that somebody else wrote.

A config is hostile until read through `Fields`: a missing key, a wrong type or an absurd size is a BadModelConfig that
names the key and the value. Nothing here knows any model family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from catalog.errors import BadModelConfig

LARGEST_SIZE = 2**24
"""No width, vocabulary or count of a published model comes near; more is an error in the file."""
LARGEST_CONTEXT = 2**31
LARGEST_LAYERS = 1024
LARGEST_EXPERTS = 2**16

T = TypeVar("T")


class _Required:
    """Marks an argument that has no default: the key must be there."""


REQUIRED = _Required()


class Fields:
    """One JSON object of a config, read key by key.

    Methods take one or several names of the same thing and use the first that is present and not null. A `default` is
    given only where the family's own library defines it.
    """

    def __init__(self, values: object, where: str = "config.json") -> None:
        if not isinstance(values, Mapping):
            raise BadModelConfig(f"{where} must be a JSON object, but is {_shown(values)}.")
        self.values: Mapping[str, object] = values
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def get(self, *names: str) -> object:
        """The raw value of the first name that is present and not null, else None."""
        return next((self.values[n] for n in names if self.values.get(n) is not None), None)

    def assuming(self, **values: object) -> Fields:
        """The same object with these values of keys that it leaves out; an explicit null stays one.

        >>> Fields({"hidden_size": 64}).assuming(hidden_size=32, head_dim=16).values
        {'hidden_size': 64, 'head_dim': 16}
        """
        return Fields({**values, **self.values}, self.where)

    def bad(self, name: str, allowed: str) -> BadModelConfig:
        """The error for a value that is not `allowed`."""
        return BadModelConfig(f"{self.where} has {name} = {_shown(self.values.get(name))}; it must be {allowed}.")

    def _found(self, names: Sequence[str], default: T | _Required) -> tuple[str, object] | None:
        for name in names:
            if self.values.get(name) is not None:
                return name, self.values[name]
        if isinstance(default, _Required):
            raise BadModelConfig(f"{self.where} lacks {' or '.join(names)}, which this architecture needs.")
        return None

    def size(self, *names: str, default: int | _Required = REQUIRED, largest: int = LARGEST_SIZE) -> int:
        """A whole number from 1 to `largest`."""
        found = self._found(names, default)
        if found is None:
            assert isinstance(default, int)  # _found raised otherwise
            return default
        return self._whole(found[0], found[1], 1, largest)

    def optional_size(self, *names: str, largest: int = LARGEST_SIZE) -> int | None:
        """A whole number from 1 to `largest`; None when the key is missing, null or 0."""
        value = self.get(*names)
        return None if value is None or value == 0 else self.size(*names, largest=largest)

    def count(self, *names: str, default: int | _Required = REQUIRED, largest: int = LARGEST_EXPERTS) -> int:
        """A whole number from 0 to `largest`."""
        found = self._found(names, default)
        if found is None:
            assert isinstance(default, int)
            return default
        return self._whole(found[0], found[1], 0, largest)

    def layers(self, *names: str) -> int:
        """How many layers: from 1 to LARGEST_LAYERS."""
        return self.size(*(names or ("num_hidden_layers",)), largest=LARGEST_LAYERS)

    def sizes(self, name: str, *, length: int | None = None, least: int = 1) -> tuple[int, ...]:
        """A list of whole numbers, of `length` when given."""
        return tuple(self._whole(name, v, least, LARGEST_SIZE) for v in self.sequence(name, length=length))

    def words(self, name: str, *, length: int | None = None) -> tuple[str, ...]:
        """A list of strings, of `length` when given."""
        values = self.sequence(name, length=length)
        if not all(isinstance(v, str) for v in values):
            raise self.bad(name, "a list of strings")
        return tuple(str(v) for v in values)

    def sequence(self, name: str, *, length: int | None = None) -> Sequence[object]:
        """A JSON list, of `length` when given."""
        value = self.get(name)
        if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
            raise self.bad(name, "a list" if length is None else f"a list of {length} values")
        return value

    def flag(self, *names: str, default: bool | _Required = REQUIRED) -> bool:
        """True or false."""
        found = self._found(names, default)
        value = default if found is None else found[1]
        if not isinstance(value, bool):
            raise self.bad(found[0] if found else names[0], "true or false")
        return value

    def word(self, *names: str, default: str | _Required | None = REQUIRED) -> str | None:
        """A string."""
        found = self._found(names, default)
        value = default if found is None else found[1]
        if value is not None and not isinstance(value, str):
            raise self.bad(found[0] if found else names[0], "a string")
        return value

    def number(self, *names: str, default: float | _Required = REQUIRED) -> float:
        """A finite positive number."""
        found = self._found(names, default)
        value = default if found is None else found[1]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LARGEST_CONTEXT:
            raise self.bad(found[0] if found else names[0], "a positive number")
        return float(value)

    def section(self, *names: str) -> Fields:
        """A nested object that must be there."""
        found = self._found(names, REQUIRED)
        assert found is not None  # REQUIRED raises
        return Fields(found[1], f"{found[0]} of {self.where}")

    def optional_section(self, *names: str) -> Fields | None:
        """A nested object, or None."""
        return None if self.get(*names) is None else self.section(*names)

    def sections(self, name: str, *, length: int | None = None) -> Iterator[Fields]:
        """A list of objects."""
        for i, value in enumerate(self.sequence(name, length=length)):
            yield Fields(value, f"{name}[{i}] of {self.where}")

    def require(self, condition: bool, name: str, allowed: str) -> None:
        """Raise BadModelConfig about `name` unless `condition` holds."""
        if not condition:
            raise self.bad(name, allowed)

    def _whole(self, name: str, value: object, least: int, largest: int) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)  # JSON writers of some libraries print 1e6 or 8.0
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= largest:
            allowed = f"a whole number from {least} to {largest}"
            raise BadModelConfig(f"{self.where} has {name} = {_shown(value)}; it must be {allowed}.")
        return value


def text_section(config: Fields) -> Fields:
    """The language model's part of the config of a model that also sees or hears; the config itself otherwise."""
    for name in ("text_config", "llm_config", "language_config"):
        if name in config:
            return config.section(name)
    return config


def max_context(text: Fields) -> int:
    """The longest context in tokens that the config allows.

    Llama-style rope scaling leaves `max_position_embeddings` as the extended value. YaRN does not everywhere: where the
    config is extended, the publisher raised max_position_embeddings too, so this number is what engines start with.
    Where both are stated, engines believe model_max_length (Command R has 8192 positions and 131,072 tokens).

    Source: vLLM 0.32 `vllm/transformers_utils/model_arch_config_convertor.py`.
    """
    return text.size("model_max_length", "max_position_embeddings", "max_seq_len", largest=LARGEST_CONTEXT)


def _shown(value: object) -> str:
    """A value for an error message, never longer than a line and never slow for a huge one."""
    if isinstance(value, bool | float) or value is None:
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
    if isinstance(value, str):
        return repr(value[:60])
    return f"a {type(value).__name__}"


def windows(text: Fields, layers: int, default: Sequence[bool] = ()) -> tuple[int | None, ...]:
    """The sliding window of each layer in tokens, None where attention is full.

    Args:
        text: a config with `layer_types` ("sliding_attention" or "full_attention") and `sliding_window`.
        layers: how many layers.
        default: which layers slide when the config has no layer_types: the rule of the family's library.
    """
    if "layer_types" in text:
        kinds = text.words("layer_types", length=layers)
        known = {"sliding_attention", "full_attention"}
        text.require(known.issuperset(kinds), "layer_types", f"made of {' and '.join(sorted(known))}")
        slides: Sequence[bool] = [kind == "sliding_attention" for kind in kinds]
    else:
        slides = default or [False] * layers
    window = text.size("sliding_window", largest=LARGEST_CONTEXT) if any(slides) else None
    return tuple(window if slide else None for slide in slides)


def sparse_layers(text: Fields, layers: int, dense: int) -> tuple[bool, ...]:
    """Which layers have experts: as `mlp_layer_types` lists them ("dense" or "sparse"), else all but the first.

    Args:
        text: the config of the language model.
        layers: how many layers.
        dense: how many have none where the config has no list.
    """
    if "mlp_layer_types" not in text:
        return tuple(i >= dense for i in range(layers))
    kinds = text.words("mlp_layer_types", length=layers)
    text.require({"dense", "sparse"}.issuperset(kinds), "mlp_layer_types", "made of dense and sparse")
    return tuple(kind == "sparse" for kind in kinds)
