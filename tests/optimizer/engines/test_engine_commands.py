import json
from pathlib import Path

import pytest

from catalog.find import find_model
from optimizer.engines.find import ENGINES, find_engine
from optimizer.engines.launch import Launch, NoSuchOption
from optimizer.engines.tensorrt_llm import OPTIONS_FILE
from optimizer.memory.adapters import Adapters
from optimizer.memory.factors import GIB
from optimizer.memory.speculation import Speculation

FLAGS = json.loads((Path(__file__).parents[2] / "oracles" / "engine_flags.json").read_text(encoding="utf-8"))

ADDITIONS = [
    {"speculation": Speculation("mtp", 2)},
    {"speculation": Speculation("ngram", 4)},
    {"speculation": Speculation("draft_model", 3, find_model("Qwen/Qwen3-0.6B"))},
    {"speculation": Speculation("eagle3", 3, find_model("Qwen/Qwen3-0.6B"))},
    {"adapters": Adapters(rank=16, loaded=4)},
    {"adapters": Adapters(rank=16, targets=("q_proj", "v_proj"))},
    {"prefix_caching": True},
    {"prefix_caching": False},
    {"max_num_batched_tokens": 4096, "enforce_eager": True},
    {"decode_context_parallel": 2, "tensor_parallel": 8},
    {"offload_bytes": 10 * GIB},
    {"language_model_only": True},
]
SHAPES = [
    {"tensor_parallel": 1},
    {"tensor_parallel": 4, "pipeline_parallel": 2},
    {"tensor_parallel": 8, "pipeline_parallel": 2, "nodes": 2, "node_rank": 1},
    {"tensor_parallel": 1, "data_parallel": 8, "expert_parallel": True},
    {"tensor_parallel": 1, "data_parallel": 16, "expert_parallel": True, "nodes": 2, "node_rank": 1},
    {"tensor_parallel": 8, "memory_utilization": 0.85},
]


def launch(repo="Qwen/Qwen3-30B-A3B", weight_format="bf16", kv_format="bf16", **shape):
    settings = {"max_model_len": 8192, "max_num_seqs": 64, "tensor_parallel": 1, **shape}
    return Launch(spec=find_model(repo), model=repo, weight_format=weight_format, kv_format=kv_format, **settings)


def command(name, *formats, node_rank=0, head_address="HEAD_ADDRESS", **asked):
    return find_engine(name).command(launch(*formats, **asked), node_rank=node_rank, head_address=head_address)


def options_of(words):
    return [word for word in words if word.startswith("-")]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("weights", "kv"), [("bf16", "bf16"), ("fp8", "fp8")])
def test_every_flag_exists_in_the_pinned_version(name, shape, weights, kv):
    words = command(name, weight_format=weights, kv_format=kv, **shape)
    assert set(options_of(words)) <= set(FLAGS[name]["flags"])
    assert FLAGS[name]["version"] == find_engine(name).version
    assert all(isinstance(word, str) and word for word in words)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("asked", ADDITIONS, ids=str)
def test_every_addition_is_an_option_that_exists_or_is_refused(name, asked):
    engine, wanted = find_engine(name), launch(**asked)
    if (refused := engine.refuses_launch(wanted)) is not None:
        assert refused.startswith(engine.title)
        with pytest.raises(NoSuchOption):
            engine.command(wanted)
        return
    words, plain = engine.command(wanted), engine.command(launch(tensor_parallel=wanted.tensor_parallel))
    assert set(options_of(words)) <= set(FLAGS[name]["flags"])
    on_by_default = asked == {"prefix_caching": True} and name == "sglang"
    assert (words == plain) == on_by_default


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
    dealt = launch(kv_format="fp8", data_parallel=8, expert_parallel=True)
    text = find_engine("tensorrt-llm").options_file(dealt)
    assert text == "kv_cache_config:\n  dtype: fp8\nenable_attention_dp: true\n"
    assert "--config" not in command("tensorrt-llm", tensor_parallel=8)


def test_vllm_is_told_how_to_guess_in_one_word_of_json():
    words = command("vllm", speculation=Speculation("draft_model", 3, find_model("Qwen/Qwen3-0.6B")))
    config = words[words.index("--speculative-config") + 1]
    assert config == '{"method":"draft_model","model":"Qwen/Qwen3-0.6B","num_speculative_tokens":3}'


def test_vllm_is_told_about_adapters_offload_and_context_ranks():
    words = command(
        "vllm",
        adapters=Adapters(16, 4, targets=("q_proj", "v_proj")),
        offload_bytes=int(2.5 * GIB),
        tensor_parallel=8,
        decode_context_parallel=2,
        prefix_caching=True,
        language_model_only=True,
        enforce_eager=True,
    )
    assert " ".join(words).endswith(
        "--tensor-parallel-size 8 --decode-context-parallel-size 2 --kv-cache-dtype auto --max-model-len 8192 "
        "--max-num-seqs 64 --enable-prefix-caching --enable-lora --max-loras 4 --max-lora-rank 16 "
        "--lora-target-modules q_proj v_proj --cpu-offload-gb 2.5 --language-model-only --enforce-eager"
    )


def test_sglang_checks_one_token_more_than_it_guesses():
    words = command("sglang", speculation=Speculation("mtp", 3))
    assert words[words.index("--speculative-algorithm") + 1] == "NEXTN"
    assert words[words.index("--speculative-num-steps") + 1] == "3"
    assert words[words.index("--speculative-num-draft-tokens") + 1] == "4"


def test_tensorrt_guesses_and_adapts_by_its_file():
    asked = launch(speculation=Speculation("mtp", 3), adapters=Adapters(16, 2, targets=("q_proj", "v_proj")))
    assert find_engine("tensorrt-llm").options_file(asked) == (
        "speculative_config:\n  decoding_type: MTP\n  max_draft_len: 3\n"
        "lora_config:\n  lora_target_modules: [attn_q, attn_v]\n  max_lora_rank: 16\n  max_loras: 2\n"
        "  max_cpu_loras: 2\n"
    )


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("vllm", {"adapters": Adapters(20)}, "LoRA rank of 1, 8, 16, 32"),
        ("tensorrt-llm", {"offload_bytes": 1}, "no option for weights in the host's memory"),
        ("tensorrt-llm", {"decode_context_parallel": 2}, "no option for decode context parallelism"),
        ("tensorrt-llm", {"language_model_only": True}, "no option for leaving out a vision tower"),
        ("tensorrt-llm", {"adapters": Adapters(16, targets=("kv_b_proj",))}, "'kv_b_proj' is none of them"),
        ("tensorrt-llm", {"speculation": Speculation("eagle", 3, find_model("Qwen/Qwen3-0.6B"))}, "no eagle decoding"),
    ],
)
def test_what_an_engine_has_no_option_for_is_refused(name, asked, said):
    assert said in find_engine(name).refuses_launch(launch(**asked))


@pytest.mark.parametrize(("tensor_parallel", "whole"), [(1, False), (4, False), (8, True)])
def test_a_tower_of_twelve_heads_is_whole_where_tp_does_not_divide_it(tensor_parallel, whole):
    words = command("vllm", "zai-org/GLM-4.1V-9B-Thinking", tensor_parallel=tensor_parallel)
    assert ("--mm-encoder-tp-mode" in words) == whole
    only_text = command(
        "vllm", "zai-org/GLM-4.1V-9B-Thinking", tensor_parallel=tensor_parallel, language_model_only=True
    )
    assert "--mm-encoder-tp-mode" not in only_text
