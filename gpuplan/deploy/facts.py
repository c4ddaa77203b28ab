"""What files name that no plan knows: images pinned to versions, memory of hosts, processors; each with its source."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from gpuplan.deploy.command import DATA
from gpuplan.deploy.errors import CannotDeploy


@cache
def facts() -> dict[str, Any]:
    """Everything in data/images.json."""
    loaded: dict[str, Any] = json.loads((DATA / "images.json").read_text(encoding="utf-8"))
    return loaded


def engine_image(engine: str, version: str, vendor: str) -> str:
    """The image of an engine at a version for a vendor's GPUs.

    Raises:
        CannotDeploy: none is known.

    >>> engine_image("vllm", "0.33.0", "NVIDIA")
    'vllm/vllm-openai:v0.33.0'
    """
    known = facts()["engines"][engine]
    if vendor not in known:
        raise CannotDeploy(f"No container image of {engine} for {vendor} GPUs is known here; use the format shell.")
    return str(known[vendor]).format(version=version)


def unseen(image: str) -> str:
    """A sentence when an image's tag only follows its publisher's pattern, and nobody was seen to use it; else "".

    >>> unseen("nginx:1.29.3")
    ''
    >>> unseen("vllm/vllm-openai:v0.33.0")
    'vllm/vllm-openai:v0.33.0 follows the pattern of v0.32.0, the newest tag seen (2026-11-22): see that it exists.'
    """
    seen = facts()["newest_seen"]
    repository, _, tag = image.rpartition(":")
    if seen[repository] == tag:
        return ""
    newest = f"{seen[repository]}, the newest tag seen ({seen['as_of']})"
    return f"{image} follows the pattern of {newest}: see that it exists."


def engine_package(engine: str, version: str) -> str:
    """What pip installs for an engine at a version.

    >>> engine_package("sglang", "0.5.23")
    'sglang==0.5.23'
    """
    return str(facts()["engines"][engine]["package"]).format(version=version)


def shared_memory_gib(gpus: int) -> int:
    """Size of /dev/shm that GPU workers of one machine need to talk to each other."""
    sizes = facts()["shared_memory_gib"]
    return int(sizes["one_gpu"] if gpus == 1 else sizes["several_gpus"])


def process_memory_gib(gpus: int) -> int:
    """Memory of the host that a server on so many GPUs of one machine takes beside what its workers share."""
    return int(facts()["process_memory_gib"]["per_gpu"]) * gpus


def processors(gpus: int) -> int:
    """CPU cores that a server on so many GPUs of one machine keeps busy."""
    cores = facts()["processors"]
    return int(cores["beside_gpus"] + cores["per_gpu"] * gpus)
