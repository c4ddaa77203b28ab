"""All-reduce costs: measured ones come back, unmeasured ones come from the most similar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpu_db.load import load_gpus
from optimizer.performance.collectives import link_costs
from optimizer.performance.estimate import load_factors
from optimizer.replica_columns import ReplicaColumns

# Measured on 8 GPUs by the kernels of each engine in a captured graph, microseconds for 16 KiB, 1 MiB and 64 MiB
# (aiconfigurator_core systems/data: vllm 0.24.0, trtllm 1.3.0rc20, sglang 0.5.14).
MEASURED = [
    ("H100 SXM 80GB", "vllm", 8, (5.3, 15.0, 344.0)),
    ("H100 SXM 80GB", "vllm", 2, (4.5, 8.3, 306.7)),
    ("H200 SXM 141GB", "tensorrt-llm", 4, (3.3, 12.9, 322.4)),
    ("B200 SXM 180GB", "sglang", 8, (5.3, 15.0, 277.6)),
    ("RTX PRO 6000 Blackwell Server 96GB", "vllm", 4, (14.9, 87.7, 3556.5)),
]


def costs(gpu, engine, ranks, *, fast, nodes=1, link=None, internode=np.nan):
    one = np.ones(1, dtype=np.int64)
    speed = link or (gpu.link_bytes_per_second if fast else gpu.pcie_bytes_per_second)
    rows = ReplicaColumns(
        gpus=(gpu,),
        gpu=0 * one,
        tensor_parallel=ranks * one,
        pipeline_parallel=one,
        data_parallel=one,
        expert_parallel=one,
        nodes=nodes * one,
        gpus_per_node=ranks // nodes * one,
        link_bytes_per_second=np.array([speed], dtype=np.float64),
        has_fast_links=np.array([fast]),
        internode_bytes_per_second=np.array([internode]),
    )
    factors = load_factors()
    return link_costs(rows, engine, rows.tensor_parallel, factors.curves, factors.birth["network"])


def seconds(links, size):
    return (links.latency_seconds + links.protocol_seconds * np.sqrt(size) + links.seconds_per_byte * size)[0]


@pytest.mark.parametrize(("name", "engine", "ranks", "micros"), MEASURED)
def test_measured_all_reduces_come_back_within_a_third(name, engine, ranks, micros):
    gpu = load_gpus()[name]
    links = costs(gpu, engine, ranks, fast="RTX" not in name)
    for size, expected in zip((2**14, 2**20, 2**26), micros, strict=True):
        assert seconds(links, size) == pytest.approx(expected * 1e-6, rel=0.33)


def test_one_gpu_pays_nothing():
    links = costs(load_gpus()["H100 SXM 80GB"], "vllm", 1, fast=True)
    assert seconds(links, 2**26) == 0


def test_a_twice_as_fast_link_halves_the_bytes_and_keeps_the_latency():
    gpu = load_gpus()["H100 SXM 80GB"]
    unknown = replace(gpu, name="some new GPU")
    slow, fast = (costs(unknown, "vllm", 8, fast=True, link=speed) for speed in (450e9, 900e9))
    assert fast.latency_seconds[0] == slow.latency_seconds[0]
    assert fast.seconds_per_byte[0] == pytest.approx(slow.seconds_per_byte[0] / 2)


def test_pcie_costs_more_than_nvlink():
    gpu = load_gpus()["H100 SXM 80GB"]
    assert seconds(costs(gpu, "vllm", 8, fast=False), 2**20) > 3 * seconds(costs(gpu, "vllm", 8, fast=True), 2**20)


def test_a_group_over_two_machines_pays_the_network():
    gpu = load_gpus()["H100 SXM 80GB"]
    one, two = (costs(gpu, "vllm", 16 // (3 - n), fast=True, nodes=n, internode=50e9) for n in (1, 2))
    assert seconds(two, 2**14) > seconds(one, 2**14) + 1e-4
    assert two.seconds_per_byte[0] > one.seconds_per_byte[0]


def test_unknown_network_gives_no_number():
    gpu = load_gpus()["H100 SXM 80GB"]
    assert np.isnan(seconds(costs(gpu, "vllm", 16, fast=True, nodes=2), 2**14))
