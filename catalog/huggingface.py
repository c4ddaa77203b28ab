"""The Hub as a place to read small files from: the only room that knows huggingface_hub.

The library gives the token, the HTTP client with its proxies, the meaning of the Hub's error codes, and its own cache.
What it does not give is a bound, so bodies are read here as a stream that stops at a number of bytes, and every
question has a time within which it is answered or given up. Nothing is ever run, unpickled or unpacked.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from catalog.errors import BadHubAnswer, HubAway, HubError, HubRefuses, UnknownModel

MEBIBYTE = 2**20
LARGEST_LISTING_BYTES = 16 * MEBIBYTE
LARGEST_TEXT_BYTES = 4 * MEBIBYTE
"""A config.json is a few kilobytes; one that lists every quantized module, about a megabyte."""

TRIES = 3
FIRST_WAIT_SECONDS = 1
MOST_REDIRECTS = 5
ANSWER_SECONDS = 10
"""How long one read may stall; the whole lookup has `Patience.seconds`."""
DEFAULT_PATIENCE_SECONDS = 30

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_TRUE = frozenset({"1", "true", "yes", "on"})
_SAFE_HEADERS = ("x-error-code", "x-error-message")
_NAME = re.compile(r"\b[\w.-]{1,96}\b/\b[\w.-]{1,96}\b", re.ASCII)
_REVISION = re.compile(r"[^\x00-\x20\x7f]{1,200}")


class Patience:
    """How much time is left for one lookup, all its requests and waits together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        """Never negative."""
        return max(0, self._end - time.monotonic())


def patience() -> Patience:
    """What `GPUPLAN_HUB_SECONDS` allows one lookup, 30 seconds if it says nothing.

    Raises:
        HubError: it is not a positive number.
    """
    text = os.environ.get("GPUPLAN_HUB_SECONDS", "")
    try:
        seconds = float(text) if text else float(DEFAULT_PATIENCE_SECONDS)
    except ValueError:
        seconds = -1
    if not 0 < seconds <= 3600:
        raise HubError(f"GPUPLAN_HUB_SECONDS is {text[:40]!r}; it must be a number of seconds from above 0 to 3600.")
    return Patience(seconds)


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` forbids the network; huggingface_hub is not loaded."""
    return any(os.environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def hub_endpoint() -> str:
    """The Hub's address: `HF_ENDPOINT`, or the public one.

    Raises:
        HubError: HF_ENDPOINT is not the address of a web server.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if "@" in endpoint:  # the address is shown in answers
        raise HubError("HF_ENDPOINT holds a name or password; put a token into HF_TOKEN instead.")
    if not sound or re.search(r"[\s?#\\\x00-\x1f]", endpoint):
        raise HubError(f"HF_ENDPOINT is {endpoint[:80]!r}; it must be an address such as https://huggingface.co.")
    return endpoint


def is_repository_name(name: str) -> bool:
    """Whether the Hub could have a repository of that name: an owner, a slash and a name, by huggingface_hub's rules.

    >>> [is_repository_name(name) for name in ("Qwen/Qwen3-8B", "gpt2", "../etc", "a/b/c", "a/b..c", "a/b.git")]
    [True, False, False, False, False, False]
    """
    return bool(_NAME.fullmatch(name)) and "--" not in name and ".." not in name and not name.endswith(".git")


@dataclass(frozen=True, slots=True)
class Found:
    """One line of a search: what the Hub says of a repository."""

    repo_id: str
    parameters: int | None
    downloads: int | None
    task: str
    gated: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One question: its address, the most bytes that may come, whom it is about; `first` begins a part of a file."""

    url: str
    most_bytes: int
    repo_id: str
    revision: str = ""
    first: int | None = None


class Hub:
    """One address of the Hub, asked within a bound of time and bytes."""

    def __init__(self, endpoint: str | None = None, patience_: Patience | None = None) -> None:
        self.endpoint = endpoint or hub_endpoint()
        self.patience = patience_ or patience()
        self._http: Any = _http_library()

    def repository(self, repo_id: str, revision: str) -> Mapping[str, object]:
        """What the Hub says of a repository: its commit, its files with their sizes, its counted weights.

        Raises:
            UnknownModel: there is no such repository, or no such revision in it.
            HubRefuses, HubAway, BadHubAnswer: see `catalog.errors`.
        """
        if not _REVISION.fullmatch(revision):
            raise UnknownModel(f"{revision[:60]!r} is no revision; give a branch, a tag or a commit.")
        url = f"{self.endpoint}/api/models/{repo_id}/revision/{quote(revision, safe='')}?blobs=true"
        answer = self._object(self._read(_Wanted(url, LARGEST_LISTING_BYTES, repo_id, revision)), repo_id)
        if not isinstance(answer, Mapping):
            raise BadHubAnswer(f"{self.endpoint} described {repo_id} by a JSON {type(answer).__name__}, not an object.")
        return answer

    def text(self, repo_id: str, commit: str, path: str, most_bytes: int = LARGEST_TEXT_BYTES) -> str:
        """A small text file of a repository at a commit.

        Raises:
            HubError, UnknownModel: see `repository`.
        """
        body = self._read(_Wanted(self._address(repo_id, commit, path), most_bytes, repo_id, commit))
        return body.decode("utf-8", errors="replace")

    def span(self, repo_id: str, commit: str, path: str, first: int, size_bytes: int) -> bytes:
        """So many bytes of a file from the one numbered `first` on, or as many as there are; no more is fetched."""
        return self._read(_Wanted(self._address(repo_id, commit, path), size_bytes, repo_id, commit, first))

    def search(self, words: str, most: int) -> list[Found]:
        """Repositories of models that match, the most downloaded first.

        Raises:
            HubError: see `repository`.
        """
        wanted = [("expand", name) for name in ("safetensors", "downloads", "pipeline_tag", "gated")]
        query = urlencode([("search", words), ("limit", str(most)), ("sort", "downloads"), *wanted])
        url = f"{self.endpoint}/api/models?{query}"
        rows = self._object(self._read(_Wanted(url, LARGEST_LISTING_BYTES, words)), words)
        if not isinstance(rows, list):
            raise BadHubAnswer(f"{self.endpoint} answered a search by a JSON {type(rows).__name__}, not a list.")
        return [found for row in rows[:most] if (found := _found(row)) is not None]

    def _address(self, repo_id: str, commit: str, path: str) -> str:
        return f"{self.endpoint}/{repo_id}/resolve/{quote(commit, safe='')}/{quote(path)}"

    def _object(self, body: bytes, what: str) -> object:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadHubAnswer(
                f"{self.endpoint} answered about {what[:80]} with something that is not JSON."
            ) from error

    def _read(self, wanted: _Wanted) -> bytes:
        """The body of one answer, tried again while the Hub is busy and time is left."""
        for attempt in range(1, TRIES + 1):
            try:
                return self._once(wanted)
            except _Busy as busy:
                wait = FIRST_WAIT_SECONDS * 2 ** (attempt - 1) if busy.wait_seconds is None else busy.wait_seconds
                if attempt == TRIES or wait >= self.patience.left_seconds:
                    raise HubAway(f"{self.endpoint} {busy.why}.") from busy
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _once(self, wanted: _Wanted) -> bytes:
        from huggingface_hub.errors import OfflineModeIsEnabled

        http = self._http
        try:
            response = self._follow(wanted)
            try:
                if wanted.first is not None and response.status_code == 416:  # the file ends before
                    return b""
                _raise_for_status(response, wanted.repo_id, wanted.revision, self.endpoint)
                return self._body(response, wanted)
            finally:
                response.close()
        except OfflineModeIsEnabled as error:
            raise HubAway("HF_HUB_OFFLINE forbids to ask the Hub.") from error
        except http.TimeoutException as error:
            raise _Busy(f"did not answer within {self._stall_seconds():.3g} s") from error
        except (http.InvalidURL, http.UnsupportedProtocol, http.TooManyRedirects, UnicodeError) as error:
            raise BadHubAnswer(f"{self.endpoint} cannot be followed ({type(error).__name__}).") from error
        except http.HTTPError as error:  # its text may hold the token, so only its name is shown
            raise _Busy(f"could not be reached or broke off ({type(error).__name__})") from error

    def _stall_seconds(self) -> float:
        return min(ANSWER_SECONDS, self.patience.seconds)

    def _follow(self, wanted: _Wanted) -> Any:
        """The answer behind redirects; the HTTP client keeps the token from other hosts."""
        session = _library().get_session()
        headers = _headers()
        if wanted.first is not None:
            headers["Range"] = f"bytes={wanted.first}-{wanted.first + wanted.most_bytes - 1}"
        left = min(ANSWER_SECONDS, max(self.patience.left_seconds, 0.001))
        request = session.build_request("GET", wanted.url, headers=headers, timeout=left)
        for _ in range(MOST_REDIRECTS + 1):
            response = session.send(request, stream=True, follow_redirects=False)
            following = response.next_request
            if following is None:
                return response
            response.close()
            request = following
        raise BadHubAnswer(f"{self.endpoint} redirects more than {MOST_REDIRECTS} times.")

    def _body(self, response: Any, wanted: _Wanted) -> bytes:
        """The bytes as sent; more than allowed, packed bytes and a drip that outlasts the patience are refused."""
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise BadHubAnswer(f"{self.endpoint} sent packed bytes that were not asked for.")
        skipped = 0 if response.status_code == 206 else wanted.first or 0  # a server may send the whole file
        body, end = bytearray(), skipped + wanted.most_bytes
        for chunk in response.iter_raw():
            body += chunk
            if wanted.first is not None and len(body) >= end:
                break
            if len(body) > end:
                most = wanted.most_bytes / MEBIBYTE
                raise BadHubAnswer(
                    f"{self.endpoint} sent more than {most:.3g} MiB about {wanted.repo_id}: "
                    f"{wanted.url.partition('?')[0].rpartition('/')[2][:80]} is larger than any that describes a model."
                )
            if not self.patience.left_seconds:
                raise HubAway(f"{self.endpoint} was still sending after {self.patience.seconds:.3g} s.")
        return bytes(body[skipped:end])


class _Busy(Exception):
    """The Hub may answer another time: after `wait_seconds`, or when that is None, after a while."""

    def __init__(self, why: str, wait_seconds: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.wait_seconds = wait_seconds


def _http_library() -> Any:
    """The HTTP library that this release of huggingface_hub stands on: httpx up to 1.x, httpx2 since 2.0."""
    return import_module(type(_library().get_session()).__module__.partition(".")[0])


def _library() -> Any:
    """The utilities of huggingface_hub, which declares their types for some of its releases only."""
    return import_module("huggingface_hub.utils")


def _headers() -> dict[str, str]:
    """Who asks, and the token from the usual places.

    Not `build_hf_headers`: it first asks the Hub for a list of coding agents, to tell it which one is running.
    """
    from huggingface_hub import constants, get_token

    headers = {"User-Agent": "gpuplan", "Accept-Encoding": "identity"}
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    if token and token.isascii() and token.isprintable():
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _raise_for_status(response: Any, repo_id: str, revision: str, endpoint: str) -> None:
    """Raise what the status means, by huggingface_hub's own reading of the Hub's error headers."""
    from huggingface_hub import errors

    if response.status_code in _BUSY:
        raise _busy(response)
    kept = {name: response.headers[name] for name in _SAFE_HEADERS if name in response.headers}
    bare = type(response)(response.status_code, headers=kept, content=b"", request=response.request)
    page = f"{endpoint}/{repo_id}"
    try:
        _library().hf_raise_for_status(bare)
    except errors.GatedRepoError as error:
        raise HubRefuses(
            f"{repo_id} is gated: ask for access at {page}, then log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except errors.DisabledRepoError as error:
        raise HubRefuses(f"{repo_id} has been disabled by the Hub, see {page}.") from error
    except errors.RevisionNotFoundError as error:
        raise UnknownModel(f"{repo_id} has no revision {revision[:80]!r}; see {page}/tree/main.") from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownModel(f"{repo_id} is not on {endpoint}, or is private and your token does not open it.") from error
    except errors.RemoteEntryNotFoundError as error:
        raise BadHubAnswer(f"{endpoint} lists a file of {repo_id} that it does not have.") from error
    except errors.HfHubHTTPError as error:
        raise _refusal(response, repo_id, endpoint) from error
    if response.status_code not in (200, 206):
        raise BadHubAnswer(f"{endpoint} answered about {repo_id} with status {response.status_code}.")


def _refusal(response: Any, repo_id: str, endpoint: str) -> HubError | UnknownModel:
    status = response.status_code
    if status == 401 and "Invalid credentials" in response.headers.get("x-error-message", ""):
        return HubRefuses("The Hub does not accept your token; log in again (`hf auth login`) or mend HF_TOKEN.")
    if status in (401, 403):
        return HubRefuses(f"{endpoint} refuses {repo_id} to you (status {status}); check your token's permissions.")
    if status == 404:
        return UnknownModel(f"{repo_id} is not on {endpoint}.")
    return BadHubAnswer(f"{endpoint} answered about {repo_id} with status {status}.")


def _busy(response: Any) -> _Busy:
    """How long the Hub asks to wait: its RateLimit header, else Retry-After."""
    if response.status_code == 408 or response.status_code >= 500:
        return _Busy(f"is not in order (status {response.status_code})", _retry_after(response.headers))
    limit = re.search(r";\s*r=0\s*;\s*t=(\d{1,9})", response.headers.get("ratelimit", ""))
    wait = float(limit[1]) if limit else _retry_after(response.headers)
    when = "" if wait is None else f" and asks to wait {wait:.0f} s"
    return _Busy(f"limits how often it is asked{when}; a token (HF_TOKEN) raises the limit", wait)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    return float(text) if re.fullmatch(r"\d{1,9}", text) else None


def _found(row: object) -> Found | None:
    """One row of a search; a row without a sound name is left out."""
    if not isinstance(row, Mapping) or not isinstance(row.get("id"), str) or not is_repository_name(row["id"]):
        return None
    counted, task = row.get("safetensors"), row.get("pipeline_tag")
    return Found(
        repo_id=row["id"],
        parameters=_whole(counted.get("total")) if isinstance(counted, Mapping) else None,
        downloads=_whole(row.get("downloads")),
        task=task[:60] if isinstance(task, str) and task.isprintable() else "",
        gated=bool(row.get("gated")),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def downloaded(repo_id: str, revision: str, names: tuple[str, ...]) -> tuple[str, dict[str, Path]]:
    """Files of a repository that huggingface_hub has downloaded before, say for an engine, and their commit.

    Returns:
        The commit and paths by name; ("", {}) when there are none.
    """
    from huggingface_hub import try_to_load_from_cache

    found: dict[str, Path] = {}
    commits = set()
    for name in names:
        path = try_to_load_from_cache(repo_id, name, revision=revision)
        if isinstance(path, str):
            found[name] = Path(path)
            commits.add(Path(path).parent.name)
    return (commits.pop(), found) if len(commits) == 1 else ("", {})
