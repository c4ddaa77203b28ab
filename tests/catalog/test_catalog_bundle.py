"""Bundling: a collection of configs becomes files that are read back equal, with corrections and a source each."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from catalog import bundle
from catalog.errors import UnknownArchitecture
from catalog.find import DATA, bundled_models, find_model
from catalog.model import ModelSpec
from catalog.records import from_record, to_record

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}


@pytest.fixture
def collection(tmp_path):
    """Two models that read, one that does not."""
    configs = {"org--small": LLAMA, "org--wide": LLAMA | {"hidden_size": 512}, "org--odd": {"architectures": ["Odd"]}}
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    with (tmp_path / "sources.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["folder", "source"])
        writer.writerows([name, f"where {name} was read"] for name in configs)
    return tmp_path


def test_every_readable_model_is_written_with_its_source_and_date(collection, tmp_path, capsys):
    out = tmp_path / "out"
    assert bundle.main([str(collection), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["index.json", "org--small.json", "org--wide.json"]
    spec = from_record(json.loads((out / "org--small.json").read_text()))
    assert (spec.repo_id, spec.source, spec.as_of) == ("org/small", "where org--small was read", bundle.AS_OF)
    assert [row["repo_id"] for row in json.loads((out / "index.json").read_text())] == ["org/small", "org/wide"]
    assert "left out org/odd" in capsys.readouterr().err


def test_a_model_that_cannot_be_read_keeps_its_error(collection):
    assert isinstance(bundle.read_all([collection])["org/odd"], UnknownArchitecture)


def test_a_correction_is_merged_and_said(collection, tmp_path, monkeypatch):
    corrections = tmp_path / "corrections.json"
    correction = {"config": {"max_position_embeddings": 4096}, "reason": "cut", "source": "its card"}
    corrections.write_text(json.dumps({"org/small": correction, "org/absent": correction}))
    monkeypatch.setattr(bundle, "CORRECTIONS", corrections)
    spec = bundle.read_all([collection])["org/small"]
    assert isinstance(spec, ModelSpec)
    assert spec.max_context_tokens == 4096
    assert spec.source.endswith("corrected: cut (its card)")


def test_every_bundled_spec_survives_writing_and_reading():
    for record in bundled_models():
        spec = find_model(record.repo_id)
        assert from_record(json.loads(json.dumps(to_record(spec)))) == spec


def test_a_record_of_something_else_is_refused():
    with pytest.raises(ValueError, match="ModelSpec"):
        from_record({"is": "M", "name": "x", "part": "mlp", "outputs": 1, "inputs": 1})


def test_a_confidence_is_kept_and_only_ever_lowered(collection, tmp_path, monkeypatch):
    corrections = tmp_path / "corrections.json"
    correction = {"reason": "cut", "source": "a relative", "confidence": "inferred"}
    corrections.write_text(json.dumps({"org/small": correction, "org/wide": correction}))
    monkeypatch.setattr(bundle, "CORRECTIONS", corrections)
    rows = "org--small,here,read\norg--wide,memory,recalled\norg--odd,here,\n"
    (collection / "sources.csv").write_text(f"folder,source,confidence\n{rows}")
    specs = bundle.read_all([collection])
    assert {name: specs[name].confidence for name in ("org/small", "org/wide")} == {
        "org/small": "inferred",
        "org/wide": "recalled",
    }


def test_an_unknown_confidence_is_refused(collection):
    (collection / "sources.csv").write_text("folder,source,confidence\norg--odd,x,sure\norg--small,x,\norg--wide,x,\n")
    with pytest.raises(ValueError, match="read, inferred, recalled"):
        bundle.read_all([collection])


def test_models_written_by_hand_are_bundled_as_reading_gives_today(tmp_path):
    written = bundle.read_all([DATA / "configs"])
    assert len(written) >= 14
    for repo_id, spec in written.items():
        assert replace(find_model(repo_id), aliases=()) == spec


def test_every_correction_concerns_a_bundled_model_and_has_a_source():
    corrections = json.loads(bundle.CORRECTIONS.read_text())
    assert set(corrections) <= {record.repo_id for record in bundled_models()}
    assert all(c["reason"] and c["source"] for c in corrections.values())


def test_no_bundled_file_is_large():
    largest = max((DATA / "models").glob("*--*.json"), key=lambda path: path.stat().st_size)
    assert largest.stat().st_size < 64 * 1024, Path(largest).name
