"""Watts and joules per token: what was measured on real servers, and what load must do to both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.find import find_model
from gpu_db.load import load_gpus
from optimizer.performance.estimate import estimate
from optimizer.performance.factors import BadFactors, bundled_folder, load_factors
from optimizer.performance.power import busy_share
from optimizer.replica_columns import ReplicaColumns

MEASURED = (
    # requests in flight, watts, joules per output token
    (8, 486.0, 0.455),
    (255, 691.0, 0.077),
)
"""Llama-3.1-8B-Instruct in bf16 on one H100, vLLM 0.11.1, chat answers of 389 tokens; ML.ENERGY Leaderboard v3
(2026-02-27), steady state."""


def one(gpu: str) -> ReplicaColumns:
    ones = np.ones(1, dtype=np.int64)
    nothing = np.full(1, np.nan)
    card = load_gpus()[gpu]
    return ReplicaColumns((card,), 0 * ones, ones, ones, ones, ones, ones, ones, nothing, ones == 1, nothing)


def test_watts_and_joules_per_token_are_what_ml_energy_measured():
    batches = np.array([batch for batch, _, _ in MEASURED])
    spec, factors = find_model("llama-3.1-8b"), load_factors()
    made = estimate(spec, "vllm sync", one("H100 SXM 80GB"), "bf16", batches, 300, 389, factors)
    for at, (_, watts, joules) in enumerate(MEASURED):
        assert made.power_watts[0, at] == pytest.approx(watts, rel=0.12)
        assert made.power_watts[0, at] / made.output_tokens_per_second[0, at] == pytest.approx(joules, rel=0.2)


@pytest.mark.parametrize("gpu", ["H100 SXM 80GB", "B200 SXM 180GB", "L4 24GB", "MI300X 192GB"])
def test_load_raises_watts_and_lowers_joules_per_token(gpu: str):
    batches = np.array([1, 2, 8, 32, 128, 512])
    made = estimate(find_model("llama-3.1-8b"), "vllm", one(gpu), "bf16", batches, 300, 389, load_factors())
    watts, card = made.power_watts[0], load_gpus()[gpu]
    assert (np.diff(watts) >= 0).all()
    assert (watts <= card.power_watts).all()
    assert (np.diff(watts / made.output_tokens_per_second[0]) < 0).all()


def test_a_gpu_that_computes_nothing_idles_and_none_draws_above_its_limit():
    assert busy_share(np.array(0.0), load_factors().power) == 0
    low, half, full = busy_share(np.array([0.01, 0.5, 1.0]), {"busy": 0.9, "exponent": 0.5})
    assert (low, full) == (pytest.approx(0.09), pytest.approx(0.9))
    assert half == pytest.approx(0.9 * 0.5**0.5)


@pytest.mark.parametrize("power", [{"idle_share": 0.1, "awake": 0.6}, {"idle_share": 0.1, "busy": -1, "exponent": 0.1}])
def test_factors_of_another_power_law_are_refused_in_one_sentence(tmp_path: Path, power: dict[str, float]):
    for name in ("serving.json", "collectives.json"):
        (tmp_path / name).write_text((bundled_folder() / name).read_text())
    fitted = json.loads((tmp_path / "serving.json").read_text())
    (tmp_path / "serving.json").write_text(json.dumps(fitted | {"power": power}))
    with pytest.raises(BadFactors, match="not readable"):
        load_factors(tmp_path)
