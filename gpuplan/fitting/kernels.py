"""From measured kernel times to a law per kernel: what launching it costs, and which share of the datasheet it reaches.

A product of m tokens with an n x k matrix, and likewise experts and attention, takes

    seconds = launch + max(flop, bytes) + exposed min(flop, bytes) + values
    flop = 2 n k (m + half_tokens) / (compute peak)    bytes = weights / (memory bandwidth)
    values = 2 m (n + k) / (values bandwidth)

Six numbers per GPU, engine and number format meet tens of thousands of measured shapes within about a tenth. They are
where the serving fit begins and what it is drawn to, so that a kind of model of which no run was ever published is
predicted from what its kernels do.

    python -m gpuplan.fitting.kernels aiconfigurator_core/systems --out gpuplan/fitting

The tables come in the wheel of NVIDIA's aiconfigurator-core (Apache-2.0); reading them needs pyarrow, which nothing
else here does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares  # type: ignore[import-untyped]

from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from optimizer.performance.rates import kernel_rate
from optimizer.replica_columns import Bools, Floats

GPUS = {
    "a100_sxm": "A100 SXM 80GB",
    "h100_sxm": "H100 SXM 80GB",
    "h200_sxm": "H200 SXM 141GB",
    "b200_sxm": "B200 SXM 180GB",
    "b300_sxm": "B300 SXM 288GB",
    "gb200": "GB200 NVL72 (per GPU)",
    "gb300": "GB300 NVL72 (per GPU)",
    "l40s": "L40S 48GB",
    "rtx_pro_6000_server": "RTX PRO 6000 Blackwell Server 96GB",
}
"""Folders of the tables -> names of gpu_db."""

KERNEL_OF = {
    "bfloat16": ("bf16", 2.0),
    "fp8": ("fp8", 1.0),
    "fp8_block": ("fp8_block", 1.0),
    "nvfp4": ("fp4", 0.5625),
    "int4_wo": ("weight_only", 0.53125),
    "w4a8_mxfp4_mxfp8": ("mxfp4", 0.53125),
    "w4a16_mxfp4": ("mxfp4_unpacked", 0.53125),
}
"""Number formats of the tables -> our kernels, and bytes of one weight with its scales."""

Columns = Mapping[str, Any]
TERMS = ("launch_seconds", "compute", "memory", "exposed", "half_tokens", "values")
START = (5e-6, 0.6, 0.8, 0.3, 5.0, 0.5)
LOW = (1e-7, 0.01, 0.05, 0.001, 0.1, 0.02)
HIGH = (2e-4, 1.0, 1.0, 1.0, 200.0, 4.0)
MOST_ROWS, FEWEST_ROWS = 3000, 150
MOST_TOKENS = 8192
WORST = 0.3
"""A table that its law misses by more, on average, measured something else: it is left out."""

ROBUST_SCALE = 0.15


@dataclass(frozen=True)
class Shapes:
    """Work of measured kernels, each (rows,): flop and bytes as the step model counts them, and what was measured.

    `padded_flop` is what one more token per product (or touched expert) would add.
    """

    flop: Floats
    padded_flop: Floats
    read: Floats
    values: Floats
    seconds: Floats

    def some(self, most: int) -> Shapes:
        """At most so many rows, drawn the same way each time."""
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.seconds))[:most])
        return Shapes(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def law_seconds(shapes: Shapes, peak: float, bandwidth: float, terms: Floats) -> Floats:
    """What the law says, (rows,); `terms` in the order of TERMS."""
    launch, compute, memory, exposed, half, values = terms.tolist()
    flop = (shapes.flop + half * shapes.padded_flop) / (peak * compute)
    read = shapes.read / (bandwidth * memory)
    bound = np.maximum(flop, read) + exposed * np.minimum(flop, read)
    return np.asarray(launch + bound + shapes.values / (bandwidth * values))


def fit_law(shapes: Shapes, peak: float, bandwidth: float) -> tuple[Floats, float]:
    """Terms with the least robust error of the logarithm, and the mean of |law / measured - 1|."""

    def misfit(logs: Floats) -> Floats:
        return np.asarray(np.log(law_seconds(shapes, peak, bandwidth, np.exp(logs)) / shapes.seconds))

    limits = (np.log(LOW), np.log(HIGH))
    found = least_squares(misfit, np.log(START), bounds=limits, loss="soft_l1", f_scale=ROBUST_SCALE)
    return np.exp(found.x), float(np.mean(np.abs(np.expm1(misfit(found.x)))))


def gemm_shapes(table: Columns, chosen: Bools, weight_bytes: float) -> Shapes:
    """Products of m tokens with an n x k matrix, of the sizes that models have."""
    m, n, k = (np.asarray(table[name], dtype=np.float64) for name in "mnk")
    use = chosen & (n * k >= 2**23) & (m <= MOST_TOKENS)
    m, n, k = m[use], n[use], k[use]
    return Shapes(2 * m * n * k, 2 * n * k, n * k * weight_bytes, 2 * m * (n + k), _seconds(table, use))


def expert_shapes(table: Columns, chosen: Bools, weight_bytes: float) -> Shapes:
    """Gated experts on one rank, tokens spread evenly: how well a kernel reads is not mixed with how tokens choose."""
    names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
    tokens, hidden, inner, top, experts, tp, ep = (np.asarray(table[name], dtype=np.float64) for name in names)
    even = np.asarray(table["distribution"]) == "balanced"
    use = chosen & even & (ep == 1) & (tokens <= MOST_TOKENS)
    tokens, hidden, top, experts, inner = tokens[use], hidden[use], top[use], experts[use], (inner / tp)[use]
    touched, size = np.minimum(experts, tokens * top), 3 * hidden * inner
    return Shapes(
        flop=2 * size * tokens * top,
        padded_flop=2 * size * touched,
        read=size * touched * weight_bytes,
        values=2 * tokens * top * 3 * (hidden + inner),
        seconds=_seconds(table, use),
    )


def decode_shapes(table: Columns, chosen: Bools, cache_bytes: float) -> Shapes:
    """One query per request against a cache without a window."""
    batch, heads, kv, width, past = _attention(table)
    use = chosen & (_window(table) == 0) & (past >= 255)
    kv = np.where(kv == 0, heads, kv)
    pairs = (batch * past)[use]
    flop = 4 * pairs * (heads * width)[use]
    return Shapes(flop, 0 * flop, pairs * 2 * (kv * width)[use] * cache_bytes, 0 * flop, _seconds(table, use))


def prefill_shapes(table: Columns, chosen: Bools, _: float) -> Shapes:
    """Whole prompts, causal; long ones, whose time is flop."""
    batch, heads, _kv, width, _past = _attention(table)
    tokens = np.asarray(table["isl"], dtype=np.float64)
    use = chosen & (_window(table) == 0) & (tokens >= 4096)
    flop = 2 * (batch * heads * width * tokens * tokens)[use]
    return Shapes(flop, 0 * flop, 0 * flop, 0 * flop, _seconds(table, use))


def state_shapes(table: Columns, chosen: Bools, _: float) -> Shapes:
    """The gated delta rule over whole prompts, in chunks."""
    names = ("num_tokens", "num_v_heads", "head_k_dim", "head_v_dim")
    tokens, heads, key, value = (np.asarray(table[name], dtype=np.float64) for name in names)
    sources = np.char.startswith(np.asarray(table["kernel_source"], dtype=str), "chunk_gated")
    use = chosen & sources & (tokens >= 512) & (tokens <= 4 * MOST_TOKENS)
    flop = 4 * (tokens * heads * key * value)[use]
    return Shapes(flop, 0 * flop, 0 * flop, 0 * flop, _seconds(table, use))


def _attention(table: Columns) -> tuple[Floats, ...]:
    names = ("batch_size", "num_heads", "num_key_value_heads", "head_dim", "step")
    batch, heads, kv, width, past = (np.asarray(table[name], dtype=np.float64) for name in names)
    return batch, heads, kv, width, past


def _window(table: Columns) -> Floats:
    return np.asarray(table.get("window_size", np.zeros(len(table["latency"]))), dtype=np.float64)


def _seconds(table: Columns, use: Bools) -> Floats:
    return np.asarray(table["latency"], dtype=np.float64)[use] * 1e-3


@dataclass(frozen=True)
class Operation:
    """Where an operation's tables are, which column tells its number format, and how its work is counted."""

    folder: str
    file: str
    format: str
    shapes: Callable[[Columns, Bools, float], Shapes]
    by_source: bool = False


OPERATIONS = {
    "gemm": Operation("gemm", "gemm_perf", "gemm_dtype", gemm_shapes),
    "experts": Operation("moe", "moe_perf", "moe_dtype", expert_shapes, by_source=True),
    "attention_decode": Operation("attention", "generation_attention_perf", "kv_cache_dtype", decode_shapes),
    "attention_prefill": Operation("attention", "context_attention_perf", "kv_cache_dtype", prefill_shapes),
    "state_prefill": Operation("linear_attention", "gdn_perf", "", state_shapes),
}


def distil(systems: Path) -> list[dict[str, Any]]:
    """The laws of all tables under aiconfigurator_core/systems."""
    cards = load_gpus()
    laws = []
    for (folder, name), (operation, kind) in product(GPUS.items(), OPERATIONS.items()):
        for path in _tables(systems / "data" / folder / kind.folder, kind.file):
            for where, shapes, kernel in _groups(_read(path), kind):
                laws += _law(shapes.some(MOST_ROWS), cards[name], kernel, operation, path, where)
    return laws


def _tables(folder: Path, file: str) -> list[Path]:
    """Of every engine and version: the runs were measured over as long a time as the kernels."""
    return sorted(folder.glob(f"*/*/{file}.parquet"))


def _read(path: Path) -> Columns:
    parquet = import_module("pyarrow.parquet")  # for whoever distils anew; no part of the program needs it
    columns: Columns = {k: np.asarray(v) for k, v in parquet.read_table(path).to_pydict().items()}
    return columns


def _groups(table: Columns, kind: Operation) -> Iterator[tuple[str, Shapes, str]]:
    """Rows of one number format (and, of experts, one kernel): a label, their work, and which of our kernels it is."""
    every = np.ones(len(table["latency"]), dtype=np.bool_)
    formats = table[kind.format].astype(str) if kind.format else np.full(len(every), "bfloat16")
    sources = table["kernel_source"].astype(str) if kind.by_source else np.full(len(every), "")
    for stored in sorted(set(formats.tolist()) & set(KERNEL_OF)):
        kernel, weight_bytes = KERNEL_OF[stored]
        for source in sorted(set(sources[formats == stored].tolist())):
            if "nongated" not in source:
                shapes = kind.shapes(table, every & (formats == stored) & (sources == source), weight_bytes)
                yield source or stored, shapes, kernel


def _law(shapes: Shapes, card: Gpu, kernel: str, operation: str, path: Path, where: str) -> list[dict[str, Any]]:
    """One record, or none: too few rows, a format that the GPU runs as another, or a table that no law meets."""
    product = operation in ("gemm", "experts")
    peak, runs_as = kernel_rate(card, kernel if product else "bf16")
    unpacked = kernel == "mxfp4_unpacked" and "fp4" in card.flop_per_second
    if len(shapes.seconds) < FEWEST_ROWS or unpacked or (product and runs_as != kernel):
        return []
    terms, error = fit_law(shapes, peak, float(card.memory_bandwidth_bytes_per_second or np.nan))
    if error > WORST:
        return []
    engine, version = path.parent.parent.name, path.parent.name
    return [
        {"operation": operation, "kernel": kernel, "gpu": card.name, "engine": engine}
        | {term: float(f"{value:.3g}") for term, value in zip(TERMS, terms, strict=True)}
        | {"rows": len(shapes.seconds), "error": round(error, 3), "source": f"{engine} {version} {where}"}
    ]


def main() -> None:
    """Write kernels.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    text = ",\n".join(json.dumps(law) for law in distil(arguments.systems))
    (arguments.out / "kernels.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
