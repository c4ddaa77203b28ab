"""A name becomes a ModelSpec: a bundled repository id, a sibling of the same shape, a short name, a folder, or the Hub.

Finding one model reads the index of names and one file of a few kilobytes; no other model is parsed. The network is
asked only for a name that is none of the others, or for a revision.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from catalog.errors import BadModelConfig, UnknownModel
from catalog.model import Confidence, ModelSpec, confidence_named, weakest
from catalog.records import from_record

DATA = Path(__file__).parent / "data"
LARGEST_CONFIG_BYTES = 64 * 2**20
_LONGEST_NAME = 4096
_CHAT = re.compile(r"-(instruct|it|chat)$")


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What a table of models shows of one; the shape itself stays on disk.

    Attributes:
        repo_id: the repository's name.
        shape_of: the bundled repository whose shape it has: its own name, or that of a sibling.
        total_parameters, active_parameters: of the shape; see `catalog.sizes`.
        short_names: what else it is found by.
        source: where its config was read, and why a sibling has the shape of another.
        confidence: how well that is known; see `catalog.model.Confidence`.
    """

    repo_id: str
    architecture: str
    family: str
    total_parameters: int
    active_parameters: int
    weight_format: str
    max_context_tokens: int
    as_of: str
    shape_of: str
    short_names: tuple[str, ...] = ()
    source: str = ""
    confidence: Confidence = "read"


@dataclass(frozen=True, slots=True)
class Sibling:
    """One line of aliases.csv: a repository or short name with the shape of another.

    Attributes:
        max_context_tokens: None where it does not differ.
        scheme: in which of `catalog.quantization.SCHEMES` its linear layers are stored; None = as the other's.
        method: the engine's word for that scheme.
        weight_format: what people call it.
        reason: why it has the other's shape, and where that was read.
        confidence: how well that is known.
    """

    name: str
    same_as: str
    max_context_tokens: int | None
    weight_format: str | None
    scheme: str | None
    method: str | None
    reason: str
    confidence: Confidence = "read"

    @property
    def is_repository(self) -> bool:
        """Whether the name is a repository of its own, or only short for one."""
        return "/" in self.name


def find_model(name: str, revision: str | None = None, *, offline: bool = False) -> ModelSpec:
    """The shape of the model of that name.

    Args:
        name: a bundled repository id, with or without its organization; a short name; the path of a folder with a
            config.json, or of the file itself; or any repository on the Hub. Case, and blanks for hyphens, do not
            matter in bundled names.
        revision: a branch, tag or commit of the repository, which is then read from the Hub even if it is bundled.
        offline: whether the Hub may not be asked; what was read of it before still counts.

    Raises:
        UnknownModel: nothing has that name; `nearest` holds the closest ones.
        HubError: the Hub does not answer, or refuses.
        CatalogError: the config cannot be read; see `catalog.read.read_config`.

    >>> find_model("llama-3.3-70b").repo_id
    'meta-llama/Llama-3.3-70B-Instruct'
    """
    repo_id = _known_names().get(_key(name))
    if repo_id is not None and revision is None:
        return replace(_load(repo_id), aliases=_short_names().get(repo_id, ()))
    path = None if repo_id is not None else _existing_path(name)
    if path is not None and revision is None:
        return read_folder(path)
    if repo_id is None and path is None and "/" not in name:  # every repository has an owner
        raise _unknown(name)
    from catalog.hub import asked_in, find_on_hub

    asked = asked_in(repo_id or name, revision)
    if asked is None:
        raise _unknown(name)
    return find_on_hub(asked, offline=offline)


def is_bundled(name: str) -> bool:
    """Whether `find_model` knows this name without looking for a folder.

    >>> is_bundled("llama-3.3-70b"), is_bundled("/etc")
    (True, False)
    """
    return _key(name) in _known_names()


def bundled_models() -> list[ModelRecord]:
    """Every bundled model and sibling that an engine serves, sorted by name; no shape is loaded."""
    return [record for record in known_models() if record.repo_id not in retired_models()]


def known_models() -> list[ModelRecord]:
    """Those of `bundled_models`, and those that were measured once and that no engine serves any more."""
    names = [*_index(), *(s.name for s in _siblings().values() if s.is_repository)]
    records = [_record(name, _short_names().get(name, ())) for name in names]
    return sorted(records, key=lambda record: record.repo_id.lower())


@cache
def retired_models() -> dict[str, str]:
    """Models that no engine serves any more -> since when or why."""
    retired: dict[str, str] = json.loads((DATA / "retired.json").read_bytes())["retired"]
    return retired


def stored_otherwise(repo_id: str, weight_format: str) -> tuple[str, ...]:
    """Bundled repositories that hold the same model in another format: their names are its name and that format's.

    >>> stored_otherwise("meta-llama/Llama-3.1-70B-Instruct", "fp8")
    ('nvidia/Llama-3.1-70B-Instruct-FP8', 'RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8')
    """
    name = _tail(repo_id)
    stored = (each.repo_id for each in bundled_models() if each.weight_format == weight_format)
    return tuple(each for each in stored if _tail(each).startswith(f"{name}-") and not _tuned(_tail(each), name))


def _tuned(tail: str, name: str) -> bool:
    """Whether a longer name is that of another release, or of a model that was trained further."""
    return re.search(r"instruct|thinking|base|chat|coder|-it\b|-\d{4}\b", tail.removeprefix(name)) is not None


def _tail(repo_id: str) -> str:
    return _key(repo_id.rsplit("/", 1)[-1]).removeprefix("meta-")


def read_folder(path: Path) -> ModelSpec:
    """The model whose config.json is in this folder, or is this file.

    Raises:
        BadModelConfig: there is no config.json, or it is too large, or not JSON.
        CatalogError: see `catalog.read.read_config`.
    """
    from catalog.read import read_config  # loads all families; a bundled model needs none

    file = path / "config.json" if path.is_dir() else path
    quantization = file.with_name("hf_quant_config.json")
    return read_config(
        _read_json(file),
        _read_json(quantization) if quantization.is_file() else None,
        repo_id=file.absolute().parent.name,
        source=str(file),
    )


def _read_json(file: Path) -> Mapping[str, object]:
    try:
        if file.stat().st_size > LARGEST_CONFIG_BYTES:
            raise BadModelConfig(f"{file} is larger than {LARGEST_CONFIG_BYTES >> 20} MiB, so it is no model's config.")
        loaded = json.loads(file.read_bytes())
    except OSError as error:
        raise BadModelConfig(f"{file} cannot be read ({error.strerror}); give a folder with a config.json.") from error
    except (ValueError, RecursionError) as error:
        raise BadModelConfig(f"{file} is not JSON: {str(error)[:100]}.") from error
    if not isinstance(loaded, Mapping):
        raise BadModelConfig(f"{file} must hold a JSON object, but holds a {type(loaded).__name__}.")
    return loaded


def _existing_path(name: str) -> Path | None:
    """A path only where it exists; a name that no file system takes is no path."""
    if not name.strip() or len(name) > _LONGEST_NAME or "\0" in name:
        return None
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def nearest_names(name: str, cutoff: float = 0.5) -> tuple[str, ...]:
    """Up to three bundled models whose names hold every part of this one, then those that are spelt like it."""
    import difflib  # only a wrong name needs it

    known, key = _known_names(), _key(name)[:100]
    parts = [part for part in re.split(r"[-/:]", key) if part]
    holding = sorted((each for each in known if parts and all(part in each for part in parts)), key=len)
    close = difflib.get_close_matches(key, known, n=9, cutoff=cutoff)
    return tuple(dict.fromkeys(known[match] for match in (*holding, *close)))[:3]


def _unknown(name: str) -> UnknownModel:
    nearest = nearest_names(name)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "give owner/name, or a folder with its config.json."
    return UnknownModel(f"No model named {name[:100]!r} is bundled; {hint} `plan models` lists all.", nearest)


@cache
def _index() -> dict[str, dict[str, str | int]]:
    rows = json.loads((DATA / "models" / "index.json").read_bytes())
    return {row["repo_id"]: row for row in rows}


@cache
def _siblings() -> dict[str, Sibling]:
    with (DATA / "aliases.csv").open(encoding="utf-8", newline="") as file:
        rows = [_sibling(row) for row in csv.DictReader(file)]
    return {row.name: row for row in rows}


def _sibling(row: Mapping[str, str]) -> Sibling:
    context = row["max_context_tokens"]
    return Sibling(
        name=row["name"],
        same_as=row["same_as"],
        max_context_tokens=int(context) if context else None,
        weight_format=row["weight_format"] or None,
        scheme=row["scheme"] or None,
        method=row["method"] or None,
        reason=row["reason"],
        confidence=confidence_named(row["confidence"] or "read"),
    )


@cache
def _known_names() -> dict[str, str]:
    """Every name's key, with the repository it means.

    An exact name wins over one without its organization, and that over one without what marks chat models ("-it").
    """
    siblings = _siblings()
    repositories = [*_index(), *(name for name, s in siblings.items() if s.is_repository)]
    tails = _unambiguous((_key(repo_id.split("/", 1)[1]), repo_id) for repo_id in repositories)
    names = _unambiguous((_CHAT.sub("", tail), repo_id) for tail, repo_id in tails.items()) | tails
    names |= {_key(name): _resolve(name) for name, s in siblings.items() if not s.is_repository}
    return names | {_key(repo_id): repo_id for repo_id in repositories}


def _unambiguous(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The names that only one repository has."""
    owners: dict[str, list[str]] = {}
    for name, repo_id in named:
        owners.setdefault(name, []).append(repo_id)
    return {name: repo_ids[0] for name, repo_ids in owners.items() if len(repo_ids) == 1}


def _key(name: str) -> str:
    """How names are compared: without case, and with blanks and underscores as hyphens."""
    return "-".join(name.strip().lower().replace("_", " ").split())


@cache
def _short_names() -> dict[str, tuple[str, ...]]:
    """The short names of each repository that has any."""
    short: dict[str, tuple[str, ...]] = {}
    for sibling in _siblings().values():
        if not sibling.is_repository:
            repo_id = _resolve(sibling.same_as)
            short[repo_id] = (*short.get(repo_id, ()), sibling.name)
    return short


def _resolve(name: str) -> str:
    """The repository that a short name means."""
    while name in _siblings() and not _siblings()[name].is_repository:
        name = _siblings()[name].same_as
    return name


def _load(repo_id: str) -> ModelSpec:
    """A bundled spec; a sibling's is its model's, under its own name and with its own context and format."""
    sibling = _siblings().get(repo_id)
    if sibling is None:
        file = DATA / "models" / f"{repo_id.replace('/', '--')}.json"
        return from_record(json.loads(file.read_bytes()))
    spec = _load(_resolve(sibling.same_as))
    if sibling.scheme is not None and sibling.method is not None:
        from catalog.quantization import stored_in

        spec = stored_in(spec, sibling.scheme, sibling.method)
    context = sibling.max_context_tokens or spec.max_context_tokens
    return replace(
        spec,
        repo_id=repo_id,
        max_context_tokens=context,
        source=f"{spec.source}; {sibling.reason}",
        confidence=weakest(spec.confidence, sibling.confidence),
    )


def _record(name: str, short_names: tuple[str, ...]) -> ModelRecord:
    base, context, weight_format = name, None, None
    reasons: list[str] = []
    confidences: list[Confidence] = []
    while (sibling := _siblings().get(base)) is not None:
        context, weight_format = context or sibling.max_context_tokens, weight_format or sibling.weight_format
        if sibling.is_repository:
            reasons.insert(0, sibling.reason)
            confidences.append(sibling.confidence)
        base = sibling.same_as
    row = _index()[base]
    return ModelRecord(
        repo_id=name,
        architecture=str(row["architecture"]),
        family=str(row["family"]),
        total_parameters=int(row["total_parameters"]),
        active_parameters=int(row["active_parameters"]),
        weight_format=weight_format or str(row["weight_format"]),
        max_context_tokens=context or int(row["max_context_tokens"]),
        as_of=str(row["as_of"]),
        shape_of=base,
        short_names=short_names,
        source="; ".join((str(row["source"]), *reasons)),
        confidence=weakest(confidence_named(row["confidence"]), *confidences),
    )
