"""Eras of engines: a rewrite makes another engine of the same name, told by version, day and vendor."""

from __future__ import annotations

import re

ERAS = {
    "vllm": (("vllm V0", (0, 8, 0), "2025-03"), ("vllm sync", (0, 14, 0), "2026-01")),
    "vllm on AMD": (("vllm V0", (0, 9, 1), "2025-06"), ("vllm sync", (0, 14, 0), "2026-01")),
    "tensorrt-llm": (("tensorrt-llm C++", (0, 20, 0), "2025-06"),),
    "sglang": (),
}
"""An engine's older eras, the oldest first, each with the first version after it and that one's month, for runs that
say when they were measured and not with what. vLLM 0.8 is its second engine, on AMD 0.9.1 (before, it fell back to the
first there: vllm-project/vllm#18480); since 0.14 it schedules a step while the one before runs. TensorRT-LLM 0.20 left
C++."""


def era_of(engine: str, version: str, date: str, vendor: str) -> str:
    """The engine, and its era where a rewrite made it another, in the words of the fitted factors.

    Args:
        engine: one of `ERAS`.
        version: such as "0.6.3.post2"; what is no version leaves it to the date.
        date: of the measurement, as ISO text; "" = not known, which counts as now.
        vendor: of the GPU.

    >>> era_of("vllm", "0.6.3.post2", "", "NVIDIA"), era_of("vllm", "v0.11.1", "2026-02", "NVIDIA")
    ('vllm V0', 'vllm sync')
    >>> era_of("vllm", "0.8.5", "", "NVIDIA"), era_of("vllm", "0.8.5", "", "AMD"), era_of("sglang", "0.4.6", "", "AMD")
    ('vllm sync', 'vllm V0', 'sglang')
    """
    found = re.match(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?", version.strip())
    said = tuple(int(part or 0) for part in found.groups()) if found else None
    month = date.strip()[:7] if re.match(r"\s*20\d\d", date) else None
    for era, first, since in ERAS.get(f"{engine} on {vendor}", ERAS[engine]):
        if said < first if said else month is not None and month < since:
            return era
    return engine


_PLANNED = re.compile(r"num[-_ ]scheduler[-_ ]steps?[ =:]*(\d{1,3})")
ROCM_PLANNED_STEPS = 10
"""What AMD's README passed to its throughput benchmark (not to that of latency) while vLLM had the flag: ROCm/vllm,
docs/dev-docker/README.md, early 2025."""


def planned_steps(source: str, engine: str, load: str, note: str) -> int:
    """Decode steps between two looks of the host at its requests (`--num-scheduler-steps` of vLLM's first engine).

    Args:
        source: the benchmark. engine: with its era.
        load: "offline" and the like. note: what the row says beside its columns.

    >>> planned_steps("own", "vllm V0", "closed", "num-scheduler-steps=8"), planned_steps("own", "vllm", "closed", "")
    (8, 1)
    """
    if engine != "vllm V0":
        return 1
    stated = _PLANNED.search(note)
    if stated:
        return max(int(stated[1]), 1)
    return ROCM_PLANNED_STEPS if (source, load) == ("rocmvllm", "offline") else 1
