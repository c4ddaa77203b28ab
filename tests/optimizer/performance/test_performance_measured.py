"""Public measurements as the oracle: a small sample, row by row, with the error that the bundled factors make.

InferenceX (SemiAnalysis), as published with aiconfigurator 0.12.0, dates in 2025 and 2026: closed loop, random prompts
of 0.8 to 1.0 of the nominal lengths. TensorRT-LLM: its performance overview, output tokens/s, all requests queued.
"""

from __future__ import annotations

import numpy as np

from gpu_db.load import load_gpus
from gpuplan.fitting.bench import build, predict
from gpuplan.fitting.runs import read_run
from gpuplan.fitting.shapes import find_measured_model
from optimizer.performance.estimate import load_factors

# engine, model, weights, GPU, TP, concurrency, ISL, OSL, TTFT ms, TPOT ms
CLOSED_LOOP = [
    ("vllm", "meta-llama/Llama-3.1-70B", "fp8", "H200-SXM", 1, 4, 1024, 1024, 202.755983, 21.465857),
    ("vllm", "meta-llama/Llama-3.1-70B", "fp8", "H200-SXM", 2, 16, 1024, 1024, 189.848302, 15.654167),
    ("vllm", "meta-llama/Llama-3.1-70B", "fp8", "H200-SXM", 4, 64, 1024, 1024, 264.518247, 16.069248),
    ("vllm", "meta-llama/Llama-3.1-70B", "fp8", "H200-SXM", 8, 8, 1024, 1024, 86.333833, 8.51922),
    ("tensorrt-llm", "meta-llama/Llama-3.1-70B", "fp8", "H200-SXM", 1, 16, 1024, 1024, 710.940711, 22.987359),
    ("tensorrt-llm", "meta-llama/Llama-3.1-70B", "fp8", "H200-SXM", 4, 128, 1024, 1024, 750.445795, 19.276267),
    ("vllm", "openai/gpt-oss-120b", "mxfp4", "H200-SXM", 2, 32, 1024, 1024, 126.488631, 10.629032),
    ("vllm", "openai/gpt-oss-120b", "mxfp4", "H200-SXM", 8, 4, 1024, 1024, 36.853718, 3.622434),
    ("tensorrt-llm", "openai/gpt-oss-120b", "mxfp4", "H200-SXM", 1, 64, 1024, 1024, 211.924976, 20.45697),
]


def closed_loop_row(case) -> dict[str, str]:
    engine, model, weights, gpu, tp, concurrency, isl, osl, ttft, tpot = case
    return {
        "run": "inferencex_aic/0",
        "engine": engine,
        "model": model,
        "weights_quant": weights,
        "gpu": gpu,
        "num_gpus": str(tp),
        "isl": str(isl),
        "osl": str(osl),
        "load": f"concurrency={concurrency}",
        "ttft_ms": str(ttft),
        "tpot_ms": str(tpot),
        "note": f"attention tp{tp} dp1, moe tp{tp} ep1",
    }


def errors(rows: list[dict[str, str]], metric: str) -> np.ndarray:
    factors = load_factors()
    bench, left_out = build([read_run(row) for row in rows], find_measured_model, load_gpus(), factors)
    assert not left_out
    found = predict(bench, factors.shared, factors.engines, factors.gpus).of(metric)
    return np.abs(found / np.array([run.measured[metric] for run in bench.runs]) - 1)


def test_tpot_of_public_runs_is_met_within_a_ninth_in_the_median():
    error = errors([closed_loop_row(case) for case in CLOSED_LOOP], "tpot")
    assert np.median(error) < 0.11
    assert error.max() < 0.20


def test_ttft_of_public_runs_is_met_within_a_fifth_in_the_median():
    error = errors([closed_loop_row(case) for case in CLOSED_LOOP], "ttft")
    assert np.median(error) < 0.20
    assert error.max() < 0.50


# weights, GPU, TP, ISL, OSL, output tokens per second of Llama-3.3-70B under TensorRT-LLM 0.20
OFFLINE = [
    ("nvfp4", "B200-SXM", 1, 128, 128, 10994.48),
    ("nvfp4", "B200-SXM", 8, 128, 4096, 25229.25),
    ("nvfp4", "B200-SXM", 4, 1000, 2000, 15597.49),
    ("nvfp4", "B200-SXM", 2, 5000, 500, 2419.67),
    ("fp8", "H200-SXM", 2, 128, 4096, 5573.55),
    ("fp8", "H100-SXM-80GB", 8, 500, 2000, 14553.93),
    ("fp8", "H200-SXM", 4, 1000, 2000, 9031.21),
    ("fp8", "H200-SXM", 2, 5000, 500, 997.15),
]


def offline_row(case) -> dict[str, str]:
    weights, gpu, tp, isl, osl, tokens_per_second = case
    return {
        "run": "trtllm_0.20.0/0",
        "engine": "tensorrt-llm",
        "engine_version": "0.20.0",
        "model": "meta-llama/Llama-3.3-70B-Instruct",
        "weights_quant": weights,
        "gpu": gpu,
        "num_gpus": str(tp),
        "tp": str(tp),
        "pp": "1",
        "isl": str(isl),
        "osl": str(osl),
        "load": "offline/max",
        "output_tps_total": str(tokens_per_second),
    }


def test_offline_throughput_is_met_within_a_quarter_in_the_median():
    error = errors([offline_row(case) for case in OFFLINE], "throughput")
    assert np.median(error) < 0.25
    assert error.max() < 0.45
