"""Plans for requests that come at random: limits hold in the percentile that was asked, and nothing is ever overrun."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from optimizer.audit import audit
from optimizer.candidates import BATCHES
from optimizer.open_loop import Arriving, fine_curve, opened
from optimizer.performance.arrivals import BUSIEST, open_loop
from optimizer.plan import Plan
from optimizer.replica_columns import take_rows
from optimizer.requirements import Choices, Demand, Limits, Objective, Requirements, ServiceLevel, Workload
from optimizer.search import Knowledge, Search, keeps_service_level
from tests.optimizer.questions import answer, apply, ask

LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
KnowledgeOf = Callable[[str], Knowledge]
ONE_GPU = Choices(gpus=("H100 SXM 80GB",))


def coming(knowledge: Knowledge, rate: float, **asked: Any) -> Plan:
    return ask(knowledge, demand=Demand(requests_per_second=rate), **asked)


def test_the_rate_is_served_and_no_replica_is_overrun(knowledge_of: KnowledgeOf) -> None:
    for rate in (0.05, 3, 40):
        plan = coming(knowledge_of(LLAMA), rate)
        assert plan.status == "optimal"
        assert plan.totals.requests_per_second >= rate * (1 - 1e-9)
        for line in plan.lines:
            assert 0 < line.estimate.arrivals.busy_share <= BUSIEST
            assert line.estimate.concurrency <= line.replica.max_num_seqs * line.replica.data_parallel


def test_limits_hold_in_the_asked_percentile(knowledge_of: KnowledgeOf) -> None:
    for percentile in (50, 95, 99):
        level = ServiceLevel(ttft_seconds=0.6, tpot_seconds=0.05, percentile=percentile)
        plan = coming(knowledge_of(LLAMA), 6, service_level=level)
        for line in plan.lines:
            met = line.estimate.arrivals
            assert met.percentile == percentile
            assert line.estimate.ttft_seconds.value <= 0.6
            assert line.estimate.tpot_seconds.value <= 0.05
            assert met.within_limits_share >= 2 * percentile / 100 - 1 - 0.01
            assert met.goodput_requests_per_second <= met.requests_per_second


def test_the_default_percentile_is_the_95th(knowledge_of: KnowledgeOf) -> None:
    plan = coming(knowledge_of(LLAMA), 2)
    met = plan.lines[0].estimate
    assert met.arrivals.percentile == 95
    assert met.ttft_seconds.value == pytest.approx(met.arrivals.ttft_seconds.p95)
    assert met.arrivals.ttft_seconds.p50 < met.arrivals.ttft_seconds.p95 < met.arrivals.ttft_seconds.p99


def test_more_requests_and_stricter_percentiles_are_never_cheaper(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    level = ServiceLevel(ttft_seconds=0.5, tpot_seconds=0.04)
    costs = [coming(knowledge, rate, service_level=level).cost_usd_per_hour for rate in (1, 4, 16)]
    assert costs == sorted(costs)
    levels = [level.model_copy(update={"percentile": share}) for share in (50.0, 95.0, 99.9)]
    costs = [coming(knowledge, 8, service_level=each).cost_usd_per_hour for each in levels]
    assert costs == sorted(costs)


def test_random_arrivals_are_never_cheaper_than_a_steady_stream(knowledge_of: KnowledgeOf) -> None:
    """A closed loop of the same throughput has every slot taken all the time."""
    knowledge = knowledge_of(LLAMA)
    for rate in (1.0, 10.0):
        steady = ask(knowledge, demand=Demand(output_tokens_per_second=rate * 512))
        assert coming(knowledge, rate).cost_usd_per_hour >= steady.cost_usd_per_hour


def test_a_rate_just_above_what_the_limits_allow_takes_another_replica(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    asked = {"service_level": ServiceLevel(ttft_seconds=0.5, tpot_seconds=0.05), "choices": ONE_GPU}
    most = coming(knowledge, 2, **asked).totals.requests_per_second
    inside, outside = coming(knowledge, most * 0.999, **asked), coming(knowledge, most * 1.001, **asked)
    assert inside.cost_usd_per_hour < outside.cost_usd_per_hour


def test_the_audit_finds_a_rate_that_no_replica_takes(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    plan = coming(knowledge, 3, service_level=ServiceLevel(tpot_seconds=0.05))
    assert audit(plan, knowledge) == ()
    line = plan.lines[0]
    met = line.estimate.arrivals.model_copy(update={"requests_per_second": 99.0})
    told = line.model_copy(update={"estimate": line.estimate.model_copy(update={"arrivals": met})})
    findings = audit(plan.model_copy(update={"lines": (told, *plan.lines[1:])}), knowledge)
    assert any("speed" in finding for finding in findings)


@pytest.mark.slow
def test_relaxations_of_a_rate_that_nothing_serves_work(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    question = Requirements(
        model=LLAMA,
        demand=Demand(requests_per_second=6),
        service_level=ServiceLevel(ttft_seconds=0.8, tpot_seconds=0.03, percentile=99),
        limits=Limits(budget_usd_per_hour=8),
        choices=Choices(gpus=("H100 SXM 80GB", "H200 SXM 141GB")),
    )
    plan = answer(knowledge, question)
    assert plan.status == "infeasible"
    options = {change.option for one in plan.relaxations for change in one.changes}
    assert {"--requests-per-second", "--budget", "--max-tpot"} <= options
    for relaxation in plan.relaxations:
        mended = answer(knowledge, apply(question, relaxation))
        assert mended.status == "optimal", relaxation.sentence
        assert mended.cost_usd_per_hour == pytest.approx(relaxation.cost_usd_per_hour)


def test_confidence_leaves_room_for_arrivals_too(knowledge_of: KnowledgeOf) -> None:
    level = ServiceLevel(ttft_seconds=0.8, tpot_seconds=0.05, confidence=0.9)
    plan = coming(knowledge_of(LLAMA), 6, service_level=level)
    assert all(risk.chance <= 0.1 + 1e-9 for risk in plan.risks)
    assert sum(line.replicas * line.estimate.output_tokens_per_second.planned for line in plan.lines) >= 6 * 512


def test_a_limit_that_no_quiet_replica_keeps_leaves_no_candidate(knowledge_of: KnowledgeOf) -> None:
    question = Requirements(
        model=LLAMA, demand=Demand(requests_per_second=1), service_level=ServiceLevel(tpot_seconds=1e-4)
    )
    candidates = Search(knowledge_of(LLAMA)).candidates(question)
    assert not keeps_service_level(candidates, question).any()
    assert np.isfinite(candidates.ttft_seconds).all()


def test_percentiles_belong_to_a_rate_and_a_least_latency_does_not() -> None:
    with pytest.raises(ValidationError, match="needs --requests-per-second"):
        Requirements(model=LLAMA, demand=Demand(concurrency=3), service_level=ServiceLevel(percentile=99))
    with pytest.raises(ValidationError, match="fewer are always faster"):
        Requirements(model=LLAMA, demand=Demand(requests_per_second=3), objective=Objective.LATENCY)


@pytest.mark.parametrize("objective", [Objective.COST, Objective.THROUGHPUT, Objective.ENERGY])
def test_other_objectives_and_lengths_plan_a_rate(knowledge_of: KnowledgeOf, objective: Objective) -> None:
    plan = coming(
        knowledge_of("Qwen/Qwen3-30B-A3B"),
        2,
        objective=objective,
        limits=Limits(budget_usd_per_hour=5),
        workload=Workload(input_tokens=12000, output_tokens=3),
    )
    assert plan.status == "optimal"


@pytest.mark.parametrize(
    "limits",
    [{"ttft_seconds": 0.4, "tpot_seconds": 0.04}, {"ttft_seconds": 0.4}, {"tpot_seconds": 0.04}, {}],
    ids=lambda limits: " and ".join(limits) or "none",
)
def test_the_planned_rate_is_the_highest_of_all_points_that_keep_the_limits(
    knowledge_of: KnowledgeOf, limits: dict[str, float]
) -> None:
    """Bisection against trying every point, for every number of slots of some replicas."""
    workload, level = Workload(), ServiceLevel(**limits, percentile=95)
    most_ttft, most_tpot = (limits.get(name, np.inf) for name in ("ttft_seconds", "tpot_seconds"))
    search = Search(knowledge_of(LLAMA))
    evaluation = search.candidates(Requirements(model=LLAMA, demand=Demand(concurrency=1))).evaluations[0]
    some = np.arange(0, evaluation.rows.rows, 97)
    speed, rows = take_rows(evaluation.estimate, some), evaluation.rows.take(some)
    known = np.isfinite(speed.tpot_seconds).all(axis=1)
    speed, rows = take_rows(speed, np.flatnonzero(known)), rows.take(np.flatnonzero(known))
    found = opened(Arriving(speed, rows, workload), level)
    curve, ranks = fine_curve(speed, workload.output_tokens, BATCHES), rows.data_parallel[:, None]
    top, slots = speed.requests_per_second / ranks, BATCHES.astype(float)
    pipeline, chunks = rows.pipeline_parallel[:, None] * 1.0, np.full((rows.rows, 1), speed.prompt_chunks)
    best = np.zeros(top.shape)
    for point in range(len(curve.in_flight)):
        at = np.full(top.shape, point)
        run = open_loop(curve, at, slots, top, pipeline, chunks, workload.output_tokens)
        allowed = (run.rate <= BUSIEST * top) & (curve.in_flight[point] <= slots)
        allowed &= (run.ttft.at(0.95) <= most_ttft) & (run.tpot.at(0.95) <= most_tpot)
        best = np.where(allowed, np.maximum(best, run.rate), best)
    kept = (found.run.ttft.at(0.95) <= most_ttft) & (found.run.tpot.at(0.95) <= most_tpot)
    assert (kept == (best > 0)).all()
    np.testing.assert_allclose(found.run.rate[kept], best[kept])
    assert 0 < kept.mean() < 1 or not limits
