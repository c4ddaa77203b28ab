"""Cached prefixes and guessed tokens: arithmetic against simulation, a peer's figure, and laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.find import find_model
from gpu_db.load import load_gpus
from gpuplan.fitting.bench import replicas
from optimizer.memory.speculation import Speculation
from optimizer.performance.estimate import EstimateColumns, after_a_prefix, estimate, load_factors
from optimizer.performance.shortcuts import Shortcuts, guesser_of, kept_tokens, published_acceptance

BATCHES = np.array([1, 4, 16, 64, 256], dtype=np.int64)
LLAMA, DRAFT, DEEPSEEK = "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-8B", "deepseek-ai/DeepSeek-V3"


class Layout:
    """Eight GPUs of one kind."""

    def __init__(self, gpu: str) -> None:
        self.gpu, self.tensor_parallel, self.gpus = gpu, 8, 8
        self.pipeline_parallel = self.data_parallel = self.expert_parallel = 1


def run(shortcuts: Shortcuts, model: str = LLAMA, gpu: str = "H200 SXM 141GB", isl=2000, osl=300) -> EstimateColumns:
    rows = replicas([Layout(gpu)], load_gpus())
    return estimate(find_model(model), "vllm", rows, "bf16", BATCHES, isl, osl, load_factors(), shortcuts=shortcuts)


def draft(tokens: int, rate: float) -> Shortcuts:
    return Shortcuts(0.0, Speculation("draft_model", tokens, find_model(DRAFT)), rate)


def test_tokens_kept_are_those_of_guesses_drawn_one_by_one():
    random = np.random.default_rng(0)
    for rate, guesses in ((0.3, 4), (0.8, 3), (0.95, 8)):
        right = random.random((200_000, guesses)) < rate
        kept = 1 + np.cumprod(right, axis=1).sum(axis=1)
        assert kept_tokens(rate, guesses) == pytest.approx(kept.mean(), rel=0.01)
        assert kept_tokens(rate, guesses) == pytest.approx((1 - rate ** (guesses + 1)) / (1 - rate))


@pytest.mark.parametrize("method", ["draft_model", "ngram", "mtp"])
def test_guesses_that_are_never_right_never_help(method):
    model = DEEPSEEK if method == "mtp" else LLAMA
    speculation = Speculation(method, 3, find_model(DRAFT) if method == "draft_model" else None)
    plain, guessing = run(Shortcuts(), model), run(Shortcuts(0.0, speculation, 0.0), model)
    assert (guessing.tpot_seconds > plain.tpot_seconds).all()
    # TTFT may fall in a full closed loop: requests that decode for longer meet fewer prompts.
    assert (guessing.output_tokens_per_second < plain.output_tokens_per_second).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.floats(0, 0.95), st.floats(0.01, 0.05))
def test_a_better_guesser_is_never_slower(tokens, rate, better):
    worse, best = run(draft(tokens, rate)), run(draft(tokens, rate + better))
    assert (best.tpot_seconds <= worse.tpot_seconds).all()
    assert (best.output_tokens_per_second >= worse.output_tokens_per_second).all()


def test_no_step_that_checks_guesses_beats_a_step_without():
    plain, guessing = run(Shortcuts()), run(draft(4, 1.0))
    assert (guessing.decode_step_seconds > plain.decode_step_seconds).all()
    assert (guessing.tpot_seconds >= plain.decode_step_seconds / 5).all()


def test_guessing_pays_for_few_requests_and_not_for_many():
    """Where weights are read for few tokens, more tokens are nearly free; where flop bind, each wrong guess costs."""
    gain = run(Shortcuts()).tpot_seconds / run(draft(3, 0.6)).tpot_seconds
    assert gain[0, 0] > 1.2
    assert gain[0, 0] > gain[0, -1]
    assert run(Shortcuts()).output_tokens_per_second[0, -1] > run(draft(8, 0.3)).output_tokens_per_second[0, -1]


def test_one_layer_that_guesses_speeds_deepseek_up_as_a_peer_says():
    """aiconfigurator 0.12: DeepSeek-V3, TP 8, 16 requests, one guess at 0.85: TPOT from 17.4 to 12.6 ms."""
    own = Shortcuts(0.0, Speculation("mtp", 1), 0.85)
    plain, guessing = run(Shortcuts(), DEEPSEEK), run(own, DEEPSEEK)
    assert plain.tpot_seconds[0, 2] / guessing.tpot_seconds[0, 2] == pytest.approx(17.4 / 12.6, rel=0.15)


def test_what_guesses_is_the_checkpoints_own_layer_a_draft_or_nothing():
    deepseek, small = find_model(DEEPSEEK), find_model(DRAFT)
    own = guesser_of(deepseek, Speculation("mtp", 1))
    assert own.layer_count == 1
    assert guesser_of(deepseek, Speculation("draft_model", 2, small)) is small
    assert guesser_of(deepseek, Speculation("ngram", 2)) is None
    assert guesser_of(deepseek, None) is None


def test_what_guesses_is_never_called_measured():
    assert run(draft(2, 0.7)).calibration == ("uncalibrated",)


@settings(max_examples=40, deadline=None)
@example(0.0, 0.5, 62, 1, LLAMA)
@example(0.5, 1.0, 2, 745, "openai/gpt-oss-120b")
@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(2, 30000),
    st.integers(1, 3000),
    st.sampled_from([LLAMA, DEEPSEEK, "openai/gpt-oss-120b"]),
)
def test_more_hits_are_never_slower(one, other, isl, osl, model):
    few, many = (run(Shortcuts(rate), model, isl=isl, osl=osl) for rate in sorted((one, other)))
    # TPOT may grow: where prompts no longer queue, more requests decode in each step.
    assert (many.tpot_seconds[:, 0] <= few.tpot_seconds[:, 0] * (1 + 1e-9)).all()
    assert (many.ttft_seconds <= few.ttft_seconds * (1 + 1e-9)).all()
    # Beside many, a prompt's step may grow: where prompts no longer fill it, more requests decode in it.
    assert (many.prefill_seconds[:, 0] <= few.prefill_seconds[:, 0] * (1 + 1e-9)).all()
    assert (many.output_tokens_per_second >= few.output_tokens_per_second * (1 - 1e-9)).all()


def test_no_hits_change_nothing():
    for name in ("ttft_seconds", "tpot_seconds", "output_tokens_per_second", "power_watts"):
        np.testing.assert_array_equal(getattr(run(Shortcuts()), name), getattr(run(Shortcuts(0.0)), name))


def test_a_prompt_that_is_all_cached_takes_about_one_step():
    cached, whole = run(Shortcuts(1.0)), run(Shortcuts())
    assert cached.prefill_seconds[0, 0] == pytest.approx(cached.decode_step_seconds[0, 0], rel=0.1)
    assert cached.ttft_seconds[0, 0] < whole.ttft_seconds[0, 0]


def test_what_follows_a_prefix_attends_to_the_prefix_too(llama_costs):
    tokens, hit = 1000.0, 0.6
    costs, computed = after_a_prefix(llama_costs, tokens, hit)
    whole = float(llama_costs.per_prefilled[0, 0]) * tokens  # n^2 / 2 pairs
    prefix = whole * hit**2
    assert computed == pytest.approx(400)
    assert float(costs.per_prefilled[0, 0]) * computed == pytest.approx(whole - prefix)


@pytest.fixture
def llama_costs():
    from optimizer.performance.estimate import read_hardware
    from optimizer.performance.operations import measure_work
    from optimizer.performance.step import step_costs

    rows, factors = replicas([Layout("H100 SXM 80GB")], load_gpus()), load_factors()
    work = measure_work(find_model(LLAMA), rows, 2.0, 1000, 100)
    return step_costs(work, read_hardware(rows, "vllm", factors).rates, factors.engine("vllm"), factors.shared, 1000)


def test_impossible_shortcuts_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        Shortcuts(1.5)
    with pytest.raises(ValueError, match="acceptance rate"):
        Shortcuts(0.0, Speculation("ngram", 3))
    with pytest.raises(ValueError, match="acceptance rate"):
        replace(draft(2, 0.5), acceptance_rate=1.2)


def test_published_rates_have_a_source_and_a_day():
    for method in ("mtp", "eagle3", "draft_model", "ngram"):
        for fact in published_acceptance(method):
            assert 0 <= fact["low"] <= fact["high"] <= 1
            assert fact["source"]
            assert len(str(fact["as_of"])) == 10
    assert published_acceptance("eagle") == []


@pytest.mark.parametrize(
    ("head", "guesses", "least", "most"), [("NVIDIA's head", 3, 2.37, 3.08), ("Red Hat's head", 7, 2.88, 3.62)]
)
def test_published_rates_give_the_tokens_per_step_that_their_model_cards_print(head, guesses, least, most):
    (fact,) = (each for each in published_acceptance("eagle3") if head in each["what"])
    assert kept_tokens(fact["low"], guesses) == pytest.approx(least, rel=0.01)
    assert kept_tokens(fact["high"], guesses) == pytest.approx(most, rel=0.01)
