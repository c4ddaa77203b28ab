"""The comparison with aiconfigurator counts errors alike on both sides, and asks it the same layout."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gpuplan.fitting.runs import Run

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "against_aiconfigurator.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("against_aiconfigurator", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(**changes: object) -> Run:
    fields: dict[str, object] = {
        "run": "inferencex_aic/1",
        "source": "inferencex_aic",
        "engine": "tensorrt-llm",
        "model": "deepseek-ai/DeepSeek-R1",
        "weights": "fp8",
        "gpu": "H200 SXM 141GB",
        "kind": "closed",
        "tensor_parallel": 1,
        "pipeline_parallel": 1,
        "data_parallel": 8,
        "expert_parallel": 8,
        "kv_format": "fp8",
        "batch": 16.0,
        "input_tokens": 900.0,
        "output_tokens": 900.0,
        "measured": {"ttft": 1.0, "tpot": 0.02},
    }
    return Run(**(fields | changes))  # type: ignore[arg-type]


def test_it_is_asked_the_same_layout_and_either_lengths(benchmark: ModuleType):
    asked = benchmark.case_of(run(), benchmark.CHECKPOINTS, nominal=True)
    assert (asked["attention_dp_size"], asked["moe_ep_size"], asked["moe_tp_size"]) == (8, 8, 1)
    assert (asked["isl"], asked["osl"], asked["batch_size"]) == (1000, 1000, 16)
    assert benchmark.case_of(run(), benchmark.CHECKPOINTS, nominal=False)["isl"] == 900
    sliced = run(tensor_parallel=8, data_parallel=1, expert_parallel=1)
    assert benchmark.case_of(sliced, benchmark.CHECKPOINTS, nominal=True)["moe_tp_size"] == 8
    assert benchmark.case_of(run(gpu="MI300X 192GB"), benchmark.CHECKPOINTS, nominal=True) is None
    assert benchmark.case_of(run(kind="single"), benchmark.CHECKPOINTS, nominal=True) is None


def test_throughput_is_requests_in_flight_over_the_time_of_one(benchmark: ModuleType):
    """16 requests on each of 8 ranks take 1 + 899 x 0.02 = 18.98 s for 900 tokens each."""
    measured = benchmark.measured_of(run())
    assert measured["throughput"] == pytest.approx(16 * 8 * 900 / 18.98)
    errors = benchmark.errors_of_theirs([1100.0, 10.0, measured["throughput"] * 2, "SILICON"], run())
    assert errors == pytest.approx({"tpot": -0.5, "ttft": 0.1, "throughput": 1.0})


def test_of_each_model_the_way_that_suits_it_best_counts(benchmark: ModuleType):
    runs = [run(), run(weights="nvfp4")]
    right, wrong = [1000.0, 20.0, 1.0, "SILICON"], [1000.0, 40.0, 1.0, "SILICON"]
    chosen = benchmark.kindest(runs, {"one": [right, wrong], "other": [wrong, right], "none": ["OOM", "OOM"]})
    assert [error["tpot"] for error in chosen] == pytest.approx([0, 0])
    assert benchmark.kindest(runs, {"one": [right, "OOM"]})[1] is None


def test_the_table_says_median_mean_and_bias(benchmark: ModuleType):
    errors = [{"tpot": e, "ttft": e, "throughput": e} for e in (-0.1, 0.2, 0.6)]
    assert "| tpot | ours | 20.0% | 30.0% | 20.0% |" in benchmark.table({"ours": errors})


def test_without_aiconfigurator_it_says_one_sentence(benchmark: ModuleType, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "installed", lambda python: False)
    monkeypatch.setattr(sys, "argv", ["against_aiconfigurator.py", "runs.csv"])
    benchmark.main()
    assert capsys.readouterr().out.strip() == benchmark.NOT_THERE


def test_what_it_cannot_do_is_a_reason_and_a_missing_kernel_is_borrowed(benchmark: ModuleType):
    class Made:
        ttft, tpot, tokens_per_second = 1.0, 2.0, 3.0

    def only_hybrid(*, database_mode: str, **_: object) -> Made:
        if database_mode == "SILICON":
            raise KeyError("no such kernel")
        return Made()

    def never(**_: object) -> Made:
        raise RuntimeError("OOM")

    assert benchmark._ask(only_hybrid, {}) == [1.0, 2.0, 3.0, "HYBRID"]
    assert benchmark._ask(never, {}) == "RuntimeError: OOM"
    assert json.dumps(benchmark._ask(only_hybrid, {}))
