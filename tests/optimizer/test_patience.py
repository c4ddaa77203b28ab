"""What is said to those who asked for no latency is true when tried."""

import re
from collections.abc import Callable

import pytest

from optimizer.requirements import Limits, ServiceLevel
from optimizer.search import Knowledge
from tests.optimizer.questions import ask, at_least

KnowledgeOf = Callable[[str], Knowledge]
SLOW = "For people who read along, --max-ttft 5s --max-tpot 100ms"


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen3-30B-A3B"])
def test_readers_are_served_at_the_price_that_is_said(knowledge_of: KnowledgeOf, name: str) -> None:
    said = next(text for text in ask(knowledge_of(name), demand=at_least(500)).warnings if text.startswith(SLOW))
    price = re.search(r"for ([\d.]+) USD/h or less", said)
    assert price is not None
    patient = ask(
        knowledge_of(name), demand=at_least(500), service_level=ServiceLevel(ttft_seconds=5, tpot_seconds=0.1)
    )
    assert patient.cost_usd_per_hour is not None
    assert patient.cost_usd_per_hour <= float(price[1]) + 0.005
    assert not [text for text in patient.warnings if text.startswith(SLOW)]


def test_nothing_is_said_of_readers_when_no_plan_for_them_keeps_the_limits(knowledge_of: KnowledgeOf) -> None:
    plan = ask(
        knowledge_of("meta-llama/Llama-3.3-70B-Instruct"), demand=at_least(500), limits=Limits(budget_usd_per_hour=1.97)
    )
    assert any(text.startswith("No --max-ttft") for text in plan.warnings)
    assert not [text for text in plan.warnings if "read along" in text]


def test_a_limit_in_seconds_that_looks_like_milliseconds_is_questioned(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of("Qwen/Qwen3-30B-A3B")
    odd, right = (ask(knowledge, demand=at_least(500), service_level=ServiceLevel(tpot_seconds=s)) for s in (25, 0.025))
    assert "--max-tpot 25 is in seconds: if milliseconds were meant, type --max-tpot 25ms." in odd.warnings
    assert not [text for text in right.warnings if "milliseconds" in text]


def test_a_limit_looser_than_readers_patience_does_not_replace_it(knowledge_of: KnowledgeOf) -> None:
    plan = ask(
        knowledge_of("meta-llama/Llama-3.3-70B-Instruct"),
        demand=at_least(500),
        service_level=ServiceLevel(tpot_seconds=25),
    )
    assert any("--max-ttft 5s --max-tpot 100ms gives a plan" in warning for warning in plan.warnings)
