"""The fit finds again what made its data, writes the same bytes twice, and weighs groups, not rows."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from gpu_db.load import load_gpus
from gpuplan.fitting import fit, left_out, serving
from gpuplan.fitting.bench import build, in_waves, predict, select
from gpuplan.fitting.priors import matmul_shares
from gpuplan.fitting.runs import read_runs
from gpuplan.fitting.shapes import find_measured_model
from optimizer.performance.estimate import load_factors
from optimizer.performance.factors import from_records

COLUMNS = [
    "run",
    "engine",
    "engine_version",
    "model",
    "weights_quant",
    "gpu",
    "num_gpus",
    "tp",
    "isl",
    "osl",
    "load",
    "ttft_ms",
    "tpot_ms",
    "note",
]
GPUS = ("H100-SXM-80GB", "H200-SXM", "B200-SXM")


def synthetic_rows(slower: float = 1.0) -> list[dict[str, str]]:
    rows = []
    grid = itertools.product(GPUS, (1, 4), (1, 16, 64), (1000, 4000), ("vllm", "sglang"))
    for number, (gpu, tp, concurrency, isl, engine) in enumerate(grid):
        cells = {
            "run": f"own/{number}",
            "engine": engine,
            "engine_version": "1.0.0",
            "model": "meta-llama/Llama-3.1-8B",
            "weights_quant": "bf16",
            "gpu": gpu,
            "num_gpus": str(tp),
            "tp": str(tp),
            "isl": str(isl),
            "osl": "500",
            "load": f"concurrency={concurrency}",
            "ttft_ms": "10",
            "tpot_ms": "10",
            "note": "",
        }
        rows.append(cells)
    return [row | predicted(row, slower) for row in rows]


def predicted(row: dict[str, str], slower: float) -> dict[str, str]:
    """What the bundled factors say, as if it had been measured."""
    from gpuplan.fitting.runs import read_run

    factors = load_factors()
    bench, _ = build([read_run(row)], find_measured_model, load_gpus(), factors)
    found = predict(bench, factors.shared, factors.engines, factors.gpus)
    return {"ttft_ms": repr(float(found.ttft[0]) * 1e3 * slower), "tpot_ms": repr(float(found.tpot[0]) * 1e3 * slower)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "measured.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(synthetic_rows())
    return path


@pytest.fixture(scope="module")
def fitted(measured):
    return serving.records(measured, date="2026-01-01", held_out=False)


def test_the_fit_finds_the_speeds_that_made_its_data(fitted):
    errors = fitted["birth"]["errors"]["all runs, in sample"]
    assert errors["tpot"]["median_percent"] < 9  # 72 runs do not outweigh what is known of kernels
    assert errors["ttft"]["median_percent"] < 10
    assert errors["closed throughput"]["median_percent"] < 9


def test_the_same_data_gives_the_same_bytes(measured, fitted, tmp_path):
    again = serving.records(measured, date="2026-01-01", held_out=False)
    first, second = serving.write(fitted, tmp_path / "a"), serving.write(again, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_what_is_written_can_be_planned_with(fitted, tmp_path):
    bundled = load_factors()
    path = serving.write(fitted, tmp_path)
    factors = from_records(json.loads(path.read_text(encoding="utf-8")), [])
    assert factors.shared.keys() == bundled.shared.keys()
    assert set(factors.engines) == {"vllm", "sglang"}
    assert set(factors.gpus) == {"H100 SXM 80GB", "H200 SXM 141GB", "B200 SXM 180GB", *matmul_shares()}


def test_the_certificate_says_what_the_factors_came_from(fitted):
    birth = fitted["birth"]
    assert birth["runs"] == 72
    assert birth["runs_by_source"] == {"own (closed)": 72}
    assert birth["models"] == ["meta-llama/Llama-3.1-8B"]
    assert birth["date"] == "2026-01-01"


def test_a_group_weighs_the_same_however_many_rows_it_has(measured):
    runs, _ = read_runs(measured)
    few, many = [r for r in runs if r.gpu.startswith("H100")][:6], [r for r in runs if r.gpu.startswith("B200")]
    weights = fit.group_weights([*few, *many])
    assert (weights[:6] ** 2).sum() == pytest.approx((weights[6:] ** 2).sum())


def test_a_file_without_usable_runs_is_refused_with_the_reasons(tmp_path):
    path = tmp_path / "measured.csv"
    path.write_text("run,engine,model,weights_quant,gpu\nown/1,vllm,some model,bf16,Abacus\n", encoding="utf-8")
    with pytest.raises(serving.NothingToFit, match="no ttft"):
        serving.records(path, date="2026-01-01", held_out=False)


def test_errors_are_reported_as_peers_do():
    table = left_out.error_table({"tpot": np.array([2.0, 0.5, np.nan])})  # predicted half as long, and twice as long
    assert table["tpot"] == {"runs": 2, "median_percent": 75.0, "mean_percent": 75.0, "bias_percent": 25.0}


def test_a_refit_is_the_one_step_that_a_fit_of_the_other_runs_takes(measured):
    bench, _ = build(read_runs(measured)[0], find_measured_model, load_gpus(), fit.curves_only())
    _, start = fit.fit(bench, evaluations=3)
    keep = np.array([run.gpu != "H200 SXM 141GB" for run in bench.runs])
    lost = frozenset({"H200 SXM 141GB"})
    others, _ = fit.fit(select(bench, keep), start, fit.REFIT_EVALUATIONS, without=lost)
    found = fit.Refits(bench, start).of(keep, lost)
    assert found.shared == pytest.approx(others.shared)
    assert found.engines["sglang"] == pytest.approx(others.engines["sglang"])
    _, whole = fit.fit(bench, evaluations=3)
    assert found.shared != pytest.approx(fit.Search(bench).solution(whole).shared, rel=1e-6)


def test_the_first_vllm_engine_starts_with_a_host_that_works_for_each_request(measured):
    bench, _ = build(read_runs(measured)[0], find_measured_model, load_gpus(), fit.curves_only())
    search = fit.Search(replace(bench, engines=("sglang", "vllm V0")))
    begun = search.solution(search.start).engines
    assert begun["vllm V0"]["sequence_seconds"] == pytest.approx(1e-4)
    assert begun["sglang"]["sequence_seconds"] < 1e-5


def test_a_gpu_nobody_ran_on_is_as_its_products_and_what_its_kin_made_of_theirs():
    shares = matmul_shares()
    alone = fit.multipliers_by_matmul({})
    assert alone["MI325X 256GB"] == {"memory": 1.0, "compute": shares["MI325X 256GB"]}
    half = {"MI300X 192GB": {"memory": 0.9, "compute": shares["MI300X 192GB"] / 2}}
    beside = fit.multipliers_by_matmul(half)
    assert "MI300X 192GB" not in beside
    assert beside["MI325X 256GB"]["compute"] == pytest.approx(shares["MI325X 256GB"] / 2)
    assert beside["MI355X 288GB"] == alone["MI355X 288GB"]  # another architecture


def test_a_gpu_without_kernel_tables_starts_at_its_products_and_stays_out_of_the_mean(measured):
    bench, _ = build(read_runs(measured)[0], find_measured_model, load_gpus(), fit.curves_only())
    search = fit.Search(replace(bench, gpus=("B200 SXM 180GB", "MI300X 192GB")))
    start = search.solution(search.start).gpus
    assert start["B200 SXM 180GB"]["compute"] == 1
    assert start["MI300X 192GB"]["compute"] == pytest.approx(matmul_shares()["MI300X 192GB"])
    centred = search._centered()[:, search.gpu_part]
    assert (centred[:, :2].any(axis=1)).all()
    assert not centred[:, 2:].any()


def test_a_static_batch_beyond_memory_is_left_out_and_one_that_just_fits_is_not(measured):
    run = replace(read_runs(measured)[0][0], kind="static", batch=100.0)
    assert in_waves([run, run, replace(run, kind="closed")], np.array([100.0, 99.9, 1.0])).tolist() == [
        False,
        True,
        False,
    ]
