"""Weight bytes that vLLM's own classes allocate for models on which the rules of division were not drawn up."""

import csv
from pathlib import Path

import numpy as np
import pytest

from catalog.find import find_model
from catalog.model import Matrix
from optimizer.memory.weights import Division, shard_bytes, tower_bytes
from tests.optimizer.rank_bytes import rank_weight_bytes

TRUTH = Path(__file__).parents[2] / "oracles" / "vllm_weights_truth.csv"


def test_every_rank_holds_what_vllm_allocates_within_a_thousandth(make_gpu):
    with TRUTH.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    gpu, misses = make_gpu(), {}
    for row in rows:
        ours = rank_weight_bytes(find_model(row["model"]), gpu, int(row["tensor_parallel"]))
        error = ours / int(row["weight_bytes_rank0"]) - 1
        if abs(error) > 0.001:
            misses[row["model"], row["tensor_parallel"]] = error
    assert not misses
    assert len(rows) >= 220


def expert(width, stored_as, hidden=2048):
    return Matrix("experts.up_proj", "experts", width, hidden, "expert", copies=4, stored_as=stored_as)


@pytest.mark.parametrize(("ranks", "edge"), [(1, 128), (2, 128), (8, 32), (4, 64)])
def test_fp8_blocks_that_tp_cuts_become_smaller_squares(ranks, edge):
    values = 768 // ranks * 2048
    scales = -(-768 // ranks // edge) * (2048 // edge)
    assert shard_bytes(expert(768, "fp8_block128"), Division.of(np.array([ranks])))[0] == 4 * (values + 4 * scales)


def test_a_sixteen_that_tp_cuts_has_no_nvfp4_scale():
    down = Matrix("experts.down_proj", "experts", 2688, 1856, "expert", copies=1, stored_as="nvfp4")
    held = shard_bytes(down, Division.of(np.array([8])))[0]
    assert held == 2688 * 232 // 2 + 2688 * (232 // 16) + 8


def test_groups_of_integers_that_tp_cuts_become_smaller_and_gptq_keeps_no_group_index_nor_zero_points_in_them():
    awq, gptq = expert(768, "int4_group128"), expert(768, "int4_group128_gptq")
    ranks = Division.of(np.array([1, 4]))
    values = np.array([768, 192]) * 2048 // 2
    scales = np.array([768, 192]) * 2048 // np.array([128, 64]) * 5 // 2
    assert (shard_bytes(awq, ranks) == 4 * (values + scales)).all()
    without_zero_points = np.array([768, 192]) * 2048 // np.array([128, 64]) * np.array([5, 4]) // 2
    assert (shard_bytes(gptq, ranks) == 4 * (values + without_zero_points)).all()


def test_a_tower_whose_heads_tp_does_not_divide_is_whole_on_every_rank():
    tower = find_model("moonshotai/Kimi-K3").vision
    whole, by_four, by_eight = tower_bytes(tower, Division.of(np.array([1, 4, 8])))
    assert by_four < whole / 2
    assert by_eight == whole


@pytest.mark.parametrize(
    ("model", "allocated"),
    [
        ("Qwen/Qwen3-30B-A3B", 10_096_504_832),
        ("google/gemma-4-26B-A4B", 7_499_250_272),
        ("deepseek-ai/DeepSeek-V2-Lite", 3_988_544_512),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 39_353_444_192),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", 10_239_299_484),
        ("Qwen/Qwen3.5-35B-A3B", 16_890_815_212),
        ("zai-org/GLM-4.5-Air", 38_126_845_440),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 8_674_480_832),
        # Not padded: experts in FP8, and a router that these kernels do not know.
        ("poolside/Laguna-S-2.1-FP8", 15_265_707_872),
        ("ai21labs/AI21-Jamba-1.5-Mini", 12_895_813_376),
    ],
)
def test_experts_in_16_bit_are_padded_on_data_centre_blackwell_where_its_kernels_route_them(model, allocated, make_gpu):
    # What vLLM 0.32 allocates on rank 0 of 8 with compute capability 10.0.
    gpu = make_gpu("B200 SXM 180GB", "10.0", 183359)
    assert rank_weight_bytes(find_model(model), gpu, 8) == pytest.approx(allocated, rel=1e-5)
