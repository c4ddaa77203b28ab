"""How many prompts of others a request waits for: against a simulation of the benchmark, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.performance.serving import prompts_ahead

BUDGET = 8192
WAVES = 10
STEP, PER_TOKEN = 0.01, 2e-5


def simulate(requests: int, prompt: int, answer: int) -> float:
    """Mean seconds to the first token: `requests` always in flight, ten waves, lengths of 0.8 to 1.0 of the given."""
    rng = np.random.default_rng(0)
    sent = requests * WAVES
    prompts, answers = (rng.integers(int(n * 0.8), n + 1, sent) for n in (prompt, answer))
    who, unread, left = np.arange(requests), prompts[:requests].copy(), answers[:requests].copy()
    arrived, first, waiting, following, now = np.zeros(sent), [], list(range(requests)), requests, 0.0
    while (who >= 0).any():
        decoding = (who >= 0) & (unread == 0)
        budget, read = BUDGET - int(decoding.sum()), 0
        done = []
        while waiting and budget:
            slot = waiting[0]
            chunk = min(budget, int(unread[slot]))
            unread[slot] -= chunk
            budget, read = budget - chunk, read + chunk
            if not unread[slot]:
                done.append(waiting.pop(0))
        now += STEP + PER_TOKEN * read
        left[decoding] -= 1
        left[done] -= 1
        first += [now - arrived[who[slot]] for slot in done]
        for slot in np.flatnonzero((who >= 0) & (unread == 0) & (left <= 0)).tolist():
            who[slot] = following if following < sent else -1
            if following < sent:
                arrived[following], unread[slot], left[slot] = now, prompts[following], answers[following]
                waiting.append(slot)
                following += 1
    return float(np.mean(first))


@pytest.mark.parametrize(
    ("requests", "prompt", "answer"),
    [(4, 1024, 128), (16, 1024, 256), (64, 1024, 256), (16, 8192, 256), (32, 8192, 512)],
)
def test_the_mean_ttft_is_that_of_a_simulated_benchmark(requests, prompt, answer):
    tokens, steps = 0.9 * prompt, 0.9 * answer
    added = PER_TOKEN * tokens
    engine = {"chunk_tokens": BUDGET, "spread": 1.0, "burst": 1 / WAVES}
    one = np.ones((1, 1))
    ahead = prompts_ahead(engine, requests * one, tokens, steps * one, added / STEP * one, 0 * one)
    predicted = STEP + added + float(ahead[0, 0]) * (added + tokens / BUDGET * STEP)
    assert predicted == pytest.approx(simulate(requests, prompt, answer), rel=0.2)


def test_alone_nobody_is_ahead_and_without_decoding_everybody_is():
    engine = {"chunk_tokens": BUDGET, "spread": 1.0, "burst": 0.1}
    requests = np.array([[1.0, 8.0, 64.0]])
    alone = prompts_ahead(engine, requests, 1000.0, np.ones((1, 1)), np.ones((1, 1)), 0 * requests)
    np.testing.assert_allclose(alone, requests - 1)
    assert prompts_ahead(engine, requests, 1000.0, np.full((1, 1), 500.0), np.ones((1, 1)), 0 * requests)[0, 0] == 0
