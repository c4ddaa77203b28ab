import json
from pathlib import Path

import pytest

from catalog.find import find_model
from optimizer.engines.find import ENGINES, find_engine
from optimizer.engines.tensorrt_llm import OPTIONS_FILE

FLAGS = json.loads((Path(__file__).parents[2] / "oracles" / "engine_flags.json").read_text(encoding="utf-8"))

SHAPES = [
    {"tensor_parallel": 1},
    {"tensor_parallel": 4, "pipeline_parallel": 2},
    {"tensor_parallel": 8, "pipeline_parallel": 2, "nodes": 2, "node_rank": 1},
    {"tensor_parallel": 1, "data_parallel": 8, "expert_parallel": True},
    {"tensor_parallel": 1, "data_parallel": 16, "expert_parallel": True, "nodes": 2, "node_rank": 1},
    {"tensor_parallel": 8, "memory_utilization": 0.85},
]


def command(name, repo="Qwen/Qwen3-30B-A3B", weight_format="bf16", kv_format="bf16", **shape):
    settings = {"max_model_len": 8192, "max_num_seqs": 64, **shape}
    return find_engine(name).command(
        find_model(repo), model=repo, weight_format=weight_format, kv_format=kv_format, **settings
    )


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("weights", "kv"), [("bf16", "bf16"), ("fp8", "fp8")])
def test_every_flag_exists_in_the_pinned_version(name, shape, weights, kv):
    words = command(name, weight_format=weights, kv_format=kv, **shape)
    unknown = [word for word in words if word.startswith("-") and word not in FLAGS[name]["flags"]]
    assert unknown == []
    assert FLAGS[name]["version"] == find_engine(name).version
    assert all(isinstance(word, str) and word for word in words)


def test_vllm_serves_llama_70b_on_four_gpus_with_online_fp8():
    words = command(
        "vllm", "meta-llama/Llama-3.3-70B-Instruct", weight_format="fp8", kv_format="fp8", tensor_parallel=4
    )
    assert " ".join(words) == (
        "vllm serve meta-llama/Llama-3.3-70B-Instruct --tensor-parallel-size 4 --quantization fp8 "
        "--kv-cache-dtype fp8 --max-model-len 8192 --max-num-seqs 64"
    )


def test_a_checkpoint_in_its_own_formats_names_neither_quantization_nor_kv_dtype():
    words = command("vllm", "nvidia/Llama-3.1-70B-Instruct-FP8", "fp8", "fp8", tensor_parallel=2)
    assert "--quantization" not in words
    assert words[words.index("--kv-cache-dtype") + 1] == "auto"


def test_the_second_machine_of_vllm_is_headless_and_knows_the_first():
    words = command("vllm", tensor_parallel=8, pipeline_parallel=2, nodes=2, node_rank=1, head_address="10.0.0.1")
    assert "--headless" in words
    assert words[words.index("--master-addr") + 1] == "10.0.0.1"
    assert words[words.index("--node-rank") + 1] == "1"
    first = command("vllm", tensor_parallel=8, pipeline_parallel=2, nodes=2)
    assert "--headless" not in first


def test_vllm_deals_attention_dp_ranks_out_to_machines():
    words = command("vllm", tensor_parallel=1, data_parallel=16, expert_parallel=True, nodes=2, node_rank=1)
    assert words[words.index("--data-parallel-size-local") + 1] == "8"
    assert words[words.index("--data-parallel-start-rank") + 1] == "8"


def test_sglang_counts_attention_dp_inside_its_tp():
    words = command("sglang", tensor_parallel=2, data_parallel=4, expert_parallel=True)
    assert words[words.index("--tp-size") + 1] == "8"
    assert words[words.index("--dp-size") + 1] == "4"
    assert words[words.index("--max-running-requests") + 1] == str(64 * 4)


def test_tensorrt_takes_what_has_no_flag_from_a_file():
    words = command("tensorrt-llm", kv_format="fp8", tensor_parallel=1, data_parallel=8, expert_parallel=True)
    assert words[words.index("--config") + 1] == OPTIONS_FILE
    text = find_engine("tensorrt-llm").options_file(find_model("Qwen/Qwen3-30B-A3B"), kv_format="fp8", data_parallel=8)
    assert text == "kv_cache_config:\n  dtype: fp8\nenable_attention_dp: true\n"
    assert "--config" not in command("tensorrt-llm", tensor_parallel=8)
