"""Finding machines: a word that a person types -> the GPU they mean, and the offers that they allow."""

from __future__ import annotations

import re
from functools import cache

from gpu_db.errors import AmbiguousGpu, UnknownGpu
from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from gpu_db.tables import read_table


def find_gpu(name: str) -> Gpu:
    """Return the one GPU that a name or alias means, without regard to case, spaces and dashes.

    Every alias of data/aliases.csv is understood (nvidia-smi, Kubernetes label, gpuhunt, SkyPilot, aiconfigurator,
    llm-d-planner, GKE). Where several GPUs share a word, its row with the naming system "short" decides: "H100" is the
    SXM module, "A100" the 80 GB SXM module.

    Raises:
        UnknownGpu: nothing has this name; the message names the nearest.
        AmbiguousGpu: several GPUs share it and none is what people usually mean.

    >>> find_gpu("nvidia h100 80gb hbm3").name, find_gpu("h100").name, find_gpu("A100-SXM4-40GB").name
    ('H100 SXM 80GB', 'H100 SXM 80GB', 'A100 SXM 40GB')
    """
    meant = _meant(name)
    if len(meant) > 1:
        raise AmbiguousGpu(name, meant)
    return load_gpus()[meant[0]]


def find_gpus(name: str) -> tuple[Gpu, ...]:
    """Return every GPU that a name covers: one for a full name, the whole family for a family's name.

    Raises:
        UnknownGpu: nothing has this name.

    >>> [gpu.name for gpu in find_gpus("H100")]
    ['H100 PCIe 80GB', 'H100 SXM 80GB', 'H100 NVL 94GB']
    >>> [gpu.name for gpu in find_gpus("RTX 4080")]
    ['RTX 4080 16GB']
    """
    gpus = load_gpus()
    key = gpu_key(name)
    alone = [gpu for gpu in gpus if key in {gpu_key(gpu), gpu_key(_short(gpu))}]
    if len(alone) == 1:
        return (gpus[alone[0]],)
    family = [gpu for gpu in gpus if key in _leading_words(gpu)]
    named = dict.fromkeys([*family, *_meant_or_shared(key)])
    if not named:
        raise _unknown_gpu(name)
    return tuple(gpu for word, gpu in gpus.items() if word in named)


def gpu_key(name: str) -> str:
    """Return a name as it is compared: letters and digits only, lower case, without its vendor.

    >>> gpu_key("NVIDIA H100 SXM-80GB") == gpu_key("h100_sxm 80gb")
    True
    """
    key = re.sub(r"[^a-z0-9]", "", name.casefold())
    for vendor in ("nvidia", "amdinstinct", "amd", "intel"):
        key = key.removeprefix(vendor)
    return key


def _meant(name: str) -> tuple[str, ...]:
    key = gpu_key(name)
    for gpu in load_gpus():
        if gpu_key(gpu) == key:
            return (gpu,)
    shared = _alias_table().get(key, {})
    decided = tuple(gpu for gpu, systems in shared.items() if "short" in systems)
    meant = decided or tuple(shared)
    if not meant:
        raise _unknown_gpu(name)
    return meant


def _meant_or_shared(key: str) -> tuple[str, ...]:
    return tuple(_alias_table().get(key, {}))


@cache
def _alias_table() -> dict[str, dict[str, set[str]]]:
    table: dict[str, dict[str, set[str]]] = {}
    for row in read_table("aliases.csv", ("alias", "gpu", "naming_system")):
        table.setdefault(gpu_key(row["alias"]), {}).setdefault(row["gpu"], set()).add(row["naming_system"])
    return table


def _short(name: str) -> str:
    return re.sub(r"\s*\([^()]*\)|\s\d+GB\b", "", name)


def _leading_words(name: str) -> set[str]:
    words = _short(name).split()
    return {gpu_key("".join(words[:end])) for end in range(1, len(words) + 1)}


def _unknown_gpu(name: str) -> UnknownGpu:
    gpus = load_gpus()
    known = [*gpus, *(alias for gpu in gpus.values() for alias in gpu.aliases)]
    return UnknownGpu("GPU", name, known, f"`plan gpus` lists all {len(gpus)}.")
