"""The configs inside a config: the language model and the tower of a model that also sees.

Published configs leave out of these what equals transformers' default for their model_type; it is put back here.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from catalog.blocks import Shape
from catalog.read import find_family
from catalog.reading import Fields


def read_language_model(config: Fields, *names: str, model_type: str, tied: bool = False, flat: bool = False) -> Shape:
    """The language model inside a config, as the file of its own family reads it.

    Its LM head is tied to its embedding if either config says so: transformers 5 asks the outer one.

    Args:
        config: the outer config.
        names: of the key that holds the inner one.
        model_type: what the inner config is when it does not say.
        tied: what the outer class takes for tie_word_embeddings when its config does not say.
        flat: whether the family also publishes configs whose outer object holds the keys of the inner one.

    Raises:
        UnknownArchitecture: no file reads that model_type.
        BadModelConfig: a value is missing, of the wrong type or absurd.
    """
    is_flat = flat and config.get(*names) is None
    text = filled(config, model_type, stated=False) if is_flat else filled(config.section(*names), model_type)
    named = {key: value for key, value in text.values.items() if key != "architectures"}  # engines go by model_type
    if config.flag("tie_word_embeddings", default=tied):
        named["tie_word_embeddings"] = True
    return find_family(Fields(named))[1].read(Fields(named, text.where))


def filled(inner: Fields, model_type: str, *, stated: bool = True) -> Fields:
    """The inner config with what transformers' class of its model_type, or of this one, takes for missing keys.

    Args:
        inner: as published.
        model_type: what it is when it does not say.
        stated: whether what it says counts; some outer classes do not ask.

    >>> filled(Fields({"hidden_size": 1024}), "clip_vision_model").size("patch_size")
    32
    """
    kind = inner.word("model_type", default=model_type) if stated else model_type
    return Fields({**_defaults().get(str(kind), {}), **inner.values, "model_type": kind}, inner.where)


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    text = files("catalog").joinpath("data/library_defaults.json").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = json.loads(text)["defaults"]
    return known
