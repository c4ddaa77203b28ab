"""Every number that vLLM's own classes computed from a model's config, against ours."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from catalog.find import find_model
from optimizer.memory.page_groups import plan_pages
from optimizer.memory.pipelines import pipelines
from tests.optimizer.rank_bytes import VLLM, rank_weight_bytes

GIB = 2**30
TRUTH = Path(__file__).parents[2] / "oracles" / "vllm_memory_truth.csv"

NO_TRUTH = {
    "Qwen/Qwen3-32B-FP8-Static-PerTensor": "the copy of its quantization file lost its producer: vLLM loads it in bf16",
    "nvidia/NVIDIA-Nemotron-3-Super-120B-NVFP4-FP8KV": "the same",
    "nvidia/nemotron-ultra-rl-050826": "the same",
    "moonshotai/Kimi-K2-Thinking": "the copy of its config lost its int4 quantization: vLLM loads it in bf16",
    "RedHatAI/DeepSeek-V4-Flash-NVFP4-FP8": "vLLM 0.32 builds bf16 experts for this compressed-tensors file",
    "mistralai/Devstral-Small-2-24B-Instruct": "vLLM quantizes a vision tower whose name the ignore list misspells",
}
"""Models whose weights vLLM did not read as their publishers mean them."""


@cache
def truth():
    with TRUTH.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def cards(make_gpu):
    return {"h100": make_gpu(), "b200": make_gpu("B200 SXM 180GB", "10.0", 183359)}


def planned(row, cards):
    spec, gpu = find_model(row["model"]), cards[row["gpu"]]
    rule = VLLM.block_rule(spec, gpu, row["kv_format"])
    return spec, gpu, plan_pages(spec, int(row["tensor_parallel"]), row["kv_format"], rule)


def named(row):
    return " ".join(row[name] for name in ("model", "gpu", "tensor_parallel", "kv_format", "max_model_len"))


def test_kv_and_state_bytes_equal_vllm_in_every_row(cards):
    misses = []
    for row in truth():
        _, _, plan = planned(row, cards)
        ours = (plan.full_bytes_per_token, plan.window_bytes_per_token, plan.state_bytes_per_request)
        kinds = ("kv_bytes_per_token_full", "kv_bytes_per_token_window", "state_bytes_per_request")
        if ours != tuple(float(row[kind]) for kind in kinds):
            misses.append((named(row), ours))
    assert not misses
    assert len(truth()) >= 300


def test_blocks_and_tokens_of_a_given_pool_equal_vllm_in_every_row(cards):
    misses = []
    for row in truth():
        spec, gpu, plan = planned(row, cards)
        length = int(row["max_model_len"])
        blocks = int(row["kv_pool_gib"]) * GIB // int(plan.block_bytes(pipelines(spec.layer_count, (1,)))[0])
        in_flight = VLLM.in_flight_tokens(np.array(1), np.array(VLLM.default_max_batched_tokens(gpu)))
        tokens = int(blocks / int(plan.blocks(np.array(length), in_flight)) * length)
        if (blocks, tokens) != (int(row["num_gpu_blocks"]), int(row["kv_tokens_capacity"])):
            misses.append((named(row), blocks, tokens))
    assert not misses


def weight_errors(cards):
    """Relative errors of weight bytes per rank where vLLM read the checkpoint as it is meant."""
    errors = {}
    for row in truth():
        if row["model"] not in NO_TRUTH:
            spec, gpu, _ = planned(row, cards)
            ours = rank_weight_bytes(spec, gpu, int(row["tensor_parallel"]))
            errors[named(row)] = ours / int(row["weight_bytes_rank0"]) - 1
    return errors


def test_weights_of_the_first_rank_are_within_a_thousandth_of_vllm_in_every_row(cards):
    errors = weight_errors(cards)
    assert not {name: error for name, error in errors.items() if abs(error) > 0.001}
    assert max(map(abs, errors.values())) < 0.0005
