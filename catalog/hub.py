"""A model on the Hub becomes a ModelSpec: asked there, or remembered.

Order: a fresh memory; the Hub; an old memory when the Hub is away, with its age; what huggingface_hub has downloaded.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from catalog import hub_cache
from catalog.errors import CatalogError, HubAway, UnknownModel
from catalog.huggingface import (
    LARGEST_TEXT_BYTES,
    Found,
    Hub,
    Patience,
    downloaded,
    hub_endpoint,
    is_offline,
    is_repository_name,
    patience,
)
from catalog.model import ModelSpec
from catalog.snapshot import COMMIT, JSON_FILES, Snapshot, take_snapshot

T = TypeVar("T")
_away: dict[str, tuple[float, str]] = {}
"""Hubs that did not answer: until when they are not asked, and why."""

MAIN = "main"
AWAY_SECONDS = 60
MOST_HOPS = 3
"""Adapter, its base, the base's own original: nothing real has more."""
SUGGESTIONS = 3
SUGGESTING_WORDS = 4
MOST_SEARCHED = 100
NEAR = 0.8
"""How like a bundled name must be before the Hub is not searched for a better one."""

_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/?#]+/[^/?#]+)(?:/tree/([^/?#]+))?/?")
_FORMAT = re.compile(r"(.+):([A-Za-z0-9_-]{2,20})")


@dataclass(frozen=True, slots=True)
class Asked:
    """A repository, a revision of it, and which of its GGUF files ("" = the usual)."""

    repo_id: str
    revision: str
    gguf_format: str = ""


def asked_in(name: str, revision: str | None = None) -> Asked | None:
    """What a name means on the Hub; None when nothing there can be called so.

    >>> asked_in("https://huggingface.co/Qwen/Qwen3-8B/tree/v1")
    Asked(repo_id='Qwen/Qwen3-8B', revision='v1', gguf_format='')
    >>> asked_in("unsloth/Qwen3-8B-GGUF:Q4_K_M").gguf_format
    'Q4_K_M'
    """
    text = name.strip()
    if len(text) > 300:
        return None
    address = _ADDRESS.fullmatch(text)
    if address is not None:
        text, revision = address[1], revision or address[2]
    tagged = _FORMAT.fullmatch(text)
    text, gguf_format = (tagged[1], tagged[2]) if tagged else (text, "")
    return Asked(text, revision or MAIN, gguf_format) if is_repository_name(text) else None


def find_on_hub(asked: Asked, *, offline: bool = False, hops: int = MOST_HOPS) -> ModelSpec:
    """The model of a repository on the Hub.

    Args:
        asked: which one.
        offline: whether only what was read before may be used.
        hops: how many other repositories may be looked up on the way.

    Raises:
        UnknownModel: there is none of that name or revision; `nearest` holds names that there are.
        HubRefuses, HubAway, BadHubAnswer: see `catalog.errors`.
        CatalogError: what it holds cannot be read as a model.
    """
    from catalog.hub_model import model_of

    snapshot, notes = current_snapshot(asked, offline=offline or is_offline())

    def find(name: str, revision: str) -> ModelSpec:
        from catalog.find import find_model, is_bundled

        if hops == 0:
            raise UnknownModel(f"{name[:100]!r} is too many repositories away from {asked.repo_id}.")
        if is_bundled(name) and not revision:
            return find_model(name)
        other = asked_in(name, revision or None)
        if other is None:
            raise UnknownModel(f"{name[:100]!r} is no repository on the Hub.")
        return find_on_hub(other, offline=offline, hops=hops - 1)

    spec = model_of(snapshot, find)
    return replace(spec, notes=(*spec.notes, *notes))


def current_snapshot(asked: Asked, *, offline: bool) -> tuple[Snapshot, tuple[str, ...]]:
    """What is known of a repository, and sentences about its age."""
    now, endpoint = hub_cache.utc_now(), hub_endpoint()
    kept = hub_cache.load(endpoint, asked.repo_id, asked.revision, asked.gguf_format, now)
    if kept is not None and (offline or kept.is_fresh):
        return kept.snapshot, () if kept.is_fresh else (_age(kept, "the Hub was not asked"),)
    if offline:
        return _from_downloads(asked, endpoint), ()
    try:
        snapshot = _ask(endpoint, asked, now.isoformat())
    except HubAway as away:
        if kept is not None:
            return kept.snapshot, (_age(kept, str(away).rstrip(".")),)
        try:
            return _from_downloads(asked, endpoint), (f"Read from huggingface_hub's cache: {away}",)
        except HubAway:
            raise HubAway(f"{away} {asked.repo_id} is not bundled and was not read before.{_like(asked)}") from away
    except UnknownModel as unknown:
        raise _with_suggestions(unknown, asked, endpoint) from unknown
    failed = hub_cache.keep(snapshot, asked.gguf_format)
    return snapshot, (failed,) if failed else ()


def _ask(endpoint: str, asked: Asked, read_at: str) -> Snapshot:
    """What the Hub says now; one that was away a moment ago is not asked again for every model of a long list."""
    left, why = _away.get(endpoint, (0.0, ""))
    if time.monotonic() < left:
        raise HubAway(why)
    limit = patience()
    try:
        return _within(limit, lambda: _take(Hub(endpoint, limit), asked, read_at))
    except HubAway as away:
        _away[endpoint] = (time.monotonic() + AWAY_SECONDS, str(away))
        raise


def _take(hub: Hub, asked: Asked, read_at: str) -> Snapshot:
    return take_snapshot(hub, asked.repo_id, asked.revision, read_at, asked.gguf_format)


def _age(kept: hub_cache.Kept, why: str) -> str:
    """How old what is planned with is."""
    snapshot = kept.snapshot
    age = timedelta(seconds=int(max(kept.age_seconds, 0)))
    days = f"{age.days} day{'s' if age.days > 1 else ''}" if age.days else f"{age.seconds // 3600} hours"
    return f"{snapshot.repo_id} is planned as it was read on {snapshot.read_at[:10]}, {days} ago: {why}."


def _from_downloads(asked: Asked, endpoint: str) -> Snapshot:
    """What an engine has downloaded of the repository before.

    Raises:
        HubAway: nothing.
    """
    commit, paths = downloaded(asked.repo_id, asked.revision, JSON_FILES)
    if not COMMIT.fullmatch(commit) or asked.gguf_format:
        raise HubAway(
            f"{asked.repo_id} is not bundled and was not read before; once without --offline and HF_HUB_OFFLINE reads "
            f"it, or give a folder with its config.json.{_like(asked)}"
        )
    files: dict[str, object] = {}
    for name, path in paths.items():
        try:
            if path.stat().st_size <= LARGEST_TEXT_BYTES:
                files[name] = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise HubAway(f"{name} of {asked.repo_id} in huggingface_hub's cache cannot be read.") from error
    read_at = hub_cache.utc_now().isoformat()
    return Snapshot(asked.repo_id, asked.repo_id, asked.revision, commit, endpoint, read_at, files)


def _like(asked: Asked) -> str:
    """Bundled models whose names are like this one's, as a question; "" when there are none."""
    from catalog.find import nearest_names

    near = nearest_names(asked.repo_id, NEAR)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _with_suggestions(unknown: UnknownModel, asked: Asked, endpoint: str) -> UnknownModel:
    """The same error with names that there are: bundled ones, else what a search on the Hub finds."""
    from catalog.find import nearest_names

    if "revision" in str(unknown) or "format" in str(unknown):
        return unknown
    near = nearest_names(asked.repo_id, NEAR) or tuple(_similar(asked.repo_id, endpoint))
    hint = f" Did you mean {' or '.join(near)}?" if near else " `plan models search WORDS` looks for one."
    return UnknownModel(f"{unknown}{hint}", near)


def _similar(repo_id: str, endpoint: str) -> list[str]:
    """Repositories whose name is like this one's."""
    import difflib

    limit = Patience(min(5, patience().seconds))
    words = re.findall(r"[A-Za-z]+|\d+(?:\.\d+)?", repo_id.partition("/")[2])
    for query in (" ".join(words[:SUGGESTING_WORDS]), *words[:1]):  # the first word alone, in case another is misspelt
        try:
            found = _within(limit, partial(Hub(endpoint, limit).search, query, MOST_SEARCHED))
        except CatalogError:  # a suggestion is a courtesy; the error that it belongs to is raised anyway
            return []
        others = [each.repo_id for each in found if each.repo_id != repo_id]  # a search may find what cannot be opened
        near = difflib.get_close_matches(repo_id, others, n=SUGGESTIONS, cutoff=0.6)
        if near:
            return near
    return []


def search_hub(words: str, most: int) -> list[Found]:
    """Models on the Hub that match these words, the most downloaded first.

    Raises:
        HubError: the Hub does not answer or must not be asked.
    """
    if is_offline():
        raise HubAway("HF_HUB_OFFLINE forbids to ask the Hub.")
    limit = patience()
    return _within(limit, lambda: Hub(None, limit).search(words, most))


def _within(limit: Patience, work: Callable[[], T]) -> T:
    """What `work` returns or raises, or HubAway when it takes too long.

    A thread, because no timeout of an HTTP client bounds a name server that does not answer, or headers that drip.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # raised again below, in the caller's thread
            failure.append(error)

    worker = threading.Thread(target=run, daemon=True, name="gpuplan-hub")
    worker.start()
    worker.join(limit.left_seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise HubAway(f"The Hub did not answer within {limit.seconds:.3g} s (GPUPLAN_HUB_SECONDS).")
    return outcome[0]
