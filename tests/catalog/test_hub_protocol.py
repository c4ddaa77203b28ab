"""The Hub of these tests speaks the real one's protocol: huggingface_hub's own calls understand its answers."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from catalog.huggingface import Hub
from catalog.snapshot import take_snapshot
from tests.catalog.hub_files import LLAMA, PARAMETERS, llama_tensors, safetensors

FILES = {"config.json": LLAMA, "model.safetensors": safetensors(llama_tensors(), pad=120_000) + b"\0" * 1000}


@pytest.fixture
def api(hub):
    hub.add("org/tiny", FILES, large=frozenset({"model.safetensors"}))
    return HfApi(endpoint=hub.endpoint)


def test_model_info_reads_our_description(hub, api):
    info = api.model_info("org/tiny", files_metadata=True)
    assert (info.id, info.sha) == ("org/tiny", hub.repos["org/tiny"].branches["main"])
    assert {file.rfilename for file in info.siblings} == set(FILES)


def test_a_download_gets_the_same_bytes_and_lies_where_we_look_for_it(hub, api, tmp_path):
    path = hf_hub_download("org/tiny", "config.json", endpoint=hub.endpoint, cache_dir=tmp_path)
    snapshot = take_snapshot(Hub(), "org/tiny", "main", "2026-11-22T00:00:00+00:00")
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 (the library gives a str)
        assert file.read() == Hub().text("org/tiny", snapshot.commit, "config.json")


def test_the_librarys_own_count_of_a_safetensors_header_is_ours(hub, api):
    theirs = api.get_safetensors_metadata("org/tiny").parameter_count
    ours = take_snapshot(Hub(), "org/tiny", "main", "2026-11-22T00:00:00+00:00").values_by_type
    assert theirs == ours == {"BF16": PARAMETERS}


def test_the_library_reads_our_errors_as_the_hubs(hub, api, monkeypatch):
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/tiny", revision="v9")
    hub.repos["org/tiny"].gated = True
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/tiny", "config.json", endpoint=hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        HfApi(endpoint=hub.endpoint).model_info("org/tiny")


def test_search_asks_what_the_library_asks(hub, api):
    wanted = ["safetensors", "downloads", "pipeline_tag", "gated"]
    rows = list(api.list_models(search="tiny model", limit=3, sort="downloads", expand=wanted))
    assert [row.id for row in rows] == [row.repo_id for row in Hub().search("tiny model", 3)]
    theirs, ours = (parse_qs(path.partition("?")[2]) for path in hub.paths if path.startswith("/api/models?"))
    assert {key: sorted(theirs.get(key, ())) for key in ours} == {key: sorted(value) for key, value in ours.items()}
    assert theirs.keys() - ours.keys() <= {"direction"}
