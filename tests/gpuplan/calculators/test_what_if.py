"""`plan estimate` at many loads: parts that add up, a largest load at its very edge, prices over throughput."""

from __future__ import annotations

import json
import re

import pytest

from gpuplan.calculators.answers import EstimateAnswer
from gpuplan.calculators.configuration import Configuration, WhatIf
from gpuplan.calculators.speed import estimate_of
from gpuplan.cli import app
from gpuplan.cli.console import Ink, render
from gpuplan.cli.estimate_page import page
from gpuplan.cli.plot import Point, plot
from gpuplan.electricity import Place
from optimizer.errors import BadRequirements
from optimizer.requirements import EngineOptions, ServiceLevel, SpeculativeDecoding, Workload

LLAMA = Configuration(model="llama-3.3-70b", gpu="H100", tensor_parallel=4)
DEEPSEEK = Configuration(model="deepseek-v3", gpu="H200", data_parallel=8, expert_parallel=True)
WIDE = Ink(width=140)


@pytest.fixture(scope="module")
def llama() -> EstimateAnswer:
    asked = WhatIf(
        service_level=ServiceLevel(tpot_seconds=0.03), usd_per_gpu_hour=2.5, place=Place(region="eu-north-1")
    )
    return estimate_of(LLAMA, 64, asked)


@pytest.mark.parametrize(("configured", "concurrency"), [(LLAMA, 64), (DEEPSEEK, 256)])
def test_the_decode_bars_add_up_to_the_decode_step_of_the_estimate(configured: Configuration, concurrency: int):
    answer = estimate_of(configured, concurrency)
    for step in (answer.decode, answer.prompt):
        assert sum(part.seconds for part in step.parts) == pytest.approx(step.seconds)
        assert sum(part.share for part in step.parts) == pytest.approx(1)
        assert 0 < step.share_of_limit < 1
    assert answer.decode.seconds == pytest.approx(answer.decode_step_seconds)


def test_guessed_tokens_and_their_draft_are_in_the_decode_bars_and_cached_tokens_in_no_prompt():
    guessing = SpeculativeDecoding(method="draft_model", tokens=3, draft="llama-3.1-8b", acceptance_rate=0.7)
    guessed = LLAMA.model_copy(update={"options": EngineOptions(speculation=guessing)})
    answer = estimate_of(guessed, 8)
    assert answer.decode.seconds == pytest.approx(answer.decode_step_seconds)
    assert answer.decode.tokens == 8 * 4
    assert "draft" in {part.name for part in answer.decode.parts}
    cached = LLAMA.model_copy(update={"workload": Workload(input_tokens=1000, shared_prefix_tokens=600)})
    assert estimate_of(cached, 8).prompt.tokens == pytest.approx(400)


def test_a_moe_over_ranks_has_experts_and_exchanges_and_a_dense_model_has_no_experts(llama: EstimateAnswer):
    names = {part.name for part in estimate_of(DEEPSEEK, 256).decode.parts}
    assert {"experts", "collectives"} <= names
    assert "experts" not in {part.name for part in llama.decode.parts}
    assert "pipeline" not in {part.name for part in llama.decode.parts}


def test_the_largest_load_is_the_edge_of_the_service_level(llama: EstimateAnswer):
    most = llama.largest_concurrency
    assert most is not None
    level = llama.asked.service_level
    assert estimate_of(LLAMA, most).estimate.tpot_seconds.value <= level.tpot_seconds
    assert estimate_of(LLAMA, most + 1).estimate.tpot_seconds.value > level.tpot_seconds


def test_without_a_service_level_memory_is_the_edge():
    most = estimate_of(LLAMA, 1).largest_concurrency
    assert most is not None
    assert estimate_of(LLAMA, most).fits
    assert not estimate_of(LLAMA, most + 1).fits


def test_max_num_seqs_bounds_the_largest_load():
    capped = LLAMA.model_copy(update={"max_num_seqs": 8})
    assert estimate_of(capped, 1).largest_concurrency == 8
    assert not estimate_of(capped, 9).fits


def test_a_service_level_that_nothing_keeps_has_no_largest_load():
    answer = estimate_of(LLAMA, 4, WhatIf(service_level=ServiceLevel(tpot_seconds=0.001)))
    assert answer.largest_concurrency is None
    assert "Not even one request keeps TPOT up to 1 ms." in render(page(answer, WIDE), WIDE)


def test_ranks_share_the_load():
    points = estimate_of(DEEPSEEK, 256).loads
    assert all(point.concurrency % 8 == 0 for point in points)
    assert 256 in {point.concurrency for point in points}


def test_the_point_that_was_asked_for_is_the_estimate(llama: EstimateAnswer):
    point = next(point for point in llama.loads if point.concurrency == 64)
    assert point.tpot_seconds == llama.estimate.tpot_seconds.value
    assert point.output_tokens_per_second == llama.estimate.output_tokens_per_second.value
    assert point.output_tokens_per_second_per_gpu == point.output_tokens_per_second / 4
    assert point.usd_per_million_output_tokens == llama.usd_per_million_output_tokens
    assert point.usd_per_million_output_tokens == pytest.approx(4 * 2.5 / 3600 / point.output_tokens_per_second * 1e6)
    assert llama.energy is not None
    assert llama.energy.gpu_watts == point.gpu_watts
    assert point.gpu_joules_per_output_token == pytest.approx(point.gpu_watts / point.output_tokens_per_second)


def test_more_load_is_slower_for_each_and_cheaper_for_all(llama: EstimateAnswer):
    for before, after in zip(llama.loads, llama.loads[1:], strict=False):
        assert after.tpot_seconds > before.tpot_seconds
        assert after.ttft_seconds > before.ttft_seconds
        assert after.output_tokens_per_second > before.output_tokens_per_second
        assert after.usd_per_million_output_tokens < before.usd_per_million_output_tokens


def test_the_page_shows_every_part_load_and_source(llama: EstimateAnswer):
    text = render(page(llama, WIDE), WIDE)
    for step in (llama.decode, llama.prompt):
        for part in step.parts:
            assert f"  {part.name} " in text
    for point in llama.loads:
        assert f"{point.concurrency:,} " in text
    assert f"Largest: {llama.largest_concurrency} requests in flight keep TPOT up to 30 ms." in text
    assert "country:SWE" in text


def test_the_page_of_a_dumb_terminal_is_plain(llama: EstimateAnswer):
    ink = Ink(blocks=False, width=60)
    assert render(page(llama, ink), ink).isascii()


def test_without_price_and_place_neither_cost_nor_carbon_is_shown():
    text = render(page(estimate_of(LLAMA, 8), WIDE), WIDE)
    assert "USD/M " not in text
    assert "CO2e" not in text
    assert "electricity" not in text


def test_a_gpu_of_unknown_power_has_no_energy_and_no_watts(llama: EstimateAnswer):
    points = tuple(
        point.model_copy(update={"gpu_watts": None, "gpu_joules_per_output_token": None}) for point in llama.loads
    )
    text = render(page(llama.model_copy(update={"energy": None, "loads": points}), WIDE), WIDE)
    assert "at the wall" not in text
    assert "None" not in text


def test_marks_stand_at_the_ends_of_the_axes():
    lines = render(plot([Point(0, 0), Point(10, 5, stressed=True)], "x", "y", Ink(blocks=False)), Ink()).splitlines()
    assert lines[1].endswith("@")
    assert lines[1].split()[0] == "5"
    assert lines[10].lstrip().startswith("0 |*")


def typed(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    assert app.main(["estimate", "llama-3.3-70b", "--gpu", "H100", "--tensor-parallel", "4", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_is_typed_reaches_the_json(capsys):
    got = typed(
        capsys, "--max-tpot", "30ms", "--max-ttft", "2s", "--price", "2.5", "--region", "eu-north-1", "--pue", "1.1",
        "--electricity", "0.05",
    )  # fmt: skip
    assert got["schema_version"] == "1"
    level = got["asked"]["service_level"]
    assert (level["ttft_seconds"], level["tpot_seconds"]) == (2.0, 0.03)
    supply = got["energy"]["supply"]
    assert (supply["pue"], supply["usd_per_kilowatt_hour"], supply["grams_co2e_per_kilowatt_hour"]) == (1.1, 0.05, 41)
    assert got["usd_per_million_output_tokens"] > 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--pue", "0.9"], "a PUE from 1 to 3"),
        (["--grid", "-1"], "is below zero"),
        (["--region", "nowhere-9"], "Nothing is known of the electricity"),
        (["--price", "-2"], "is below zero"),
        (["--factors", "/no/such/folder"], "No factors can be read"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(capsys, argv: list[str], said: str):
    code = app.main(["estimate", "llama-3.3-70b", "--gpu", "H100", "--tensor-parallel", "4", *argv])
    assert code == 2
    assert re.search(said, capsys.readouterr().err)


def test_confidence_counts_on_less_and_says_what_may_miss():
    limits = {"ttft_seconds": 2.0, "tpot_seconds": 0.04}
    even, careful = (
        estimate_of(LLAMA, 64, WhatIf(service_level=ServiceLevel(confidence=share, **limits))) for share in (0.5, 0.9)
    )
    assert careful.estimate.tpot_seconds.value == even.estimate.tpot_seconds.value == even.estimate.tpot_seconds.planned
    assert careful.estimate.tpot_seconds.planned > careful.estimate.tpot_seconds.value
    assert careful.estimate.output_tokens_per_second.planned < careful.estimate.output_tokens_per_second.value
    assert careful.largest_concurrency < even.largest_concurrency
    assert [risk.option for risk in careful.risks] == ["--max-ttft", "--max-tpot"]
    assert careful.risks == even.risks
    at_the_edge = estimate_of(LLAMA, careful.largest_concurrency, careful.asked)
    assert all(risk.chance <= 0.1 + 1e-9 for risk in at_the_edge.risks)
    shown = render(page(careful, WIDE), WIDE)
    assert "90% confidence" in shown
    assert "chance to miss" in shown


def test_a_rate_of_arrivals_is_met_as_asked_and_an_overrun_is_refused():
    quiet, busy = (estimate_of(LLAMA, 64, WhatIf(requests_per_second=rate)).arrivals for rate in (0.5, 4.0))
    for rate, met in ((0.5, quiet), (4.0, busy)):
        assert met.requests_per_second == pytest.approx(rate, rel=1e-3)
        assert met.arrivals.requests_per_second == pytest.approx(rate, rel=1e-3)
        assert met.arrivals.ttft_seconds.p50 < met.arrivals.ttft_seconds.p95 < met.arrivals.ttft_seconds.p99
    assert busy.arrivals.ttft_seconds.p95 > quiet.arrivals.ttft_seconds.p95
    assert busy.tpot_seconds.value > quiet.tpot_seconds.value
    with pytest.raises(BadRequirements, match="at most"):
        estimate_of(LLAMA, 64, WhatIf(requests_per_second=1000.0))


def test_a_quiet_replica_answers_as_fast_as_one_request_alone():
    alone, quiet = estimate_of(LLAMA, 1), estimate_of(LLAMA, 1, WhatIf(requests_per_second=1e-3))
    assert quiet.arrivals.arrivals.ttft_seconds.mean == pytest.approx(alone.estimate.ttft_seconds.value, rel=0.05)
    assert quiet.arrivals.arrivals.tpot_seconds.mean == pytest.approx(alone.estimate.tpot_seconds.value, rel=0.02)


def test_the_command_line_takes_arrivals_guesses_and_prefixes(capsys: pytest.CaptureFixture[str]):
    common = ["estimate", "llama-3.3-70b", "--gpu", "H100", "--tensor-parallel", "4"]
    more = ["--requests-per-second", "2", "--percentile", "p99", "--prefix-hit-rate", "0.5"]
    more += ["--speculative", "ngram:2", "--acceptance-rate", "0.5", "--json"]
    assert app.main([*common, *more]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["arrivals"]["arrivals"]["percentile"] == 99
    assert answer["estimate"]["calibration"] == "uncalibrated"
    assert app.main([*common, "--percentile", "p99"]) == 2
    assert "needs --requests-per-second" in capsys.readouterr().err
    assert app.main([*common, "--acceptance-rate", "0.5"]) == 2
    assert "needs --speculative" in capsys.readouterr().err
    assert app.main([*common, "--speculative", "ngram:2"]) == 2
    assert "--acceptance-rate 0.7" in capsys.readouterr().err
