"""What a measured row means, source by source."""

from __future__ import annotations

import pytest

from gpuplan.fitting.eras import era_of
from gpuplan.fitting.runs import Unusable, read_run, read_runs, to_fit

INFERENCEX = {
    "run": "inferencex_aic/00001",
    "engine": "vllm",
    "engine_version": "0.19.0",
    "model": "meta-llama/Llama-3.1-70B",
    "weights_quant": "fp8",
    "gpu": "H200-SXM",
    "num_gpus": "4.0",
    "isl": "1024.0",
    "osl": "8192.0",
    "load": "concurrency=32",
    "ttft_ms": "179.0",
    "tpot_ms": "14.4",
    "note": "speculative decoding: none; attention tp4 dp1, moe tp4 ep1; closed-loop concurrency",
}


def test_inferencex_lengths_are_nine_tenths_of_the_nominal_ones():
    run = read_run(INFERENCEX)
    assert (run.input_tokens, run.output_tokens) == (1024 * 0.9, 8192 * 0.9)
    assert (run.kind, run.batch, run.gpus, run.gpu) == ("closed", 32, 4, "H200 SXM 141GB")
    assert run.measured == {"ttft": 0.179, "tpot": pytest.approx(0.0144)}


@pytest.mark.parametrize(
    ("note", "tp", "dp", "ep"),
    [
        ("attention tp8 dp1, moe tp8 ep1", 8, 1, 1),
        ("attention tp4 dp1, moe tp1 ep4", 4, 1, 4),
        ("attention tp1 dp8, moe tp1 ep8", 1, 8, 8),
        # Tables that multiplied TP by EP, or by DP: no server of that benchmark has 16 GPUs.
        ("attention tp16 dp1, moe tp4 ep4", 4, 1, 4),
        ("attention tp4 dp4, moe tp1 ep16", 1, 4, 4),
    ],
)
def test_parallelism_is_read_from_the_note(note, tp, dp, ep):
    run = read_run(INFERENCEX | {"note": note})
    assert (run.tensor_parallel, run.data_parallel, run.expert_parallel) == (tp, dp, ep)
    assert run.batch == 32 / dp


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"note": "SPEC-DECODING likely; attention tp4 dp1, moe tp4 ep1"}, "SPEC-DECODING"),
        ({"note": "SUSPECT; attention tp4 dp1, moe tp4 ep1"}, "SUSPECT"),
        ({"gpu": "Abacus"}, "Abacus"),
        ({"tpot_ms": ""}, "tpot_ms"),
        ({"tpot_ms": "nan"}, "tpot_ms"),
        ({"tpot_ms": "-3", "ttft_ms": "-9"}, "no measured value"),
        ({"weights_quant": "int3"}, "int3"),
        ({"load": "rate=inf (500 requests)"}, "load rate"),
        ({"ttft_ms": "90000"}, "queue for a slot"),
        ({"run": "trtllm_docs_v0.5_0.9/00001"}, "static batches"),
    ],
)
def test_a_row_that_means_something_else_is_left_out_with_its_reason(change, reason):
    with pytest.raises(Unusable, match=reason):
        read_run(INFERENCEX | change)


def test_a_users_own_runs_are_read_as_they_are():
    own = INFERENCEX | {"run": "my lab/7", "tp": "2", "ttft_ms_mean": "100", "note": ""}
    run = read_run(own)
    assert (run.source, run.tensor_parallel, run.input_tokens) == ("my lab", 2, 1024)
    assert run.measured["ttft"] == pytest.approx(0.1)


def test_engines_that_were_rewritten_are_told_apart():
    assert read_run(INFERENCEX | {"engine_version": "0.6.3"}).engine == "vllm V0"
    assert read_run(INFERENCEX | {"engine": "tensorrt-llm", "engine_version": "0.17.0"}).engine == "tensorrt-llm C++"
    assert read_run(INFERENCEX | {"engine": "tensorrt-llm", "engine_version": ""}).engine == "tensorrt-llm"


def test_left_out_rows_are_counted_by_reason(tmp_path):
    path = tmp_path / "runs.csv"
    rows = [INFERENCEX, INFERENCEX | {"gpu": "Abacus"}, INFERENCEX | {"gpu": "Abacus"}]
    lines = [",".join(INFERENCEX), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    runs, left_out = read_runs(path)
    assert len(runs) == 1
    assert left_out == {"GPU Abacus is not mapped": 2}


STATIC = INFERENCEX | {
    "run": "argonne/00001",
    "note": "static batch of equal-length prompts",
    "load": "concurrency=16",
    "e2e_ms": "5000",
    "ttft_ms": "",
    "tpot_ms": "",
}


def test_a_static_batch_counts_its_whole_time_and_one_request_alone_is_single():
    run = read_run(STATIC)
    assert (run.kind, run.batch, run.measured) == ("static", 16, {"request": 5.0})
    assert read_run(STATIC | {"load": "concurrency=1"}).kind == "single"


def test_a_static_batch_in_a_pipeline_is_left_out_and_one_request_is_not():
    with pytest.raises(Unusable, match="in a pipeline"):
        read_run(STATIC | {"pp": "2"})
    assert read_run(STATIC | {"pp": "2", "load": "concurrency=1"}).pipeline_parallel == 2


ROCM = STATIC | {
    "run": "rocmvllm/1",
    "engine": "vllm",
    "engine_version": "0.6.6",
    "model": "meta-llama/Llama-3.1-70B",
    "weights_quant": "fp8",
    "gpu": "MI300X",
    "num_gpus": "8",
    "load": "offline/max",
    "output_tps_total": "15105",
    "note": "benchmark_throughput.py offline, num_prompts=3200, max_num_seqs=3200",
}


def test_amds_offline_runs_have_as_many_slots_as_they_say_and_plan_ten_steps_in_the_first_engine():
    run = read_run(ROCM)
    assert (run.kind, run.batch, run.planned_steps, run.measured) == ("offline", 3200, 10, {"throughput": 15105})
    assert read_run(ROCM | {"engine_version": "0.10.0"}).planned_steps == 1
    latency = read_run(ROCM | {"load": "concurrency=8", "e2e_ms": "9000", "output_tps_total": ""})
    assert (latency.kind, latency.planned_steps) == ("static", 1)


def test_contexts_beyond_the_graphs_of_vllm_04_are_left_out():
    row = ROCM | {"run": "qwen2speed/1", "engine_version": "0.4.2", "gpu": "A100-80GB", "load": "concurrency=1"}
    assert read_run(row | {"isl": "6144", "osl": "2048"}).kind == "single"
    with pytest.raises(Unusable, match="captured graphs"):
        read_run(row | {"isl": "6145", "osl": "2048"})


def test_a_vllm_without_version_has_the_era_of_its_date():
    old = {"engine": "vllm", "engine_version": "", "source_date": "2024-11"}
    assert read_run(STATIC | old).engine == "vllm V0"
    assert read_run(STATIC | old | {"source_date": "2025-11"}).engine == "vllm sync"
    assert read_run(STATIC | old | {"source_date": "2026-02"}).engine == "vllm"


def test_an_engine_has_the_era_of_its_version():
    for version, era in (("0.7.3", "vllm V0"), ("0.11.1", "vllm sync"), ("0.14.0", "vllm"), ("1.0", "vllm")):
        assert read_run(STATIC | {"engine": "vllm", "engine_version": version}).engine == era
    for version, era in (("0.19.0", "tensorrt-llm C++"), ("0.20.0", "tensorrt-llm"), ("", "tensorrt-llm")):
        assert read_run(STATIC | {"engine": "tensorrt-llm", "engine_version": version}).engine == era


def test_what_is_neither_version_nor_date_is_of_today():
    for version, date in (("", ""), ("nightly", "soon"), ("9" * 5000 + ".1", ""), ("main", "1999")):
        assert era_of("vllm", version, date, "NVIDIA") == "vllm"


def test_on_amd_vllm_kept_its_first_engine_for_longer():
    for version, nvidia, amd in (("0.8.5", "vllm sync", "vllm V0"), ("0.9.0.1", "vllm sync", "vllm V0")):
        assert (era_of("vllm", version, "", "NVIDIA"), era_of("vllm", version, "", "AMD")) == (nvidia, amd)
    assert era_of("vllm", "0.9.1", "", "AMD") == "vllm sync"
    assert era_of("vllm", "0.19", "", "AMD") == "vllm"
    assert read_run(STATIC | {"gpu": "MI300X", "engine": "vllm", "engine_version": "0.8.5"}).engine == "vllm V0"


def test_a_vendor_with_one_gpu_is_judged_and_moves_no_factor():
    intel = {"gpu": "Intel-Max-1550", "engine": "vllm", "engine_version": "0.5.2", "run": "own/1"}
    runs = [read_run(INFERENCEX), read_run(INFERENCEX | intel | {"ttft_ms_mean": "100", "tpot_ms_mean": "10"})]
    assert [run.gpu for run in runs] == [runs[0].gpu, "Data Center GPU Max 1550 128GB"]
    assert to_fit(runs) == runs[:1]
