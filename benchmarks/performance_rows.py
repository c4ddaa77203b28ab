"""How many (replica, batch size) pairs one core estimates per second, and how that compares with N exponentials.

    python benchmarks/performance_rows.py [rows]

The ratio to numpy's exp over as many numbers, timed in the same run, is what can be compared between machines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from catalog.find import find_model
from catalog.model import ModelSpec
from gpu_db.load import load_gpus
from optimizer.performance.estimate import EstimateColumns, estimate, load_factors
from optimizer.performance.factors import Factors
from optimizer.replica_columns import ReplicaColumns

BATCHES = np.array([1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512], dtype=np.int64)
MODELS = ("meta-llama/Meta-Llama-3.1-70B", "deepseek-ai/DeepSeek-V3")


def replicas(count: int) -> ReplicaColumns:
    """Random shapes on every GPU whose bandwidth, 16-bit rate and links are known."""
    gpus = tuple(g for g in load_gpus().values() if g.memory_bandwidth_bytes_per_second and "bf16" in g.flop_per_second)
    draw = np.random.default_rng(0)
    gpu = draw.integers(0, len(gpus), count)
    tensor, pipeline = 2 ** draw.integers(0, 4, count), 2 ** draw.integers(0, 2, count)
    ones = np.ones(count, dtype=np.int64)
    links = np.array([g.link_bytes_per_second or g.pcie_bytes_per_second or np.nan for g in gpus])
    return ReplicaColumns(
        gpus=gpus,
        gpu=gpu,
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        data_parallel=ones,
        expert_parallel=ones,
        nodes=ones,
        gpus_per_node=tensor * pipeline,
        link_bytes_per_second=links[gpu],
        has_fast_links=np.array([g.link_bytes_per_second is not None for g in gpus])[gpu],
        internode_bytes_per_second=np.full(count, np.nan),
    )


def fastest(run: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest of a few runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def estimated(spec: ModelSpec, rows: ReplicaColumns, factors: Factors) -> EstimateColumns:
    """One whole estimate, as `plan` asks for it."""
    return estimate(spec, "vllm", rows, "bf16", BATCHES, 1000.0, 300.0, factors)


def main() -> None:
    """Print one line per model."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rows, factors = replicas(count), load_factors()
    cells = count * len(BATCHES)
    numbers = np.linspace(-1.0, 1.0, cells)
    baseline = fastest(lambda: np.exp(numbers))
    for name in MODELS:
        spec = find_model(name)
        took = fastest(lambda spec=spec: estimated(spec, rows, factors))  # type: ignore[misc]
        print(
            f"{name}: {cells:,} rows x batches in {took:.3f} s = {cells / took / 1e6:.2f} million per second, "
            f"{took / baseline:.0f} x the time of as many exp()"
        )


if __name__ == "__main__":
    main()
