"""Snapshots of Hub repositories on disk, so that a model needs the network once.

One file per Hub, repository and revision, in `GPUPLAN_CACHE`, else `~/.cache/gpuplan` (`XDG_CACHE_HOME`). Names are
hashes, so no repository's name reaches the file system; files are written whole, readable for their owner only, and
begin with a digest, so that a damaged one is as none.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from catalog.snapshot import COMMIT, Snapshot, from_json, to_json

FRESH_SECONDS = 24 * 3600
"""A branch may move; after a day the Hub is asked again. A commit never changes."""
LARGEST_ENTRY_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot from the cache and how old it is."""

    snapshot: Snapshot
    age_seconds: float

    @property
    def is_fresh(self) -> bool:
        """Whether the Hub need not be asked."""
        return self.snapshot.revision == self.snapshot.commit or 0 <= self.age_seconds < FRESH_SECONDS


def cache_folder() -> Path:
    """Where snapshots are kept; it may not exist yet."""
    own = os.environ.get("GPUPLAN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(base) / "gpuplan").expanduser() / "hub"


def _file(endpoint: str, repo_id: str, revision: str, gguf_format: str) -> Path:
    key = "\n".join((endpoint, repo_id.lower(), revision, gguf_format.upper()))
    return cache_folder() / f"{_digest(key)}.json"


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def load(endpoint: str, repo_id: str, revision: str, gguf_format: str, now: datetime) -> Kept | None:
    """The kept snapshot, however old; None when there is none that can be read."""
    file = _file(endpoint, repo_id, revision, gguf_format)
    try:
        if file.stat().st_size > LARGEST_ENTRY_BYTES:
            return None
        digest, _, text = file.read_text(encoding="utf-8").partition("\n")
        if digest != _digest(text):
            return None
        snapshot = from_json(text)
        age = (now - datetime.fromisoformat(snapshot.read_at)).total_seconds()
    except (OSError, ValueError, TypeError):  # TypeError: a time without its zone
        return None
    same = (snapshot.endpoint, snapshot.asked_as.lower(), snapshot.revision) == (endpoint, repo_id.lower(), revision)
    return Kept(snapshot, age) if same and COMMIT.fullmatch(snapshot.commit) else None


def keep(snapshot: Snapshot, gguf_format: str) -> str:
    """Write a snapshot; returns why that was not possible, or ""."""
    file = _file(snapshot.endpoint, snapshot.asked_as, snapshot.revision, gguf_format)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=file.parent) as beside:  # swept even when the disk is full
            _write(Path(beside) / "new", to_json(snapshot)).replace(file)
    except OSError as error:
        return f"What was read could not be kept in {file.parent} ({error.strerror})."
    return ""


def _write(file: Path, text: str) -> Path:
    """Write an entry that only its owner can read."""
    file.touch(mode=0o600)
    file.write_text(f"{_digest(text)}\n{text}", encoding="utf-8")
    return file


def utc_now() -> datetime:
    """This second."""
    return datetime.now(UTC).replace(microsecond=0)
