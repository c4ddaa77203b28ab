"""Laws of the whole estimate: physics bounds it, more of anything good never hurts, it says what it does not know."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.model import Attention, ModelSpec
from catalog.quantization import requantized
from catalog.read import read_config
from catalog.sizes import weight_bytes
from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from optimizer.memory.speculation import Speculation
from optimizer.performance.certainty import LEVELS
from optimizer.performance.estimate import EstimateColumns, estimate, load_factors, prepare
from optimizer.performance.shortcuts import Shortcuts
from optimizer.replica_columns import ReplicaColumns

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
BATCHES = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256], dtype=np.int64)
GPUS = ["H100 SXM 80GB", "B200 SXM 180GB", "L40S 48GB", "A100 SXM 80GB", "MI300X 192GB", "RTX 4090 24GB", "L4 24GB"]


def llama() -> ModelSpec:
    return read_config(LLAMA_8B, repo_id="Llama-3.1-8B")


def replicas(gpus: list[Gpu], tp: int = 1, pp: int = 1) -> ReplicaColumns:
    n = len(gpus)
    ones = np.ones(n, dtype=np.int64)
    links = [g.link_bytes_per_second or g.pcie_bytes_per_second or np.nan for g in gpus]
    return ReplicaColumns(
        gpus=tuple(gpus),
        gpu=np.arange(n),
        tensor_parallel=tp * ones,
        pipeline_parallel=pp * ones,
        data_parallel=ones,
        expert_parallel=ones,
        nodes=ones,
        gpus_per_node=tp * pp * ones,
        link_bytes_per_second=np.array(links),
        has_fast_links=np.array([g.link_bytes_per_second is not None for g in gpus]),
        internode_bytes_per_second=np.full(n, np.nan),
    )


def run(gpus, *, spec=None, tp=1, pp=1, input_tokens=1000, output_tokens=300, kv_format="bf16", engine="vllm"):
    return estimate(
        spec or llama(), engine, replicas(gpus, tp, pp), kv_format, BATCHES, input_tokens, output_tokens, load_factors()
    )


@pytest.mark.parametrize("weights", ["bf16", "fp8", "int4"])
@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
def test_no_step_beats_reading_the_weights_once(weights, engine):
    spec = requantized(llama(), weights)
    gpus = [load_gpus()[name] for name in GPUS]
    found = run(gpus, spec=spec, engine=engine)
    embedding = 128256 * 4096 * 2  # looked up, not read
    for row, gpu in enumerate(gpus):
        floor = (weight_bytes(spec) - embedding) / gpu.memory_bandwidth_bytes_per_second
        assert (found.decode_step_seconds[row] >= floor).all()
        assert (found.tpot_seconds[row] >= floor).all()


@pytest.mark.parametrize("weights", ["bf16", "fp8", "int4"])
def test_no_run_beats_the_peak_flop_rate(weights):
    spec = requantized(llama(), weights)
    gpus = [load_gpus()[name] for name in GPUS]
    found = run(gpus, spec=spec, input_tokens=2000, output_tokens=50)
    for row, gpu in enumerate(gpus):
        peak = max(rate for number, rate in gpu.flop_per_second.items() if number in {"fp16", "bf16", "fp8", "int8"})
        flop_per_request = 2 * 6.98e9 * (2000 + 50)  # matrices without embedding and head
        assert (found.requests_per_second[row] * flop_per_request <= peak).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(GPUS), st.floats(1.01, 4))
def test_more_bandwidth_never_slows(name, more):
    gpu = load_gpus()[name]
    faster = replace(gpu, memory_bandwidth_bytes_per_second=gpu.memory_bandwidth_bytes_per_second * more)
    found = run([gpu, faster])
    assert (found.tpot_seconds[1] <= found.tpot_seconds[0]).all()
    # TTFT may grow: in a closed loop, requests that decode sooner meet more prompts in front of the next one.
    assert (found.requests_per_second[1] >= found.requests_per_second[0]).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(GPUS), st.floats(1.01, 4))
def test_more_flop_never_slows(name, more):
    gpu = load_gpus()[name]
    faster = replace(gpu, flop_per_second={k: v * more for k, v in gpu.flop_per_second.items()})
    found = run([gpu, faster])
    assert (found.tpot_seconds[1] <= found.tpot_seconds[0]).all()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(GPUS), st.sampled_from([1, 2, 4]), st.integers(1, 30000), st.integers(1, 8000))
def test_more_concurrency_never_lowers_throughput_nor_speeds_up_a_token(name, tp, input_tokens, output_tokens):
    found = run([load_gpus()[name]], tp=tp, input_tokens=input_tokens, output_tokens=output_tokens)
    throughput = found.output_tokens_per_second[0]
    # At saturation it is flat; where weights stop hiding behind flop, a prompt's share of a step grows a little.
    assert (np.diff(throughput) >= -2e-2 * throughput[1:]).all()
    assert (np.diff(found.tpot_seconds[0]) >= 0).all()
    assert (np.diff(found.ttft_seconds[0]) >= 0).all()


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
def test_a_pipeline_never_speeds_up_the_token_of_a_request_that_is_alone(engine):
    """A micro-batch holds at least one request: with fewer requests than stages, some stages wait."""
    gpus = [load_gpus()[name] for name in GPUS]
    alone = [run(gpus, pp=pp, engine=engine).tpot_seconds[:, 0] for pp in (1, 2, 4, 8)]
    assert (np.diff(alone, axis=0) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(GPUS), st.sampled_from([1, 2, 4]), st.integers(1, 30000), st.integers(1, 8000))
def test_ttft_tpot_and_throughput_keep_littles_law(name, tp, input_tokens, output_tokens):
    found = run([load_gpus()[name]], tp=tp, input_tokens=input_tokens, output_tokens=output_tokens)
    cycle = found.ttft_seconds + found.tpot_seconds * (output_tokens - 1)
    np.testing.assert_allclose(found.requests_per_second * cycle, np.broadcast_to(BATCHES, cycle.shape), rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(GPUS), st.integers(1, 20000), st.floats(1.1, 3))
def test_longer_prompts_never_come_sooner(name, input_tokens, longer):
    gpu = [load_gpus()[name]]
    short, long = run(gpu, input_tokens=input_tokens), run(gpu, input_tokens=input_tokens * longer)
    assert (long.ttft_seconds >= short.ttft_seconds).all()
    assert (long.tpot_seconds >= short.tpot_seconds).all()


def test_a_gpu_without_a_published_bandwidth_gets_no_number():
    gpu = replace(load_gpus()["H100 SXM 80GB"], memory_bandwidth_bytes_per_second=None)
    found = run([gpu, load_gpus()["H100 SXM 80GB"]])
    assert np.isnan(found.tpot_seconds[0]).all()
    assert np.isfinite(found.tpot_seconds[1]).all()


def test_a_gpu_without_a_published_flop_rate_gets_no_number():
    found = run([replace(load_gpus()["H100 SXM 80GB"], flop_per_second={})])
    assert np.isnan(found.tpot_seconds).all()
    assert np.isnan(found.output_tokens_per_second).all()


def test_unknown_links_matter_only_where_gpus_talk():
    gpu = replace(load_gpus()["H100 SXM 80GB"], link_bytes_per_second=None, pcie_bytes_per_second=None)
    assert np.isfinite(run([gpu]).tpot_seconds).all()
    assert np.isnan(run([gpu], tp=2).tpot_seconds).all()


def test_calibration_says_what_was_measured():
    gpus = [load_gpus()[name] for name in ("H100 SXM 80GB", "L4 24GB", "Gaudi3 OAM 128GB")]
    assert run(gpus).calibration == ("this model fitted on this GPU", "shared factors", "uncalibrated vendor")
    other = replace(llama(), hidden_size=4097)
    assert run(gpus, spec=other).calibration[:2] == ("fitted on this GPU", "shared factors")
    assert run(gpus, engine="an engine nobody measured").calibration == (
        "uncalibrated",
        "uncalibrated",
        "uncalibrated vendor",
    )


def test_a_kind_of_model_that_nobody_measured_is_no_nearer_for_its_gpu():
    factors = load_factors()
    dense_only = replace(factors.measured, parts=factors.measured.parts - {"fp8"})
    found = estimate(
        requantized(llama(), "fp8"),
        "vllm",
        replicas([load_gpus()["H100 SXM 80GB"]]),
        "bf16",
        BATCHES,
        1000,
        300,
        replace(factors, measured=dense_only),
    )
    assert found.calibration == ("shared factors, no such model measured",)


def test_error_bars_widen_with_distance():
    factors = load_factors()
    for metric in ("tpot", "ttft", "throughput"):
        for probability in (0.6, 0.75, 0.9, 0.95):
            ends = [factors.errors[level][metric].at(probability) for level in LEVELS]
            assert (np.diff(ends) >= -2e-3).all(), metric  # four digits are written
            assert ends[0] > 1


def test_an_estimate_is_the_middle_of_its_error_bar():
    found = run([load_gpus()["H100 SXM 80GB"], load_gpus()["L4 24GB"]])
    for metric in ("tpot", "ttft", "throughput"):
        np.testing.assert_allclose(found.error_at(metric, 0.5), 1)
        np.testing.assert_allclose(found.error_at(metric, 0.05) * found.error_at(metric, 0.95), 1)


def test_lengths_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        run([load_gpus()["H100 SXM 80GB"]], output_tokens=0)


def test_no_rows_give_no_rows():
    some = replicas([load_gpus()["H100 SXM 80GB"]])
    found = estimate(
        llama(), "vllm", some.take(np.array([], dtype=np.int64)), "bf16", BATCHES, 100, 100, load_factors()
    )
    assert found.tpot_seconds.shape == (0, len(BATCHES))


def test_a_sliding_window_reads_no_more_than_its_window():
    spec = llama()
    windowed = replace(
        spec, layers=tuple(replace(g, mixers=(Attention(32, 8, 128, 128, window=512),)) for g in spec.layers)
    )
    gpu = [load_gpus()["H100 SXM 80GB"]]
    long, longer = run(gpu, spec=windowed, input_tokens=20000), run(gpu, spec=windowed, input_tokens=40000)
    np.testing.assert_allclose(long.decode_step_seconds, longer.decode_step_seconds)
    assert (run(gpu, input_tokens=20000).decode_step_seconds > long.decode_step_seconds).all()


def test_power_lies_between_idle_and_the_limit_and_grows_with_load():
    gpu = load_gpus()["H100 SXM 80GB"]
    watts = run([gpu]).power_watts[0]
    assert (watts >= gpu.idle_watts).all()
    assert (watts <= gpu.power_watts).all()
    assert (np.diff(watts) >= 0).all()
    assert np.isnan(run([replace(gpu, power_watts=None)]).power_watts).all()


@pytest.mark.parametrize("spared", [Shortcuts(), Shortcuts(0.5, Speculation("ngram", 3), 0.6)])
def test_what_was_prepared_once_serves_every_format_of_the_cache(spared):
    """Some of the rows, in any order, are as fast as when they are estimated on their own, to the last bit."""
    gpus, places = [load_gpus()[name] for name in GPUS], np.array([4, 0, 2])
    prepared = prepare(llama(), "vllm", replicas(gpus, tp=2), 1000, 300, load_factors(), shortcuts=spared)
    some = replicas([gpus[place] for place in places], tp=2)
    for kv_format in ("bf16", "fp8"):
        asked = llama(), "vllm", some, kv_format, BATCHES, 1000, 300, load_factors(), spared
        shared, alone = estimate(*asked, prepared, places), estimate(*asked)
        for column in fields(EstimateColumns):
            np.testing.assert_array_equal(getattr(shared, column.name), getattr(alone, column.name), column.name)
