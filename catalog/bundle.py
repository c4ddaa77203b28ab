"""Writes the bundled models: `python -m catalog.bundle SOURCE_DIR... --out catalog/data/models`.

Each SOURCE_DIR holds one folder per model, "<org>--<name>", with its config.json and perhaps ModelOpt's
hf_quant_config.json, and a sources.csv (folder, source, optionally as_of and confidence) that says where each was read.
What a copy of a config is known to have lost is put back from `catalog/data/corrections.json`, with a reason and a
source each.

A folder that cannot be read is reported and left out; the exit status is then still 0, because unknown architectures
are expected in a collection. Everything that is written can be read back equal, which is checked while writing.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.errors import CatalogError
from catalog.model import Confidence, ModelSpec, confidence_named, weakest
from catalog.read import read_config
from catalog.records import from_record, to_record
from catalog.sizes import active_parameters, total_parameters

AS_OF = "2026-11-22"
"""When the collections were read, unless their sources.csv says otherwise."""

CORRECTIONS = Path(__file__).parent / "data" / "corrections.json"
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Source:
    """One folder of a collection: what is in it and where it came from."""

    repo_id: str
    config: Json
    hf_quant_config: Json | None
    source: str
    as_of: str
    confidence: Confidence = "read"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m catalog.bundle", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="SOURCE_DIR")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    specs = []
    for repo_id, spec in sorted(read_all(options.folders).items(), key=lambda item: item[0].lower()):
        if isinstance(spec, ModelSpec):
            specs.append(spec)
        else:
            print(f"left out {repo_id}: {spec}", file=sys.stderr)
    write(specs, options.out)
    print(f"{len(specs)} models written to {options.out}", file=sys.stderr)
    return 0


def read_all(folders: list[Path]) -> dict[str, ModelSpec | CatalogError]:
    """Every model of these collections, or the error that its config gives, by repository id."""
    corrections = json.loads(CORRECTIONS.read_text(encoding="utf-8"))
    sources = {found.repo_id: found for folder in folders for found in _sources(folder)}
    for repo_id, correction in corrections.items():
        _correct(sources, repo_id, correction)
    return {repo_id: _read(found) for repo_id, found in sources.items()}


def _read(found: Source) -> ModelSpec | CatalogError:
    try:
        spec = read_config(found.config, found.hf_quant_config, found.repo_id, found.source, found.as_of)
    except CatalogError as error:
        return error
    return replace(spec, confidence=found.confidence)


def _sources(folder: Path) -> Iterator[Source]:
    with (folder / "sources.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["folder"]: row for row in csv.DictReader(file)}
    for path in sorted(folder.glob("*--*")):
        name = path.name
        config, quantization = path / "config.json", path / "hf_quant_config.json"
        yield Source(
            repo_id=name.replace("--", "/", 1),
            config=_load(config) if config.exists() else {},
            hf_quant_config=_load(quantization) if quantization.exists() else None,
            source=" ".join(rows[name]["source"].split()),
            as_of=rows[name].get("as_of") or AS_OF,
            confidence=confidence_named(rows[name].get("confidence") or "read"),
        )


def _load(path: Path) -> Json:
    loaded: Json = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _correct(sources: dict[str, Source], repo_id: str, correction: Mapping[str, object]) -> None:
    """Put back what a copy of a config lost; `source_is` only says better where it was read."""
    found = sources.get(repo_id)
    if found is None:
        return
    config = correction.get("config", {})
    assert isinstance(config, dict)  # the file is our own
    base, quantization = correction.get("config_of"), correction.get("hf_quant_config_of")
    if isinstance(base, str):
        found = replace(found, config=sources[base].config)
    if isinstance(quantization, str):
        found = replace(found, hf_quant_config=sources[quantization].hf_quant_config)
    corrected = f"{found.source}; corrected: {correction['reason']} ({correction['source']})"
    source = str(correction.get("source_is") or corrected)
    confidence = weakest(found.confidence, confidence_named(correction.get("confidence", "read")))
    sources[repo_id] = replace(found, config=_merged(found.config, config), source=source, confidence=confidence)


def _merged(base: Json, changes: Json) -> Json:
    """`base` with the values of `changes`; objects are merged key by key."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def write(specs: list[ModelSpec], out: Path) -> None:
    """One compact JSON file per model, and index.json with what a table of models shows."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.json"):
        old.unlink()
    for spec in specs:
        record = to_record(spec)
        if from_record(json.loads(json.dumps(record))) != spec:
            raise AssertionError(f"{spec.repo_id} does not survive being written")
        _dump(record, out / file_name(spec.repo_id))
    _dump([_index_row(spec) for spec in specs], out / "index.json", indent=0)


def file_name(repo_id: str) -> str:
    """Where a model is kept: "meta-llama--Llama-3.1-8B.json"."""
    return f"{repo_id.replace('/', '--')}.json"


def _index_row(spec: ModelSpec) -> Json:
    return {
        "repo_id": spec.repo_id,
        "architecture": spec.architecture,
        "family": spec.family,
        "total_parameters": total_parameters(spec),
        "active_parameters": active_parameters(spec),
        "weight_format": spec.weight_format,
        "max_context_tokens": spec.max_context_tokens,
        "as_of": spec.as_of,
        "source": spec.source,
        "confidence": spec.confidence,
    }


def _dump(value: object, path: Path, indent: int | None = None) -> None:
    separators = (",", ":")
    text = json.dumps(value, ensure_ascii=False, separators=separators, indent=indent)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
