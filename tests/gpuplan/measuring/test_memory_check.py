"""The check against public measurements, against vLLM's own arithmetic, and against tables that mean harm."""

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_db.load import load_gpus
from gpuplan.cli import app
from gpuplan.measuring.errors import BadTable, Unpredictable
from gpuplan.measuring.memory_check import check_memory
from gpuplan.measuring.names import named_model
from gpuplan.measuring.predict import ACTIVATION, AVAILABLE, GRAPHS, NON_TORCH, PARTS, TOKENS, WEIGHTS, predict
from gpuplan.measuring.truth import CAPACITY, FULL, STATE, WEIGHT_BYTES, WINDOW
from optimizer.memory.communication import visible_bytes

ORACLES = Path(__file__).parents[2] / "oracles"
SAMPLE = ORACLES / "measured_memory_sample.csv"
HEADER = "id,engine,engine_version,model,gpu,gpu_mem_gib,tp,gpu_memory_utilization,max_model_len"
GOOD = "good,vllm,0.11.0,Qwen/Qwen3-8B,H100 80GB,79.19,1,0.9,32768"
GIB = 2**30


def start(**cells):
    """A row that says everything, with some cells changed."""
    row = dict(zip(HEADER.split(","), GOOD.split(","), strict=True))
    return row | {"max_num_seqs": "256", "max_num_batched_tokens": "2048"} | cells


def written(tmp_path, text):
    file = tmp_path / "rows.csv"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def sample():
    return check_memory(SAMPLE)


def test_every_row_of_the_sample_is_predicted(sample):
    assert (sample.kind, sample.rows, sample.predicted) == ("measured", 13, 13)
    assert not sample.problems


@pytest.mark.parametrize(
    ("cells", "title"),
    [
        ({"source": "vllm-project/vllm#27508", "model": "openai/gpt-oss-120b"}, "vLLM 0.11.0"),
        ({"source": "a blog", "model": "openai/gpt-oss-120b"}, "vLLM 0.13.0"),
        ({"source": "a blog", "model": "google/gemma-2-9b"}, "vLLM 0.19.0"),
        ({"source": "a blog", "quote": "# GPU blocks: 100"}, "vLLM 0.7.4"),
    ],
)
def test_a_log_without_version_is_dated_by_its_issue_its_wording_or_its_family(cells, title):
    said = predict(start(engine_version="", **cells))
    assert title in said.assumed


def test_layers_that_guess_tokens_take_weights_and_cache():
    plain = predict(start(model="zai-org/GLM-5.2-FP8", gpu="H200", gpu_mem_gib="", tp="8", engine_version="0.28.0"))
    guessing = predict(
        start(model="zai-org/GLM-5.2-FP8 (+MTP 5)", gpu="H200", gpu_mem_gib="", tp="8", engine_version="0.28.0")
    )
    assert guessing.values[WEIGHTS] > plain.values[WEIGHTS] + 1
    assert guessing.values[TOKENS] < plain.values[TOKENS]
    none = predict(start(note="no MTP: 36 layers"))
    assert none.values == predict(start()).values


def test_a_draft_that_is_not_part_of_the_checkpoint_is_a_reason():
    said = predict(start(model="google/gemma-4-31B", note="MTP n=8"))
    assert "MTP n=8" in said.reasons[AVAILABLE]


def test_an_unbundled_model_of_a_known_shape_is_predicted_and_says_so():
    said = predict(start(model="Qwen/Qwen3.8-27B-FP8", gpu="L40S", gpu_mem_gib="44.4", engine_version="0.27.0"))
    assert said.values[WEIGHTS] == pytest.approx(28.51, rel=0.01)  # a public log
    assert any("Qwen3.5-27B" in each for each in said.assumed)


def test_what_stands_in_for_measurements_of_an_engine_is_said():
    assert any("not measured for SGLang" in each for each in predict(start(engine="sglang", engine_version="")).assumed)
    assert not any("not measured" in each for each in predict(start()).assumed)


def test_tokens_of_windows_need_the_length_that_the_row_leaves_out():
    pool = {"available_kv_gib_per_gpu": "20", "max_model_len": "", "engine_version": "0.28.0"}
    assert "max_model_len is not stated" in predict(start(model="openai/gpt-oss-20b", **pool)).reasons[TOKENS]
    assert predict(start(**pool)).values[TOKENS] > 0  # attention alone: as many tokens at any length


def test_a_log_without_version_prints_as_the_version_that_is_assumed_for_it():
    said = predict(
        start(model="openai/gpt-oss-120b", engine_version="", max_model_len="", available_kv_gib_per_gpu="10.79")
    )
    assert said.values[TOKENS] == pytest.approx(157_200, rel=0.001)  # a public log; all 36 layers priced alike


def test_what_the_host_caches_in_shared_memory_is_not_guessed():
    said = predict(start(gpu="DGX Spark (GB10)", gpu_mem_gib="121.7"))
    assert "shares the host's memory" in said.reasons[AVAILABLE]
    assert said.values[WEIGHTS] == predict(start()).values[WEIGHTS]


def test_packed_caches_are_predicted_but_not_for_latent_attention():
    assert predict(start(kv_dtype="int8_per_token_head")).values[TOKENS] > predict(start()).values[TOKENS]
    said = predict(start(model="deepseek-ai/DeepSeek-V3", kv_dtype="int8_per_token_head"))
    assert "latent attention" in said.reasons[TOKENS]


def test_tokens_of_a_measured_pool_are_within_two_thousandths(sample):
    assert sample.of(TOKENS).rows == 4
    assert sample.of(TOKENS).worst <= 0.002


def test_weights_are_within_a_hundredth_but_for_twice_quantized_scales(sample):
    weights = sample.of(WEIGHTS)
    assert weights.rows == 9
    assert weights.median <= 0.005
    assert weights.worst_row == "m070"  # bitsandbytes quantizes the scales of its blocks once more
    assert weights.worst <= 0.06


def test_kv_left_is_within_the_bounds_that_the_issue_sets(sample):
    left = sample.of(AVAILABLE)
    assert left.rows >= 8
    assert left.median <= 0.02
    assert left.p90 <= 0.08


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The rows of vLLM's own arithmetic, in the columns of its run."""
    names = {"tensor_parallel": "tp", "kv_format": "kv_cache_dtype", "kv_pool_gib": "kv_gib"}
    with (ORACLES / "vllm_memory_truth.csv").open(newline="", encoding="utf-8") as file:
        rows = [{names.get(name, name): cell for name, cell in row.items()} for row in csv.DictReader(file)]
    path = tmp_path_factory.mktemp("truth") / "truth.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"model": row["model"].replace("/", "--")} for row in rows)
    return check_memory(path)


@pytest.mark.parametrize("part", [FULL, WINDOW, STATE, CAPACITY])
def test_cache_of_every_row_of_vllms_own_arithmetic_is_exact(truth, part):
    assert truth.kind == "truth"
    assert truth.of(part).rows >= 300
    assert truth.of(part).within_a_thousandth == 1


def test_weights_equal_vllms_own_arithmetic_within_a_thousandth_in_95_of_100(truth):
    """Six models were read by vLLM otherwise than published; this table does not say how it read them."""
    assert truth.of(WEIGHT_BYTES).within_a_thousandth >= 0.95


def test_the_defaults_of_a_config_class_are_a_model_too(tmp_path):
    """Rows of a public run of vLLM 0.32's classes on H100."""
    names = "model,gpu,tp,max_model_len,kv_gib,kv_bytes_per_token_full,state_bytes_per_request,kv_tokens_capacity"
    text = """\
tfdefault--FalconH1Config,h100,1,8192,40,131072,18874368,310613,17029931008
tfdefault--FalconH1Config,h100,8,8192,40,16384,2359296,2485452,2246791168
tfdefault--Mamba2Config,h100,8,8192,40,0,17268736,20373504,1821818880
tfdefault--Zamba2Config,h100,1,4096,40,184320,53084160,191172,4963697536
"""
    report = check_memory(written(tmp_path, f"{names},weight_bytes_rank0\n{text}"))
    assert report.predicted == 4
    assert all(report.of(part).within_a_thousandth == 1 for part in (FULL, STATE, CAPACITY, WEIGHT_BYTES))


def test_a_column_that_says_that_nothing_was_quantized_is_believed(tmp_path):
    both = "model,gpu,tp,dtype,quant,weight_bytes_rank0\n"
    rows = "Qwen--Qwen3-8B-FP8,h100,1,bfloat16,,1\nQwen--Qwen3-8B-FP8,h100,1,bfloat16,fp8,1\n"
    plain, quantized = (
        float(row["predicted_weight_bytes_rank0"]) for row in check_memory(written(tmp_path, both + rows)).table
    )
    assert plain == pytest.approx(16_381_470_720, rel=1e-3)
    assert 0.5 < quantized / plain < 0.6


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"model": "nobody/no-such-model"}, "is not bundled"),
        ({"model": ""}, "its model is not named"),
        ({"model": "(not in excerpt)"}, "its model is not named"),
        ({"model": "../../etc/passwd"}, "passwd is not bundled"),
        ({"model": "/dev/zero"}, "zero is not bundled"),
        ({"engine": "ollama"}, "ollama"),
        ({"tp": ""}, "its tensor parallelism is not stated"),
        ({"tp": "0"}, "tp is '0'"),
        ({"tp": "-1"}, "tp is '-1'"),
        ({"tp": "1e308"}, "tp is '1e308'"),
        ({"tp": "4096", "pp": "4096"}, "more than 4,096"),
        ({"pp": "99"}, "99 pipeline stages for 36 layers"),
        ({"gpu_memory_utilization": "90"}, "not percent"),
        ({"max_model_len": "nan"}, "max_model_len is 'nan'"),
        ({"enforce_eager": "perhaps"}, "neither True nor False"),
        ({"available_kv_gib_per_gpu": "8589934592"}, "(in GiB)"),
    ],
)
def test_a_row_that_cannot_be_predicted_says_why(cells, said):
    found = predict(start(**cells))
    assert not found.values
    assert said in found.reasons[AVAILABLE]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"gpu": "", "gpu_mem_gib": ""}, "its GPU is not stated"),
        ({"gpu": "Jetson AGX Thor 128GB", "gpu_mem_gib": ""}, "is not described here"),
        ({"gpu": "64 GB total VRAM (2 cards)", "gpu_mem_gib": ""}, "is not described here"),
        ({"gpu": "A100", "gpu_mem_gib": ""}, "sold with 40 and 80 GB"),
        ({"gpu": "RTX 5070 + RTX 5090", "gpu_mem_gib": "11.5+31.8"}, "its GPUs differ"),
        ({"gpu_mem_gib": "81559"}, "(in GiB)"),
    ],
)
def test_without_a_card_weights_are_predicted_and_what_is_left_is_not(cells, said):
    found = predict(start(**cells))
    assert found.values[WEIGHTS] == pytest.approx(15.27, abs=0.03)
    assert AVAILABLE not in found.values
    assert said in found.reasons[AVAILABLE]


def test_the_printed_total_counts_even_when_nobody_named_the_card():
    named, unnamed = predict(start()), predict(start(gpu="80GB class"))
    assert unnamed.values[AVAILABLE] == pytest.approx(named.values[AVAILABLE], abs=0.1)
    smaller = predict(start(gpu_mem_gib="78.19"))
    assert named.values[AVAILABLE] - smaller.values[AVAILABLE] == pytest.approx(0.9, abs=0.01)


def test_tokens_that_an_engine_prints_before_it_reads_its_arguments_are_not_taken_for_asked():
    logged = {"engine_version": "0.11.2", "quote": "Model loading took 15.27 GiB"}
    asked = {"note": "vllm serve --max-num-batched-tokens 2048"}
    taken, default = predict(start(**logged)), predict(start(engine_version="0.11.2", max_num_batched_tokens=""))
    assert taken.values[ACTIVATION] == default.values[ACTIVATION]
    assert "prints 2,048 before it reads its arguments" in "; ".join(taken.assumed)
    believed = [
        predict(start(**logged, **asked)),
        predict(start(engine_version="0.11.2")),  # somebody's own table: no log is quoted
        predict(start(engine_version="0.12.0", quote=logged["quote"])),  # prints nothing before
        predict(start(**logged, max_num_batched_tokens="2047")),
    ]
    assert all(each.values[ACTIVATION] < default.values[ACTIVATION] for each in believed)
    assert not any("prints" in "; ".join(each.assumed) for each in believed)


def test_a_class_of_cards_is_a_size_but_no_card_that_is_known():
    row = {"gpu_mem_gib": "", "max_num_seqs": "256", "max_num_batched_tokens": "2048"}
    sold, of_class = predict(start(gpu="RTX 3090", **row)), predict(start(gpu="24GB class (inferred)", **row))
    assert of_class.values[AVAILABLE] == pytest.approx(sold.values[AVAILABLE], abs=0.3)
    assert (sold.settings_known, of_class.settings_known) == (True, False)


def test_a_card_that_is_not_described_has_the_size_in_its_name():
    found = predict(start(model="Qwen/Qwen3-0.6B", gpu="RTX 3050 6GB", gpu_mem_gib="", max_num_seqs="16"))
    assert "engines see 5.55 GiB" in "; ".join(found.assumed)
    assert 2 < found.values[AVAILABLE] < 5
    b300 = predict(start(gpu="B300 class (283 GB avail)", gpu_mem_gib=""))  # of 288, less what others hold
    assert b300.gpu == "B300 SXM 288GB"


def test_the_sibling_in_a_format_is_taken_before_the_same_matrices_are_stored_in_it():
    named = named_model({"model": "zai-org/GLM-5.3 (fp8)", "weights_dtype_or_quant": "fp8"}, None)
    assert (named.spec.repo_id, named.assumed) == ("zai-org/GLM-5.3-FP8", "the weights of zai-org/GLM-5.3-FP8")


def test_a_whole_number_of_gib_is_what_cards_are_sold_as():
    card = visible_bytes(load_gpus()["RTX 3090 24GB"]) / GIB
    sold, printed = (predict(start(gpu="RTX 3090", gpu_mem_gib=total)) for total in ("24", f"{card:.4f}"))
    assert sold.values[AVAILABLE] == pytest.approx(printed.values[AVAILABLE], abs=0.01)


def test_defaults_are_named_as_assumed():
    found = predict(start(max_num_seqs="", gpu_memory_utilization="", engine_version=""))
    said = "; ".join(found.assumed)
    assert "default max_num_seqs" in said
    assert "default utilization 0.9" in said
    assert "vLLM 0." in said
    assert not found.settings_known
    assert predict(start()).settings_known


def test_a_model_that_somebody_inferred_is_predicted_but_not_counted_as_known():
    found = predict(start(model="Qwen3-8B class (15.27 GiB bf16; inferred)"))
    assert WEIGHTS in found.values
    assert not found.settings_known


@pytest.mark.parametrize(
    ("named", "repo_id"),
    [
        ("/data/models/meta-llama/Llama-3.1-8B-Instruct/", "meta-llama/Llama-3.1-8B-Instruct"),
        ("~/.cache/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64", "Qwen/Qwen3-8B"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("deepseek-ai/DeepSeek-V4-Flash-0731", "deepseek-ai/DeepSeek-V4-Flash"),
        ("mlabonne/Qwen3-8B-abliterated-v2", "Qwen/Qwen3-8B"),
        ("Qwen3.8-27B local int4 (somebody's image)", "Qwen/Qwen3.5-27B"),
    ],
)
def test_paths_tuned_models_and_dated_releases_are_the_model_whose_shape_they_have(named, repo_id):
    assert named_model({"model": named}, None).spec.repo_id == repo_id


@pytest.mark.parametrize("named", ["/etc/passwd", "../../catalog/data/models/index", "Qwen/Qwen3-8B-eagle3", "a/b-8b"])
def test_a_path_or_a_name_that_only_begins_like_a_model_is_none(named):
    with pytest.raises(Unpredictable):
        named_model({"model": named}, None)


@pytest.mark.parametrize(
    "named", ["unsloth/Qwen3-8B-GGUF", "Qwen3-8B-UD-Q4_K_XL", "Qwen3-8B 4-bit class", "Qwen3-8B-EXL3"]
)
def test_a_format_that_is_not_described_costs_the_weights_and_not_the_cache(named):
    found = named_model({"model": named}, None)
    assert found.spec.repo_id == "Qwen/Qwen3-8B"
    assert "not described" in found.weights_reason


def test_a_quantizer_that_is_known_stores_weights_as_it_always_does():
    # A public log of cyankiwi/Qwen3.5-35B-A3B-AWQ-4bit says groups of 32.
    by_habit = named_model({"model": "cyankiwi/Qwen3.5-27B-AWQ-4bit"}, None)
    assert by_habit.assumed.endswith("stored as int4_group32")
    assert named_model({"model": "somebody/Qwen3.5-27B-AWQ"}, None).assumed.endswith("stored as int4")


def test_weights_that_were_offloaded_are_not_on_the_card():
    # A public log of vLLM 0.7 on a V100: 11.41 GiB of weights and 1.95 of KV with 1 GiB offloaded, a layer streamed.
    row = {"engine_version": "0.7.3 (V0)", "gpu": "V100 16GB class", "gpu_mem_gib": "15.77", "max_model_len": "2048"}
    found = predict(start(**row, model="facebook/opt-6.7b (cpu_offload 1 GB)", gpu_memory_utilization="0.9"))
    assert found.values[WEIGHTS] == pytest.approx(11.41, abs=0.01)
    assert found.values[AVAILABLE] == pytest.approx(1.95, abs=0.1)
    assert found.settings_known
    word = predict(start(**row, model="facebook/opt-6.7b (with offload)"))
    assert "offload" in word.reasons[WEIGHTS]


def test_what_runs_beside_the_model_leaves_only_its_cache_predictable():
    found = predict(start(model="Qwen/Qwen3-8B (+LoRA rank 64)", available_kv_gib_per_gpu="10"))
    assert "LoRA" in found.reasons[WEIGHTS]
    assert {WEIGHTS, AVAILABLE}.isdisjoint(found.values)
    assert found.values[TOKENS] == 10 * GIB // (16 * 147_456) * 16
    assert found.kv_tokens_basis == "measured pool"


def test_an_unknown_kv_format_costs_only_the_tokens():
    found = predict(start(kv_dtype="int2 (group 32)"))
    assert "int2" in found.reasons[TOKENS]
    assert {WEIGHTS, ACTIVATION, NON_TORCH, AVAILABLE, GRAPHS} <= set(found.values)


def test_old_versions_print_the_blocks_of_a_hybrid_model_divided_by_its_groups():
    row = start(model="openai/gpt-oss-20b", available_kv_gib_per_gpu="10", max_model_len="131072")
    old, new = (predict(row | {"engine_version": each}).values[TOKENS] for each in ("0.11.0", "0.25.0"))
    assert old == pytest.approx(10 * GIB / (24 * 2 * 8 * 64 * 2), rel=0.01)  # all layers, as if none had a window
    assert new > 1.5 * old


def test_sglangs_tensor_parallelism_contains_its_attention_replicas():
    row = start(engine="sglang", engine_version="", tp="8", dp="8", available_kv_gib_per_gpu="10")
    alone = start(engine="sglang", engine_version="", tp="1", dp="8", available_kv_gib_per_gpu="10")
    assert predict(row).values[TOKENS] == predict(alone).values[TOKENS]


def test_sixteen_bit_weights_that_no_such_card_holds_are_not_assumed():
    found = predict(start(model="meta-llama/Llama-3.3-70B-Instruct", gpu="RTX 4090", gpu_mem_gib="23.6"))
    assert "do not fit in bf16" in found.reasons[AVAILABLE]


@pytest.mark.parametrize(("left", "contradicts"), [("53.5", False), ("55.0", True), ("x", False)])
def test_parts_that_exceed_the_rows_own_budget_are_no_truth(left, contradicts):
    row = start(weights_gib_per_gpu="15.27", activation_peak_gib="1.4", non_torch_gib="0.6")
    found = predict(row | {"available_kv_gib_per_gpu": left} if left != "x" else row | {"non_torch_gib": "x"})
    assert (AVAILABLE not in found.values) is contradicts
    assert ("parts exceed its share of memory, 0.9 x 79.19" in found.reasons.get(AVAILABLE, "")) is contradicts


def test_bad_cells_cost_their_rows_and_nothing_else(tmp_path):
    text = (
        f"{HEADER},kv_tokens\n{GOOD},100000\nbad,vllm,0.11.0,Qwen/Qwen3-8B,H100 80GB,79.19,x,0.9,32768,5\n{GOOD},many\n"
    )
    report = check_memory(written(tmp_path, text))
    assert report.predicted == 2
    assert report.of(TOKENS).rows == 1
    assert report.problems == ("Row 4: kv_tokens is 'many', which is no number from -1e+15 to 1e+15.",)
    assert [(each.reason, each.ids) for each in report.unpredicted if each.part == "row"] == [
        ("tp is 'x', which is no number from 1 to 4096", ("bad",))
    ]


def test_missing_columns_are_named_and_what_needs_them_is_not_predicted(tmp_path):
    report = check_memory(written(tmp_path, "model,engine,weights_gib_per_gpu\nQwen/Qwen3-8B,vllm,15.27\n"))
    assert report.problems == ("Column 'tp' is missing; what depends on it is not predicted.",)
    assert report.predicted == 0


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        ("Qwen/Qwen3-8B", "15.27", ""),
        ("Qwen/Qwen3-8B", "1.527", ""),
        ("Qwen/Qwen3-8B", "16.39", "seems to be in GB (of 10^9 bytes)"),
        ("Qwen/Qwen3-8B", "15636", "(in GiB)"),
        ("Qwen/Qwen3-0.6B", "1142.8", "seems to be in MiB"),
    ],
)
def test_a_column_in_another_unit_is_doubted(tmp_path, model, size, said):
    text = f"model,engine,tp,weights_gib_per_gpu\n{model},vllm,1,{size}\n"
    problems = check_memory(written(tmp_path, text)).problems
    assert len(problems) == bool(said)
    assert said in "".join(problems)


def test_a_column_with_another_units_name_is_not_read_and_named(tmp_path):
    text = "model,engine,tp,weights_mib_per_gpu,kv_tokens\nQwen/Qwen3-8B,vllm,1,15636,5\n"
    (said,) = check_memory(written(tmp_path, text)).problems
    assert said.startswith("Column 'weights_mib_per_gpu' is not read; if it is 'weights_gib_per_gpu'")


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "model\nx\n", "kv_tokens\n1\n", "<html></html>"])
def test_a_table_of_another_kind_is_refused_in_one_sentence(tmp_path, text):
    with pytest.raises(BadTable, match="has no column 'model'"):
        check_memory(written(tmp_path, text))


def test_a_folder_of_configs_serves_models_that_are_not_bundled(tmp_path):
    folder = tmp_path / "configs" / "me--tiny"
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
        "max_position_embeddings": 2048,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    text = "model,gpu,tp,kv_bytes_per_token_full\nme--tiny,h100,1,256\nme--none,h100,1,256\n"
    report = check_memory(written(tmp_path, text), tmp_path / "configs")
    assert report.of(FULL).rows == 1
    assert report.of(FULL).worst == 0
    with pytest.raises(BadTable, match="is no folder"):
        check_memory(written(tmp_path, text), tmp_path / "nowhere")


ODD = {
    "model": ["Qwen/Qwen3-8B", "openai/gpt-oss-120b", "deepseek-ai/DeepSeek-V3", "google/gemma-3-27b-it", "qwen3-next"],
    "engine": ["vllm", "sglang", "tensorrt-llm", "VLLM", ""],
    "engine_version": ["", "0.1.0", "0.7.3 (V0)", "0.33.0", "0.99", "9" * 30 + ".1"],
    "tp": ["1", "3", "7", "64", "4096"],
    "pp": ["", "2", "36"],
    "dp": ["", "3", "16"],
    "ep": ["", "8"],
    "kv_dtype": ["", "fp8", "bf16"],
    "gpu": ["", "H100", "MI300X", "T4", "GB10", "Gaudi2 96GB", "TPU v5e"],
    "gpu_mem_gib": ["", "1", "24", "79.2", "4096"],
    "max_num_batched_tokens": ["", "1", "2147483648"],
    "max_num_seqs": ["", "1", "1000000"],
    "max_model_len": ["", "1", "2000000000"],
    AVAILABLE: ["", "0", "-3", "4096", "0.0001"],
}


@settings(deadline=None)
@given(st.fixed_dictionaries({column: st.sampled_from(cells) for column, cells in ODD.items()}))
def test_every_combination_of_settings_is_predicted_or_has_its_reasons(row):
    found = predict(row)
    assert all(part in found.values or found.reasons[part] for part in PARTS)
    assert all(math.isfinite(value) for value in found.values.values())


def test_written_rows_have_predictions_beside_measurements_and_no_formulas(tmp_path, capsys):
    text = f'{HEADER},kv_tokens,note\n{GOOD},100000,"=HYPERLINK(""http://evil"")"\n'
    out = tmp_path / "out.csv"
    assert app.main(["check", "memory", str(written(tmp_path, text)), "--rows", str(out)]) == app.ANSWERED
    assert "1 of 1 measured starts predicted" in capsys.readouterr().out
    with out.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    names = list(row)
    assert names[names.index("kv_tokens") + 1] == "predicted_kv_tokens"
    assert {f"predicted_{part}" for part in (WEIGHTS, ACTIVATION, NON_TORCH, AVAILABLE, GRAPHS)} <= set(names)
    assert row["note"].startswith("'=")
    assert row["model"] == "Qwen/Qwen3-8B"


def test_json_is_the_report(capsys):
    assert app.main(["check", "memory", str(SAMPLE), "--json"]) == app.ANSWERED
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 13
    assert {each["part"] for each in report["errors"]} == {WEIGHTS, ACTIVATION, NON_TORCH, AVAILABLE, TOKENS, GRAPHS}
    assert {each["grouped_by"] for each in report["errors"]} == {"all", "settings known", "engine", "family", "gpu"}
    assert "table" not in report


@pytest.mark.parametrize(
    "argv", [["check", "memory"], ["check", "memory", "/no/such.csv"], ["check"], ["check", "x"], ["read-log", "/no"]]
)
def test_wrong_words_are_one_sentence_and_exit_2(capsys, argv):
    assert app.main(argv) == app.BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


def test_a_log_is_printed_as_a_table_or_as_json(tmp_path, capsys):
    log = tmp_path / "server.log"
    log.write_text("Available KV cache memory: 8.11 GiB\nGPU KV cache size: 178,880 tokens\n")
    assert app.main(["read-log", str(log)]) == app.ANSWERED
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["available_kv_gib_per_gpu"], row["source"]) == ("8.11", "server.log")
    assert app.main(["read-log", str(log), "--json"]) == app.ANSWERED
    assert json.loads(capsys.readouterr().out) == [row]
    out = tmp_path / "out.csv"
    assert app.main(["read-log", str(log), "--rows", str(out)]) == app.ANSWERED
    assert capsys.readouterr().out == ""
    assert out.read_text().count("\n") == 2


def test_a_card_whose_visible_memory_is_unknown_is_not_the_next_one_of_a_shorter_name():
    with_total = predict(start(gpu="GH200 144GB", gpu_mem_gib="140.2"))
    assert with_total.values[AVAILABLE] > 100
    of_its_class = predict(start(gpu="GH200 144GB", gpu_mem_gib=""))
    assert of_its_class.values[AVAILABLE] == pytest.approx(with_total.values[AVAILABLE], rel=0.05)


def test_a_date_is_not_dropped_to_find_a_short_name():
    with pytest.raises(Unpredictable, match="is not bundled"):  # it has 22B; "mistral-small" is short for one of 24B
        named_model({"model": "mistralai/Mistral-Small-Instruct-2409"}, None)


def test_sglang_prints_the_cache_of_tokens_beside_that_of_states():
    # A public log: Mamba states of 2.77 GB, and K and V of 1.52 GB each for 399,740 tokens.
    row = {"model": "ibm-granite/granite-4.0-h-micro", "engine": "sglang", "engine_version": "0.5.8", "tp": "1"}
    found = predict({**row, "gpu": "16GB class", AVAILABLE: "3.04", "max_model_len": "131072"})
    assert found.values[TOKENS] == pytest.approx(399_740, rel=0.005)
    assert found.values[AVAILABLE] == pytest.approx(3.04, rel=0.06)
