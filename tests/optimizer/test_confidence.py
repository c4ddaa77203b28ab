"""A plan that is made with confidence keeps its promises where its error bars are worst, and says what may miss."""

from collections.abc import Callable

import pytest

from optimizer.audit import audit
from optimizer.performance.certainty import Spread
from optimizer.promises import promised, risks_of
from optimizer.relaxations import RULES
from optimizer.requirements import Demand, Limits, Objective, Requirements, ServiceLevel
from optimizer.search import Knowledge, Search
from tests.optimizer.questions import answer, apply, ask, at_least

LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
KnowledgeOf = Callable[[str], Knowledge]


def test_more_confidence_is_never_cheaper(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    levels = [ServiceLevel(tpot_seconds=0.05, confidence=share) for share in (0.5, 0.7, 0.9, 0.99)]
    costs = [ask(knowledge, demand=at_least(2000), service_level=level).cost_usd_per_hour for level in levels]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_a_confident_plan_keeps_its_promises_where_one_in_ten_is_worse(knowledge_of: KnowledgeOf) -> None:
    level = ServiceLevel(ttft_seconds=2, tpot_seconds=0.05, confidence=0.9)
    plan = ask(knowledge_of(LLAMA), demand=at_least(2000), service_level=level)
    speeds = [(line.replicas, line.estimate) for line in plan.lines]
    assert sum(n * speed.output_tokens_per_second.planned for n, speed in speeds) >= 2000
    assert all(speed.ttft_seconds.value < speed.ttft_seconds.planned <= 2 for _, speed in speeds)
    assert all(speed.tpot_seconds.value < speed.tpot_seconds.planned <= 0.05 for _, speed in speeds)
    assert [risk.option for risk in plan.risks] == ["--min-tps", "--max-ttft", "--max-tpot"]
    assert all(risk.chance <= 0.1 + 1e-9 for risk in plan.risks)


def test_what_is_planned_with_the_estimates_themselves_may_miss_as_well_as_not(knowledge_of: KnowledgeOf) -> None:
    plan = ask(knowledge_of(LLAMA), demand=at_least(500))
    assert all(0 < risk.chance <= 0.5 for risk in plan.risks)
    exact = plan.question.model_copy(
        update={"demand": at_least(plan.totals.output_tokens_per_second.value), "service_level": ServiceLevel()}
    )
    (risk,) = risks_of(exact, plan.lines, knowledge_of(LLAMA).factors.errors)
    assert risk.chance == pytest.approx(0.5, abs=1e-6)


def test_the_chance_is_read_off_the_error_bars() -> None:
    spread = Spread((0.0, 0.8, 0.9), (1.0, 2.0, 4.0))
    assert spread.below(2.0) == pytest.approx(0.9)
    assert spread.below(1 / 4) == pytest.approx(0.05)
    assert spread.below(100.0) == pytest.approx(0.95) == spread.most
    for share in (0.06, 0.3, 0.5, 0.77, 0.94):
        assert spread.below(spread.at(share)) == pytest.approx(share)


def test_the_audit_finds_a_chance_that_is_not_so(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    plan = ask(knowledge, demand=at_least(500), service_level=ServiceLevel(tpot_seconds=0.06, confidence=0.8))
    assert audit(plan, knowledge) == ()
    told = plan.model_copy(update={"risks": (plan.risks[0].model_copy(update={"chance": 0.01}), *plan.risks[1:])})
    assert audit(told, knowledge) == ("the chances of missing a target are not as stated",)
    surer = plan.question.model_copy(
        update={"service_level": plan.question.service_level.model_copy(update={"confidence": 0.95})}
    )
    assert len(audit(plan.model_copy(update={"question": surer}), knowledge)) >= 1


def test_too_much_confidence_is_relaxed_to_what_can_be_had(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    question = Requirements(
        model=LLAMA,
        demand=at_least(500),
        service_level=ServiceLevel(tpot_seconds=0.05, confidence=0.99),
        limits=Limits(budget_usd_per_hour=2.0),
    )
    plan = answer(knowledge, question)
    assert plan.status == "infeasible"
    surest = next(one for one in plan.relaxations if [c.option for c in one.changes] == ["--confidence"])
    mended = apply(question, surest)
    assert 0.5 < mended.service_level.confidence < 0.99
    assert answer(knowledge, mended).status == "optimal"
    bolder = mended.service_level.model_copy(update={"confidence": mended.service_level.confidence + 0.01})
    assert answer(knowledge, mended.model_copy(update={"service_level": bolder})).status == "infeasible"
    for relaxation in plan.relaxations:
        assert answer(knowledge, apply(question, relaxation)).status == "optimal", relaxation.sentence


def test_confidence_is_a_rule_only_where_it_is_asked_for() -> None:
    rule = next(rule for rule in RULES if rule.option == "--confidence")
    assert not rule.is_asked(Requirements(model=LLAMA, demand=at_least(1)))
    assert rule.is_asked(Requirements(model=LLAMA, demand=at_least(1), service_level=ServiceLevel(confidence=0.6)))


def test_even_odds_change_no_candidate(knowledge_of: KnowledgeOf) -> None:
    search = Search(knowledge_of(LLAMA))
    candidates = search.candidates(Requirements(model=LLAMA, demand=at_least(1)))
    assert promised(candidates, 0.5) is candidates
    careful = promised(candidates, 0.8)
    assert (careful.ttft_seconds > candidates.ttft_seconds).all()
    assert (careful.tpot_seconds > candidates.tpot_seconds).all()
    assert (careful.output_tokens_per_second < candidates.output_tokens_per_second).all()


@pytest.mark.parametrize("objective", list(Objective))
def test_every_objective_plans_with_confidence(knowledge_of: KnowledgeOf, objective: Objective) -> None:
    plan = ask(
        knowledge_of(LLAMA),
        demand=Demand(concurrency=16),
        limits=Limits(budget_usd_per_hour=8),
        service_level=ServiceLevel(tpot_seconds=0.06, confidence=0.9),
        objective=objective,
    )
    assert plan.status == "optimal"
