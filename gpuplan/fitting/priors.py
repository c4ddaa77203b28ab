"""What is known of the factors before any run is looked at: kernels' own laws, and guesses where none was measured.

Few models were measured as a whole, and each taught a plain fit its own habits. So every factor begins at what its
kernels do on their own (`kernels.json`, see `gpuplan.fitting.kernels`) and is drawn to it; factors that no kernel table
tells (host work, scheduling) begin at a guess and move freely. `priors.json` has both, with what each rests on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from optimizer.performance.operations import KERNELS

MEASURED = "kernels.json"
"""How the source of a factor begins whose start and spread are the laws'."""

LEAST_SPREAD = 0.1
"""In logarithms. Laws agree better than the whole engine does with them."""

FEWEST_LAWS = 3
"""One table of one engine on one GPU may be that engine's accident."""

TO_SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


@dataclass(frozen=True)
class Prior:
    """Where the search for a factor starts, between what it stays, and how far off the start may be.

    Attributes:
        start, low, high: of the factor.
        spread: standard deviation of its logarithm.
        measured: whether kernel tables say so; else it is a guess.
    """

    start: float
    low: float
    high: float
    spread: float
    measured: bool


def shared_priors(without: frozenset[str] = frozenset()) -> dict[str, Prior]:
    """Of the factors that all GPUs and engines share, by name.

    Args:
        without: GPUs whose kernels count as never measured, as in a fit that leaves them out.
    """
    return _priors("shared", without)


def engine_priors(without: frozenset[str] = frozenset(), era: str = "") -> dict[str, Prior]:
    """Of an engine's overheads; of an era about which more is known, that."""
    return _priors("engine", without) | (_priors(era, without) if era in _file("priors.json") else {})


def gpu_priors(gpu: Gpu | None = None) -> dict[str, Prior]:
    """Of a GPU's own multipliers.

    Args:
        gpu: one whose architecture no kernel table has starts at what its largest products reach (`matmul.json`) and
            may be far from it; None = one of an architecture that tables have.
    """
    if gpu is None or gpu.architecture in _in_tables():
        return _priors("gpu", frozenset())
    priors = _priors("gpu without tables", frozenset())
    return priors | {"compute": replace(priors["compute"], start=matmul_shares().get(gpu.name, 1.0))}


def matmul_shares() -> dict[str, float]:
    """By GPU without kernel tables, how much of its 16-bit peak a large product reaches, over what GPUs with tables do.

    >>> {name: round(share, 2) for name, share in matmul_shares().items() if name.startswith("MI3")}
    {'MI300X 192GB': 0.64, 'MI325X 256GB': 0.75, 'MI355X 288GB': 0.77}
    """
    gpus = load_gpus()
    reached = {row["gpu"]: row["bf16_flop_per_second"] for row in _file("matmul.json")}
    shares = {name: flop / gpus[name].flop_per_second["bf16"] for name, flop in reached.items()}
    known = {name for name in shares if gpus[name].architecture in _in_tables()}
    usual = float(np.median([shares[name] for name in known]))
    return {name: share / usual for name, share in shares.items() if name not in known}


@cache
def _in_tables() -> frozenset[str]:
    """Architectures of which kernel tables tell."""
    gpus = load_gpus()
    return frozenset(gpus[law["gpu"]].architecture for law in _file("kernels.json"))


def source_priors() -> dict[str, Prior]:
    """Of how much slower a source's runs are than the reference source's on equal terms: older builds, other clients.

    It keeps such habits out of the physical factors, and no estimate uses it.
    """
    return _priors("source", frozenset())


def kernel_laws() -> int:
    """How many laws of kernels there are."""
    return len(_file("kernels.json"))


LAWS_OF = {"trtllm": "tensorrt-llm"}
"""What the tables call an engine -> what everybody else does."""


def expert_kernels() -> dict[str, dict[str, float]]:
    """Per engine and kernel, its experts' efficiency of compute over that of all engines; few laws say nothing.

    Engines bring their own grouped products: with 128 x 128 scales vLLM's reach a third of TensorRT-LLM's.
    """
    laws = [law for law in _file("kernels.json") if law["operation"] == "experts"]
    found: dict[str, dict[str, float]] = {}
    for engine in sorted({law["engine"] for law in laws}):
        for kernel in KERNELS:
            alike = [law for law in laws if law["kernel"] == kernel]
            own = [law["compute"] for law in alike if law["engine"] == engine]
            if len(own) >= FEWEST_LAWS:
                ratio = np.median(np.log(own)) - np.median(np.log([law["compute"] for law in alike]))
                found.setdefault(LAWS_OF.get(engine, engine), {})[kernel] = float(f"{np.exp(ratio):.4g}")
    return found


def chosen_laws() -> dict[str, tuple[str, str, str]]:
    """Which laws tell a factor: operation, kernel ("" = all) and the law's term."""
    chosen = {
        f"{term}{part}.{kernel}": (operation, kernel, name)
        for part, operation in (("", "gemm"), (".experts", "experts"))
        for term, name in (("compute", "compute"), ("memory", "memory"), ("launch", "launch_seconds"))
        for kernel in KERNELS
    }
    return chosen | {
        "memory.expert_values": ("experts", "", "values"),
        "memory.kv": ("attention_decode", "", "memory"),
        "compute.attention_decode": ("attention_decode", "", "compute"),
        "compute.attention_prefill": ("attention_prefill", "", "compute"),
        "compute.state_prefill": ("state_prefill", "", "compute"),
        "exposed": ("gemm", "", "exposed"),
        "expert_exposed": ("experts", "", "exposed"),
        "half_tokens": ("gemm", "", "half_tokens"),
        "expert_half_tokens": ("experts", "", "half_tokens"),
    }


@cache
def _priors(block: str, without: frozenset[str]) -> dict[str, Prior]:
    return {name: _prior(name, cell, without) for name, cell in _file("priors.json")[block].items()}


def _prior(name: str, cell: Mapping[str, Any], without: frozenset[str]) -> Prior:
    start, spread = cell["start"], cell["spread"]
    measured = str(cell["source"]).startswith(MEASURED)
    if measured:
        operation, kernel, term = chosen_laws()[name]
        values = [
            law[term]
            for law in _file("kernels.json")
            if law["operation"] == operation and kernel in ("", law["kernel"]) and law["gpu"] not in without
        ]
        start, spread = middle(values, start, spread)
    return Prior(min(max(start, cell["low"]), cell["high"]), cell["low"], cell["high"], spread, measured)


def middle(values: Sequence[float], start: float, spread: float) -> tuple[float, float]:
    """Median and spread of what laws say, in logarithms; as given when there are fewer than `FEWEST_LAWS`.

    >>> [round(value, 3) for value in middle([0.5, 0.5, 0.5], 0.7, 0.3)]
    [0.5, 0.1]
    >>> middle([0.5], 0.7, 0.3)
    (0.7, 0.3)
    """
    if len(values) < FEWEST_LAWS:
        return start, spread
    logs = np.log(values)
    center = float(np.median(logs))
    return float(np.exp(center)), max(TO_SIGMA * float(np.median(np.abs(logs - center))), LEAST_SPREAD)


@cache
def _file(name: str) -> Any:
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
