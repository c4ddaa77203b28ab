"""The check of serving runs: against public measurements, against arithmetic by hand, and against hostile tables."""

import csv
import json
import math
from pathlib import Path

import pytest

from gpuplan.cli import app
from gpuplan.fitting.runs import LENGTH_JITTER
from gpuplan.measuring.errors import BadTable, Unpredictable
from gpuplan.measuring.serving_check import check_serving
from gpuplan.measuring.serving_predict import METRICS, predict_cases
from gpuplan.measuring.serving_rows import read_case
from gpuplan.measuring.serving_words import Load, engine_of, format_of, gpu_of, load_of, model_of
from optimizer.performance.estimate import load_factors

SAMPLE = Path(__file__).parents[2] / "oracles" / "measured_serving_sample.csv"
GOOD = {
    "run": "own/1",
    "engine": "vllm",
    "engine_version": "0.11.0",
    "model": "Qwen/Qwen3-8B",
    "weights_quant": "bf16",
    "gpu": "H100",
    "num_gpus": "1",
    "tp": "1",
    "isl": "1000",
    "osl": "500",
    "load": "concurrency=16",
    "tpot_ms": "8",
}


def said(**cells):
    """What is predicted for a good row with some cells changed."""
    answer = predict_cases([read_case(GOOD | cells)], load_factors())[0]
    assert not isinstance(answer, str), answer
    return answer


def reason(**cells):
    """Why a row has no prediction."""
    with pytest.raises(Unpredictable) as wrong:
        read_case(GOOD | cells)
    return str(wrong.value)


def written(tmp_path, text):
    file = tmp_path / "runs.csv"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def sample():
    return check_serving(SAMPLE)


def test_every_row_of_the_sample_but_the_one_with_pictures_is_predicted(sample):
    assert (sample.rows, sample.predicted) == (14, 13)
    assert [(each.ids, each.part) for each in sample.unpredicted if each.part == "row"] == [
        (("mlenergy3/00566",), "row")
    ]
    assert not sample.problems


def test_the_sample_is_met_within_bounds_that_only_tighten(sample):
    assert sample.of("tpot_ms").median <= 0.11
    assert sample.of("ttft_ms").median <= 0.40  # three rows
    assert sample.of("output_tps_total").median <= 0.12
    assert sample.of("e2e_ms_mean").median <= 0.40  # one row


def test_most_of_the_sample_lies_in_its_interval(sample):
    wholes = [each for each in sample.errors if each.grouped_by == "all" and each.coverage is not None]
    covered = sum(each.coverage * each.rows for each in wholes) / sum(each.rows for each in wholes)
    assert covered >= 0.8


def test_groups_of_a_metric_hold_all_of_its_rows(sample):
    for metric in {each.metric for each in sample.errors}:
        whole = sample.of(metric).rows
        for kind in ("load", "source", "engine", "gpu", "model", "calibration"):
            assert sum(e.rows for e in sample.errors if (e.metric, e.grouped_by) == (metric, kind)) == whole


def test_columns_of_the_written_rows_are_predictions_and_their_ends(sample):
    for row in sample.table:
        for metric in METRICS:
            if row.get(f"predicted_{metric}"):
                low, high = (float(row[f"predicted_{metric}_{end}"]) for end in ("low", "high"))
                assert low < float(row[f"predicted_{metric}"]) < high
                assert row[metric], "only what was measured is predicted"


def test_a_closed_loop_obeys_littles_law():
    found = said(load="concurrency=32").values
    assert found["requests_per_s"] * found["e2e_ms"] / 1e3 == pytest.approx(32, rel=0.02)
    assert found["output_tps_total"] == pytest.approx(500 * found["requests_per_s"])
    assert found["total_tps"] == pytest.approx(1500 * found["requests_per_s"])


def test_each_row_is_predicted_with_the_engine_of_its_time():
    eras = [said(engine_version=version, load="concurrency=256") for version in ("0.7.3", "0.11.1", "0.19.0")]
    assert [each.engine for each in eras] == ["vllm V0", "vllm sync", "vllm"]
    old, sync, new = (each.values["tpot_ms"] for each in eras)
    assert new < sync, "it schedules a step while the one before runs"
    assert new < old
    dated = said(engine_version="", source_date="2025-11", load="concurrency=256")
    assert dated.values["tpot_ms"] == sync


def test_a_static_batch_that_the_cache_cannot_hold_runs_in_waves():
    cells = {"note": "static batch", "model": "Qwen/Qwen3-32B", "isl": "2000", "osl": "2000", "tpot_ms": ""}
    half, whole, double = (said(load=f"concurrency={n}", e2e_ms="1", **cells).values["e2e_ms"] for n in (2, 4, 4096))
    assert whole < 1.2 * half, "what fits runs side by side"
    twice = said(load="concurrency=8192", e2e_ms="1", **cells).values["e2e_ms"]
    assert twice == pytest.approx(2 * double)


def test_a_host_that_plans_several_steps_at_once_costs_its_share_in_the_first_engine_alone():
    """Its work per step and per request is of `num-scheduler-steps` steps then; later engines have no such flag."""
    old, many = {"engine_version": "0.6.3", "load": "concurrency=256"}, {"note": "num-scheduler-step=8"}
    saved = (said(**old).values["itl_ms_median"] - said(**old, **many).values["itl_ms_median"]) / 1e3
    host = load_factors().engines["vllm V0"]
    assert saved == pytest.approx(7 / 8 * (host["step_seconds"] + 256 * host["sequence_seconds"]))
    assert said(**many).values == said().values


def test_energy_is_power_over_throughput():
    found = said().values
    assert found["energy_j_per_token"] == pytest.approx(found["avg_power_w"] / found["output_tps_total"])


def test_copies_of_a_replica_share_the_load_and_add_up():
    one, four = said(load="concurrency=16").values, said(load="concurrency=64", num_gpus="4", dp="").values
    assert four["tpot_ms"] == pytest.approx(one["tpot_ms"])
    assert four["output_tps_total"] == pytest.approx(4 * one["output_tps_total"])
    assert four["output_tps_per_gpu"] == pytest.approx(one["output_tps_per_gpu"])


def test_a_rate_below_the_limit_is_served_and_one_above_saturates():
    calm, flood = said(load="rate=1"), said(load="rate=100000")
    assert calm.values["requests_per_s"] == 1
    assert "ttft_ms" in calm.values
    assert flood.values["requests_per_s"] == pytest.approx(said(load="offline/max").values["requests_per_s"], rel=0.02)
    assert "queue" in flood.reasons["ttft_ms"]


def test_more_requests_than_memory_holds_wait_for_a_slot():
    some, many = said(load="concurrency=64", osl="4000"), said(load="concurrency=4096", osl="4000")
    assert many.values["ttft_ms"] > 20 * some.values["ttft_ms"]
    assert many.values["requests_per_s"] * many.values["e2e_ms"] / 1e3 == pytest.approx(4096, rel=0.01)


def test_a_request_alone_takes_as_long_as_a_static_batch_of_one():
    assert said(load="concurrency=1").values["e2e_ms"] == pytest.approx(
        said(load="concurrency=1", note="static batch of equal-length prompts").values["e2e_ms"]
    )


def test_offline_no_more_requests_are_in_flight_than_there_are():
    assert said(load="rate=inf (4 requests)").values["output_tps_total"] == pytest.approx(
        said(load="concurrency=4").values["output_tps_total"], rel=0.01
    )


def test_a_source_that_was_slower_than_others_is_predicted_slower_and_says_so():
    slower = load_factors().birth["source_slowness"]["qwen3speed"]
    other = said(run="qwen3speed/1")
    assert other.values["tpot_ms"] == pytest.approx(slower * said().values["tpot_ms"])
    assert any("this source" in each for each in other.assumed)


def test_layouts_of_both_attention_and_experts_are_read_from_the_note():
    note = "attention tp1 dp8, moe tp1 ep8; random prompts (length jitter 0.8)"
    (case,) = read_case(GOOD | {"model": "deepseek-ai/DeepSeek-R1", "weights_quant": "fp8", "num_gpus": "8",
                                "tp": "8", "note": note})  # fmt: skip
    assert (case.tensor_parallel, case.data_parallel, case.expert_parallel) == (1, 8, 8)
    assert (case.input_tokens, case.output_tokens) == (1000 * LENGTH_JITTER, 500 * LENGTH_JITTER)


def test_the_fastest_layout_counts_where_none_is_recorded():
    row = GOOD | {"tp": "", "num_gpus": "8", "load": "offline/max", "model": "meta-llama/Llama-3.1-8B"}
    cases = read_case(row)
    assert [(case.tensor_parallel, case.replicas) for case in cases] == [(1, 8), (2, 4), (4, 2), (8, 1)]
    best = predict_cases([cases], load_factors())[0]
    each = [predict_cases([(case,)], load_factors())[0].values["output_tps_total"] for case in cases]
    assert best.values["output_tps_total"] == max(each)


def test_the_interval_of_a_layout_that_is_not_recorded_holds_those_of_all():
    cells = {"load": "offline/max", "num_gpus": "8", "tp": "", "model": "meta-llama/Llama-3.1-70B-Instruct"}
    unknown = said(**cells)
    known = [said(**cells | {"tp": str(tp)}) for tp in (2, 4, 8)]
    assert unknown.values["output_tps_total"] == max(each.values["output_tps_total"] for each in known)
    assert unknown.low["output_tps_total"] == min(each.low["output_tps_total"] for each in known)
    assert unknown.high["output_tps_total"] == max(each.high["output_tps_total"] for each in known)


def test_a_card_of_two_dies_counts_as_two():
    (half,) = read_case(GOOD | {"gpu": "MI250"})
    whole, _ = gpu_of("MI250")
    assert half.card.memory_bandwidth_bytes_per_second * 2 == whole.memory_bandwidth_bytes_per_second
    assert half.assumed


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"note": "SPEC-DECODING or unclear"}, "speculative"),
        ({"note": "speculative decoding: MTP"}, "speculative"),
        ({"note": "SUSPECT: faster than memory"}, "SUSPECT"),
        ({"note": "prefix caching on"}, "prefix"),
        ({"note": "disaggregated: 4 prefill workers"}, "separate"),
        ({"note": "task=video-chat"}, "encoder"),
        ({"gpu": "Abacus"}, "not known"),
        ({"gpu": ""}, "not stated"),
        ({"engine": ""}, "engine is not stated"),
        ({"engine": "CUDA 12.2"}, "which is none"),
        ({"model": "../../etc/passwd"}, "no model's name"),
        ({"model": "nobody/has-this-model"}, "not bundled"),
        ({"model": ""}, "not named"),
        ({"weights_quant": "int3"}, "not described"),
        ({"isl": ""}, "input length"),
        ({"osl": ""}, "output length"),
        ({"osl": "nan"}, "no number"),
        ({"osl": "1e99"}, "no number"),
        ({"load": "full moon"}, "not understood"),
        ({"load": "concurrency=0"}, "which is none"),
        ({"load": ""}, "not stated"),
        ({"tp": "3", "num_gpus": "8"}, "does not divide"),
        ({"tp": "1e9"}, "no number"),
        ({"tp": "", "num_gpus": "8"}, "tensor parallelism"),
        ({"tp": "1", "pp": "64", "num_gpus": "64"}, "64 pipeline stages"),
    ],
)
def test_a_row_that_leaves_something_open_is_refused_with_the_reason(cells, why):
    assert why in reason(**cells)


def test_guesses_and_prefixes_that_are_stated_are_predicted():
    plain = said()
    guessing = said(speculative="ngram:2", acceptance_rate="0.8", note="SPEC-DECODING: matches ngram")
    assert guessing.values["tpot_ms"] < plain.values["tpot_ms"]
    assert guessing.calibration == "uncalibrated"
    wrong = said(speculative="ngram:2", acceptance_rate="0")
    assert wrong.values["tpot_ms"] > plain.values["tpot_ms"]
    drafted = said(speculative="draft:2:Qwen/Qwen3-0.6B", acceptance_rate="0.8")
    assert plain.values["tpot_ms"] > drafted.values["tpot_ms"] > guessing.values["tpot_ms"]
    cached = said(prefix_hit_rate="0.9", note="prefix caching on")
    assert cached.values["ttft_ms"] < plain.values["ttft_ms"]


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"note": "SPEC-DECODING: matches MTP"}, "columns speculative and acceptance_rate"),
        ({"speculative": "mtp:1", "acceptance_rate": "0.8"}, "no multi-token-prediction layers"),
        ({"speculative": "ngram:2"}, "column acceptance_rate"),
        ({"speculative": "ngram:2", "acceptance_rate": "7"}, "acceptance_rate"),
        ({"speculative": "crystal ball", "acceptance_rate": "1"}, "'crystal ball'"),
        ({"speculative": "draft:2", "acceptance_rate": "1"}, "'draft:2'"),
        ({"speculative": "ngram:99", "acceptance_rate": "1"}, "'ngram:99'"),
        ({"note": "shared prefix"}, "column prefix_hit_rate"),
    ],
)
def test_guesses_and_prefixes_that_are_not_stated_are_named(cells, why):
    assert why in reason(**cells)


def test_a_rate_of_arrivals_has_medians_and_tails():
    answer = said(load="rate=3")
    for name in ("ttft_ms", "tpot_ms"):
        assert 0 < answer.values[f"{name}_median"] < answer.values[f"{name}_p99"]
        assert answer.low[f"{name}_p99"] < answer.values[f"{name}_p99"] < answer.high[f"{name}_p99"]
    busier = said(load="rate=9")
    assert busier.values["ttft_ms_p99"] > answer.values["ttft_ms_p99"]
    assert busier.values["tpot_ms_mean"] > answer.values["tpot_ms_mean"]


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("concurrency=64", Load("closed", 64)),
        ("Concurrency = 8.0", Load("closed", 8)),
        ("offline/max", Load("offline", math.inf)),
        ("rate=inf (1000 requests)", Load("offline", 1000)),
        ("rate=2.5", Load("rate", 2.5)),
        ("32 requests (short)", Load("offline", 32)),
    ],
)
def test_loads_are_understood_as_benchmarks_write_them(text, load):
    assert load_of(text, "") == load


def test_a_batch_size_in_the_note_of_an_offline_run_is_a_static_batch():
    assert load_of("offline/max", "gptManager/gptSession offline benchmark, batch size 64") == Load("static", 64)


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("H100-SXM5-80GB", "H100 SXM 80GB"),
        ("B300-SXM", "B300 SXM 288GB"),
        ("GB300", "GB300 NVL72 (per GPU)"),
        ("MI355X", "MI355X 288GB"),
        ("Intel-Max-1550", "Data Center GPU Max 1550 128GB"),
        ("RTX-PRO-6000-Blackwell", "RTX PRO 6000 Blackwell Workstation 96GB"),
        ("8xH200", "H200 SXM 141GB"),
        ("A100-SXM-40G", "A100 SXM 40GB"),  # the size behind the socket counts
        ("V100-SXM2-32G", "V100 SXM2 32GB"),
        ("NVIDIA H200 141GB HBM3e", "H200 SXM 141GB"),
        ("H800", "H800 SXM 80GB"),
    ],
)
def test_cards_are_known_by_the_names_that_benchmarks_use(text, gpu):
    assert gpu_of(text)[0].name == gpu


@pytest.mark.parametrize(
    ("text", "weights", "stored"),
    [
        ("meta-llama/Llama-3.1-70B", "fp8", "fp8"),
        ("Qwen/Qwen2.5-7B-Instruct", "int8 weights", "int8"),
        ("nvidia/Llama-3.3-70B-Instruct-FP4", "nvfp4", "nvfp4"),
        ("cpatonn/Qwen3-Coder-30B-A3B-Instruct-GPTQ-4bit", "int4", "int4"),
        ("openai/gpt-oss-120b", "mxfp4", "mxfp4"),
        ("amd/Llama-3.1-405B-Instruct-MXFP4-Preview", "mxfp4", "mxfp4"),
        ("ibnzterrell/Meta-Llama-3.3-70B-Instruct-AWQ-INT4", "int4", "int4"),
    ],
)
def test_models_are_found_under_quantizers_names_too(text, weights, stored):
    assert model_of(text, weights, None).weight_format == stored


def test_the_era_of_an_engine_is_that_of_its_version_or_date():
    assert engine_of("tensorrt-llm", "TensorRT 10.2.0", "2024-08-28", "NVIDIA") == "tensorrt-llm C++"
    assert engine_of("tensorrt-llm", "", "2026-03", "NVIDIA") == "tensorrt-llm"
    assert format_of("mxfp4") == "mxfp4"


def test_a_config_of_ones_own_names_a_model(tmp_path):
    folder = tmp_path / "configs" / "me--mine"
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "vocab_size": 32000,
              "intermediate_size": 4096, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8,
              "max_position_embeddings": 4096, "torch_dtype": "bfloat16"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    cells = {"model": "me/mine"}
    text = "\n".join([",".join(GOOD), ",".join((GOOD | cells).values())])
    assert check_serving(written(tmp_path, text)).predicted == 0
    assert check_serving(written(tmp_path, text), tmp_path / "configs").predicted == 1


def test_a_bad_cell_costs_its_metric_and_a_bad_row_only_itself(tmp_path):
    head = ",".join([*GOOD, "ttft_ms", "ttft_ms_p99"])
    good = ",".join([*GOOD.values(), "100", "900"])
    rows = [good, good.replace(",8,", ",eight,"), good.replace(",8,", ",0,"), good.replace("vllm", ""), "", "x" * 9]
    report = check_serving(written(tmp_path, "\n".join([head, *rows])))
    assert (report.of("tpot_ms").rows, report.of("ttft_ms").rows) == (1, 3)
    assert any("eight" in problem for problem in report.problems)
    assert any(each.part == "ttft_ms_p99" and "at a rate of" in each.reason for each in report.unpredicted)


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n1,2\n", "model,gpu\nx,y\n"])
def test_a_file_without_models_or_metrics_is_refused(tmp_path, text):
    with pytest.raises(BadTable):
        check_serving(written(tmp_path, text))


def test_written_cells_start_no_formula(tmp_path, capsys):
    evil = GOOD | {"note": '=HYPERLINK("http://x")'}
    file = written(
        tmp_path, ",".join(evil) + "\n" + ",".join(f'"{v.replace(chr(34), chr(34) * 2)}"' for v in evil.values())
    )
    out = tmp_path / "out.csv"
    assert app.main(["check", "serving", str(file), "--rows", str(out)]) == 0
    with out.open(newline="", encoding="utf-8") as rows:
        (row,) = csv.DictReader(rows)
    assert row["note"].startswith("'=")
    assert float(row["predicted_tpot_ms"]) > 0
    assert "1 of 1 measured runs predicted" in capsys.readouterr().out


def test_the_page_and_the_json_say_the_same(capsys):
    assert app.main(["check", "serving", str(SAMPLE)]) == 0
    page = capsys.readouterr().out
    assert app.main(["check", "serving", str(SAMPLE), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    whole = next(e for e in report["errors"] if e["metric"] == "tpot_ms" and e["grouped_by"] == "all")
    assert f"{100 * whole['median']:,.1f} %" in page
    assert "its steps hold an encoder's work" in page


def test_a_missing_file_is_one_sentence(capsys):
    assert app.main(["check", "serving", "nowhere.csv"]) == 2
    assert "no file" in capsys.readouterr().err


def test_words_for_layouts_are_not_words_for_separate_prefill():
    assert read_case(GOOD | {"note": "where filled, TP/PP/DP follow the author's rule"})
