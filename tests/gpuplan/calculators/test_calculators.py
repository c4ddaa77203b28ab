"""One configuration: memory by hand-worked sums, refusals in one sentence, pages and JSON that agree."""

from __future__ import annotations

import json

import pytest

from gpuplan.calculators.configuration import Configuration
from gpuplan.calculators.memory import memory_of
from gpuplan.cli import app
from optimizer.errors import BadRequirements
from optimizer.requirements import Workload

GIB = 1 << 30
LLAMA = Configuration(model="llama-3.3-70b", gpu="H100", tensor_parallel=4)


def test_kv_bytes_of_a_token_are_layers_times_heads_of_a_rank_times_two() -> None:
    """80 layers, 8 KV heads of 128 over TP 4, keys and values in 2 bytes: 80 x 2 x 2 x 128 x 2."""
    assert memory_of(LLAMA).memory.kv_bytes_per_token == 80 * 2 * (8 // 4) * 128 * 2


def test_weights_of_a_rank_are_a_quarter_of_the_70_billion_in_two_bytes() -> None:
    positions = 131_072 * 128 * 2  # sines and cosines, on every rank
    weights = memory_of(LLAMA).memory.weight_bytes - positions
    assert weights == pytest.approx(70_553_706_496 * 2 / 4, rel=1e-3)


def test_an_fp8_cache_holds_twice_the_tokens() -> None:
    half = memory_of(LLAMA.model_copy(update={"kv_cache_format": "fp8"})).memory
    assert half.kv_bytes_per_token * 2 == memory_of(LLAMA).memory.kv_bytes_per_token
    assert half.kv_tokens == pytest.approx(2 * memory_of(LLAMA).memory.kv_tokens, rel=0.01)


def test_auto_is_the_models_own_cache_format() -> None:
    assert memory_of(LLAMA.model_copy(update={"kv_cache_format": "auto"})) == memory_of(LLAMA)


def test_parts_stay_within_the_card() -> None:
    memory = memory_of(LLAMA).memory
    parts = memory.weight_bytes + memory.kv_cache_bytes + memory.activation_bytes + memory.non_torch_bytes
    assert parts + memory.graph_bytes <= memory.total_bytes
    assert memory.budget_bytes == pytest.approx(0.92 * memory.total_bytes, rel=1e-6)


def test_an_engine_takes_the_models_context_unless_told() -> None:
    assert memory_of(LLAMA).layout.max_model_len == 131072
    assert memory_of(LLAMA.model_copy(update={"max_model_len": 8192})).layout.max_model_len == 8192


def test_the_longest_context_is_the_edge_between_starting_and_not() -> None:
    tight = Configuration(model="llama-3.3-70b", gpu="H100", tensor_parallel=2)
    longest = memory_of(tight).longest_context
    assert not memory_of(tight).starts
    assert memory_of(tight.model_copy(update={"max_model_len": longest})).starts
    assert not memory_of(tight.model_copy(update={"max_model_len": longest + 1024})).starts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tensor_parallel": 3}, "not divisible by TP"),
        ({"tensor_parallel": 1 << 20}, "one replica has at most 4096"),
        ({"gpu": "T4", "kv_cache_format": "fp8"}, "vllm|vLLM"),
        ({"max_model_len": 1000}, "longer than max_model_len"),
        ({"nodes": 3}, "spread evenly over 3 machines"),
        ({"expert_parallel": True}, "dense"),
    ],
)
def test_what_cannot_run_is_refused_with_its_reason(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequirements, match=said):
        memory_of(LLAMA.model_copy(update=changes))


def test_memory_does_not_ask_for_the_network_between_machines() -> None:
    assert memory_of(LLAMA.model_copy(update={"tensor_parallel": 8, "pipeline_parallel": 2})).layout.nodes == 2


def memory_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    app.main(["memory", *argv, "--json"])
    return json.loads(capsys.readouterr().out)


def test_every_option_reaches_the_calculator(capsys) -> None:
    words = (
        "qwen3-30b-a3b --gpu h200 --tensor-parallel 2 --data-parallel 2 --expert-parallel --quantization fp8 "
        "--kv-cache-dtype fp8 --gpu-memory-utilization 0.85 --max-model-len 16K --max-num-seqs 64 "
        "--max-num-batched-tokens 4096 --isl 3000 --osl 1000"
    )
    got = memory_json(capsys, *words.split(" "))
    layout = got["layout"]
    assert (layout["gpu"], layout["gpus"], layout["expert_parallel"]) == ("H200 SXM 141GB", 4, 4)
    assert (layout["weight_format"], layout["kv_cache_format"]) == ("fp8", "fp8")
    assert (layout["max_model_len"], layout["max_num_seqs"], layout["max_num_batched_tokens"]) == (16384, 64, 4096)
    assert got["memory"]["budget_bytes"] == pytest.approx(0.85 * got["memory"]["total_bytes"], rel=1e-6)
    assert got["tokens_per_request"] == 4000


def test_eager_mode_has_no_graphs(capsys) -> None:
    assert memory_json(capsys, "llama-3.1-8b", "--gpu", "L40S")["memory"]["graph_bytes"] > 0
    assert memory_json(capsys, "llama-3.1-8b", "--gpu", "L40S", "--enforce-eager")["memory"]["graph_bytes"] == 0


def test_what_does_not_fit_is_exit_3_and_says_what_is_missing(capsys) -> None:
    assert app.main(["memory", "llama-3.3-70b", "--gpu", "H100"]) == app.NOTHING_FITS
    assert "GiB are missing on each GPU" in capsys.readouterr().out
    assert app.main(["memory", "llama-3.3-70b", "--gpu", "H100", "--tensor-parallel", "2"]) == app.NOTHING_FITS
    assert "--max-model-len 21456" in " ".join(capsys.readouterr().out.split())


def test_the_page_and_the_json_say_the_same(capsys) -> None:
    argv = ["memory", "llama-3.3-70b", "--gpu", "H100", "--tensor-parallel", "4"]
    got = memory_json(capsys, *argv[1:])
    assert app.main(argv) == 0
    page = capsys.readouterr().out
    assert f"{got['memory']['weight_bytes'] / GIB:,.2f}" in page
    assert f"{got['memory']['kv_tokens']:,}" in page
    assert f"{got['memory']['requests_that_fit']:,}" in page


def test_older_engine_versions_can_be_asked_for(capsys) -> None:
    argv = ("llama-3.1-8b", "--gpu", "H100", "--engine-version", "0.10.0")
    assert memory_json(capsys, *argv)["layout"]["engine_version"] == "0.10.0"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["memory"], "Say which model on which GPU"),
        (["memory", "llama-3.3-70b"], "Say which model on which GPU"),
        (["memory", "lama-3.3-70b", "--gpu", "H100"], "did you mean"),
        (["memory", "llama-3.3-70b", "--gpu", "H1000"], "Did you mean"),
        (["memory", "llama-3.3-70b", "--gpu", "H100", "--engine", "vlm"], "known are vllm"),
        (["memory", "llama-3.3-70b", "--gpu", "H100", "--engine-version", "x"], "is not a version"),
        (["memory", "llama-3.3-70b", "--gpu", "H100", "--quantization", "fp3"], "fp3"),
        (["memory", "llama-3.3-70b", "--gpu", "H100", "--kv-cache-dtype", "fp3"], "fp3"),
        (["memory", "llama-3.3-70b", "--gpu", "H100", "--gpu-memory-utilization", "1.9"], "a share above 0"),
        (["estimate", "llama-3.3-70b", "--gpu", "H100", "--concurrency", "0"], "a whole number from 1"),
    ],
)
def test_bad_input_is_one_sentence(capsys, argv: list[str], said: str) -> None:
    assert app.main(argv) == app.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_the_workload_is_what_is_counted() -> None:
    long = LLAMA.model_copy(update={"workload": Workload(input_tokens=16000, output_tokens=384)})
    assert memory_of(long).memory.requests_that_fit == memory_of(long).memory.kv_tokens // 16384


ESTIMATE = ("estimate", "llama-3.3-70b", "--gpu", "H100", "--tensor-parallel", "4")


def estimate_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    app.main([*ESTIMATE, *argv, "--json"])
    return json.loads(capsys.readouterr().out)


def test_tokens_per_second_are_requests_per_second_times_their_output(capsys) -> None:
    got = estimate_json(capsys, "--concurrency", "64", "--osl", "300")["estimate"]
    assert got["output_tokens_per_second"]["value"] == pytest.approx(got["requests_per_second"] * 300)


def test_a_closed_loop_keeps_littles_law(capsys) -> None:
    """Requests in flight = requests per second x seconds that one takes, TTFT + TPOT x (output tokens - 1).

    Within 8%: waiting for others' prompts costs one request time but no work, and what is fitted is each metric's own
    level, not their product.
    """
    got = estimate_json(capsys, "--concurrency", "64", "--osl", "300")["estimate"]
    seconds = got["ttft_seconds"]["value"] + got["tpot_seconds"]["value"] * 299
    assert got["requests_per_second"] * seconds == pytest.approx(64, rel=0.08)


def test_the_error_bar_holds_the_estimate(capsys) -> None:
    for metric in ("output_tokens_per_second", "ttft_seconds", "tpot_seconds"):
        bar = estimate_json(capsys)["estimate"][metric]
        assert 0 < bar["low"] < bar["high"]


def test_the_page_of_an_estimate_says_what_its_json_says(capsys) -> None:
    got = estimate_json(capsys)["estimate"]
    assert app.main(ESTIMATE) == 0
    page = capsys.readouterr().out
    assert f"{got['output_tokens_per_second']['value']:,.0f}" in page
    assert got["calibration"] in page


def test_more_requests_than_memory_holds_are_exit_3(capsys) -> None:
    assert app.main([*ESTIMATE, "--concurrency", "100000"]) == app.NOTHING_FITS
    assert "Memory does not hold 100,000 such requests" in capsys.readouterr().out


def test_speed_over_machines_needs_to_be_told_the_network(capsys) -> None:
    over_two = ("--tensor-parallel", "8", "--pipeline-parallel", "2")
    assert app.main([*ESTIMATE, *over_two]) == app.BAD_INPUT
    assert "network" in capsys.readouterr().err
    assert app.main([*ESTIMATE, *over_two, "--network", "50"]) == 0


def test_an_estimate_counts_the_memory_of_adapters_and_says_that_their_time_is_missing(capsys) -> None:
    plain = estimate_json(capsys)
    adapted = estimate_json(capsys, "--max-lora-rank", "64", "--max-loras", "8")
    most = [max(load["concurrency"] for load in answer["loads"]) for answer in (plain, adapted)]
    assert most[1] < most[0]
    assert plain["warnings"] == []
    assert "without LoRA adapters" in adapted["warnings"][0]
    assert app.main([*ESTIMATE, "--max-lora-rank", "64"]) == 0
    assert "without LoRA adapters" in capsys.readouterr().out


def test_an_estimate_counts_requests_of_several_lengths_as_memory_does(capsys) -> None:
    argv = ("--isl", "1024", "--osl", "512", "--lengths", "512:3,4608:1")  # of 1,536 tokens on average
    even, mixed = estimate_json(capsys, *argv[:4]), estimate_json(capsys, *argv)
    most = [max(load["concurrency"] for load in answer["loads"]) for answer in (even, mixed)]
    assert most[1] < most[0]
    assert mixed["estimate"]["tpot_seconds"] == even["estimate"]["tpot_seconds"]


def test_memory_of_a_tensor_parallel_group_across_machines_is_known_and_its_speed_is_not_planned(capsys) -> None:
    across = ("llama-3.1-405b", "--gpu", "H100", "--nodes", "2", "--tensor-parallel", "16")
    made = memory_json(capsys, *across)
    assert (made["layout"]["gpus"], made["layout"]["nodes"], made["starts"]) == (16, 2, True)
    weights = 405_853_388_800 * 2 / 16
    assert weights < made["memory"]["weight_bytes"] < 1.02 * weights  # 8 KV heads are on two ranks each
    assert app.main(["estimate", *across]) == 2
    assert "spans machines" in capsys.readouterr().err


def test_an_engines_version_may_stand_behind_its_name(capsys) -> None:
    named = memory_json(capsys, "llama-3.1-8b", "--gpu", "H100", "--engine", "vllm==0.10.0")
    assert named == memory_json(capsys, "llama-3.1-8b", "--gpu", "H100", "--engine-version", "0.10.0")


def test_an_estimate_says_when_it_is_the_context_that_keeps_the_engine_from_starting(capsys) -> None:
    """An L4 holds some 20 requests of 1,536 tokens beside Llama-3.1-8B in bf16, and no single one of 131,072."""
    assert app.main(["estimate", "llama-3.1-8b", "--gpu", "L4", "--concurrency", "8"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "The engine does not start: one request of max_model_len 131,072 has no room." in said
    assert "Not even one" not in said
    longest = said.split("--max-model-len ")[1].split()[0]
    again = ["estimate", "llama-3.1-8b", "--gpu", "L4", "--concurrency", "8", "--max-model-len", longest]
    assert app.main(again) == 0
    assert app.main([*again[:-1], str(int(longest) + 1000)]) == 3


def test_no_remedy_is_a_context_that_the_model_was_not_made_for(capsys) -> None:
    assert app.main(["memory", "llama-3.1-8b", "--gpu", "H100", "--max-model-len", "1M", "--json"]) == app.NOTHING_FITS
    remedies = json.loads(capsys.readouterr().out)["remedies"]
    assert {one["option"]: one["value"] for one in remedies}["--max-model-len"] == "131072"


@pytest.mark.parametrize("gpu", ["RTX A6000", "A100 PCIe 80GB", "RTX A4000"])
def test_an_estimate_of_what_was_planned_is_the_plans_to_the_last_digit(capsys, gpu: str) -> None:
    """Cards whose NVLink is a bridge that machines may lack: both faces assume the links that machines have."""
    app.main(["--model", "llama-3.3-70b", "--min-tps", "500", "--gpu", gpu, "--json"])
    line = json.loads(capsys.readouterr().out)["lines"][0]
    planned, replica = line["estimate"], line["replica"]
    layout = [
        "--tensor-parallel",
        str(replica["tensor_parallel"]),
        "--pipeline-parallel",
        str(replica["pipeline_parallel"]),
    ]
    lengths = ["--max-model-len", str(replica["max_model_len"]), "--max-num-seqs", str(replica["max_num_seqs"])]
    load = ["--quantization", replica["weight_format"], "--concurrency", str(planned["concurrency"])]
    app.main(["estimate", replica["model"], "--gpu", replica["gpu"], *layout, *lengths, *load, "--json"])
    alone = json.loads(capsys.readouterr().out)["estimate"]
    assert {name: alone[name] for name in planned} == planned
