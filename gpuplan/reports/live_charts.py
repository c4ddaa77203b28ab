"""The library that draws live charts in a page, bundled once per version: that takes three seconds of a processor."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

LARGEST_BYTES = 8 << 20
"""The bundle takes 0.9 MiB."""


def kept_bundle(library: Any) -> str:
    """Vega, Vega-Lite and vega-embed in one text, from the cache of before or made now.

    Args:
        library: `vl_convert`.
    """
    return _bundle(library, cache_folder() / f"vega-{library.__version__}.js")


@cache
def _bundle(library: Any, file: Path) -> str:
    known = _read(file)
    if known is not None:
        return known
    text = str(library.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    _keep(file, text.encode())
    return text


def cache_folder() -> Path:
    """Where the bundle is kept; it may not exist yet."""
    own = os.environ.get("GPUPLAN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(base) / "gpuplan").expanduser() / "report"


def _read(file: Path) -> str | None:
    """What was kept, whole; None when it is not there, or was changed or torn."""
    try:
        if file.stat().st_size > LARGEST_BYTES:
            return None
        digest, _, text = file.read_bytes().partition(b"\n")
        return text.decode() if digest == _digest(text) else None
    except (OSError, ValueError):
        return None


def _keep(file: Path, text: bytes) -> None:
    """Keep it for the next report; a disk that takes nothing costs the next one three seconds."""
    beside = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.write_bytes(_digest(text) + b"\n" + text)
        beside.replace(file)
    except OSError:
        with suppress(OSError):
            beside.unlink()


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).hexdigest().encode()
