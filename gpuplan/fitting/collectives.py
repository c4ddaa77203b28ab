"""From measured all-reduce times to three numbers per curve: latency, a protocol term, seconds per byte.

    seconds(size) = latency + protocol * sqrt(size) + per_byte * size

The square root stands for the protocols (low latency, then simple) and algorithms that libraries switch between: with
it, seven sizes from 2 KiB to 512 MiB are met within a few per cent to some tens of per cent, without it the middle is
half of what was measured.

    python -m gpuplan.fitting.collectives allreduce.csv --out optimizer/performance/data
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]

from optimizer.replica_columns import Floats

SIZES = {
    "us_2KiB": 2**11,
    "us_16KiB": 2**14,
    "us_128KiB": 2**17,
    "us_1MiB": 2**20,
    "us_8MiB": 2**23,
    "us_64MiB": 2**26,
    "us_512MiB": 2**29,
}
ENGINES = {
    "NCCL": "nccl",
    "oneCCL": "nccl",
    "vLLM_custom_graph": "vllm",
    "TRTLLM": "tensorrt-llm",
    "SGLang_CustomAllReduce_graph": "sglang",
}
"""Kernels as they run inside a captured graph; eager runs pay a launch that the engine overhead already holds."""

CONTRADICTED = {("L40S 48GB", "4"), ("L40S 48GB", "8")}
"""Curves that serving runs on the same GPU do not bear out: TensorRT-LLM's own L40S results at TP 4 and 8 are three
times as fast as 5 and 1.4 GB/s would allow. Such groups take the curve of the other PCIe GPU, scaled to their slot."""


def fit_curve(sizes: Floats, seconds: Floats) -> tuple[Floats, float]:
    """Non-negative latency, protocol and per-byte terms with the least squared relative error.

    Args:
        sizes: (points,) bytes. seconds: (points,).

    Returns:
        The three terms and the root mean square relative error.

    >>> terms, error = fit_curve(np.array([0.0, 4.0, 16.0]), np.array([1.0, 1.0 + 4 * 2.0, 1.0 + 16 * 2.0]))
    >>> [round(float(t), 6) for t in terms], round(error, 6)
    ([1.0, 0.0, 2.0], 0.0)
    """
    design = np.stack([np.ones_like(sizes), np.sqrt(sizes), sizes], axis=1) / seconds[:, None]
    scale = design.max(axis=0)
    terms, residual = nnls(design / scale, np.ones_like(seconds))
    return terms / scale, float(residual / np.sqrt(len(sizes)))


def distil(path: Path) -> list[dict[str, object]]:
    """One record per GPU, engine and number of GPUs."""
    curves = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            points = [(size, float(row[name])) for name, size in SIZES.items() if row[name]]
            if row["kernel"] not in ENGINES or len(points) < 5 or (row["gpu"], row["num_gpus"]) in CONTRADICTED:
                continue
            sizes, micros = np.array(points, dtype=np.float64).T
            terms, error = fit_curve(sizes, micros * 1e-6)
            curves.append(_record(row, terms, error))
    return sorted(curves, key=lambda c: (str(c["gpu"]), str(c["engine"]), int(str(c["ranks"]))))


def _record(row: dict[str, str], terms: Floats, error: float) -> dict[str, object]:
    return {
        "gpu": row["gpu"],
        "engine": ENGINES[row["kernel"]],
        "ranks": int(row["num_gpus"]),
        "latency_seconds": float(f"{terms[0]:.4g}"),
        "protocol_seconds_per_root_byte": float(f"{terms[1]:.4g}"),
        "seconds_per_byte": float(f"{terms[2]:.4g}"),
        "link_bytes_per_second": float(row["uni_spec_gbs"]) * 1e9,
        "error": round(error, 3),
        "source": f"{row['source']}, {row['library']} {row['library_version']} {row['kernel']}",
    }


def main() -> None:
    """Write collectives.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    curves = distil(arguments.csv)
    text = ",\n".join(json.dumps(curve) for curve in curves)
    (arguments.out / "collectives.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
