"""A benchmark's result is held against what was asked, and against what was expected."""

import json
from pathlib import Path

import pytest

from gpuplan.cli.app import main
from gpuplan.deploy.deployment import deployment_of
from gpuplan.deploy.errors import BadResult
from gpuplan.deploy.platforms.benchmark import guidellm_words, vllm_words
from gpuplan.deploy.promise import check_promise, read_result
from optimizer.requirements import Demand, Requirements, ServiceLevel

SAMPLES = Path(__file__).parent / "results"


def result(**changed):
    """What `vllm bench serve --save-result` writes, as much as is read of it."""
    return {
        "model_id": "m",
        "completed": 320,
        "failed": 0,
        "max_concurrency": 64,
        "total_input_tokens": 320 * 1024,
        "total_output_tokens": 320 * 512,
        "output_throughput": 900.0,
        "request_throughput": 900 / 512,
        **{f"{what}_{name}_ms": value for name, value in (("ttft", 400.0), ("tpot", 21.0)) for what in ("mean", "p95")},
        **changed,
    }


def read(folder, loaded):
    file = folder / "result.json"
    file.write_text(json.dumps(loaded))
    return read_result(file)


def summary(mean, **percentiles):
    return {"successful": {"mean": mean, "percentiles": percentiles}}


def guidellm_result(**changed):
    """What guidellm 0.8.1 writes, as much as is read of it; the shape is that of a run against a real server."""
    metrics = {
        "request_totals": {"successful": 320, "errored": 0, "incomplete": 0, "total": 320},
        "output_tokens_per_second": summary(900.0),
        "requests_per_second": summary(900 / 512),
        "request_concurrency": summary(63.0),
        "time_to_first_token_ms": summary(400.0, p50=390.0, p95=600.0, p99=700.0, p999=800.0),
        "inter_token_latency_ms": summary(21.0, p50=21.0, p95=23.0, p99=25.0, p999=30.0),
        "prompt_token_count": summary(1024.0),
        "output_token_count": summary(512.0),
    }
    config = {"spec": {"backend": {"kind": "openai_http", "model": "m"}}}
    return {"metadata": {}, "config": config, "benchmarks": [{"metrics": {**metrics, **changed}}]}


def test_a_result_that_vllm_itself_wrote_is_read():
    """16 requests against a tiny model on a CPU, vLLM 0.32.0, lists of single requests left out."""
    measured = read_result(SAMPLES / "vllm_bench_serve.json")
    assert (measured.completed, measured.failed, measured.concurrency) == (16, 0, 4)
    assert (measured.input_tokens, measured.output_tokens) == (32, 16)
    assert set(measured.ttft_seconds) == {"mean", "50", "95", "99"}
    assert measured.output_tokens_per_second == pytest.approx(16 * measured.requests_per_second)


def test_both_tools_say_the_same(make, tmp_path):
    plan = asked(make(), ttft_seconds=0.4, tpot_seconds=0.021)
    by_vllm, by_guidellm = (check_promise(plan, read(tmp_path, each)) for each in (result(), guidellm_result()))
    assert by_vllm.comparisons == by_guidellm.comparisons
    late = guidellm_result(time_to_first_token_ms=summary(401.0))
    assert not check_promise(plan, read(tmp_path, late)).kept


def test_a_run_in_which_nothing_was_answered_measures_nothing(make, tmp_path):
    with pytest.raises(BadResult, match="None of the benchmark's 16 requests"):
        check_promise(make(), read(tmp_path, result(completed=0, failed=16)))


def asked(plan, **level):
    question = plan.question.model_copy(update={"service_level": ServiceLevel(**level)})
    return plan.model_copy(update={"question": question})


def test_promises_are_kept_just_inside_and_broken_just_outside(make, tmp_path):
    plan = asked(make(), ttft_seconds=0.4, tpot_seconds=0.021)
    assert check_promise(plan, read(tmp_path, result())).kept
    for worse in ({"mean_ttft_ms": 400.1}, {"mean_tpot_ms": 21.1}, {"output_throughput": 494.0}):
        assert not check_promise(plan, read(tmp_path, result(**worse))).kept
    assert check_promise(plan, read(tmp_path, result(output_throughput=495.1))).kept


def test_what_nobody_asked_is_compared_with_the_estimate_alone(make, tmp_path):
    check = check_promise(make(), read(tmp_path, result(mean_ttft_ms=10_000)))
    ttft = next(each for each in check.comparisons if each.name == "TTFT")
    assert (ttft.verdict, ttft.as_expected) == ("not asked", False)
    assert check.kept


def test_another_question_is_called_so(make, tmp_path):
    check = check_promise(make(), read(tmp_path, result(max_concurrency=8, total_input_tokens=320 * 128, failed=3)))
    assert len(check.warnings) == 3
    assert not check_promise(make(), read(tmp_path, result())).warnings


def test_a_percentile_that_was_not_measured_is_missing(make, tmp_path):
    from optimizer.plan import Arrivals, Percentiles

    plan = make()
    times = Percentiles(mean=0.1, p50=0.1, p95=0.2, p99=0.3)
    arrivals = Arrivals(
        requests_per_second=1,
        percentile=99,
        busy_share=0.5,
        slot_wait_share=0,
        ttft_seconds=times,
        tpot_seconds=times,
        within_limits_share=None,
        goodput_requests_per_second=None,
    )
    line = plan.lines[0]
    estimate = line.estimate.model_copy(update={"arrivals": arrivals})
    question = Requirements(
        model=plan.model, demand=Demand(requests_per_second=1), service_level=ServiceLevel(percentile=99)
    )
    plan = plan.model_copy(update={"lines": (line.model_copy(update={"estimate": estimate}),), "question": question})
    with pytest.raises(BadResult, match="p99"):
        check_promise(plan, read(tmp_path, result()))
    words = vllm_words(deployment_of(plan))
    assert words[words.index("--request-rate") + 1] == "1"
    assert "99" in words[words.index("--metric-percentiles") + 1].split(",")
    assert "kind=poisson,rate=1" in guidellm_words(deployment_of(plan))


@pytest.mark.parametrize(
    "loaded",
    [
        [],
        {},
        {"benchmarks": []},
        {"benchmarks": [{}]},
        {"benchmarks": "x"},
        {**guidellm_result(), "config": {"spec": {"backend": "x"}}},
        guidellm_result(request_totals="x"),
        guidellm_result(time_to_first_token_ms={"successful": []}),
        result(output_throughput=None),
        result(mean_ttft_ms="fast"),
        result(completed=True),
        result(output_throughput=float("nan")),
        result(p95_ttft_ms=-1),
    ],
    ids=lambda loaded: str(loaded)[:40],
)
def test_what_no_benchmark_writes_is_refused_in_one_sentence(loaded, tmp_path):
    with pytest.raises(BadResult, match=r"\.$"):
        read(tmp_path, loaded)


def test_the_command_line_says_so_too(make, tmp_path, capsys):
    plan, measured = tmp_path / "plan.json", tmp_path / "result.json"
    plan.write_text(make().model_dump_json())
    measured.write_text(json.dumps(result()))
    assert main(["check", "promise", str(plan), str(measured)]) == 0
    assert "every promise is kept" in capsys.readouterr().out
    measured.write_text(json.dumps(result(output_throughput=10.0)))
    assert main(["check", "promise", str(plan), str(measured), "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["kept"] is False
    assert said["comparisons"][0]["verdict"] == "broken"
    assert main(["check", "promise", str(plan), str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
