"""A config.json becomes a ModelSpec: the family's file reads the shape, the quantization decides the storage.

Families are found by their folder: every module of `catalog/architectures/` declares ARCHITECTURES (class names in
config.json), MODEL_TYPES, and `read(config) -> Shape`.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Protocol, cast

import catalog.architectures
from catalog.blocks import Layer, Shape
from catalog.errors import BadModelConfig, UnknownArchitecture
from catalog.model import Attention, LatentAttention, Layers, Matrix, ModelSpec, VisionTower
from catalog.reading import Fields
from catalog.sizes import total_parameters
from catalog.storage import Storage, dominant_format, read_storage

MOST_PARAMETERS = 10**14
"""Forty times the largest published model of 2026 (2.8e12)."""


class Family(Protocol):
    """What every module in `catalog/architectures/` offers."""

    ARCHITECTURES: tuple[str, ...]
    MODEL_TYPES: tuple[str, ...]

    def read(self, config: Fields) -> Shape:
        """The shape that this config describes."""


@cache
def _families() -> dict[str, Family]:
    """Every architecture name and model type, with the module that reads it."""
    found: dict[str, Family] = {}
    for family in families():
        for name in (*family.ARCHITECTURES, *family.MODEL_TYPES):
            if found.setdefault(name, family) is not family:
                raise RuntimeError(f"Two files of catalog/architectures/ declare {name!r}.")
    return found


def families() -> Iterator[Family]:
    """Every file of `catalog/architectures/` that reads configs, by name."""
    for module in pkgutil.iter_modules(catalog.architectures.__path__):
        imported = importlib.import_module(f"catalog.architectures.{module.name}")
        if hasattr(imported, "ARCHITECTURES"):  # others are parts that several families share
            yield cast(Family, imported)


def known_architectures() -> tuple[str, ...]:
    """Class names that `read_config` understands, sorted."""
    return tuple(sorted({name for family in _families().values() for name in family.ARCHITECTURES}))


def read_config(
    config: Mapping[str, object],
    hf_quant_config: Mapping[str, object] | None = None,
    repo_id: str = "",
    source: str = "",
    as_of: str = "",
) -> ModelSpec:
    """The ModelSpec that a config.json describes.

    Args:
        config: the parsed config.json.
        hf_quant_config: the parsed hf_quant_config.json of ModelOpt checkpoints, if there is one.
        repo_id: written into the spec, as are the next two.
        source: where the config was read.
        as_of: when, as an ISO date.

    Raises:
        UnknownArchitecture: the architecture has no file in `catalog/architectures/`.
        BadModelConfig: a value is missing, of the wrong type or absurd.
        UnknownQuantization: the quantization is not known.
    """
    architecture, family = find_family(Fields(config))
    spec = read_as(config, family.read, hf_quant_config, architecture)
    return replace(spec, repo_id=repo_id, source=source, as_of=as_of)


def read_as(
    config: Mapping[str, object],
    reader: Callable[[Fields], Shape],
    hf_quant_config: Mapping[str, object] | None = None,
    architecture: str = "",
) -> ModelSpec:
    """The ModelSpec of a config whose shape this reader reads, whatever architecture it names.

    Args:
        config, hf_quant_config: as in `read_config`.
        reader: of the shape.
        architecture: written into the spec; "" = the first that the config names.

    Raises:
        BadModelConfig, UnknownQuantization: see `read_config`.
    """
    fields = Fields(config)
    named = fields.words("architectures")[:1] if "architectures" in fields else ()
    architecture = architecture or "".join(named)
    storage = read_storage(fields, None if hf_quant_config is None else Fields(hf_quant_config, "hf_quant_config.json"))
    try:
        shape = reader(fields)
    except (ArithmeticError, RecursionError) as error:
        raise BadModelConfig(f"The sizes in this {architecture} config contradict each other: {error}.") from error
    spec = _assemble(shape, storage, architecture)
    _refuse_absurd(spec)
    return spec


def find_family(config: Fields) -> tuple[str, Family]:
    """The file that reads a config, by the class name if there is one, else by model_type; and that class name.

    Raises:
        UnknownArchitecture: there is no such file; the sentence names what was wanted.
        BadModelConfig: the config names neither.
    """
    architectures = config.words("architectures") if "architectures" in config else ()
    model_type = config.word("model_type", default=None)
    for name in (*architectures[:1], *(() if model_type is None or architectures else (model_type,))):
        if name in _families():
            return (name if architectures else _families()[name].ARCHITECTURES[0]), _families()[name]
    wanted = architectures[0] if architectures else model_type
    if wanted is None:
        raise BadModelConfig("The config names neither architectures nor model_type: it is not a model's config.json.")
    near = difflib.get_close_matches(wanted[:80], known_architectures(), n=3)
    hint = f"near ones are {', '.join(near)}" if near else f"{len(known_architectures())} others are"
    raise UnknownArchitecture(f"The architecture {wanted[:80]!r} is not known here; {hint}.")


def _refuse_absurd(spec: ModelSpec) -> None:
    """Each size may be sane and their product not; byte counts downstream are 64-bit integers."""
    total = total_parameters(spec)
    if total > MOST_PARAMETERS:
        raise BadModelConfig(
            f"This {spec.architecture} config describes a model of {total:.2g} parameters; at most "
            f"{MOST_PARAMETERS:.0e} are believed, so check its sizes."
        )


def _assemble(shape: Shape, storage: Storage, architecture: str) -> ModelSpec:
    layers = _group(shape, storage)
    outside = tuple(replace(m, stored_as=storage.scheme_of(m, m.name)) for m in shape.outside)
    vision = None if shape.vision is None else _stored_tower(shape.vision, storage)
    stored = [(m, group.stored_copies or group.count) for group in layers for m in group.matrices]
    heads = [m for group in layers for m in group.mixers if isinstance(m, Attention | LatentAttention)]
    return ModelSpec(
        repo_id="",
        architecture=architecture,
        family=shape.family,
        hidden_size=shape.hidden_size,
        vocabulary=shape.vocabulary,
        max_context_tokens=shape.max_context_tokens,
        tied_embeddings=shape.tied_embeddings,
        layers=layers,
        outside=outside,
        vision=vision,
        weight_format=dominant_format(stored),
        quantization_method=storage.method,
        kv_cache_format=storage.kv_cache_format,
        query_heads=max((m.query_heads for m in heads), default=0),
        kv_heads=max((m.kv_heads if isinstance(m, Attention) else 1 for m in heads), default=0),
        notes=shape.notes,
    )


def _stored_tower(tower: VisionTower, storage: Storage) -> VisionTower:
    loaded, idle = (
        tuple(replace(m, stored_as=storage.scheme_of(m, m.name)) for m in part) for part in (tower.matrices, tower.idle)
    )
    return replace(tower, matrices=loaded, idle=idle)


def _group(shape: Shape, storage: Storage) -> tuple[Layers, ...]:
    """Layers of equal shape and equal storage together, in order of first appearance."""
    groups: dict[tuple[object, ...], tuple[Layer, list[int]]] = {}
    index = -1
    for layer in shape.layers:
        index = index + 1 if layer.index is None else layer.index
        path = f"{shape.layer_path}.{index}" if layer.path is None else layer.path
        stored = replace(layer, matrices=_stored(layer.matrices, path, storage))
        key = (stored.mixers, stored.matrices, layer.stored_copies, layer.next_token_prediction)
        groups.setdefault(key, (stored, []))[1].append(index)
    return tuple(_to_layers(layer, indices) for layer, indices in groups.values())


def _stored(matrices: Iterable[Matrix], path: str, storage: Storage) -> tuple[Matrix, ...]:
    return tuple(replace(m, stored_as=storage.scheme_of(m, f"{path}.{m.name}")) for m in matrices)


def _to_layers(layer: Layer, indices: list[int]) -> Layers:
    return Layers(tuple(indices), layer.mixers, layer.matrices, layer.stored_copies, layer.next_token_prediction)
