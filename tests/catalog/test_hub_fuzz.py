"""Whatever a Hub answers: a model or one sentence, within the patience, and nothing written outside the cache.

150 answers in CI; GPUPLAN_FUZZ=2000 tries more.
"""

from __future__ import annotations

import copy
import json
import os
import re
import time
from contextlib import suppress
from unicodedata import category

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from catalog import hub as hub_room
from catalog.errors import CatalogError
from catalog.find import find_model
from catalog.hub import search_hub
from catalog.model import ModelSpec
from catalog.sizes import total_parameters, weight_bytes
from tests.catalog.hub_files import LLAMA, llama_gguf, llama_tensors, safetensors

EXAMPLES = int(os.environ.get("GPUPLAN_FUZZ", "150"))
SECONDS = 1

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 7, 10**30, 2**63, 0.5, 1e308, float("nan"), float("inf")]),
    st.sampled_from(["", "../../etc/passwd", "/etc/passwd", "a\0b", "x" * 5000, "\ud800", "org/tiny", "$(id)", "<b>"]),
    st.text(max_size=6),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-2, 3), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


def paths(value, prefix=()):
    """Every key inside an object."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*prefix, key)
        yield from paths(inner, (*prefix, key))


@st.composite
def changed(draw, original):
    """The same JSON with up to two parts replaced or left out."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        *outer, last = draw(st.sampled_from(list(paths(value)) or [("x",)]))
        holder = value
        for key in outer:
            holder = holder[key]
        if draw(st.booleans()):
            holder.pop(last, None)
        else:
            holder[last] = draw(JUNK)
    return value


def packed(value) -> bytes:
    """JSON as bytes, lone surrogates included."""
    return json.dumps(value).encode()


def cut(body: bytes):
    """A part of a body, or one with a few bytes changed."""
    places = st.integers(0, max(len(body) - 1, 0))
    beginning = places.map(lambda end: body[:end])
    other = st.tuples(places, st.binary(min_size=1, max_size=9)).map(lambda c: body[: c[0]] + c[1] + body[c[0] :])
    return st.one_of(st.just(body), beginning, other)


LORA = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "org/base", "rank_pattern": {"q": 16}}
PARAMS = {"dim": 256, "n_layers": 2, "hidden_dim": 512, "n_heads": 4, "vocab_size": 1000, "moe": {"num_experts": 4}}
CARD = b"---\nbase_model: org/base\n---\nA model of 8B parameters with a context length of 32k."

FILES = st.fixed_dictionaries(
    {},
    optional={
        "config.json": st.one_of(changed(LLAMA).map(packed), cut(packed(LLAMA))),
        "generation_config.json": changed({"max_new_tokens": 100}).map(packed),
        "hf_quant_config.json": changed({"quantization": {"quant_algo": "FP8"}}).map(packed),
        "quantize_config.json": changed({"bits": 4, "group_size": 128, "sym": True}).map(packed),
        "params.json": changed(PARAMS).map(packed),
        "adapter_config.json": changed(LORA).map(packed),
        "README.md": st.one_of(cut(CARD), st.binary(max_size=50)),
        "model.safetensors": cut(safetensors(llama_tensors())),
        "x-Q4_K_M.gguf": cut(llama_gguf()),
        "../../escaped.json": st.just(b"x"),
        "\x1b[31mx-Q2_K.gguf": st.just(llama_gguf()),
    },
)
ABOUT = changed(
    {"sha": "0" * 40, "id": "org/tiny", "safetensors": {"parameters": {"BF16": 1_692_928}}, "gated": False, "tags": []}
)
PLACES = st.sampled_from(
    ["/", "/api/models/org/tiny", "file:///etc/passwd", "http://127.0.0.1:1/", "//", "\\", "http://[", ""]
)
HEADERS = st.dictionaries(
    st.sampled_from(["Content_Encoding", "X_Error_Code", "X_Error_Message", "RateLimit", "Retry_After", "ETag"]),
    st.sampled_from(
        ["gzip", "identity", "GatedRepo", "RepoNotFound", "EntryNotFound", '"api";r=0;t=99999', "-1", "x" * 99]
    ),
    max_size=2,
)


@st.composite
def mishaps(draw):
    """A part of a path, and what is answered there instead."""
    path = draw(st.sampled_from(["/api/models/org/tiny", "config.json", "safetensors", "gguf", "org/base", "search"]))
    kind = draw(st.sampled_from(["status", "redirect", "body", "raw", "short"]))
    status, body = (
        draw(st.sampled_from([200, 206, 204, 301, 400, 401, 403, 404, 429, 500, 503, 599])),
        draw(st.binary(max_size=60)),
    )
    headers, place = draw(HEADERS), draw(PLACES)

    def answer(handler):
        handler.close_connection = True
        if kind == "redirect":
            handler.send(302, Location=place)
        elif kind == "raw":
            handler.wfile.write(body)
        elif kind == "short":
            handler.send(200, body, Content_Length=str(len(body) + 10))
        else:
            handler.send(status if kind == "status" else 200, body, **headers)

    return path, answer


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    files=FILES,
    about=ABOUT,
    wrong=st.one_of(st.just([]), st.lists(mishaps(), max_size=2)),
    name=st.sampled_from(["org/tiny", "org/tiny:Q4_K_M"]),
)
def test_any_hub_gives_a_model_or_a_sentence(hub, tmp_path, monkeypatch, files, about, wrong, name):
    monkeypatch.setenv("GPUPLAN_HUB_SECONDS", str(SECONDS))
    fresh_start(hub, tmp_path)
    hub.add("org/base", {"config.json": LLAMA})
    hub.add("org/tiny", files, about=about)
    commit = about.get("sha")
    if isinstance(commit, str):
        hub.repos["org/tiny"].commits[commit] = hub.repos["org/tiny"].commits[hub.repos["org/tiny"].branches["main"]]
    for path, answer in wrong:
        hub.fails(path, answer)
    start = time.monotonic()
    check_answer(name)
    # one patience for the repository, one each for a base, its original and the search for names like it
    assert time.monotonic() - start < 5 * SECONDS + 60
    check_answer(name, offline=True)
    files_now = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(
        re.fullmatch(r"cache/hub/[0-9a-f]{32}\.json", path.relative_to(tmp_path).as_posix()) for path in files_now
    )


def fresh_start(hub, tmp_path):
    """Nothing on the Hub, nothing remembered."""
    hub.repos.clear()
    hub.mishaps.clear()
    hub.asked.clear()
    hub_room._away.clear()
    for path in (tmp_path / "cache").rglob("*.json"):
        path.unlink()


def check_answer(name, **how):
    """A sound model, or an error of ours in one short line."""
    try:
        spec = find_model(name, **how)
    except CatalogError as error:
        text = str(error)
        assert 10 < len(text) < 1500
        assert not any(category(character) == "Cc" for character in text)
        event(type(error).__name__)
        return
    event("a model")
    assert isinstance(spec, ModelSpec)
    assert 0 < total_parameters(spec) < 2**50
    assert 0 < weight_bytes(spec) < 2**60
    assert all(len(note) < 1500 for note in spec.notes)
    shown = "".join((*spec.notes, spec.repo_id, spec.architecture, spec.family, spec.source))
    assert not any(category(character) == "Cc" for character in shown)


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.one_of(
        JUNK, st.lists(st.one_of(JUNK, changed({"id": "org/tiny", "downloads": 5, "gated": False})), max_size=4)
    )
)
def test_any_answer_to_a_search_gives_rows_or_a_sentence(hub, monkeypatch, rows):
    monkeypatch.setenv("GPUPLAN_HUB_SECONDS", str(SECONDS))
    hub.fails("/api/models?", lambda handler: handler.json(rows))
    with suppress(CatalogError):
        assert all("/" in each.repo_id and isinstance(each.gated, bool) for each in search_hub("tiny", 10))
