"""Which shape a measured model has: a bundled model of the same shape, or a published config written here."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from catalog.find import find_model
from catalog.model import ModelSpec
from catalog.quantization import requantized
from catalog.read import read_config


@cache
def _shapes() -> dict[str, Any]:
    known: dict[str, Any] = json.loads((Path(__file__).parent / "shapes.json").read_text(encoding="utf-8"))
    return known


def shape_name(name: str) -> str:
    """What all checkpoints of one shape are called: DeepSeek-R1 and V3.1 differ in their weights alone."""
    same = str(_shapes()["same_shape"].get(name, name))
    return str(_shapes()["kin"].get(same, same))


@cache
def find_measured_model(name: str, weights: str) -> ModelSpec:
    """The spec of a measured model in the weight format that was measured.

    Raises:
        CatalogError: no such shape is known, or it cannot be stored that way.
    """
    shapes = _shapes()
    stored = shapes["checkpoints"].get(f"{name} {weights}")
    if stored is not None:
        return find_model(stored, offline=True)
    same = shapes["same_shape"].get(name, name)
    config = shapes["configs"].get(same)
    spec = (
        find_model(same, offline=True)
        if config is None
        else read_config(config["config"], None, same, config["source"])
    )
    return requantized(replace(spec, weight_format="bf16") if spec.weight_format == "fp16" else spec, weights)


def known_names() -> tuple[str, ...]:
    """Names of measured models whose shape is known here."""
    return (*_shapes()["same_shape"], *_shapes()["configs"])
