"""A user's own runs move their own hardware's factors, and nothing else."""

import csv
import json
import sys

import pytest

from gpuplan.cli import app
from gpuplan.fitting.own import adapted, read_own, write_own
from gpuplan.measuring.serving_predict import predict_cases
from gpuplan.measuring.serving_rows import read_case
from optimizer.performance.factors import load_factors


def rows(slower, gpu="L40S"):
    """Closed loops as the bundled factors see them, on a card that is slower than they say."""
    made = []
    for number, concurrency in enumerate((1, 2, 4, 8, 16, 24) * 4):
        row = {
            "run": f"own/{number}",
            "engine": "vllm",
            "engine_version": "0.11.0",
            "model": ("Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B")[number % 2],
            "weights_quant": "bf16",
            "gpu": gpu,
            "num_gpus": "1",
            "tp": "1",
            "isl": "500",
            "osl": str(300 + number),
            "load": f"concurrency={concurrency}",
        }
        found = predict_cases([read_case(row)], load_factors())[0].values
        metrics = ("ttft_ms", "tpot_ms", "e2e_ms")
        made.append(row | {metric: repr(found[metric] * slower) for metric in metrics})
    return made


def written(path, cells):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(cells[0]))
        writer.writeheader()
        writer.writerows(cells)
    return path


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    path = written(tmp_path_factory.mktemp("own") / "runs.csv", rows(1.25))
    fitted, _ = adapted(read_own([path]), "2026-01-01")
    return path, fitted


def test_a_card_that_is_slower_gets_a_smaller_multiplier_and_others_keep_theirs(slow):
    _, fitted = slow
    bundled = load_factors()
    assert fitted["gpus"]["L40S 48GB"]["memory"] < 0.9 * bundled.gpus["L40S 48GB"]["memory"]
    assert fitted["shared"] == bundled.shared
    assert fitted["engines"] == bundled.engines
    others = [name for name in bundled.gpus if name != "L40S 48GB"]
    assert all(fitted["gpus"][name] == bundled.gpus[name] for name in others)


def test_ones_own_factors_halve_the_error_of_ones_own_runs(slow):
    _, fitted = slow
    error = fitted["birth"]["own_errors"]["tpot"]
    assert error["median_percent"] < 10  # the bundled ones are 20 % off: 1 / 1.25 - 1


def test_the_same_runs_give_the_same_factors(slow):
    path, fitted = slow
    assert json.dumps(adapted(read_own([path]), "2026-01-01")[0]) == json.dumps(fitted)


def test_the_command_writes_what_check_serving_reads(slow, tmp_path, capsys):
    path, fitted = slow
    out = tmp_path / "factors"
    assert app.main(["fit", "serving", str(path), "--out", str(out), "--date", "2026-01-01"]) == 0
    assert "L40S 48GB" in capsys.readouterr().out
    assert load_factors(out).gpus == fitted["gpus"]
    assert app.main(["check", "serving", str(path), "--factors", str(out), "--json"]) == 0
    errors = json.loads(capsys.readouterr().out)["errors"]
    whole = next(e for e in errors if (e["metric"], e["grouped_by"]) == ("tpot_ms", "all"))
    assert whole["median"] < 0.1


def test_rows_that_a_fit_cannot_use_are_counted_with_reasons(tmp_path):
    (row,) = rows(1.0)[:1]
    bad = [row | {"load": "rate=3"}, row | {"gpu": "Abacus"}, row | {"ttft_ms": "", "tpot_ms": "", "e2e_ms": ""}]
    own = read_own([written(tmp_path / "runs.csv", [row, *bad])])
    assert len(own.runs) == 1
    assert sum(own.left_out.values()) == 3


def test_nothing_usable_and_a_missing_file_are_one_sentence(tmp_path, capsys):
    path = written(tmp_path / "runs.csv", [rows(1.0)[0] | {"gpu": "Abacus"}])
    assert app.main(["fit", "serving", str(path), "--out", str(tmp_path / "f")]) == 2
    assert "Abacus" in capsys.readouterr().err
    assert app.main(["fit", "serving", str(tmp_path / "none.csv"), "--out", str(tmp_path / "f")]) == 2


def test_without_scipy_one_sentence_says_what_to_install(monkeypatch, tmp_path, capsys):
    for module in [name for name in sys.modules if name.startswith(("scipy", "gpuplan.fitting"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert app.main(["fit", "serving", "runs.csv", "--out", str(tmp_path)]) == 2
    assert "gpuplan[fit]" in capsys.readouterr().err


def test_what_one_measured_oneself_counts_as_measured(slow, tmp_path):
    """Llama on an L40S is nearer after one has measured it, and other models on it are as near as before."""
    _, fitted = slow
    write_own(fitted, [], tmp_path)
    before, after = load_factors(), load_factors(tmp_path)
    row = rows(1.0)[0] | {"model": "meta-llama/Llama-3.1-8B"}
    near, far = (read_case(row | {"model": model}) for model in ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-14B"))

    def levels(factors):
        return [each.calibration for each in predict_cases([near, far], factors)]

    assert levels(before) == ["fitted on this GPU", "fitted on this GPU"]
    assert levels(after) == ["this model fitted on this GPU", "fitted on this GPU"]
