"""Which of vLLM's two model runners serves a model by default, and what its sampler keeps: read in its releases."""

import pytest

from catalog.find import find_model
from optimizer.engines.find import find_engine

FIRST, SECOND = 14.4, 2.0

DENSE, QUANTIZED, EXPERTS = "Qwen/Qwen3-8B", "Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-30B-A3B"
LLAMA, GEMMA, HYBRID, LATENT = (
    "meta-llama/Llama-3.1-8B",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3.5-27B",
    "deepseek-ai/DeepSeek-V4-Flash",
)


@pytest.mark.parametrize(
    ("version", "second", "first"),
    [
        ("0.20.2", (), (DENSE, LLAMA)),
        ("0.22.0", (DENSE,), (QUANTIZED, EXPERTS, LLAMA)),
        ("0.23.0", (DENSE, LLAMA), (QUANTIZED, EXPERTS, GEMMA)),
        ("0.24.0", (DENSE, QUANTIZED, LLAMA), (EXPERTS, GEMMA)),
        ("0.25.0", (DENSE, QUANTIZED, LLAMA, GEMMA), (EXPERTS, HYBRID, LATENT)),
        ("0.28.0", (DENSE, GEMMA, LATENT), (EXPERTS, HYBRID)),
        ("0.29.0", (DENSE, EXPERTS, HYBRID, LATENT), ()),
    ],
)
def test_the_second_runner_serves_ever_more_models(version, second, first):
    engine = find_engine("vllm", version)
    assert [engine.sampler_bytes_per_logit(find_model(name)) for name in second] == [SECOND] * len(second)
    assert [engine.sampler_bytes_per_logit(find_model(name)) for name in first] == [FIRST] * len(first)


def test_logits_were_sorted_until_0_16_and_are_sampled_with_all_parameters_since_0_33():
    model = find_model(DENSE)
    kept = [find_engine("vllm", version).sampler_bytes_per_logit(model) for version in ("0.16.0", "0.17.0", "0.33.0")]
    assert kept == [37.9, FIRST, 10.0]


@pytest.mark.parametrize(("version", "charged"), [("0.22.0", False), ("0.28.0", False), ("0.29.0", True)])
def test_the_second_runner_estimated_no_graphs_until_0_28(version, charged):
    # Qwen3 8B leaves 5.87 and 4.67 GiB of 23.99 at 0.90 and 0.85 (public log, 2026-09): 0.45 beside 15.27 of weights.
    assert find_engine("vllm", version).graphs_inside_budget(find_model(DENSE)) is charged
    assert find_engine("vllm", version).graphs_inside_budget(find_model(EXPERTS))
