"""Cached prefixes and guessed tokens in the main question: fewer GPUs' worth of work, and nothing assumed silently."""

from collections.abc import Callable

import pytest

from optimizer.audit import audit
from optimizer.errors import BadRequirements
from optimizer.requirements import (
    Choices,
    Demand,
    EngineOptions,
    Requirements,
    ServiceLevel,
    SpeculativeDecoding,
    Workload,
)
from optimizer.search import Knowledge
from tests.optimizer.questions import answer, ask, at_least

DEEPSEEK, LLAMA = "deepseek-ai/DeepSeek-V3", "meta-llama/Llama-3.3-70B-Instruct"
KnowledgeOf = Callable[[str], Knowledge]


def test_guesses_need_a_rate_and_the_answer_lists_published_ones(knowledge_of: KnowledgeOf) -> None:
    options = EngineOptions(speculation=SpeculativeDecoding(method="mtp"))
    question = Requirements(model=DEEPSEEK, demand=at_least(500), options=options)
    with pytest.raises(BadRequirements, match=r"--acceptance-rate 0\.7.*0\.85 to 0\.9 for DeepSeek-V3"):
        answer(knowledge_of(DEEPSEEK), question)


def test_a_good_guesser_serves_faster_answers_for_less(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(DEEPSEEK)
    asked = {"demand": at_least(2000), "service_level": ServiceLevel(tpot_seconds=0.02)}
    options = EngineOptions(speculation=SpeculativeDecoding(method="mtp", acceptance_rate=0.85))
    plain, guessing = ask(knowledge, **asked), ask(knowledge, options=options, **asked)
    assert guessing.cost_usd_per_hour <= plain.cost_usd_per_hour
    assert audit(guessing, knowledge) == ()
    assert any("0.85 of the guessed tokens" in warning for warning in guessing.warnings)


def test_a_cached_prefix_is_never_dearer(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    costs = [
        ask(
            knowledge,
            demand=Demand(requests_per_second=20),
            workload=Workload(input_tokens=8000, output_tokens=100, shared_prefix_tokens=shared),
        ).cost_usd_per_hour
        for shared in (0, 4000, 7500)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0] / 2


def test_guesses_under_random_arrivals_keep_their_limits(knowledge_of: KnowledgeOf) -> None:
    options = EngineOptions(speculation=SpeculativeDecoding(method="ngram", tokens=3, acceptance_rate=0.5))
    plan = ask(
        knowledge_of(LLAMA),
        demand=Demand(requests_per_second=3),
        options=options,
        service_level=ServiceLevel(ttft_seconds=1, tpot_seconds=0.03),
        choices=Choices(gpus=("H100 SXM 80GB", "H200 SXM 141GB")),
    )
    assert plan.status == "optimal"
    assert all(line.estimate.tpot_seconds.value <= 0.03 for line in plan.lines)
