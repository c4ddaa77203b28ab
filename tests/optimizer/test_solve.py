"""Real questions on the bundled facts: what is promised is kept, what is refused can be had as the answer says."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optimizer.audit import audit
from optimizer.plan import Plan
from optimizer.relaxations import RULES
from optimizer.requirements import Choices, Demand, Limits, Objective, Requirements, ServiceLevel, Workload
from optimizer.search import Knowledge, MachineTables, Search, keeps_service_level, request_seconds
from tests.optimizer.questions import answer, apply, ask, at_least

LLAMA, MOE = "meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen3-30B-A3B"
KnowledgeOf = Callable[[str], Knowledge]


def test_the_cheapest_plan_is_optimal_and_its_bound_is_its_cost(knowledge_of: KnowledgeOf) -> None:
    plan = ask(knowledge_of(LLAMA), demand=at_least(500), limits=Limits(budget_usd_per_hour=10))
    assert plan.status == "optimal"
    assert plan.cost_usd_per_hour == pytest.approx(plan.bound_usd_per_hour)
    assert plan.totals is not None
    assert plan.totals.output_tokens_per_second.value >= 500
    assert plan.cost_usd_per_hour <= 10


def test_no_single_shape_of_any_offer_is_cheaper(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    for tokens in (200, 3000, 20000):
        plan = ask(knowledge, demand=at_least(tokens))
        costs = [one.cost_usd_per_hour for one in (*plan.rejections, *plan.alternatives) if one.cost_usd_per_hour]
        assert plan.cost_usd_per_hour <= min(costs) + 1e-9


def test_more_is_never_cheaper(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(MOE)
    costs = [ask(knowledge, demand=at_least(tokens)).cost_usd_per_hour for tokens in (50, 500, 5000, 50000)]
    assert costs == sorted(costs)


def test_a_tighter_service_level_is_never_cheaper(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    costs = [
        ask(knowledge, demand=at_least(1000), service_level=ServiceLevel(tpot_seconds=tpot)).cost_usd_per_hour
        for tpot in (0.2, 0.06, 0.03)
    ]
    assert costs == sorted(costs)


@pytest.mark.parametrize("objective", list(Objective))
def test_every_objective_keeps_the_promises(knowledge_of: KnowledgeOf, objective: Objective) -> None:
    plan = ask(knowledge_of(MOE), demand=at_least(300), limits=Limits(budget_usd_per_hour=6), objective=objective)
    assert plan.status == "optimal"
    assert plan.cost_usd_per_hour <= 6


def test_the_fastest_plan_is_the_fastest_that_the_budget_buys(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    question = Requirements(model=LLAMA, limits=Limits(budget_usd_per_hour=12), objective=Objective.LATENCY)
    plan = answer(knowledge, question)
    search = Search(knowledge)
    candidates = search.candidates(question)
    latency = request_seconds(candidates, question.workload)
    affordable = {}
    for offer in search.offers(question.choices):
        if offer.price_usd_per_hour <= 12:
            affordable.setdefault((offer.gpu, offer.gpu_count), offer)
    shapes = candidates.shapes
    reachable = np.zeros(len(candidates), dtype=bool)
    for place, shape in zip(shapes.pair_place, shapes.pair_shape, strict=True):
        one = shapes.places[place]
        if (one.gpu, one.gpu_count) in affordable and shapes.columns.nodes[shape] == 1:
            reachable |= candidates.shape == shape
    fastest = latency[reachable & keeps_service_level(candidates, question)].min()
    estimate = plan.lines[0].estimate
    assert estimate.ttft_seconds.value + 511 * estimate.tpot_seconds.value <= fastest + 1e-9


FEW = {"choices": Choices(gpus=("H100 SXM 80GB", "L40S 48GB", "RTX A6000 48GB")), "demand": at_least(800)}
"""A question on few kinds of machine, whose cheapest plan is not the most frugal."""


def watts_of(plan: Plan) -> int:
    """As the rules count: rounded up per replica."""
    return sum(line.replicas * math.ceil(line.estimate.power_watts or 0) for line in plan.lines)


def test_a_limit_of_power_buys_another_plan_only_when_it_binds(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    free = ask(knowledge, **FEW)
    loose = ask(knowledge, **FEW, limits=Limits(power_watts=watts_of(free)))
    tight = ask(knowledge, **FEW, limits=Limits(power_watts=watts_of(free) - 1))
    assert (loose.lines, loose.status) == (free.lines, "optimal")
    assert tight.status == "optimal"
    assert watts_of(tight) < watts_of(free)
    assert (tight.cost_usd_per_hour or 0) >= (free.cost_usd_per_hour or 0)
    less = Limits(power_watts=watts_of(free) * 0.99)
    broken = free.model_copy(update={"question": free.question.model_copy(update={"limits": less})})
    assert any("W of GPUs" in finding for finding in audit(broken, knowledge))


def test_no_plan_draws_less_than_the_energy_objectives(knowledge_of: KnowledgeOf) -> None:
    """Joules per demanded token are watts over the demand: with a watt less there is proven to be no plan."""
    knowledge = knowledge_of(LLAMA)
    frugal = ask(knowledge, **FEW, objective=Objective.ENERGY)
    least = watts_of(frugal)
    assert least < watts_of(ask(knowledge, **FEW))
    below = ask(knowledge, **FEW, limits=Limits(power_watts=least - 1))
    assert below.status == "infeasible"
    assert f"{least}" in {one.changes[0].value for one in below.relaxations if one.changes[0].option == "--max-power"}


def test_gpus_that_idle_beside_a_replica_are_not_free(knowledge_of: KnowledgeOf) -> None:
    """Replicas of two GPUs on machines of eight would leave six that draw 45 W each and serve nobody."""
    asked = {"choices": Choices(gpus=("A100 PCIe 80GB",)), "demand": at_least(500)}
    frugal = ask(knowledge_of(LLAMA), **asked, objective=Objective.ENERGY)
    assert frugal.totals is not None
    assert frugal.totals.gpus == sum(line.replicas * line.replica.gpus for line in frugal.lines)
    assert frugal.proven == "no other GPUs would draw fewer watts"


@pytest.mark.parametrize("users", [1, 33])
def test_a_plan_for_users_in_flight_says_what_they_see_and_not_what_a_fuller_batch_would(
    knowledge_of: KnowledgeOf, users: int
) -> None:
    """Slots that nobody takes are left out; that they may be had for the same money changes no price."""
    plan = ask(knowledge_of(LLAMA), demand=Demand(concurrency=users), objective=Objective.COST)
    assert plan.totals is not None
    assert users <= plan.totals.concurrency <= 1.5 * users
    tokens = Demand(concurrency=users, output_tokens_per_second=0.001)
    assert ask(knowledge_of(LLAMA), demand=tokens).cost_usd_per_hour == plan.cost_usd_per_hour


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "budget": {"demand": at_least(5000), "limits": Limits(budget_usd_per_hour=1)},
    "tpot": {"demand": at_least(500), "service_level": ServiceLevel(tpot_seconds=0.002)},
    "ttft and budget": {
        "demand": at_least(500),
        "service_level": ServiceLevel(ttft_seconds=0.08),
        "limits": Limits(budget_usd_per_hour=2),
    },
    "gpus": {"demand": at_least(9000), "limits": Limits(gpus=1)},
    "power": {"demand": at_least(2000), "limits": Limits(power_watts=500)},
    "gpu": {"demand": at_least(500), "choices": Choices(gpus=("T4",), tensor_parallel=1, pipeline_parallel=2)},
    "concurrency": {"demand": Demand(concurrency=5000), "limits": Limits(budget_usd_per_hour=5)},
    "rate": {"demand": Demand(requests_per_second=40), "limits": Limits(budget_usd_per_hour=5)},
    "one GPU and its memory": {"demand": at_least(10), "choices": Choices(gpus=("RTX A6000 48GB",), tensor_parallel=1,
                                                                         pipeline_parallel=1)},
    "everything": {
        "demand": Demand(output_tokens_per_second=1e6, concurrency=3),
        "service_level": ServiceLevel(tpot_seconds=0.001, ttft_seconds=0.001),
        "limits": Limits(budget_usd_per_hour=0.5, gpus=1),
        "choices": Choices(mix=False),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_every_relaxation_gives_a_plan_at_its_price_when_applied(knowledge_of: KnowledgeOf, name: str) -> None:
    knowledge = knowledge_of(LLAMA)
    question = Requirements(model=LLAMA, **IMPOSSIBLE[name])
    plan = answer(knowledge, question)
    assert plan.status == "infeasible"
    assert plan.conflicts
    assert plan.relaxations
    for relaxation in plan.relaxations:
        relaxed = answer(knowledge, apply(question, relaxation))
        assert relaxed.status == "optimal", relaxation.sentence
        assert relaxed.cost_usd_per_hour == pytest.approx(relaxation.cost_usd_per_hour), relaxation.sentence


@pytest.mark.parametrize("name", ["budget", "gpus", "tpot"])
def test_one_unit_less_than_a_relaxed_number_is_not_enough(knowledge_of: KnowledgeOf, name: str) -> None:
    knowledge = knowledge_of(LLAMA)
    question = Requirements(model=LLAMA, **IMPOSSIBLE[name])
    numbers = {"--budget": 0.99, "--max-gpus": 0.99, "--max-tpot": 0.99}
    for relaxation in answer(knowledge, question).relaxations:
        option = relaxation.changes[0].option
        if option in numbers and relaxation.changes[0].value:
            near = apply(question, relaxation)
            rule = next(rule for rule in RULES if rule.option == option)
            value = rule.value(near)
            less = value - 1 if isinstance(value, int) else value * numbers[option]
            assert answer(knowledge, rule.changed(near, less)).status == "infeasible"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list | tuple):
        return [leaf for number, item in enumerate(value) for leaf in leaves(item, (*path, number))]
    return [(path, value)]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(document, dict):
        return {**document, path[0]: changed(document[path[0]], path[1:], value)}
    items = list(document)
    items[path[0]] = changed(items[path[0]], path[1:], value)
    return items


def tampered(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.001 + 0.001
    return None


PROMISES = ("cost_usd_per_hour", "bound_usd_per_hour", "lines", "totals", "prices_as_of")


def test_the_audit_finds_every_number_that_was_tampered_with(knowledge_of: KnowledgeOf) -> None:
    knowledge = knowledge_of(LLAMA)
    plan = ask(
        knowledge,
        demand=Demand(output_tokens_per_second=5000, concurrency=300),
        service_level=ServiceLevel(tpot_seconds=0.03),
    )
    assert audit(plan, knowledge) == ()
    document = plan.model_dump(mode="json")
    tried = 0
    for path, value in leaves(document):
        other = tampered(value)
        if path[0] not in PROMISES or other is None:
            continue
        tried += 1
        forged = Plan.model_validate_json(__import__("json").dumps(changed(document, path, other)))
        assert audit(forged, knowledge), f"{path}: {value} -> {other} passed"
    assert tried > 40


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (("lines", 0, "offer", "offer_id"), "aws/none"),
        (("lines", 0, "offer", "as_of"), "2026-11-11"),
        (("lines", 0, "replica", "gpu"), "T4"),
        (("lines", 0, "replica", "weight_format"), "int4"),
        (("lines", 0, "replica", "kv_cache_format"), "fp8"),
        (("lines", 0, "replica", "command"), ["vllm", "serve", "x"]),
        (("lines", 0, "replica", "model"), "meta-llama/Llama-3.1-8B"),
        (("question", "limits", "budget_usd_per_hour"), 0.5),
        (("question", "service_level", "tpot_seconds"), 0.001),
        (("question", "demand", "output_tokens_per_second"), 1e6),
        (("proof", "status"), "feasible"),
        (("prices_as_of",), "2026-11-20"),
    ],
)
def test_the_audit_finds_words_that_were_tampered_with(
    knowledge_of: KnowledgeOf, path: tuple[Any, ...], word: Any
) -> None:
    knowledge = knowledge_of(LLAMA)
    plan = ask(knowledge, demand=at_least(500), limits=Limits(budget_usd_per_hour=10))
    forged = Plan.model_validate_json(__import__("json").dumps(changed(plan.model_dump(mode="json"), path, word)))
    assert audit(forged, knowledge)


def test_lengths_beyond_the_context_are_refused_by_name(knowledge_of: KnowledgeOf) -> None:
    from optimizer.errors import BadRequirements

    knowledge = knowledge_of(LLAMA)
    with pytest.raises(BadRequirements, match="131072 tokens"):
        ask(knowledge, demand=at_least(1), workload=Workload(input_tokens=131072, output_tokens=1))
    with pytest.raises(BadRequirements, match="--max-model-len 100"):
        ask(knowledge, demand=at_least(1), choices=Choices(max_model_len=100))
    with pytest.raises(BadRequirements, match="nope weights"):
        ask(knowledge, demand=at_least(1), choices=Choices(weight_formats=("nope",)))


def test_a_search_that_is_kept_answers_as_a_new_one(knowledge_of: KnowledgeOf) -> None:
    known, other = knowledge_of("llama-3.1-8b"), knowledge_of("qwen3-8b")
    tables = MachineTables(known.offers, known.gpus, known.factors)
    asked = Requirements(model="m", demand=at_least(500))
    first = tables.search(known)
    first.purchase(asked)
    assert tables.search(replace(known)) is first, "an equal model is the same model"
    assert tables.search(other) is not first
    assert tables.search(replace(known, engines=dict(list(known.engines.items())[:1]))) is not first
    for tokens in (300, 900):
        more = asked.model_copy(update={"demand": at_least(tokens)})
        kept, new = first.purchase(more), Search(known).purchase(more)
        assert kept is not None
        assert new is not None
        assert (kept.cost_usd_per_hour, kept.machines.tolist()) == (new.cost_usd_per_hour, new.machines.tolist())
