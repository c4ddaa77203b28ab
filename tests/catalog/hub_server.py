"""A small Hub on this machine: the paths, headers and error codes that huggingface_hub reads, and every kind of mishap.

Answers follow what the client library reads of the real Hub: model descriptions with siblings, files by resolve with
X-Repo-Commit and ETag, large files by a redirect to another host name, ranges, X-Error-Code, RateLimit headers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

Answer = Callable[["Handler"], None]


def commit_of(text: str) -> str:
    """A commit's name, the same for the same text."""
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass
class Repo:
    """One repository; `commits` holds the files of each commit, `branches` name the commits."""

    repo_id: str
    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]
    about: dict[str, object] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    disabled: bool = False
    large: frozenset[str] = frozenset()
    token: str = ""

    def commit(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


class FakeHub:
    """The server, what it holds, what it was asked, and what it does wrong.

    Attributes:
        mishaps: what is answered instead to a path that contains the key, so many times (None = always).
        asked: every request line, in order, with its headers.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, str] = {}
        self.mishaps: dict[str, tuple[Answer, int | None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tokens = {"hf_good"}
        self.lock = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.cdn = f"http://localhost:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, repo_id: str, files: dict[str, object], **more) -> Repo:
        """A repository with one commit on main; values that are not bytes become JSON."""
        packed = {name: body if isinstance(body, bytes) else json.dumps(body).encode() for name, body in files.items()}
        commit = commit_of(repo_id + repr(sorted(packed.items())))
        known = self.repos.get(repo_id.lower())
        if known is not None:
            known.commits[commit] = packed
            known.branches["main"] = commit
            return known
        repo = Repo(repo_id, {commit: packed}, {"main": commit}, **more)
        self.repos[repo_id.lower()] = repo
        return repo

    def fails(self, path: str, answer: Answer, times: int | None = None) -> None:
        """Answer requests whose path contains `path` by a mishap."""
        self.mishaps[path] = (answer, times)

    def mishap_for(self, path: str) -> Answer | None:
        with self.lock:
            for part, (answer, times) in list(self.mishaps.items()):
                if part in path and times != 0:
                    if times is not None:
                        self.mishaps[part] = (answer, times - 1)
                    return answer
        return None

    @property
    def paths(self) -> list[str]:
        return [line.split(" ")[1] for line, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """A client that goes away in the middle is no news."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """An answer; header names have underscores for hyphens."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: object, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _answer(self) -> None:
        with self.hub.lock:
            self.hub.asked.append((self.requestline, {k.lower(): v for k, v in self.headers.items()}))
        mishap = self.hub.mishap_for(self.path)
        if mishap is not None:
            mishap(self)
            return
        parts = urlsplit(self.path)
        segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
        if segments[:2] == ["api", "models"]:
            self._api(segments[2:], parse_qs(parts.query))
        elif segments[0] == "cdn":
            self._file(self.hub.repos["/".join(segments[1:3]).lower()].commits[segments[3]]["/".join(segments[4:])])
        elif len(segments) > 4 and segments[2] == "resolve":
            self._resolve("/".join(segments[:2]), segments[3], "/".join(segments[4:]))
        else:
            self.send(404)

    def _api(self, segments: list[str], query: dict[str, list[str]]) -> None:
        if not segments:
            self._search(query)
            return
        name, revision = "/".join(segments[:2]), segments[3] if len(segments) > 3 else "main"
        if name.lower() in self.hub.moved:
            rest = "".join(f"/{segment}" for segment in segments[2:])
            self.send(307, Location=f"/api/models/{self.hub.moved[name.lower()]}{rest}?blobs=true")
            return
        found = self._open(name, revision)
        if found is not None:
            self._describe(*found)

    def _describe(self, repo: Repo, commit: str) -> None:
        siblings = [{"rfilename": name, "size": len(body)} for name, body in repo.commits[commit].items()]
        gated = "manual" if repo.gated else False
        about = {"id": repo.repo_id, "modelId": repo.repo_id, "sha": commit, "siblings": siblings, "gated": gated}
        self.json(about | {"private": repo.private, "tags": [], "downloads": 5} | repo.about)

    def _open(self, name: str, revision: str) -> tuple[Repo, str] | None:
        """The repository and commit, or an error that has been sent."""
        repo, token = self.hub.repos.get(name.lower()), self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            self.send(401, X_Error_Message="Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not token):
            self.send(404 if token else 401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        elif repo.disabled:
            self.send(403, X_Error_Message="Access to this resource is disabled.")
        elif (commit := repo.commit(revision)) is None:
            self.send(404, X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
        else:
            return repo, commit
        return None

    def _resolve(self, name: str, revision: str, file: str) -> None:
        found = self._open(name, revision)
        if found is None:
            return
        repo, commit = found
        if repo.gated and not self.headers.get("Authorization"):
            self.send(401, X_Error_Code="GatedRepo", X_Error_Message="Access to this model is restricted.")
        elif file not in repo.commits[commit]:
            self.send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif file in repo.large:
            body = repo.commits[commit][file]
            linked = {"X_Linked_Size": str(len(body)), "X_Linked_ETag": f'"{commit_of(file)}"'}
            place = f"{self.hub.cdn}/cdn/{repo.repo_id}/{commit}/{file}"
            self.send(302, Location=place, X_Repo_Commit=commit, ETag=f'"{commit_of(file)}"', **linked)
        else:
            self._file(repo.commits[commit][file], X_Repo_Commit=commit, ETag=f'"{commit_of(file + commit)}"')

    def _file(self, body: bytes, **headers: str) -> None:
        span = self.headers.get("Range", "")
        if not span.startswith("bytes="):
            self.send(200, body, **headers)
            return
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) if last else len(body) - 1, len(body) - 1)
        part = body[start : end + 1]
        self.send(206, part, Content_Range=f"bytes {start}-{end}/{len(body)}", **headers)

    def _search(self, query: dict[str, list[str]]) -> None:
        words = query.get("search", [""])[0].lower().split()
        rows = [
            {"id": repo.repo_id, "downloads": 5, "pipeline_tag": "text-generation", "gated": repo.gated} | repo.about
            for repo in self.hub.repos.values()
            if all(word in repo.repo_id.lower() for word in words)
        ]
        self.json(rows[: int(query.get("limit", ["20"])[0])])
