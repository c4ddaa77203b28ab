"""Whatever the architecture: where a budget forbids a plan, the answer says what works, and it does."""

from collections.abc import Callable

import pytest

from catalog.find import bundled_models
from optimizer.requirements import Limits, Requirements
from optimizer.search import Knowledge
from tests.optimizer.questions import answer, apply, ask, at_least

KnowledgeOf = Callable[[str], Knowledge]

SMALLEST: dict[str, str] = {
    model.architecture: model.repo_id for model in sorted(bundled_models(), key=lambda one: -one.total_parameters)
}
"""Of each bundled architecture, its smallest model."""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(SMALLEST)[::4])
def test_when_the_budget_is_too_small_each_relaxation_works(knowledge_of: KnowledgeOf, architecture: str) -> None:
    knowledge = knowledge_of(SMALLEST[architecture])
    cost = ask(knowledge, demand=at_least(500)).cost_usd_per_hour
    assert cost is not None
    budget = round(cost * 0.8, 2)
    question = Requirements(
        model=knowledge.spec.repo_id, demand=at_least(500), limits=Limits(budget_usd_per_hour=budget)
    )
    plan = answer(knowledge, question)
    assert plan.status == "infeasible"
    assert plan.relaxations
    for relaxation in plan.relaxations:
        relaxed = answer(knowledge, apply(question, relaxation))
        assert relaxed.status == "optimal", relaxation.sentence
        assert relaxed.cost_usd_per_hour == pytest.approx(relaxation.cost_usd_per_hour), relaxation.sentence
