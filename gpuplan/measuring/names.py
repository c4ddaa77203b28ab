"""Names of models in measured rows -> the shape that they mean, as their weights are stored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from catalog.errors import CatalogError
from catalog.find import find_model, is_bundled, known_models, read_folder
from catalog.model import ModelSpec
from catalog.quantization import SCHEMES, UNQUANTIZED, stored_in
from gpuplan.measuring.cells import weight_format
from gpuplan.measuring.errors import Unpredictable
from optimizer.memory.factors import GIB

_MODEL = re.compile(r"[\w.-]{1,128}(/[\w.-]{1,128})?", re.ASCII)
_FORMAT_WORDS = re.compile(
    r"[-_.](awq|gptq|autoround|auto-round|int4|int8|[2-8]-?bit|fp8|nvfp4|mxfp4|w4a16|w8a8|w8a16|bnb|dynamic|quantized|"
    r"qat|google|marlin|bf16|fp16|g32|g128|i1-gguf|gguf|exl[23]|hqq|w2|(?:ud-)?i?q[1-8]_[0-9a-z_]+)\b",
    re.IGNORECASE,
)
_METHOD = re.compile(r"(auto[_-]?)?(awq|gptq|round)(_marlin)?|compressed-tensors", re.IGNORECASE)
_BESIDE = re.compile(r"\bMTP\b.*|\bDSpark\b|\bDFlash\w*|draft\w*|LoRA|\w*offload\w*|CPU experts", re.IGNORECASE)
"""What takes memory beside the model and is not modelled."""
_OFFLOAD = re.compile(r"\bcpu[_-]offload(?:[_-]gb)?[ =]*(\d{1,4}(?:\.\d{1,3})?) ?Gi?B", re.IGNORECASE)
"""vLLM's option counts GiB."""
_REVISION = re.compile(
    r"-(\d{4}|instruct|thinking|chat|it|hf|base|1m|abliterated|uncensored|heretic|sft|dpo|grpo|rlhf|finetuned?|tuned|"
    r"merged|local|hybrid)(-v\d+(\.\d+)?)?$|-math(?=-)",
    re.IGNORECASE,
)
_SCHEMES = {
    "fp8": ("fp8_channel", "compressed-tensors"),
    "int8": ("int8_channel", "compressed-tensors"),
    "int8_gptq": ("int8_group128", "gptq"),
    "int4": ("int4_group128", "awq"),
    "nvfp4": ("nvfp4", "modelopt_fp4"),
    "nf4": ("nf4_group64", "bitsandbytes"),
}
"""How weights of a format are stored when the checkpoint's own config is not at hand."""
SCHEMES_BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8}
"""Bits per weight of formats that others can be made from."""


@dataclass(frozen=True)
class NamedModel:
    """A model as a row names it.

    Attributes:
        inferred: whether somebody concluded the name from other numbers; it is not in the log.
        assumed: what was taken because the row does not say; "" when nothing.
        weights_reason: why its weights cannot be predicted, though its cache can; "" when they can.
        guessed_tokens: that its own multi-token-prediction layers guess per step; 0 = none.
        offload_bytes: of weights per GPU that lie in the host's memory.
    """

    spec: ModelSpec
    inferred: bool
    assumed: str = ""
    weights_reason: str = ""
    guessed_tokens: int = 0
    offload_bytes: int = 0


def named_model(row: Mapping[str, str], configs_dir: Path | None) -> NamedModel:
    """The model of a row, in the weight format that the row says.

    Raises:
        Unpredictable: the row names none, or one that is neither bundled nor in `configs_dir`.
    """
    text = _off_path(row.get("model", "").strip())
    name = _bare(text)
    if not name or name.startswith("("):
        raise Unpredictable("its model is not named")
    spec, exact = _found(name, configs_dir)
    inferred = name != text.replace("--", "/")
    beside, guessed = _BESIDE.search(text), _guessed(f"{text} ; {row.get('note', '')}")
    moved = _OFFLOAD.search(text)
    if moved:
        plain = {**row, "model": text.replace(moved[0], "").replace("()", "").strip()}
        return replace(named_model(plain, configs_dir), inferred=False, offload_bytes=round(float(moved[1]) * GIB))
    if guessed and any(group.next_token_prediction for group in spec.layers):
        plain = {**row, "model": _MTP.sub("", text), "note": ""}
        return replace(named_model(plain, configs_dir), inferred=inferred, guessed_tokens=guessed)
    if guessed and not beside:
        beside = _MTP.search(row.get("note", ""))
    if beside:
        return NamedModel(spec, inferred, weights_reason=f"it ran with {beside[0]}, which is not described here")
    return replace(_as_stored(spec, row.get("weights_dtype_or_quant", ""), name, exact=exact), inferred=inferred)


def _as_stored(spec: ModelSpec, said: str, name: str, *, exact: bool) -> NamedModel:
    """A model in the weight format that a row or, for one that only has its shape, its name says."""
    words = _format_words(name)
    if _METHOD.fullmatch(said.strip()) or not (said.strip() or exact):
        said = f"{words} {said}"  # a method leaves the bits to the name
    try:
        wanted = weight_format(said)
        shape = "" if exact else f"the shape of {spec.repo_id}"
        if wanted is None or wanted in _formats(spec) or {wanted, spec.weight_format} <= UNQUANTIZED:
            return NamedModel(spec, False, shape)
        return _in_format(spec, wanted, said, owner=name.partition("/")[0])
    except Unpredictable as reason:
        if exact and spec.weight_format not in UNQUANTIZED:
            return NamedModel(spec, False)  # the checkpoint itself says how it is stored
        return NamedModel(spec, False, weights_reason=str(reason))


def _in_format(spec: ModelSpec, wanted: str, said: str, owner: str) -> NamedModel:
    """A model in a format that its own checkpoint is not stored in: the sibling that is, or the same matrices."""
    group = re.search(r"\bg(32|64|128)\b", said)
    habit = _known_relatives()["quantizers"].get(owner.lower(), {}).get(wanted, wanted)
    scheme = f"{wanted}_group{group[1]}" if group and wanted == "int4" else str(habit)
    scheme = "int8_gptq" if wanted == "int8" and "gptq" in said.lower() else scheme
    sibling = _bundled(f"{spec.repo_id}-{wanted.upper()}")
    if sibling is not None:
        return NamedModel(sibling, False, f"the weights of {sibling.repo_id}")
    return NamedModel(_stored(spec, scheme), False, f"{spec.repo_id} stored as {scheme}")


_MTP = re.compile(r"(?<!no )(?:\+\s*|with )?\bMTP\b(?: on\b| draft| speculative)?[ :=n]*(\d{1,2})?", re.IGNORECASE)


def _guessed(text: str) -> int:
    """Tokens per step that a row says its multi-token-prediction layers guess; 1 where it only says that they do.

    >>> _guessed("zai-org/GLM-5.2-FP8 (+MTP 5)"), _guessed("MTP on"), _guessed("MTP n=4"), _guessed("no MTP: 78 layers")
    (5, 1, 4, 0)
    """
    said = _MTP.search(text)
    return 0 if said is None else max(int(said[1] or 1), 1)


def _format_words(name: str) -> str:
    return " ".join(match[1] for match in _FORMAT_WORDS.finditer(name))


def _formats(spec: ModelSpec) -> set[str]:
    """Every format that a checkpoint stores some matrix in, but for 16 bit, which every one does."""
    schemes = {matrix.stored_as for group in spec.layers for matrix in group.matrices}
    return {spec.weight_format, *(SCHEMES[name].format for name in schemes if name not in UNQUANTIZED)}


_CACHED = re.compile(r"models--([\w.-]{1,128}?)--([\w.-]{1,128})", re.ASCII)


def _off_path(text: str) -> str:
    """The model in a path on somebody's disk: its last folder, or what the Hub's cache calls it.

    >>> _off_path("/data/models/Llama-3.1-8B-Instruct"), _off_path("~/hub/models--Qwen--Qwen3-8B/snapshots/9c9")
    ('Llama-3.1-8B-Instruct', 'Qwen/Qwen3-8B')
    """
    cached = _CACHED.search(text)
    if cached is not None:
        return f"{cached[1]}/{cached[2]}"
    return text.rstrip("/").rsplit("/", maxsplit=1)[-1] if text.startswith(("/", "./", "../", "~/")) else text


def _bare(text: str) -> str:
    """A name without what people write behind it; "" when nothing is named."""
    words = text.replace("--", "/", 1).split(" (")[0].split(" / ")[0].split(" + ")[0]
    return re.sub(r"\s+class\b.*", "", words).strip().replace(" ", "-")


def _found(name: str, configs_dir: Path | None) -> tuple[ModelSpec, bool]:
    """A spec, and whether it is of this very repository, not of one that has its shape."""
    if not _MODEL.fullmatch(name):
        raise Unpredictable(f"{name[:60]!r} is no model's name")
    folder = _folder(name, configs_dir)
    if folder is not None:
        return _read(folder, name), True
    spec = _bundled(name) or _default(name)
    if spec is not None:
        return spec, True
    undated = _bundled(re.sub(r"-\d{4}$", "", name)) if "/" in name else None
    if undated is not None:
        return undated, False
    for tail in _tails(name):
        repo_id = _relatives().get(_stem(tail)) or _stems().get(_stem(tail))
        spec = _bundled(tail) or (_bundled(repo_id) if repo_id else None)
        if spec is not None:
            return spec, False
    base = _base(_stem(name))
    if base is not None:
        return base, False
    raise Unpredictable(f"{name} is not bundled, and no folder with its config.json is given")


def _base(stem: str) -> ModelSpec | None:
    """The bundled model whose whole stem a name ends with, as tuned models are called; None when there is none.

    >>> _base("hermes-3-llama-3.1-8b").repo_id, _base("llama-3.2-11b-vision"), _base("qwen3-8b-eagle3")
    ('meta-llama/Llama-3.1-8B', None, None)
    """
    ends = [at + 1 for at, letter in enumerate(stem) if letter == "-"]
    repo_id = next((_stems()[stem[at:]] for at in ends if stem[at:] in _stems()), None)
    return None if repo_id is None else _bundled(repo_id)


def _tails(name: str) -> tuple[str, ...]:
    """What a name may be found by, without its owner: as it is, and its stem.

    A stem without its date may be short for another release: "mistral-small" is not Mistral-Small-Instruct-2409.
    """
    tail = name.rsplit("/", maxsplit=1)[-1]
    return (tail,) if re.search(r"-\d{4}\b", tail) else tuple(dict.fromkeys((tail, _stem(name))))


DEFAULTS = "tfdefault/"
"""Owner of a config class's defaults in tables of an engine's own arithmetic."""


@cache
def _default(name: str) -> ModelSpec | None:
    """The model that a config class describes when it is given nothing."""
    if not name.startswith(DEFAULTS):
        return None
    from catalog.read import read_config

    known = _known_defaults()
    config = known["configs"].get(name.removeprefix(DEFAULTS))
    return config and read_config(config, None, repo_id=name, source=known["source"])


@cache
def _known_defaults() -> dict[str, Any]:
    text = files(__package__).joinpath("data/default_configs.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known


def _stem(name: str) -> str:
    """A name without its owner, its weight format, its date, and what its training was for.

    >>> _stem("cyankiwi/gemma-4-31B-it-AWQ-4bit"), _stem("deepseek-ai/DeepSeek-V4-Flash-0731")
    ('gemma-4-31b', 'deepseek-v4-flash')
    """
    stem = name.rsplit("/", maxsplit=1)[-1]
    while (shorter := _REVISION.sub("", _FORMAT_WORDS.sub("", stem))) != stem:
        stem = shorter
    return stem.lower()


@cache
def _stems() -> dict[str, str]:
    """The bundled model of each stem: one in 16 bit where there is one, for others can be made from it."""
    records = sorted(known_models(), key=lambda record: (record.weight_format not in UNQUANTIZED, record.repo_id))
    stems: dict[str, str] = {}
    for record in records:
        stems.setdefault(_stem(record.repo_id), record.repo_id)
    return stems


@cache
def _known_relatives() -> dict[str, Any]:
    text = files(__package__).joinpath("data/relatives.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known


@cache
def _relatives() -> dict[str, str]:
    """Bundled models whose shape others have, by the others' stems."""
    return {stem: each["shape"] for stem, each in _known_relatives()["relatives"].items()}


@lru_cache(maxsize=4096)
def _bundled(name: str) -> ModelSpec | None:
    return find_model(name) if is_bundled(name) else None  # a cell must not choose which of our files is read


def _folder(name: str, configs_dir: Path | None) -> Path | None:
    if configs_dir is None:
        return None
    choices = (name.replace("/", "--"), name.rsplit("/", maxsplit=1)[-1], name)
    return next((configs_dir / each for each in choices if (configs_dir / each / "config.json").is_file()), None)


@lru_cache(maxsize=1024)
def _read(folder: Path, name: str) -> ModelSpec:
    try:
        return replace(read_folder(folder), repo_id=name)
    except CatalogError as error:
        raise Unpredictable(str(error)) from error


@lru_cache(maxsize=1024)
def _stored(spec: ModelSpec, wanted: str) -> ModelSpec:
    scheme, method = _SCHEMES.get(wanted, (wanted, "awq"))
    if scheme not in SCHEMES or SCHEMES[scheme].bits_per_weight >= SCHEMES_BITS.get(spec.weight_format, 0):
        raise Unpredictable(
            f"it is said to be stored as {wanted}, but {spec.repo_id} is {spec.weight_format}, and no config of the "
            "other is given"
        )
    return stored_in(spec, scheme, method)
