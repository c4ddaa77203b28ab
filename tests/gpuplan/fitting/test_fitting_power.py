"""The power fit finds again what made its data, does not need watts, and judges energy on runs that it left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpu_db.load import load_gpus
from gpuplan.fitting import fit, left_out, power, runs
from gpuplan.fitting.bench import Bench, build
from gpuplan.fitting.shapes import find_measured_model
from optimizer.performance.factors import load_factors

TERMS = {"busy": 0.8, "exponent": 0.2}


def bench_of(watts: float | None = 500.0) -> Bench:
    one = runs.Run(
        "own/1", "own", "vllm", "meta-llama/Llama-3.1-8B", "bf16", "H100 SXM 80GB", "step", 1, 1, 1, 1, "bf16", 8.0,
        300.0, 400.0, {"step": 0.01, "energy": 0.5}, watts,
    )  # fmt: skip
    several = [
        replace(one, batch=float(batch), gpu=gpu) for batch in (1, 8, 64) for gpu in ("H100 SXM 80GB", "L4 24GB")
    ]
    return build(several, find_measured_model, load_gpus(), load_factors())[0]


def heat_of(bench: Bench, slower: float = 1.0) -> power.Heat:
    known = load_factors()
    return power.heat_of(bench, known.shared, known.engines, known.gpus, {"own": slower}, load_gpus())


def test_the_terms_that_made_the_watts_are_found_again():
    bench = bench_of()
    heat = heat_of(bench)
    made = replace(heat, watts=heat.predicted(TERMS))
    assert power.fit_power(bench, made) == pytest.approx(TERMS, rel=1e-3)


def test_runs_that_are_left_out_do_not_move_the_terms():
    bench = bench_of()
    heat = heat_of(bench)
    h100 = np.array([run.gpu.startswith("H100") for run in bench.runs])
    absurd = replace(heat, watts=np.where(h100, heat.predicted(TERMS), 1.0))
    assert power.fit_power(bench, absurd, h100) == pytest.approx(TERMS, rel=1e-3)
    assert power.fit_power(bench, absurd) != pytest.approx(TERMS, rel=0.1)


def test_a_slower_source_does_less_per_second_and_pays_more_per_token():
    bench = bench_of()
    usual, slow = heat_of(bench), heat_of(bench, slower=1.25)
    np.testing.assert_allclose(slow.output_tokens_per_second, usual.output_tokens_per_second / 1.25)
    np.testing.assert_allclose(slow.flop_share, usual.flop_share / 1.25)
    assert (slow.ratios(TERMS)["energy"] < usual.ratios(TERMS)["energy"]).all()


def test_a_ratio_is_measured_over_predicted_joules():
    heat = heat_of(bench_of())
    exact = replace(heat, joules_per_token=heat.predicted(TERMS) / heat.output_tokens_per_second * 2)
    np.testing.assert_allclose(exact.ratios(TERMS)["energy"], 2)


def test_without_watts_there_are_no_samples_and_no_bounds():
    bench = bench_of(watts=None)
    record = power.power_record(bench, heat_of(bench), [], load_gpus())
    assert record["samples"] == 0
    assert "bounds" not in record


def test_the_record_names_its_gpus_and_takes_its_bounds_from_left_out_runs():
    bench = bench_of()
    left_out = {"watts": np.array([0.5, 2.0]), "energy": np.array([0.25, np.nan, 4.0])}
    record = power.power_record(bench, heat_of(bench), [left_out], load_gpus())
    assert record["gpus"] == ["H100 SXM 80GB", "L4 24GB"]
    assert record["bounds"] == pytest.approx([0.575, 1.925])
    assert record["energy_bounds"] == pytest.approx([0.4375, 3.8125], rel=1e-3)


def test_a_left_out_table_says_how_far_energy_is_off():
    bench = bench_of()
    factors = load_factors()
    solution = fit.Solution(dict(factors.shared), dict(factors.engines), dict(factors.gpus), {})
    table = left_out.error_table(left_out.heat_ratios(bench, solution))
    assert table["energy"]["runs"] == table["watts"]["runs"] == 6
