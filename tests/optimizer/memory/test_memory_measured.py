"""A few start-up logs with every term known: KV that a real engine found left, against ours.

Sources: the document "empirical vLLM memory results" of llm-d-planner (vLLM 0.11 on H100), vLLM pull request 15815, and
logs in public repositories; GiB as printed.
"""

from dataclasses import replace

import numpy as np
import pytest

from catalog.find import find_model
from optimizer.engines.find import find_engine
from optimizer.memory.communication import visible_bytes
from optimizer.memory.vram import MemorySettings, measure_memory

GIB = 2**30

# model, version, card, compute capability, GiB seen, TP, fast links, utilization, length, sequences, tokens per step,
# weights and KV in GiB as logged, tolerance in GiB
LOGS = [
    # the official image of 0.11.0 had Triton's MXFP4 kernels, as every installation has since 0.12; wheels had Marlin's
    ("openai/gpt-oss-20b", "0.12.0", "H100", "9.0", 79.18, 1, True, 0.90, 16000, 1024, 8192, 13.47, 50.28, 0.1),
    # its log begins with 2,048 tokens per step, printed before the arguments are read; a server on an H100 takes 8,192
    ("openai/gpt-oss-120b", "0.11.2", "H100", "9.0", 79.18, 1, True, 0.96, 98304, 6, 8192, 65.97, 8.99, 0.15),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "0.11.0", "H100", "9.0", 79.18, 2, True, 0.90, 16000, 1024, 8192,
     33.88, 32.00, 0.2),
    ("Qwen/Qwen2.5-32B-Instruct", "0.7.3", "L40S", "8.9", 44.42, 2, False, 0.90, 10000, 256, 10000, 30.71, 7.71, 0.3),
    ("Qwen/Qwen3-8B-FP8", "0.10.2", "RTX 3090", "8.6", 23.53, 1, False, 0.80, 1024, 256, 2048, 8.80, 8.60, 0.2),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.11.0", "H200", "9.0", 139.81, 2, True, 0.90, 262144, 1024, 8192,
     74.28, 44.59, 0.9),
    ("Qwen/Qwen2.5-1.5B-Instruct", "0.7.2", "T4", "7.5", 14.56, 1, False, 0.50, 32768, 256, 32768, 2.89, 2.36, 0.1),
    ("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", "0.7.0", "A100 SXM 40GB", "8.0", 39.39, 8, True, 0.90, 8192, 2,
     2048, 3.97, 29.02, 0.6),
    # served by the second model runner, which charges no graphs
    ("Qwen/Qwen3-8B", "0.28.0", "RTX 4090", "8.9", 23.99, 1, False, 0.90, 4096, 256, 2048, 15.27, 5.87, 0.02),
    ("Qwen/Qwen3-8B", "0.28.0", "RTX 4090", "8.9", 23.99, 1, False, 0.85, 4096, 256, 2048, 15.27, 4.67, 0.02),
    ("Qwen/Qwen3-4B", "0.8.0", "RTX 2060", "7.5", 12.0, 1, False, 0.95, 10000, 1, 10000, 7.56, 3.06, 0.1),
]  # fmt: skip


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log[0])
def test_kv_left_is_what_the_engine_logged(log, make_gpu, make_rows):
    repo, version, name, capability, seen, tp, fast, share, length, seqs, tokens, weights, kv, tolerance = log
    gpu = make_gpu(name, capability, 1 << 20)
    unseen = gpu.memory_bytes - visible_bytes(gpu)
    gpu = replace(gpu, memory_bytes=int(seen * GIB) + unseen)
    settings = MemorySettings(length, length, tokens, share)
    rows = make_rows([gpu], [tp], fast=fast)
    memory = measure_memory(find_model(repo), find_engine("vllm", version), rows, "bf16", settings, np.array([seqs]))
    assert memory.weight_bytes[0] / GIB == pytest.approx(weights, rel=0.01, abs=0.3 if tp == 8 else 0)
    assert memory.kv_pool_bytes[0, 0] / GIB == pytest.approx(kv, abs=tolerance)


# model, version, card, compute capability, TP, GiB of weights as logged: V0 of 0.7 absorbed latent projections.
LATENT = [
    ("deepseek-ai/DeepSeek-R1", "0.7.3", "H200", "9.0", 8, 83.88),
    ("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", "0.7.0", "A100 SXM 40GB", "8.0", 8, 3.97),
    ("deepseek-ai/DeepSeek-R1", "0.11.2", "H200", "9.0", 8, 79.74),
]


@pytest.mark.parametrize("log", LATENT, ids=lambda log: f"{log[0]} {log[1]}")
def test_products_of_latent_projections_are_kept_as_the_version_kept_them(log, make_gpu, make_rows):
    repo, version, name, capability, tp, weights = log
    gpu, settings = make_gpu(name, capability, 141 << 30), MemorySettings(8192, 8192)
    rows = make_rows([gpu], [tp])
    memory = measure_memory(find_model(repo), find_engine("vllm", version), rows, "bf16", settings, np.array([256]))
    assert memory.weight_bytes[0] / GIB == pytest.approx(weights, rel=0.01)


# Peaks and pools of vLLM 0.19 on H100 SXM 80GB at utilization 0.95 with its defaults (1024 sequences), GiB per
# GPU, from a published validation of llm-d-planner. Of pipelines the poorest stage's pool, by the printed tokens.
PUBLISHED_POOLS = [
    ("meta-llama/Llama-3.1-8B-Instruct", 1, 1, 1.89, 58.11, 0.001),
    ("meta-llama/Llama-3.1-8B-Instruct", 2, 1, 1.89, 63.76, 0.001),
    ("meta-llama/Llama-3.1-8B-Instruct", 4, 1, 1.89, 67.44, 0.001),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, 2, None, 65.63, 0.002),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, 4, None, 68.89, 0.002),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 4, 1, 1.97, 54.09, 0.002),
    ("Qwen/Qwen2.5-7B-Instruct", 1, 1, 2.21, 58.53, 0.001),
    ("Qwen/Qwen2.5-7B-Instruct", 4, 1, 2.21, 67.34, 0.001),
    ("Qwen/Qwen2.5-72B", 2, 1, 2.29, 3.04, 0.041),
    ("google/gemma-2-27b-it", 1, 1, 3.66, 20.59, 0.002),
    ("google/gemma-3-4b-it", 1, 1, 3.89, 62.51, 0.001),
    ("google/gemma-3-27b-it", 1, 1, 3.99, 19.53, 0.006),
    ("microsoft/phi-4", 1, 1, 1.52, 46.08, 0.002),
    ("Qwen/Qwen3-30B-A3B", 1, 1, 2.68, 15.41, 0.002),
    ("deepseek-ai/DeepSeek-V2-Lite-Chat", 1, 1, 1.93, 43.61, 0.004),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", 2, 1, 1.21, 28.44, 0.001),
]


@pytest.mark.parametrize(("repo", "tp", "pp", "peak", "pool", "tolerance"), PUBLISHED_POOLS)
def test_a_published_pool_is_predicted(repo, tp, pp, peak, pool, tolerance, make_gpu, make_rows):
    settings = MemorySettings(8192, 8192, None, 0.95)
    rows, engine = make_rows([make_gpu()], [tp], [pp]), find_engine("vllm", "0.19.0")
    memory = measure_memory(find_model(repo), engine, rows, "bf16", settings, np.array([1024]))
    assert memory.kv_pool_bytes[0, 0] / GIB == pytest.approx(pool, rel=tolerance)
    assert peak is None or memory.activation_bytes[0, 0] / GIB == pytest.approx(peak, abs=0.025)


@pytest.mark.parametrize(
    ("version", "name", "capability", "intermediate"),
    [
        ("0.11.0", "MI325X 256GB", "gfx942", 3072),
        ("0.13.0", "MI325X 256GB", "gfx942", 2944),
        ("0.13.0", "MI355X 288GB", "gfx950", 3072),
        ("0.19.0", "MI325X 256GB", "gfx942", 3072),
        ("0.13.0", "B200 SXM 180GB", "10.0", 3072),
        ("0.28.0", "B200 SXM 180GB", "10.0", 2944),
    ],
)
def test_experts_are_padded_as_the_version_padded_them(version, name, capability, intermediate, make_gpu):
    # gpt-oss-120b at 0.32 of an MI325X leaves 10.79 GiB with an unnamed version: 10.77 with 2,944, 5.5 with 3,072.
    gpu = replace(make_gpu(name, capability, 256 << 10), vendor="AMD" if capability.startswith("gfx") else "NVIDIA")
    granule, _ = find_engine("vllm", version).expert_padding(find_model("openai/gpt-oss-120b"), gpu)
    assert -(-2880 // granule) * granule == intermediate
