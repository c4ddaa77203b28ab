"""Laws of kernels: they find again what made their tables, count as the step model does, and start every factor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gpu_db.load import load_gpus
from gpuplan.fitting import kernels
from gpuplan.fitting.priors import (
    chosen_laws,
    engine_priors,
    expert_kernels,
    gpu_priors,
    kernel_laws,
    shared_priors,
    source_priors,
)
from optimizer.performance.factors import load_factors

PEAK, BANDWIDTH = 1e15, 4e12


def product_table(tokens=(1, 8, 64, 512, 4096), sizes=(4096, 8192, 16384)) -> dict[str, np.ndarray]:
    m, n, k = (grid.ravel() for grid in np.meshgrid(tokens, sizes, sizes))
    return {"m": m, "n": n, "k": k, "latency": np.ones(len(m))}


def test_a_law_is_found_again_in_what_it_made():
    table = product_table()
    every = np.ones(len(table["m"]), dtype=np.bool_)
    shapes = kernels.gemm_shapes(table, every, 1.0)
    terms = np.array([4e-6, 0.7, 0.85, 0.3, 10.0, 0.9])
    made = kernels.Shapes(
        shapes.flop,
        shapes.padded_flop,
        shapes.read,
        shapes.values,
        kernels.law_seconds(shapes, PEAK, BANDWIDTH, terms),
    )
    found, error = kernels.fit_law(made, PEAK, BANDWIDTH)
    assert error < 0.01
    np.testing.assert_allclose(found[:3], terms[:3], rtol=0.05)


def test_a_law_is_never_faster_than_its_datasheet():
    shapes = kernels.gemm_shapes(product_table(), np.ones(45, dtype=np.bool_), 1.0)
    seconds = kernels.law_seconds(shapes, PEAK, BANDWIDTH, np.array(kernels.HIGH) * [0, 1, 1, 0, 0, 1])
    assert (seconds >= np.maximum(shapes.flop / PEAK, shapes.read / BANDWIDTH)).all()


def test_products_of_one_token_read_the_matrix_and_multiply_it_once():
    shapes = kernels.gemm_shapes(product_table((1,), (4096,)), np.ones(1, dtype=np.bool_), 0.5)
    assert (shapes.flop[0], shapes.read[0], shapes.values[0]) == (2 * 4096**2, 4096**2 / 2, 4 * 4096)


def test_experts_are_read_once_each_however_many_tokens_chose_them():
    names = ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
    table = {name: np.full(2, value) for name, value in zip(names, (1024, 512, 4, 8, 2, 1), strict=True)}
    table |= {"num_tokens": np.array([1, 1000]), "distribution": np.array(["balanced"] * 2), "latency": np.ones(2)}
    shapes = kernels.expert_shapes(table, np.ones(2, dtype=np.bool_), 1.0)
    one = 3 * 1024 * 256
    assert shapes.read.tolist() == [4 * one, 8 * one]
    assert shapes.flop.tolist() == [2 * 4 * one, 2 * 4000 * one]


def test_causal_prompts_cost_half_their_square():
    row = {"batch_size": 2, "isl": 8192, "num_heads": 8, "num_key_value_heads": 8, "head_dim": 128, "step": 0}
    table = {name: np.array([value]) for name, value in row.items()} | {"latency": np.ones(1)}
    shapes = kernels.prefill_shapes(table, np.ones(1, dtype=np.bool_), 2.0)
    assert shapes.flop[0] == pytest.approx(4 * 2 * 8 * 128 * 8192**2 / 2)


@pytest.fixture(scope="module")
def laws() -> list[dict]:
    path = Path(kernels.__file__).parent / "kernels.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_bundled_laws_are_of_known_gpus_and_within_what_physics_allows(laws):
    assert len(laws) == kernel_laws()
    for law in laws:
        assert law["gpu"] in load_gpus()
        assert 0 < law["compute"] <= 1
        assert 0 < law["memory"] <= 1
        assert law["error"] <= kernels.WORST
        assert law["rows"] >= kernels.FEWEST_ROWS


def test_gpus_of_one_kind_read_alike(laws):
    """What lets a GPU of which nothing was measured take the others' efficiencies."""
    read = [law["memory"] for law in laws if law["operation"] == "gemm" and law["kernel"] == "bf16"]
    assert np.quantile(read, 0.9) / np.quantile(read, 0.1) < 1.25


def test_every_factor_that_kernels_tell_starts_at_their_middle(laws):
    started = shared_priors()
    said = {name for name, prior in started.items() if prior.measured}
    assert said <= chosen_laws().keys()
    read = [law["memory"] for law in laws if law["operation"] == "attention_decode"]
    assert started["memory.kv"].start == pytest.approx(np.exp(np.median(np.log(read))))


def test_without_a_gpu_its_kernels_do_not_count(laws):
    everyone = frozenset(law["gpu"] for law in laws)
    assert shared_priors(everyone - {"H200 SXM 141GB"})["memory.kv"] != shared_priors()["memory.kv"]
    assert shared_priors(everyone)["memory.kv"].start == 0.88  # as written in priors.json


def test_priors_are_what_the_bundled_factors_hold():
    factors = load_factors()
    assert shared_priors().keys() | {"bandwidth_reference"} == factors.shared.keys()
    for engine in factors.engines.values():
        assert engine_priors().keys() | {"chunk_tokens"} == engine.keys()
    assert all(gpu_priors().keys() == gpu.keys() for gpu in factors.gpus.values())


def test_priors_are_within_their_bounds():
    for prior in (*shared_priors().values(), *engine_priors().values(), *gpu_priors().values()):
        assert prior.low <= prior.start <= prior.high
        assert prior.spread > 0
    assert source_priors().keys() == {"slower"}


def test_each_engine_has_the_expert_kernels_of_its_own_laws(laws):
    found = expert_kernels()
    assert found == load_factors().expert_kernels
    alike = [law for law in laws if law["operation"] == "experts" and law["kernel"] == "fp8_block"]
    own = [law["compute"] for law in alike if law["engine"] == "vllm"]
    ratio = np.median(own) / np.median([law["compute"] for law in alike])
    assert found["vllm"]["fp8_block"] == pytest.approx(ratio, rel=0.02)
    assert found["vllm"]["fp8_block"] < found["sglang"]["fp8_block"] < found["tensorrt-llm"]["fp8_block"]
