"""How fast a row's GPU does each kind of work: datasheet rate times fitted efficiency, never above the datasheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gpu_db.gpu import Gpu
from optimizer.performance.collectives import Links, link_costs
from optimizer.performance.factors import Factors
from optimizer.performance.operations import KERNELS
from optimizer.replica_columns import Floats, ReplicaColumns

UNPACKED = "weight_only"
"""What runs a format that the GPU's tensor cores do not know: weights are unpacked to 16 bit. Experts in MXFP4 have
kernels of their own for it."""

NATIVE: Mapping[str, tuple[str, ...]] = {
    "bf16": ("bf16", "fp16"),
    "fp8": ("fp8",),
    "fp8_block": ("fp8",),
    "int8": ("int8",),
    "fp4": ("fp4",),
    "weight_only": ("bf16", "fp16"),
    # MXFP4 weights meet FP8 activations where the tensor cores know both; else they are unpacked.
    "mxfp4": ("fp4",),
    "mxfp4_unpacked": ("bf16", "fp16"),
}
"""Number formats whose datasheet rate a kernel can use, first known wins."""

MXFP4_RUNS_AS = "fp8"


def kernel_rate(gpu: Gpu, kernel: str) -> tuple[float, str]:
    """Flop per second of a kernel on a GPU, and the kernel whose efficiency applies.

    Returns:
        NaN when the datasheet gives no 16-bit rate to fall back to.
    """
    for number in NATIVE[kernel]:
        if number in gpu.flop_per_second:
            rate = gpu.flop_per_second[MXFP4_RUNS_AS if kernel == "mxfp4" else number]
            return rate, kernel
    sixteen = gpu.flop_per_second.get("bf16", gpu.flop_per_second.get("fp16", float("nan")))
    return sixteen, f"{kernel}_unpacked" if kernel == "mxfp4" else UNPACKED


@dataclass(frozen=True)
class Rates:
    """Costs per unit of work; (rows, kernels) or (rows,).

    Attributes:
        seconds_per_flop, seconds_per_byte: (rows, kernels) matrix products and their weights.
        expert_seconds_per_flop, expert_seconds_per_byte: (rows, kernels) the same in routed experts.
        launch_seconds, expert_launch_seconds: (rows, kernels) what a product, or a layer's experts, cost however small
            they are: launching them, quantizing their input.
        values_seconds_per_byte, expert_values_seconds_per_byte: (rows,) activations through memory; those of experts
            are also sorted by expert and summed again.
        kv_seconds_per_byte, decode_seconds_per_flop, prefill_seconds_per_flop: (rows,) attention.
        state_seconds_per_flop: (rows,) recurrent layers over a prompt.
        links: all-reduce of a TP group. exchange: between attention-DP ranks.
        routing: share of a step's tokens that choose experts as if on their own; the rest follow them.
    """

    seconds_per_flop: Floats
    seconds_per_byte: Floats
    expert_seconds_per_flop: Floats
    expert_seconds_per_byte: Floats
    launch_seconds: Floats
    expert_launch_seconds: Floats
    values_seconds_per_byte: Floats
    expert_values_seconds_per_byte: Floats
    kv_seconds_per_byte: Floats
    decode_seconds_per_flop: Floats
    prefill_seconds_per_flop: Floats
    state_seconds_per_flop: Floats
    links: Links
    exchange: Links
    routing: float


@dataclass(frozen=True)
class Datasheet:
    """Facts of the rows' GPUs: `kernels` of (rows, kernels) says whose efficiency applies, as an index.

    `expert_compute`, (rows, kernels), is how much faster the engine's own expert kernels multiply than all engines' do.
    """

    flop_per_second: Floats
    kernels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    sixteen_bit_flop_per_second: Floats
    bytes_per_second: Floats
    expert_compute: Floats
    links: Links
    exchange: Links


@dataclass(frozen=True)
class Hardware:
    """What does not depend on the model: facts of the rows and the rates that follow from them."""

    sheet: Datasheet
    rates: Rates


def read_datasheet(rows: ReplicaColumns, engine: str, factors: Factors) -> Datasheet:
    """Unfitted facts per row."""
    pairs = [[kernel_rate(gpu, kernel) for kernel in KERNELS] for gpu in rows.gpus]
    rates = np.array([[rate for rate, _ in line] for line in pairs]).reshape(-1, len(KERNELS))
    kernels = np.array([[KERNELS.index(k) for _, k in line] for line in pairs], dtype=np.int64).reshape(
        -1, len(KERNELS)
    )
    bandwidths = [g.memory_bandwidth_bytes_per_second or float("nan") for g in rows.gpus]
    network, own = factors.birth["network"], factors.expert_kernels.get(engine, {})
    exchanged = np.maximum(rows.expert_parallel, rows.data_parallel)
    return Datasheet(
        flop_per_second=rates[rows.gpu],
        kernels=kernels[rows.gpu],
        sixteen_bit_flop_per_second=rates[rows.gpu, 0],
        bytes_per_second=rows.gather(bandwidths),
        expert_compute=np.array([own.get(kernel, 1.0) for kernel in KERNELS])[kernels][rows.gpu],
        links=link_costs(rows, engine, rows.tensor_parallel, factors.curves, network),
        exchange=link_costs(rows, engine, exchanged, factors.curves, network),
    )


def fitted_rates(sheet: Datasheet, gpus: Floats, shared: Mapping[str, float]) -> Rates:
    """Datasheet times efficiency.

    Args:
        sheet: facts per row.
        gpus: (rows, 2) multipliers of memory and compute efficiency of each row's GPU; 1 for one never measured.
        shared: efficiencies by name. A product above 1 counts as 1: nothing is faster than its datasheet.
    """
    bandwidth, peak = sheet.bytes_per_second, sheet.sixteen_bit_flop_per_second
    reach = (bandwidth / shared["bandwidth_reference"]) ** -shared["bandwidth_exponent"]
    memory, compute = gpus[:, 0] * reach, gpus[:, 1]

    def by_kernel(name: str) -> Floats:
        return np.array([shared[f"{name}.{kernel}"] for kernel in KERNELS])[sheet.kernels]

    def per_byte(name: str) -> Floats:
        return 1 / (bandwidth * np.minimum(memory * shared[name], 1.0))

    def per_flop(name: str) -> Floats:
        return 1 / (peak * np.minimum(compute * shared[name], 1.0))

    def products(name: str, own: Floats | float) -> tuple[Floats, Floats]:
        flop = np.minimum(by_kernel(f"compute{name}") * own * compute[:, None], 1.0)
        read = np.minimum(by_kernel(f"memory{name}") * memory[:, None], 1.0)
        return 1 / (sheet.flop_per_second * flop), 1 / (bandwidth[:, None] * read)

    dense, experts = products("", 1.0), products(".experts", sheet.expert_compute)
    return Rates(
        seconds_per_flop=dense[0],
        seconds_per_byte=dense[1],
        expert_seconds_per_flop=experts[0],
        expert_seconds_per_byte=experts[1],
        launch_seconds=shared["launched"] * by_kernel("launch"),
        expert_launch_seconds=by_kernel("launch.experts"),
        values_seconds_per_byte=per_byte("memory.values"),
        expert_values_seconds_per_byte=per_byte("memory.expert_values"),
        kv_seconds_per_byte=per_byte("memory.kv"),
        decode_seconds_per_flop=per_flop("compute.attention_decode"),
        prefill_seconds_per_flop=per_flop("compute.attention_prefill"),
        state_seconds_per_flop=per_flop("compute.state_prefill"),
        links=sheet.links,
        exchange=sheet.exchange,
        routing=shared["routing"],
    )
