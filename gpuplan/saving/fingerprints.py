"""Which facts a plan was made from: one short hash per kind of bundled data, and of the asker's own files."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path

from gpuplan.planning import ROOT, data_files
from gpuplan.saving.errors import BadPlanFile
from optimizer.requirements import Frozen

KINDS = {
    "gpu_db": ("gpu_db/data/",),
    "catalog": ("catalog/data/",),
    "engines": ("optimizer/engines/data/", "optimizer/memory/data/"),
    "factors": ("optimizer/performance/data/",),
}
"""What is told apart -> where its files lie."""


class Fingerprints(Frozen):
    """Two plans with equal fingerprints were made from the same bundled facts.

    Attributes:
        gpu_db: GPUs, machines, prices, electricity.
        catalog: shapes of models.
        engines: what engines support, what they take of memory.
        factors: what speed was fitted to.
    """

    gpu_db: str
    catalog: str
    engines: str
    factors: str


@cache
def fingerprints() -> Fingerprints:
    """Of the data that is bundled now.

    >>> len(fingerprints().gpu_db)
    16
    """
    return Fingerprints(**{kind: _digest(bundled_files(kind)) for kind in KINDS})


def bundled_files(kind: str) -> list[Path]:
    """The files of one kind of data, in one fixed order."""
    return [file for file in data_files() if file.relative_to(ROOT).as_posix().startswith(KINDS[kind])]


def _digest(files: list[Path]) -> str:
    digest = blake2b(digest_size=8)
    for file in files:
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def digest_of(path: str | None) -> str | None:
    """A short hash of an own file, or of all files of an own folder; None for None.

    Raises:
        BadPlanFile: it cannot be read.
    """
    if path is None:
        return None
    place, digest = Path(path), blake2b(digest_size=8)
    try:
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            if file.is_file():
                digest.update(f"{file.name if place.is_dir() else ''}\0".encode() + file.read_bytes())
    except OSError as error:
        raise BadPlanFile(f"{path} cannot be read ({error.strerror}), so the plan cannot name it.") from error
    return digest.hexdigest()
