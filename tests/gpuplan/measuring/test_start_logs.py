"""Start-up logs: what a person read in them, what ranks and colours do to them, and what is no log."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplan.measuring.errors import BadTable
from gpuplan.measuring.logs import COLUMNS, read_log, read_log_file
from gpuplan.measuring.memory_check import check_memory
from gpuplan.measuring.tables import write_table

LOGS = Path(__file__).parents[2] / "oracles" / "start_up_logs.csv"

V1 = """\
INFO 11-02 10:11:12 [api_server.py:1] vLLM API server version 0.11.0
INFO 11-02 10:11:12 [utils.py:1] non-default args: {'model': 'Qwen/Qwen3-8B', 'max_model_len': 32768, \
'tensor_parallel_size': 2, 'gpu_memory_utilization': 0.85, 'max_num_seqs': 64}
INFO 11-02 10:11:20 [core.py:1] Initializing a V1 LLM engine (v0.11.0) with config: model='Qwen/Qwen3-8B', \
dtype=torch.bfloat16, max_seq_len=32768, tensor_parallel_size=2, pipeline_parallel_size=1, quantization=None, \
enforce_eager=False, kv_cache_dtype=auto
(Worker_TP0 pid=1) INFO 11-02 10:12:00 [gpu_model_runner.py:1] Model loading took 7.6400 GiB and 12.1 seconds
(Worker_TP1 pid=2) INFO 11-02 10:12:00 [gpu_model_runner.py:1] Model loading took 7.6437 GiB and 12.3 seconds
(Worker_TP1 pid=2) INFO 11-02 10:12:30 [gpu_worker.py:1] Available KV cache memory: 58.11 GiB
(Worker_TP0 pid=1) INFO 11-02 10:12:30 [gpu_worker.py:1] Available KV cache memory: 58.03 GiB
(EngineCore pid=3) INFO 11-02 10:12:31 [kv_cache_utils.py:1] GPU KV cache size: 846,352 tokens
(EngineCore pid=3) INFO 11-02 10:12:31 [kv_cache_utils.py:1] GPU KV cache size: 845,104 tokens
(EngineCore pid=3) INFO 11-02 10:12:31 Maximum concurrency for 32,768 tokens per request: 25.79x
(Worker_TP0 pid=1) INFO 11-02 10:12:55 [gpu_model_runner.py:1] Graph capturing finished in 20 secs, took 0.53 GiB
"""

SGLANG = """\
[2025-06-01 10:00:00] server_args=ServerArgs(model_path='Qwen/Qwen3-8B', tp_size=2, mem_fraction_static=0.85, \
kv_cache_dtype='auto', max_running_requests=64, chunked_prefill_size=8192, disable_cuda_graph=False, dtype='auto')
[2025-06-01 10:00:05 TP0] Load weight begin. avail mem=78.40 GB
[2025-06-01 10:00:05 TP1] Load weight begin. avail mem=78.40 GB
[2025-06-01 10:00:20 TP1] Load weight end. type=Qwen3ForCausalLM, dtype=torch.bfloat16, avail mem=70.70 GB, \
mem usage=7.70 GB.
[2025-06-01 10:00:21 TP0] KV Cache is allocated. #tokens: 800000, K size: 27.47 GB, V size: 27.47 GB
[2025-06-01 10:00:21 TP1] KV Cache is allocated. #tokens: 799999, K size: 27.46 GB, V size: 27.47 GB
[2025-06-01 10:00:50 TP0] Capture cuda graph end. Time elapsed: 9.1 s. mem usage=1.25 GB. avail mem=9.10 GB.
"""

TRT = """\
[TensorRT-LLM] TensorRT-LLM version: 0.16.0
[TensorRT-LLM][INFO] Loaded engine size: 7710 MiB
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 1140.50 MiB for execution context memory.
[TensorRT-LLM][INFO] Memory usage when calculating max tokens in paged kv cache: total: 79.10 GiB, available: 63.62 GiB
[TensorRT-LLM][INFO] Number of tokens per block: 64.
[TensorRT-LLM][INFO] Number of blocks in KV cache primary pool: 4071
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 57.25 GiB for max tokens in paged KV cache (260544).
"""


def one(text):
    (row,) = read_log(text)
    return row


def quoted():
    with LOGS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("known", quoted(), ids=lambda known: known["id"])
def test_every_number_that_a_person_read_in_a_public_log_is_read(known):
    row = one(known["log"])
    for column, said in known.items():
        if column in COLUMNS and column not in {"id", "source", "engine"} and said:
            mine, theirs = (float(cell.split(":")[-1]) for cell in (row[column], said))
            assert mine == pytest.approx(theirs, rel=2e-3, abs=6e-3), column
    assert row["engine"] == known["engine"]


def test_a_whole_vllm_log_gives_settings_and_the_poorest_rank():
    row = one(V1)
    said = {column: cell for column, cell in row.items() if cell and column not in {"quote", "id"}}
    assert said == {
        "engine": "vllm",
        "engine_version": "0.11.0",
        "model": "Qwen/Qwen3-8B",
        "weights_dtype_or_quant": "bfloat16",
        "kv_dtype": "auto",
        "tp": "2",
        "pp": "1",
        "gpu_memory_utilization": "0.85",
        "max_model_len": "32768",
        "max_num_seqs": "64",
        "enforce_eager": "False",
        "weights_gib_per_gpu": "7.6437",
        "available_kv_gib_per_gpu": "58.03",
        "kv_tokens": "845104",
        "max_concurrency": "25.79",
        "cudagraph_gib": "0.53",
    }


def test_a_whole_sglang_log_gives_keys_and_values_of_the_poorest_rank():
    row = one(SGLANG)
    assert row["engine"] == "sglang"
    assert (row["model"], row["tp"], row["gpu_memory_utilization"]) == ("Qwen/Qwen3-8B", "2", "0.85")
    assert (row["weights_gib_per_gpu"], row["kv_tokens"], row["cudagraph_gib"]) == ("7.7", "799999", "1.25")
    assert float(row["available_kv_gib_per_gpu"]) == pytest.approx(27.46 + 27.47)


def test_sglang_weights_follow_from_free_memory_where_they_are_not_said():
    row = one("Load weight begin. avail mem=22.76 GB\nLoad weight end. type=X, avail mem=8.37 GB\n#tokens: 1")
    assert float(row["weights_gib_per_gpu"]) == pytest.approx(14.39)


def test_a_whole_tensorrt_llm_log_is_read_in_mib_and_gib():
    row = one(TRT)
    assert row["engine"] == "tensorrt-llm"
    assert float(row["weights_gib_per_gpu"]) == pytest.approx(7710 / 1024, abs=1e-4)
    assert float(row["activation_peak_gib"]) == pytest.approx(1140.5 / 1024, abs=1e-4)
    assert (row["gpu_mem_gib"], row["kv_tokens"], row["gpu_blocks"], row["block_size"]) == (
        "79.1",
        "260544",
        "4071",
        "64",
    )
    assert row["available_kv_gib_per_gpu"] == "57.25"


def test_colours_carriage_returns_and_control_characters_change_nothing():
    painted = "".join(f"\x1b[1;36m{line[:20]}\x1b[0m{line[20:]}\r\n" for line in V1.splitlines())
    assert one(painted) | {"quote": ""} == one(V1) | {"quote": ""}


@pytest.mark.parametrize("text", [V1, SGLANG, TRT], ids=["vllm", "sglang", "tensorrt-llm"])
def test_a_log_torn_anywhere_gives_no_other_numbers_than_the_whole(text):
    lines = text.splitlines(keepends=True)
    whole = one(text)
    for stop in range(len(lines)):
        for row in read_log("".join(lines[:stop])):
            assert row["kv_tokens"] in {"", whole["kv_tokens"], "846352", "800000"}
            assert row["weights_gib_per_gpu"] in {"", whole["weights_gib_per_gpu"], "7.64"}


def test_a_second_start_in_the_same_file_is_a_second_row():
    rows = read_log(V1 + V1.replace("58.03", "50.01").replace("0.85", "0.75"), source="server.log")
    assert [row["available_kv_gib_per_gpu"] for row in rows] == ["58.03", "50.01"]
    assert [row["id"] for row in rows] == ["log1", "log2"]
    assert {row["source"] for row in rows} == {"server.log"}


def test_the_real_size_of_graphs_goes_before_the_estimate():
    text = "Estimated CUDA graph memory: 1.10 GiB total\nGraph capturing finished in 9 secs, took 0.53 GiB"
    assert one(text + "\nAvailable KV cache memory: 1.0 GiB")["cudagraph_gib"] == "0.53"


def test_consumed_memory_less_weights_is_not_torchs():
    text = (
        "Model loading took 14.26 GiB memory and 2 seconds\nActual usage is 14.73 GiB for consumed memory "
        "(weights + non-torch), 1.09 GiB for peak activation, and 0.71 GiB for CUDAGraph memory."
    )
    row = one(text)
    assert float(row["non_torch_gib"]) == pytest.approx(0.47)
    assert (row["activation_peak_gib"], row["cudagraph_gib"]) == ("1.09", "0.71")


def test_bytes_are_gib_in_the_row():
    row = one("Actual usage is 8.8 GiB for weight. Current kv cache memory in use is 9232221491 bytes")
    assert float(row["available_kv_gib_per_gpu"]) == pytest.approx(9232221491 / 2**30, abs=1e-3)


def test_a_card_that_is_named_is_found():
    row = one("0  NVIDIA H100 80GB HBM3   On\nAvailable KV cache memory: 8.11 GiB")
    assert row["gpu"] == "H100 SXM 80GB"


def test_text_without_memory_is_no_row(tmp_path):
    assert read_log("hello\nworld") == []
    assert read_log("") == []
    file = tmp_path / "other.log"
    file.write_text("GET / HTTP/1.1 200\n")
    with pytest.raises(BadTable, match="holds no line"):
        read_log_file(file)
    with pytest.raises(BadTable, match="is no file"):
        read_log_file(tmp_path)


def test_a_log_in_another_encoding_is_read(tmp_path):
    file = tmp_path / "windows.log"
    file.write_bytes(V1.encode("utf-16"))
    assert read_log_file(file)[0]["kv_tokens"] == "845104"


@given(st.text(max_size=300))
def test_no_text_is_too_strange(text):
    for row in read_log(f"Available KV cache memory: {text}\n{text} GiB KV pool"):
        assert set(row) == set(COLUMNS)


def test_a_long_line_of_digits_does_not_take_long():
    assert len(read_log("GPU KV cache size: " + "1," * 100_000 + " tokens\nAvailable KV cache memory: 1 GiB")) == 1


def test_what_is_read_from_a_log_can_be_checked_at_once(tmp_path):
    file = tmp_path / "rows.csv"
    write_table(file, COLUMNS, read_log(V1))
    report = check_memory(file)
    assert report.predicted == 1
    assert report.of("weights_gib_per_gpu").worst < 0.01
    assert report.of("kv_tokens").worst < 0.002


def test_a_scheduler_made_on_import_is_not_the_servers():
    # vLLM 0.11.2 prints the default of 2,048 before it reads its arguments; on an H100 its server takes 8,192.
    imported = "INFO 11-28 11:45:51 [scheduler.py:216] Chunked prefill is enabled with max_num_batched_tokens=2048."
    served = "(APIServer pid=90) INFO [scheduler.py:216] Chunked prefill is enabled with max_num_batched_tokens=8192."
    sized = "(EngineCore_DP0 pid=94) INFO [gpu_worker.py:359] Available KV cache memory: 8.99 GiB"
    logs = ["\n".join(lines) for lines in ((imported, served, sized), (imported, sized))]
    assert [read_log(log)[0]["max_num_batched_tokens"] for log in logs] == ["8192", ""]
    alone = read_log("\n".join([served.partition(") ")[2], sized.partition(") ")[2]]))[0]
    assert alone["max_num_batched_tokens"] == "8192"  # older versions name no process
