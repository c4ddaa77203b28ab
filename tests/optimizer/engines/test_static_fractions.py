"""SGLang's static share of memory, as its releases derive it: their own arithmetic, by hand."""

import numpy as np
import pytest

from catalog.find import find_model
from optimizer.engines.find import find_engine

LLAMA = "meta-llama/Llama-3.1-8B"


def fraction(version, model, rows, tokens=8192):
    return float(find_engine("sglang", version).utilization(find_model(model), rows, np.array([tokens]))[0])


@pytest.mark.parametrize(("ranks", "share"), [(1, 0.88), (2, 0.87), (4, 0.85), (8, 0.81)])
def test_it_went_by_the_ranks_at_first(make_gpu, make_rows, ranks, share):
    assert fraction("0.4.3", LLAMA, make_rows([make_gpu()], [ranks])) == share


@pytest.mark.parametrize(
    ("gib", "ranks", "reserve"), [(24, 1, 2.8 + 0.1), (80, 4, 9.5 + 2), (141, 8, 12 + 4), (180, 8, 32), (20, 2, 3.0)]
)
def test_then_by_the_card(make_gpu, make_rows, gib, ranks, reserve):
    gpu = make_gpu("GPU", mib=gib * 1024 + 461)
    share = fraction("0.5.2", LLAMA, make_rows([gpu], [ranks]))
    assert share == pytest.approx(1 - reserve / gib, abs=0.002)


def test_then_by_the_tokens_of_a_step_with_prefill_graphs_since_0_5_9(make_gpu, make_rows):
    rows = make_rows([make_gpu()], [1])
    assert fraction("0.5.3", LLAMA, rows) == fraction("0.5.8", LLAMA, rows) > fraction("0.5.10", LLAMA, rows, 16384)


def test_a_vision_tower_leaves_less_the_larger_it_is(make_gpu, make_rows):
    rows = make_rows([make_gpu("H200 SXM 141GB", "9.0", 143771)], [8])
    text = fraction("0.5.8", LLAMA, rows)
    # Kimi's config does not name width or layers so that SGLang finds them; Qwen2.5-VL's tower is 1,280 wide.
    assert fraction("0.5.8", "moonshotai/Kimi-K2.5", rows) == pytest.approx(0.95 * text)
    qwen = 0.95 * (1 - 0.1 * (1280**2 / 1024**2 - 1))
    assert fraction("0.5.8", "Qwen/Qwen2.5-VL-7B-Instruct", rows) == pytest.approx(qwen * text)


@pytest.mark.parametrize(("version", "tokens", "graph"), [("0.5.12", 2048, 24), ("0.5.23", 4096, 48)])
def test_a_card_of_24_gb_takes_larger_steps_since_0_5_13(make_gpu, version, tokens, graph):
    gpu, engine = make_gpu("RTX 4090", "8.9", 24564), find_engine("sglang", version)
    assert engine.default_max_batched_tokens(gpu) == tokens
    assert engine.largest_graph(gpu) == graph
