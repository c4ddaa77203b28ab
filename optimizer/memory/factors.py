"""The measured factors of the memory model, read once from `data/factors.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class MemoryFactors:
    """Factors with their units; where each comes from is in the data file.

    Attributes:
        forward_values_per_intermediate, forward_values_per_hidden: 16-bit values per token during a forward pass.
        product_workspace_bytes: of the library of matrix products, by major compute capability, and "default".
        context_bytes: of the driver's context, by vendor.
        unseen_bytes: by GPU name prefix, longest first: driver-visible minus what engines see as total.
        unseen_bytes_default: by vendor.
        unified: GPU name prefixes of machines whose GPU shares the host's memory.
    """

    forward_values_per_intermediate: float
    forward_values_per_hidden: float
    product_workspace_bytes: dict[str, float]
    context_bytes: dict[str, float]
    unseen_bytes: tuple[tuple[str, float], ...]
    unseen_bytes_default: dict[str, float]
    unified: tuple[str, ...]


@cache
def memory_factors() -> MemoryFactors:
    """The bundled factors."""
    raw = json.loads(files(__package__).joinpath("data/factors.json").read_text(encoding="utf-8"))
    unseen = raw["unseen_memory_gib"]
    longest_first = sorted(unseen["by_gpu_prefix"].items(), key=lambda pair: -len(pair[0]))
    return MemoryFactors(
        forward_values_per_intermediate=raw["forward_values_per_intermediate"]["value"],
        forward_values_per_hidden=raw["forward_values_per_hidden"]["value"],
        product_workspace_bytes={
            major: mib * MIB for major, mib in raw["product_workspace_mib"].items() if major != "source"
        },
        context_bytes={vendor: raw["context_gib"][vendor] * GIB for vendor in ("NVIDIA", "AMD")},
        unseen_bytes=tuple((prefix, gib * GIB) for prefix, gib in longest_first),
        unseen_bytes_default={vendor: gib * GIB for vendor, gib in unseen["default"].items()},
        unified=tuple(raw["unified_memory"]["gpu_prefixes"]),
    )
