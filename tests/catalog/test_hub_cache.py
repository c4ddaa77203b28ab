"""What was read of the Hub is remembered: fresh, old, of a commit, by another name, broken, and by huggingface_hub."""

from __future__ import annotations

import json
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from catalog import hub_cache
from catalog.errors import CatalogError, HubAway, UnknownModel
from catalog.find import find_model
from catalog.sizes import total_parameters
from tests.catalog.hub_files import LLAMA, PARAMETERS, llama_gguf, llama_tensors, safetensors


def later(monkeypatch, **past):
    """Let the clock of the cache be later by so much."""
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(**past)
    monkeypatch.setattr(hub_cache, "utc_now", lambda: now)


def status(code):
    return lambda handler: handler.send(code)


@pytest.fixture
def tiny(hub):
    hub.add("org/tiny", {"config.json": LLAMA, "model.safetensors": safetensors(llama_tensors())})
    return hub


def test_a_fresh_memory_needs_no_network_and_is_the_same_model(tiny, monkeypatch):
    online = find_model("org/tiny")
    tiny.asked.clear()
    assert find_model("org/tiny") == online
    assert find_model("ORG/Tiny") == online
    assert find_model("org/tiny", offline=True) == online
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_model("org/tiny") == online
    assert tiny.asked == []


def test_after_a_day_the_hub_is_asked_again(tiny, monkeypatch):
    find_model("org/tiny")
    tiny.add("org/tiny", {"config.json": LLAMA | {"num_hidden_layers": 3}})
    later(monkeypatch, hours=23, minutes=59)
    assert find_model("org/tiny").layer_count == 2
    later(monkeypatch, hours=24, minutes=1)
    assert find_model("org/tiny").layer_count == 3


def test_a_commit_is_never_asked_for_again(tiny, monkeypatch):
    commit = find_model("org/tiny").revision
    find_model("org/tiny", commit)
    tiny.asked.clear()
    later(monkeypatch, days=1000)
    assert find_model("org/tiny", commit).notes == ()
    assert tiny.asked == []


@pytest.mark.parametrize("code", [429, 500, 503])
def test_an_old_memory_is_used_when_the_hub_is_away_and_says_how_old_it_is(tiny, monkeypatch, code):
    online = find_model("org/tiny")
    tiny.fails("/api/", status(code))
    later(monkeypatch, days=3, hours=5)
    spec = find_model("org/tiny")
    assert spec.layers == online.layers
    assert spec.notes[0].startswith(f"org/tiny is planned as it was read on {online.as_of}, 3 days ago: ")


def test_an_old_memory_is_used_offline_and_says_how_old_it_is(tiny, monkeypatch):
    find_model("org/tiny")
    later(monkeypatch, days=1, hours=5)
    assert "1 day ago: the Hub was not asked" in find_model("org/tiny", offline=True).notes[0]


def test_a_clock_that_was_set_back_makes_no_memory_fresh(tiny, monkeypatch):
    find_model("org/tiny")
    tiny.asked.clear()
    later(monkeypatch, days=-2)
    find_model("org/tiny")
    assert tiny.asked


def test_a_repository_that_is_gone_is_not_remembered_online(tiny, monkeypatch):
    find_model("org/tiny")
    del tiny.repos["org/tiny"]
    later(monkeypatch, days=2)
    with pytest.raises(UnknownModel):
        find_model("org/tiny")
    assert find_model("org/tiny", offline=True).repo_id == "org/tiny"


def test_a_gguf_header_is_remembered_whole(hub):
    hub.add("me/tiny-GGUF", {"x-Q4_K_M.gguf": llama_gguf(), "x-Q8_0.gguf": llama_gguf()})
    online = find_model("me/tiny-GGUF:Q8_0")
    hub.asked.clear()
    assert find_model("me/tiny-GGUF:q8_0") == online
    assert hub.asked == []
    assert find_model("me/tiny-GGUF") != online


def test_an_adapter_and_its_base_are_remembered(tiny):
    config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "org/tiny"}
    tiny.add("me/tuned", {"adapter_config.json": config})
    online = find_model("me/tuned")
    assert find_model("me/tuned", offline=True) == online


def test_another_mirror_has_a_memory_of_its_own(tiny, monkeypatch):
    find_model("org/tiny")
    monkeypatch.setenv("HF_ENDPOINT", tiny.endpoint + "/mirror")
    with pytest.raises(HubAway):
        find_model("org/tiny", offline=True)


def test_files_are_for_their_owner_and_lie_in_the_folder(tiny, tmp_path):
    before = set(tmp_path.rglob("*"))
    find_model("org/tiny")
    new = set(tmp_path.rglob("*")) - before
    assert {path.suffix for path in new if path.is_file()} == {".json"}
    assert all(path.is_relative_to(tmp_path / "cache") for path in new)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in new if path.is_file())


def test_a_folder_that_cannot_be_written_is_said_and_does_no_harm(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPUPLAN_CACHE", str(tmp_path / "file"))
    spec = find_model("org/tiny")
    assert total_parameters(spec) == PARAMETERS
    assert "could not be kept" in spec.notes[-1]


def test_a_damaged_memory_is_as_none_and_is_written_anew(tiny, tmp_path):
    online = find_model("org/tiny")
    (file,) = (tmp_path / "cache").rglob("*.json")
    sound = file.read_text()
    for text in [sound.replace("256", "512"), sound[:-1], sound + " ", "", "{", "[]", "[" * 100_000, "\0", sound[33:]]:
        file.write_text(text)
        with pytest.raises(HubAway):
            find_model("org/tiny", offline=True)
        assert find_model("org/tiny") == online
        assert file.read_text().partition("\n")[2]


def test_a_memory_of_another_kind_is_none(tiny, tmp_path):
    """What an older or newer release wrote, with a sound digest."""
    find_model("org/tiny")
    (file,) = (tmp_path / "cache").rglob("*.json")
    record = json.loads(file.read_text().partition("\n")[2])
    for key in record:
        for other in ({k: v for k, v in record.items() if k != key}, {**record, key: {"x": None}}, {**record, key: 7}):
            text = json.dumps(other)
            file.write_text(f"{hub_cache._digest(text)}\n{text}")
            with suppress(CatalogError):
                assert find_model("org/tiny", offline=True).hidden_size == 256


def test_a_memory_of_bytes_or_of_absurd_size_is_none(tiny, tmp_path):
    find_model("org/tiny")
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(HubAway):
        find_model("org/tiny", offline=True)
    with file.open("wb") as opened:
        opened.truncate(hub_cache.LARGEST_ENTRY_BYTES + 1)
    with pytest.raises(HubAway):
        find_model("org/tiny", offline=True)


def test_what_an_engine_has_downloaded_is_enough_offline(tiny):
    from huggingface_hub import constants, hf_hub_download

    for name in ("config.json",):
        hf_hub_download("org/tiny", name, endpoint=tiny.endpoint, cache_dir=constants.HF_HUB_CACHE)
    spec = find_model("org/tiny", offline=True)
    assert total_parameters(spec) == PARAMETERS
    assert spec.revision == tiny.repos["org/tiny"].branches["main"]
    tiny.fails("/api/", status(503))
    assert find_model("org/tiny").notes[-1].startswith("Read from huggingface_hub's cache")


def test_a_hub_that_was_away_a_moment_ago_is_not_asked_again(tiny, monkeypatch):
    """A batch over a hundred models must not wait a hundred times."""
    find_model("org/tiny")
    later(monkeypatch, days=2)
    tiny.fails("/api/", status(503))
    first = find_model("org/tiny")
    tiny.asked.clear()
    assert find_model("org/tiny") == first
    with pytest.raises(HubAway, match="503"):
        find_model("org/other")
    assert tiny.asked == []
