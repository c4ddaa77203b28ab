"""What goes wrong between here and the Hub: each mishap is one sentence of the right kind, within the time allowed."""

from __future__ import annotations

import json
import socket
import time

import pytest

from catalog import hub as hub_room
from catalog.errors import BadHubAnswer, BadModelConfig, CatalogError, HubAway, HubError, HubRefuses, UnknownModel
from catalog.find import find_model
from catalog.hub import search_hub
from catalog.sizes import total_parameters
from tests.catalog.hub_files import LLAMA, PARAMETERS, llama_tensors, safetensors

API = "/api/models/org/tiny"


@pytest.fixture
def tiny(hub):
    hub.add("org/tiny", {"config.json": LLAMA})
    return hub


def status(code, **headers):
    """An empty answer of that status."""
    return lambda handler: handler.send(code, **headers)


def raw(body, **headers):
    """A body of bytes."""
    return lambda handler: handler.send(200, body, **headers)


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_gated_repository_says_where_to_ask(tiny):
    tiny.repos["org/tiny"].gated = True
    with pytest.raises(HubRefuses, match=rf"gated: ask for access at {tiny.endpoint}/org/tiny.*HF_TOKEN"):
        find_model("org/tiny")


def test_a_token_that_was_granted_opens_it(tiny, monkeypatch):
    tiny.repos["org/tiny"].gated = True
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert total_parameters(find_model("org/tiny")) == PARAMETERS


def test_the_token_of_the_login_file_counts_too(tiny, tmp_path):
    tiny.repos["org/tiny"].private = True
    (tmp_path / "token").write_text("hf_good\n")
    assert find_model("org/tiny").repo_id == "org/tiny"


def test_a_private_and_a_missing_repository_cannot_be_told_apart_without_a_token(tiny):
    tiny.repos["org/tiny"].private = True
    for name in ("org/tiny", "org/none"):
        with pytest.raises(UnknownModel, match=f"{name} is not on .* or is private") as caught:
            find_model(name)
        assert name not in caught.value.nearest


def test_a_token_that_is_not_accepted_is_not_shown(tiny, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret123")
    with pytest.raises(HubRefuses, match="does not accept your token") as caught:
        find_model("org/tiny")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf bad\ttoken", "hf_ключ"])
def test_a_token_that_no_header_can_hold_is_not_sent(tiny, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    find_model("org/tiny")
    assert not any("authorization" in headers for _, headers in tiny.asked)


def test_a_disabled_repository_is_said_to_be_disabled(tiny):
    tiny.repos["org/tiny"].disabled = True
    with pytest.raises(HubRefuses, match="disabled"):
        find_model("org/tiny")


def test_a_missing_revision_is_named(tiny):
    with pytest.raises(UnknownModel, match="no revision 'v9'"):
        find_model("org/tiny", "v9")


@pytest.mark.parametrize("revision", ["", "a b", "x" * 300, "a\nb"])
def test_what_is_no_revision_is_not_asked(tiny, revision):
    with pytest.raises(UnknownModel) if revision else pytest.raises((UnknownModel, AssertionError)):
        find_model("org/tiny", revision)
        raise AssertionError  # an empty revision is the main branch


# ── when it is busy or away ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_hub_that_is_busy_once_is_asked_again(tiny, code):
    tiny.fails(API, status(code), times=1)
    assert find_model("org/tiny").repo_id == "org/tiny"


def test_a_short_rate_limit_is_waited_for(tiny):
    tiny.fails(
        API, status(429, RateLimit='"api";r=0;t=1', RateLimit_Policy='"fixed window";"api";q=500;w=300'), times=1
    )
    start = time.monotonic()
    find_model("org/tiny")
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("headers", [{"RateLimit": '"api";r=0;t=55'}, {"Retry_After": "55"}])
def test_a_rate_limit_beyond_our_patience_is_said_at_once(tiny, headers):
    tiny.fails(API, status(429, **headers))
    start = time.monotonic()
    with pytest.raises(HubAway, match=r"wait 55 s.*HF_TOKEN"):
        find_model("org/tiny")
    assert time.monotonic() - start < 3


def test_a_hub_that_stays_out_of_order_is_given_up_after_three_tries(tiny):
    tiny.fails(API, status(503))
    with pytest.raises(HubAway, match="status 503"):
        find_model("org/tiny")
    assert len(tiny.asked) == 3


def test_nobody_at_the_address_is_said(hub, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(HubAway, match="not bundled and was not read before"):
            find_model("org/tiny")


def test_a_name_that_is_nearly_that_of_a_bundled_model_is_asked_about_when_the_hub_is_away(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubAway, match=r"Did you mean meta-llama/Llama-3\.3-70B-Instruct"):
        find_model("meta-llama/Llama-3.3-70b")


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nobody_is_asked(tiny, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(HubAway, match="not bundled and was not read before"):
        find_model("org/tiny")
    with pytest.raises(HubAway, match="HF_HUB_OFFLINE"):
        search_hub("tiny", 5)
    assert tiny.asked == []


@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "huggingface.co", "http://", "http://a b", "http://x:99999", "http://[::", "http://me:pw@x"]
)
def test_a_mirror_that_is_no_address_is_refused(hub, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(HubError, match="HF_ENDPOINT"):
        find_model("org/tiny")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon", "1e9"])
def test_a_patience_that_is_no_time_is_refused(tiny, monkeypatch, seconds):
    monkeypatch.setenv("GPUPLAN_HUB_SECONDS", seconds)
    with pytest.raises(HubError, match="GPUPLAN_HUB_SECONDS"):
        find_model("org/tiny")


# ── slow, huge, broken ───────────────────────────────────────────────────────────────────────────────────────────────


def drip(handler):
    """Headers at once, then a byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**6))
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silence(handler):
    """Nothing, for longer than anybody waits here."""
    time.sleep(3)
    handler.close_connection = True


def dripping_headers(handler):
    """One header after the other, without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(60):
        handler.wfile.write(f"X-{number}: y\r\n".encode())
        handler.wfile.flush()
        time.sleep(0.05)
    handler.close_connection = True


@pytest.mark.parametrize("mishap", [drip, silence, dripping_headers])
def test_a_slow_hub_is_given_up_in_time(tiny, monkeypatch, mishap):
    monkeypatch.setenv("GPUPLAN_HUB_SECONDS", "0.5")
    tiny.fails(API, mishap)
    start = time.monotonic()
    with pytest.raises(HubAway):
        find_model("org/tiny")
    assert time.monotonic() - start < 2.5


def endless(handler):
    """As many bytes as anybody takes, without saying how many."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    for _ in range(2000):
        handler.wfile.write(b" " * 2**16)


@pytest.mark.parametrize("path", [API, "/resolve/"])
def test_an_endless_answer_is_cut_off_at_its_bound(tiny, path):
    tiny.fails(path, endless)
    with pytest.raises(BadHubAnswer, match=r"MiB about org/tiny: (main|config\.json) is larger"):
        find_model("org/tiny")


def test_a_body_that_ends_early_is_tried_again_then_said(tiny):
    def cut(handler):
        handler.send(200, b'{"architectures"', Content_Length="500")
        handler.close_connection = True

    tiny.fails("/resolve/", cut, times=2)
    assert find_model("org/tiny").repo_id == "org/tiny"
    tiny.fails("/resolve/", cut)
    tiny.add("org/other", {"config.json": LLAMA})
    with pytest.raises(HubAway, match="broke off"):
        find_model("org/other")


def test_packed_bytes_that_were_not_asked_for_are_refused_unread(tiny):
    tiny.fails("/resolve/", raw(b"\x1f\x8b" + b"\0" * 100, Content_Encoding="gzip"))
    with pytest.raises(BadHubAnswer, match="packed"):
        find_model("org/tiny")


def test_redirects_in_a_circle_end(tiny):
    tiny.fails("/resolve/", status(302, Location="/org/tiny/resolve/x/config.json"))
    with pytest.raises(BadHubAnswer, match="redirects"):
        find_model("org/tiny")


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://[", "gopher://x"])
def test_a_redirect_out_of_the_web_is_not_followed(tiny, place):
    tiny.fails("/resolve/", status(302, Location=place))
    with pytest.raises((BadHubAnswer, HubAway)):
        find_model("org/tiny")


@pytest.mark.parametrize("code", [204, 206, 304, 400, 402, 403, 404, 405, 410, 416, 418, 451])
def test_every_other_status_is_a_sentence(tiny, code):
    tiny.fails(API, status(code))
    with pytest.raises(CatalogError) as caught:
        find_model("org/tiny")
    assert 10 < len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b"\xff\xfe", b"<html>", b"1" * 5000]
)
def test_a_description_that_is_none_is_refused(tiny, body):
    tiny.fails(API, raw(body))
    with pytest.raises(CatalogError):
        find_model("org/tiny")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"{}", b'{"architectures": 3}', b"9" * 5000]
)
def test_a_config_that_is_none_is_refused_by_its_repository(tiny, body):
    tiny.add("org/odd", {"config.json": body})
    with pytest.raises((BadModelConfig, BadHubAnswer), match="org/odd"):
        find_model("org/odd")


@pytest.mark.parametrize(
    "about",
    [
        {"sha": None},
        {"sha": "main"},
        {"sha": "../../../etc"},
        {"sha": ["x"]},
        {"id": 7},
        {"id": "a/b/c"},
        {"id": "../x"},
        {"id": "x\n/y"},
        {"siblings": "config.json"},
        {"siblings": [{"rfilename": "config.json"}] * 100_001},
        {"safetensors": {"parameters": {"BF16": -1}}},
        {"safetensors": {"parameters": {"BF16": 1e300}}},
        {"safetensors": {"parameters": [1]}},
        {"safetensors": 7},
    ],
)
def test_a_description_with_a_wrong_part_is_refused(hub, about):
    hub.add("org/tiny", {"config.json": LLAMA}, about=about)
    with pytest.raises(CatalogError, match="org/tiny"):
        find_model("org/tiny")


@pytest.mark.parametrize("siblings", [[], [{}], [7], [{"rfilename": 7}], [{"rfilename": "x" * 2000}], None])
def test_files_that_are_not_listed_are_not_asked_for(hub, siblings):
    hub.add("org/tiny", {"config.json": LLAMA}, about={"siblings": siblings})
    with pytest.raises(CatalogError, match="org/tiny"):
        find_model("org/tiny")
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\0" * 4,
        b"\xff" * 8,
        (10**12).to_bytes(8, "little"),
        (50).to_bytes(8, "little") + b"{" * 50,
        (2).to_bytes(8, "little") + b"[]",
        safetensors({"x": ("BF16", [-1])}),
        safetensors({"x": ("BF16", [2**40, 2**40])}),
        safetensors({"x": (7, [1])}),  # type: ignore[dict-item]
    ],
)
def test_a_broken_safetensors_header_is_refused_by_its_file(hub, header):
    hub.add("org/tiny", {"config.json": LLAMA, "model.safetensors": header})
    with pytest.raises(BadHubAnswer, match=r"model\.safetensors"):
        find_model("org/tiny")


def test_a_server_that_ignores_ranges_is_cut_off(hub):
    body = safetensors(llama_tensors()) + b"\0" * 3_000_000
    hub.add("org/tiny", {"config.json": LLAMA, "model.safetensors": body})
    hub.fails("model.safetensors", raw(body))
    assert find_model("org/tiny").notes == ()


@pytest.mark.parametrize("rows", [{}, None, "x", 7])
def test_a_search_that_answers_with_something_else_is_refused(hub, rows):
    hub.fails("/api/models?", lambda handler: handler.json(rows))
    with pytest.raises(BadHubAnswer):
        search_hub("tiny", 5)


def test_rows_of_a_search_without_a_name_are_left_out(hub):
    rows = [7, {}, {"id": 3}, {"id": "../x"}, {"id": "a/b", "downloads": "many", "safetensors": {"total": -1}}]
    hub.fails("/api/models?", lambda handler: handler.json(rows))
    (found,) = search_hub("tiny", 50)
    assert (found.repo_id, found.downloads, found.parameters) == ("a/b", None, None)


def test_an_interrupt_is_not_held_up_by_the_hub(tiny, monkeypatch):
    """The asker's thread only waits: Ctrl-C reaches it while another thread reads."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(hub_room.threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find_model("org/tiny")


def test_errors_never_repeat_what_the_hub_said_at_length(tiny):
    tiny.fails(API, lambda handler: handler.send(400, json.dumps({"error": "x" * 10_000}).encode()))
    with pytest.raises(CatalogError) as caught:
        find_model("org/tiny")
    assert len(str(caught.value)) < 400
