"""A snapshot of a Hub repository becomes a ModelSpec: from its config, its GGUF header, its base or its model card."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from catalog.adapter import read_adapter_config
from catalog.errors import BadModelConfig, CatalogError, UnknownArchitecture
from catalog.gguf_model import gguf_model, original_name
from catalog.mistral_params import config_of_params
from catalog.model import Adapter, ModelSpec
from catalog.model_card import Card, read_card, stretched
from catalog.quantization import UNQUANTIZED
from catalog.read import read_config
from catalog.reading import Fields
from catalog.safetensors import stored_bytes_of
from catalog.sizes import total_parameters, weight_bytes
from catalog.snapshot import Snapshot
from catalog.usual_decoder import read_usual_decoder

Find = Callable[[str, str], ModelSpec]
"""Looks up another model by its name and revision ("" = the newest)."""

LARGEST_DISAGREEMENT = 5 / 1000
"""Counted weights that differ by more from the arithmetic on the config deserve a word."""
CARD_AGREES_WITHIN = 1 / 20
"""How far a card's rounded count may be from its base model's."""
LARGEST_STRETCH = 1.5
GIB = 2**30


def model_of(snapshot: Snapshot, find: Find) -> ModelSpec:
    """The model of a repository.

    Args:
        snapshot: what was read of it.
        find: looks up the model that it adapts or was made from.

    Raises:
        CatalogError: what it holds cannot be read as a model; the sentence begins with the repository's name.
    """
    try:
        spec = _read(snapshot, find)
        notes = (*_renaming(snapshot), *spec.notes, *_generation(snapshot))
    except CatalogError as error:
        raise type(error)(f"{snapshot.repo_id}: {error}") from error
    return replace(spec, notes=notes)


def _read(snapshot: Snapshot, find: Find) -> ModelSpec:
    if "adapter_config.json" in snapshot.files and not snapshot.has_weights and not snapshot.gguf_file:
        return _adapted(snapshot, find)
    if snapshot.gguf is not None:
        return _gguf(snapshot, find)
    if "config.json" in snapshot.files or "params.json" in snapshot.files:
        return _configured(snapshot)
    if snapshot.card:
        return _from_card(snapshot, read_card(snapshot.card), find)
    raise BadModelConfig("the repository has no config.json, params.json, adapter_config.json, GGUF file or card.")


def _named(spec: ModelSpec, snapshot: Snapshot, what: str, *notes: str) -> ModelSpec:
    """The same model under the repository's name, with where and when it was read."""
    return replace(
        spec,
        repo_id=snapshot.repo_id,
        aliases=(),
        revision=snapshot.commit,
        source=f"{what} of {snapshot.place}",
        as_of=snapshot.read_at[:10],
        notes=notes,
    )


# ── a config ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _configured(snapshot: Snapshot) -> ModelSpec:
    """The model of config.json, or of params.json where there is none."""
    file = "config.json" if "config.json" in snapshot.files else "params.json"
    config = _with_quantization(snapshot.files[file], snapshot.files) if file == "config.json" else None
    hf_quant = snapshot.files.get("hf_quant_config.json")
    quantization = None if hf_quant is None else Fields(hf_quant, "hf_quant_config.json").values
    try:
        spec = read_config(config or config_of_params(snapshot.files[file]), quantization)
    except UnknownArchitecture as error:
        alike = None if config is None else _alike(config, quantization, snapshot)
        if alike is not None:
            return alike
        if config is not None and "auto_map" in config:
            raise UnknownArchitecture(f"{error} The repository brings its own code; it is never run here.") from error
        raise
    return _named(spec, snapshot, file, *_disagreement(spec, snapshot.values_by_type))


def _alike(
    config: Mapping[str, object], quantization: Mapping[str, object] | None, snapshot: Snapshot
) -> ModelSpec | None:
    """A model of an architecture that is not described, if its weight files say that it is the usual decoder."""

    def apart(spec: ModelSpec) -> float:
        compared = _compare(spec, snapshot.values_by_type)
        return math.inf if compared is None else abs(compared.apart)

    found = read_usual_decoder(config, quantization, apart)
    if found is None:
        return None
    spec, share = found
    note = (
        f"{spec.architecture} is not described here: it is read as the usual decoder, whose size is within "
        f"{100 * share:.2f} % of its weight files. Sliding windows without layer_types are counted as full attention."
    )
    return replace(_named(spec, snapshot, "config.json", note), confidence="inferred")


def _with_quantization(config: object, files: Mapping[str, object]) -> Mapping[str, object]:
    """The config with the quantization that older quantizers wrote into a file of their own."""
    values = Fields(config).values
    if values.get("quantization_config") is None:
        for file, method in (("quantize_config.json", "gptq"), ("quant_config.json", "awq")):
            if file in files:
                return {**values, "quantization_config": {"quant_method": method, **Fields(files[file], file).values}}
    return values


def _disagreement(spec: ModelSpec, values_by_type: Mapping[str, int]) -> Iterable[str]:
    """A sentence when the weight files hold more or less than the config says."""
    compared = _compare(spec, values_by_type)
    if compared is not None and abs(compared.apart) > LARGEST_DISAGREEMENT:
        counted, described = (_said(size, plain=compared.plain) for size in (compared.counted, compared.described))
        yield (
            f"Its weight files hold {counted}, its config describes {described} ({100 * compared.apart:+.1f} %): "
            "memory may be off by as much."
        )


@dataclass(frozen=True, slots=True)
class _Compared:
    """Counted weights beside described ones, in parameters (`plain`) or bytes; `apart` is the share between them."""

    counted: int
    described: int
    apart: float
    plain: bool


def _compare(spec: ModelSpec, values_by_type: Mapping[str, int]) -> _Compared | None:
    """What the weight files hold beside what the config describes; None when it was not counted.

    Parameters are compared where each is one value, else bytes. Checkpoints may hold the layers that guess tokens, and
    a second copy of tied embeddings; the nearest way counts.
    """
    stored = stored_bytes_of(values_by_type)
    if not values_by_type or not stored:
        return None
    plain = spec.weight_format in UNQUANTIZED
    size: Callable[[ModelSpec], int] = total_parameters if plain else weight_bytes
    counted = sum(values_by_type.values()) if plain else stored
    twice = spec.vocabulary * spec.hidden_size * (1 if plain else 2) if spec.tied_embeddings else 0
    ways = [size(each) + extra for each in (spec, _with_drafting_layers(spec)) for extra in (0, twice)]
    nearest = min(ways, key=lambda way: abs(way - counted))
    return _Compared(counted, ways[0], nearest / counted - 1, plain)


def _said(size: int, *, plain: bool) -> str:
    return f"{size:,} parameters" if plain else f"{size / GIB:,.2f} GiB"


def _with_drafting_layers(spec: ModelSpec) -> ModelSpec:
    return replace(spec, layers=tuple(replace(group, next_token_prediction=False) for group in spec.layers))


def _generation(snapshot: Snapshot) -> Iterable[str]:
    """The limit that vLLM takes from generation_config.json for every answer."""
    values = snapshot.files.get("generation_config.json")
    if values is None:
        return
    own = Fields(values, "generation_config.json")
    most = own.optional_size("max_new_tokens", largest=2**31)
    if most is not None:
        yield f"Its generation_config.json limits answers to {most:,} tokens, and vLLM keeps to that."


def _renaming(snapshot: Snapshot) -> Iterable[str]:
    if snapshot.asked_as.lower() != snapshot.repo_id.lower():
        yield f"{snapshot.asked_as} is now called {snapshot.repo_id}."


# ── an adapter ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _adapted(snapshot: Snapshot, find: Find) -> ModelSpec:
    """The base of a LoRA adapter, to be served with it."""
    own = read_adapter_config(snapshot.files["adapter_config.json"])
    try:
        base = find(own.base, own.base_revision)
    except CatalogError as error:
        raise type(error)(f"a LoRA adapter of {own.base[:100]!r}, which cannot be planned: {error}") from error
    if base.adapter is not None:
        raise BadModelConfig(f"an adapter of {own.base[:100]!r}, which is an adapter itself; merge that one first.")
    said = (
        f"{snapshot.repo_id} is a LoRA adapter of rank {own.rank} (commit {snapshot.commit[:12]}): its base "
        f"{base.repo_id} is planned, with room for it."
    )
    adapter = Adapter(snapshot.repo_id, own.rank, own.targets)
    return replace(base, adapter=adapter, notes=(said, *own.notes, *base.notes))


# ── a GGUF file ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _gguf(snapshot: Snapshot, find: Find) -> ModelSpec:
    """The model in the chosen GGUF file."""
    header = snapshot.gguf
    assert header is not None  # asked by the caller
    card = read_card(snapshot.card)
    originals = tuple(dict.fromkeys(name for name in (original_name(header), card.base) if name))
    spec, how = gguf_model(header, lambda name: find(name, ""), originals)
    others = f" (there are {', '.join(snapshot.gguf_formats)})" if len(snapshot.gguf_formats) > 1 else ""
    serve = f"; --model {originals[0]} plans the model that it was made from" if originals else ""
    said = f"{snapshot.gguf_file}{others} was read, with {how}{serve}."
    counted = sum(values for _, values in header.tensors.values())
    return _named(spec, snapshot, snapshot.gguf_file, said, *_disagreeing_count(spec, counted))


def _disagreeing_count(spec: ModelSpec, counted: int) -> Iterable[str]:
    own = total_parameters(spec)
    if abs(own - counted) > LARGEST_DISAGREEMENT * counted:
        yield f"The file holds {counted:,} parameters, its shape {own:,}: memory may be off by as much."


# ── a model card ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _from_card(snapshot: Snapshot, card: Card, find: Find) -> ModelSpec:
    """A model of which only the card speaks: the shape of its base, or of a bundled model of that size."""
    base = _base_of(card, find)
    counted = sum(snapshot.values_by_type.values())
    parameters = counted or card.parameters
    if base is None and parameters is None:
        raise BadModelConfig("it has no config, and its model card says neither a base model nor how many parameters.")
    spec = base if base is not None else _of_that_size(parameters or 0)
    context = card.context_tokens or (spec.max_context_tokens if base is not None else None)
    if context is None:
        raise BadModelConfig("it has no config, and its model card does not say how long its context is.")
    known = "the header counts" if counted else "the model card says"
    said = "" if parameters is None else f", {known} {parameters:,} parameters"
    shape = f"has the shape of its base {spec.repo_id}" if base else f"is given the shape of {spec.repo_id}, stretched"
    note = f"{snapshot.repo_id} has no config: it {shape}{said}, context {context:,}. Check this before you buy."
    named = _named(spec, snapshot, "the model card", note)
    return replace(named, max_context_tokens=context, confidence="card")


def _base_of(card: Card, find: Find) -> ModelSpec | None:
    """The model that the card names as its base, if it can be had and is about as large as the card says."""
    if card.base is None:
        return None
    try:
        base = find(card.base, "")
    except CatalogError:
        return None
    if base.adapter is not None:
        return None
    size = total_parameters(base)
    agrees = card.parameters is None or abs(size - card.parameters) <= CARD_AGREES_WITHIN * size
    return base if agrees else None


def _of_that_size(parameters: int) -> ModelSpec:
    """The bundled dense 16-bit model that is nearest in size, with as many layers as make it that large."""
    from catalog.find import bundled_models, find_model

    dense = [
        record
        for record in bundled_models()
        if record.weight_format == "bf16" and record.active_parameters == record.total_parameters
    ]
    nearest = min(dense, key=lambda record: abs(math.log(record.total_parameters / parameters)))
    if not 1 / LARGEST_STRETCH <= nearest.total_parameters / parameters <= LARGEST_STRETCH:
        raise BadModelConfig(f"no known dense model is about as large as the {parameters:,} parameters on its card.")
    return stretched(find_model(nearest.repo_id), parameters)
