"""The parts of a step add up to it, none is faster than its datasheet, and each says what binds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.find import find_model
from gpu_db.load import load_gpus
from optimizer.performance.breakdown import PARTS, Load, Part, bound_of, limit_seconds, step_parts
from optimizer.performance.estimate import kv_bytes_per_value
from optimizer.performance.factors import load_factors
from optimizer.performance.operations import Work, measure_work
from optimizer.performance.rates import Datasheet, Rates, fitted_rates, read_datasheet
from optimizer.performance.step import step_costs, step_seconds
from optimizer.replica_columns import Floats, ReplicaColumns

FACTORS = load_factors()
ENGINE = FACTORS.engine("vllm")
INPUT, OUTPUT = 1000, 200


def columns(gpu: str, tp: int = 1, pp: int = 1, dp: int = 1, ep: int = 1) -> ReplicaColumns:
    card = load_gpus()[gpu]
    ones = np.ones(1, dtype=np.int64)
    link = np.array([card.link_bytes_per_second or card.pcie_bytes_per_second or np.nan])
    return ReplicaColumns(
        (card,), 0 * ones, tp * ones, pp * ones, dp * ones, ep * ones, ones, tp * pp * dp * ones, link,
        np.array([card.link_bytes_per_second is not None]), np.full(1, np.nan),
    )  # fmt: skip


def prepared(model: str, rows: ReplicaColumns) -> tuple[Work, Datasheet, Rates]:
    work = measure_work(find_model(model), rows, kv_bytes_per_value("bf16"), INPUT, OUTPUT)
    sheet = read_datasheet(rows, "vllm", FACTORS)
    return work, sheet, fitted_rates(sheet, np.ones((1, 2)), FACTORS.shared)


def parts_and_step(model: str, rows: ReplicaColumns, load: Load) -> tuple[dict[str, Part], Floats, Floats]:
    work, sheet, rates = prepared(model, rows)
    costs = step_costs(work, rates, ENGINE, FACTORS.shared, INPUT)
    parts = step_parts(work, sheet, rates, ENGINE, FACTORS.shared, load)
    return parts, step_seconds(costs, load.decoded, load.prefilled), limit_seconds(work, sheet, rates, load)


CASES = [
    ("llama-3.1-8b", columns("H100 SXM 80GB")),
    ("llama-3.3-70b", columns("H100 SXM 80GB", tp=4)),
    ("llama-3.3-70b", columns("L40S 48GB", tp=2, pp=2)),
    ("deepseek-v3", columns("H200 SXM 141GB", tp=8)),
    ("deepseek-v3", columns("B200 SXM 180GB", dp=8, ep=8)),
    ("gpt-oss-120b", columns("H100 SXM 80GB", tp=2)),
    ("qwen3-next-80b-a3b-instruct", columns("H100 SXM 80GB", tp=4)),
]


@pytest.mark.parametrize(("model", "rows"), CASES)
@settings(max_examples=15, deadline=None)
@given(decoded=st.floats(1, 2000), prefilled=st.floats(0, 8192))
def test_the_parts_add_up_to_the_step(model: str, rows: ReplicaColumns, decoded: float, prefilled: float):
    parts, step, _ = parts_and_step(model, rows, Load(np.array([[decoded]]), np.array([[prefilled]]), INPUT))
    assert tuple(parts) == PARTS
    np.testing.assert_allclose(sum(part.seconds for part in parts.values()), step, rtol=1e-12)


@pytest.mark.parametrize(("model", "rows"), CASES)
@settings(max_examples=15, deadline=None)
@given(decoded=st.floats(1, 2000), prefilled=st.floats(0, 8192))
def test_nothing_is_faster_than_the_datasheet(model: str, rows: ReplicaColumns, decoded: float, prefilled: float):
    parts, step, limit = parts_and_step(model, rows, Load(np.array([[decoded]]), np.array([[prefilled]]), INPUT))
    for name, part in parts.items():
        assert (part.limit_seconds <= part.seconds * (1 + 1e-9)).all(), name
    assert (limit <= step).all()
    assert (limit > 0).all()


def test_the_limit_of_a_decode_step_is_its_bytes_over_the_bandwidth():
    """Llama-3.1-8B reads its 7.5 billion matrix values in 16 bit, and 128 KiB of cache per token of context."""
    load = Load(np.array([[4.0]]), np.array([[0.0]]), INPUT)
    _, _, limit = parts_and_step("llama-3.1-8b", columns("H100 SXM 80GB"), load)
    values = 32 * (4096 * (4096 + 2 * 1024 + 4096) + 3 * 4096 * 14336) + 128256 * 4096
    cache = 4 * (INPUT + OUTPUT / 2) * 32 * 2 * 8 * 128 * 2
    assert limit[0, 0] == pytest.approx((2 * values + cache) / 3.35e12, rel=1e-3)


def test_decoding_is_bound_by_memory_and_a_long_prompt_by_compute():
    decode, _, _ = parts_and_step(
        "llama-3.1-8b", columns("H100 SXM 80GB"), Load(np.array([[4.0]]), np.zeros((1, 1)), INPUT)
    )
    prompt, _, _ = parts_and_step(
        "llama-3.1-8b", columns("H100 SXM 80GB"), Load(np.zeros((1, 1)), np.array([[4000.0]]), 4000)
    )
    assert bound_of("weights", decode["weights"], 0, 0) == "memory"
    assert bound_of("attention", decode["attention"], 0, 0) == "memory"
    assert bound_of("weights", prompt["weights"], 0, 0) == "compute"
    assert bound_of("attention", prompt["attention"], 0, 0) == "compute"
    assert bound_of("collectives", prompt["collectives"], 0, 0) == "communication"
    assert bound_of("host", decode["host"], 0, 0) == "host"


def test_one_gpu_spends_nothing_on_others_and_a_dense_model_nothing_on_experts():
    parts, _, _ = parts_and_step(
        "llama-3.1-8b", columns("H100 SXM 80GB"), Load(np.array([[64.0]]), np.array([[500.0]]), INPUT)
    )
    assert parts["collectives"].seconds == parts["pipeline"].seconds == parts["experts"].seconds == 0
    assert min(parts[name].seconds for name in ("weights", "attention", "activations", "host")) > 0
