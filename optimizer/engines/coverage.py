"""Which GPUs and models an entry of an engine's facts covers: by vendor, architecture, compute capability."""

from __future__ import annotations

from functools import cache

from catalog.model import LatentAttention, ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.facts import Facts


def capability(gpu: Gpu) -> tuple[int, ...]:
    """Compute capability as numbers; AMD's and unknown ones are (0,)."""
    return numbers(gpu.compute_capability)


def capability_major(gpu: Gpu) -> str:
    """The part before the point: "9" for Hopper; "" for others than NVIDIA."""
    return gpu.compute_capability.split(".")[0] if gpu.vendor == "NVIDIA" else ""


def pads_on(entry: Facts, gpu: Gpu) -> bool:
    """Whether an entry of `expert_padding` is about a GPU."""
    mine, without = capability_major(gpu), entry.get("capability_without", ())
    return mine in entry.get("capability_major", [mine]) and gpu.compute_capability not in without


@cache
def numbers(text: str) -> tuple[int, ...]:
    """A compute capability in numbers that compare; (0,) for a name.

    >>> numbers("12.0") > numbers("9.0"), numbers("gfx942")
    (True, (0,))
    """
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


def refusal(entry: Facts, gpu: Gpu) -> str:
    """Why a fact's entry does not cover a GPU; "" when it does."""
    if entry.get("vendor", gpu.vendor) != gpu.vendor:
        return f"on {entry['vendor']} GPUs only"
    has = f"{gpu.name} has {gpu.compute_capability}"
    if "architectures" in entry:
        known = entry["architectures"]
        return "" if gpu.compute_capability in known else f"on {', '.join(known)}; {has}"
    if capability(gpu) < numbers(entry["from"]):
        return f"from compute capability {entry['from']} on; {has}"
    if "below" in entry and capability(gpu) >= numbers(entry["below"]):
        return f"only below compute capability {entry['below']}: {entry['below_why']}; {has}"
    return ""


def first_rule(rules: list[Facts], spec: ModelSpec, gpu: Gpu, kv_bytes: int, default: int) -> int:
    """Tokens of the first block rule whose conditions (lists of what is met) a model and a GPU meet."""
    met = {
        "sparse": any(isinstance(m, LatentAttention) and m.indexer is not None for m in spec.mixers),
        "capability_major": capability_major(gpu),
        "kv_bytes": kv_bytes,
        "head_dim": max((getattr(m, "head_dim", 0) for m in spec.mixers), default=0),
        "architecture": spec.architecture,
        "shares_kv": any(getattr(m, "shares_kv", False) for m in spec.mixers),
    }
    for rule in rules:
        if all(value in rule[name] for name, value in met.items() if name in rule):
            return int(rule["tokens"])
    return default
