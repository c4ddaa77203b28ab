"""`plan prices refresh`: today's prices of public catalogs, as an offers file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import Asked, asked_in, flag, option
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpu_db.price_sources.gpuhunt_catalog import Snapshot

SUMMARY = "Today's prices of public catalogs, written to an offers file that --offers reads."
EXAMPLES = (
    "plan prices refresh --out prices.csv",
    "plan prices refresh --out september.csv --version 20260901 --force",
)
PLACE = "What is asked for, and where it goes"
COLUMNS = (
    "provider",
    "instance_type",
    "gpu",
    "gpu_count",
    "price_usd_per_hour",
    "region",
    "billing",
    "as_of",
    "source",
)

Out = Annotated[str | None, option("--out", "The offers file to write", words.name, "FILE", PLACE)]
Day = Annotated[
    str | None, option("--version", "The catalogs of this version (default the newest)", words.name, "NAME", PLACE)
]
Url = Annotated[
    str | None, option("--url", "Where catalogs are published (default gpuhunt's own)", words.name, "ADDRESS", PLACE)
]
Force = Annotated[bool, flag("--force", "Replace a file that is there", PLACE)]


def command(context: typer.Context, out: Out = None, version: Day = None, url: Url = None, force: Force = False) -> int:
    """Today's prices of public catalogs, written to an offers file that --offers reads.

    Asks gpuhunt's dated catalogs (`pip install 'gpuplan[prices]'`; no key is needed). Prices, places and machines are
    theirs; what the GPUs are is ours. The bundled prices stay as they are: a plan uses the file only when --offers
    names it, and then names each price's catalog and day. `plan prices diff FILE` shows what moved.

    Exit status: 0 written, 2 the catalogs cannot be had or the file not be written.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Write the snapshot."""
    from gpu_db.price_sources.gpuhunt_catalog import download, snapshot

    if asked.out is None:
        raise BadWord("Say where prices go: --out prices.csv; `plan ... --offers prices.csv` then plans with them.")
    place = Path(asked.out)
    if not asked.force and os.path.lexists(place):
        raise BadWord(f"{asked.out!r} is there; --force replaces it, or name another.")
    if asked.url is None and os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        raise BadWord("HF_HUB_OFFLINE=1 forbids to ask the network; unset it, or give --url of a mirror.")
    found = snapshot(download(asked.version, asked.url))
    _write(place, found)
    _report(place, found)
    return 0


def _write(place: Path, found: Snapshot) -> None:
    import csv

    beside = place.with_name(f"{place.name}.{os.getpid()}.new")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(found.rows)
        beside.replace(place)
    except (OSError, ValueError) as error:
        raise BadWord(
            f"{str(place)!r} cannot be written: {getattr(error, 'strerror', None) or 'not a path'}."
        ) from error


def _report(place: Path, found: Snapshot) -> None:
    lines: list[console.Line] = [(f"{place}: {len(found.rows):,} prices",)]
    lines += console.aligned([[provider, version] for provider, version in found.versions.items()])
    lines += [(f"  left out {count:,}: {reason}",) for reason, count in found.left_out.items()]
    console.show(lines)
