"""What a benchmark's own flags do to new requests, from its published scripts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuplan.fitting.held import Served, held_steps
from gpuplan.measuring.serving_rows import read_case

LLAMA = Served("inferencex_aic", "tensorrt-llm", "Llama-3.1-70B", "fp8", "H200 SXM 141GB", 4, 1, 4.0, 1024.0, 1024.0)


def test_gathered_requests_wait_for_the_whole_time_when_nobody_else_comes():
    assert held_steps(replace(LLAMA, requests=1e-9)) == pytest.approx(20)


def test_those_who_come_meanwhile_wait_for_half_of_it():
    assert held_steps(replace(LLAMA, requests=1e9)) == pytest.approx(10)
    come = 20 * 64 / 1024
    assert held_steps(replace(LLAMA, requests=64.0)) == pytest.approx((20 + come * 10) / (1 + come))


@pytest.mark.parametrize(
    "change", [{"gpus": 8}, {"output_tokens": 8192.0}, {"source": "own"}, {"engine": "vllm"}, {"model": "Llama-3.1-8B"}]
)
def test_other_runs_are_not_held(change):
    assert held_steps(replace(LLAMA, **change)) == 0


@pytest.mark.parametrize(("requests", "steps"), [(15.0, 5.0), (16.0, 15.0)])
def test_a_scheduler_that_looks_every_so_many_steps_is_waited_for_half_of_them(requests, steps):
    deepseek = Served(
        "inferencex_aic", "sglang", "DeepSeek-R1", "fp8", "B200 SXM 180GB", 8, 1, requests, 1024.0, 1024.0
    )
    assert held_steps(deepseek) == steps


def test_a_row_of_that_benchmark_says_what_was_assumed():
    row = {
        "run": "inferencex_aic/1",
        "engine": "tensorrt-llm",
        "model": "meta-llama/Llama-3.1-70B",
        "weights_quant": "fp8",
        "gpu": "H200-SXM",
        "num_gpus": "4",
        "isl": "1024",
        "osl": "1024",
        "load": "concurrency=4",
        "note": "attention tp4 dp1, moe tp4 ep1",
    }
    (case,) = read_case(row)
    assert case.held_steps == pytest.approx(19.3, abs=0.1)
    assert any("held for 19.3 steps" in words for words in case.assumed)
    (other,) = read_case(row | {"run": "mine/1"})
    assert other.held_steps == 0
