"""What is said of the GPUs that are not bought."""

from collections.abc import Callable

from optimizer.plan import Plan
from optimizer.requirements import Choices, Demand, Limits, Objective, ServiceLevel
from optimizer.search import Knowledge
from tests.optimizer.questions import ask, at_least

LLAMA, DEEPSEEK = "meta-llama/Llama-3.3-70B-Instruct", "deepseek-ai/DeepSeek-V3"
KnowledgeOf = Callable[[str], Knowledge]


def reasons(plan: Plan) -> dict[str, str]:
    return {one.gpu: one.reason for one in plan.rejections if one.cost_usd_per_hour is None}


def test_a_rejection_says_all_degrees_of_its_layout_and_the_gpus_it_pays_for(knowledge_of: KnowledgeOf) -> None:
    plan = ask(knowledge_of(DEEPSEEK), demand=at_least(2000), service_level=ServiceLevel(tpot_seconds=0.05))
    could = [one for one in (*plan.rejections, *plan.alternatives) if one.cost_usd_per_hour is not None]
    ranks = [
        (one.replicas or 0) * (one.tensor_parallel or 0) * (one.pipeline_parallel or 0) * (one.data_parallel or 0)
        for one in could
    ]
    assert all((one.gpus or 0) >= rank > 0 for one, rank in zip(could, ranks, strict=True))
    assert any((one.expert_parallel or 0) > 1 for one in could)


def test_the_nearest_miss_comes_first(knowledge_of: KnowledgeOf) -> None:
    plan = ask(knowledge_of(LLAMA), demand=at_least(500), service_level=ServiceLevel(tpot_seconds=0.001))
    best = [float(reason.split()[1]) for reason in reasons(plan).values() if reason.startswith("TPOT")]
    assert len(best) > 10
    assert best == sorted(best)
    stages = [reason.split()[0] for reason in reasons(plan).values()]
    assert stages.index("does") > len(best) - 1


def test_what_does_not_fit_is_said_of_the_format_that_comes_nearest(knowledge_of: KnowledgeOf) -> None:
    plan = ask(knowledge_of(LLAMA), demand=at_least(500))
    short = reasons(plan)["A40 48GB"]
    assert short.endswith("fp8 weights)")
    # 70.6e9 parameters, 2.1e9 of them (embedding and output) in 16 bit, against 92% of 44.99 GiB.
    alone = (70.6e9 + 2.1e9) / 2**30 - 0.92 * 44.99
    assert alone < float(short.split()[3]) < alone + 5  # activations, graphs, one request


def test_a_gpu_that_was_named_and_cannot_be_had_is_not_passed_over(knowledge_of: KnowledgeOf) -> None:
    choices = Choices(gpus=("Gaudi3", "MI355X", "H100"), regions=("asia",), providers=("jarvislabs", "lambda"))
    said = reasons(ask(knowledge_of(LLAMA), demand=at_least(500), choices=choices))
    assert said["Gaudi3 OAM 128GB"].startswith("nobody's price of it is known")
    assert said["MI355X 288GB"].startswith("no machine with it is left by")


def test_the_best_of_each_other_gpu_is_the_best_by_what_was_asked_for(knowledge_of: KnowledgeOf) -> None:
    """Watts, tokens per second and seconds rise or fall down the list; it is of cheapest plans for no other goal."""
    few = Choices(gpus=("H100", "A100", "MI300X", "L40S", "B200"))
    known = knowledge_of(LLAMA)
    frugal = ask(known, demand=at_least(500), choices=few, objective=Objective.ENERGY)
    more = [int(one.reason.split()[1].replace(",", "")) for one in frugal.rejections]
    assert len(more) > 5
    assert more == sorted(more)
    most = ask(known, choices=few, limits=Limits(budget_usd_per_hour=10), objective=Objective.THROUGHPUT)
    rates = [one.output_tokens_per_second or 0.0 for one in most.rejections if one.cost_usd_per_hour is not None]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) > 0
    assert all(one.cost_usd_per_hour <= 10 for one in most.rejections if one.cost_usd_per_hour is not None)
    soon = ask(known, demand=Demand(concurrency=1), choices=few, objective=Objective.LATENCY)
    seconds = [float(one.reason.split()[3]) for one in soon.rejections]
    assert len(seconds) > 5
    assert seconds == sorted(seconds)


def test_a_gpu_of_which_the_budget_buys_nothing_says_what_it_costs(knowledge_of: KnowledgeOf) -> None:
    few = Choices(gpus=("H100", "MI355X"))
    plan = ask(knowledge_of(LLAMA), choices=few, limits=Limits(budget_usd_per_hour=20), objective=Objective.THROUGHPUT)
    assert reasons(plan)["MI355X 288GB"] == "costs 68.80 USD/h at least, 20.00 allowed"


def test_a_dearer_plan_within_the_limits_comes_before_a_cheaper_one_beyond_them(knowledge_of: KnowledgeOf) -> None:
    """Eight A100 for a tenth of the demand would be cheapest in pairs; two GPUs are allowed."""
    choices = Choices(gpus=("A100", "H200"))
    free = ask(knowledge_of(LLAMA), demand=at_least(2500), choices=choices)
    tight = ask(knowledge_of(LLAMA), demand=at_least(2500), choices=choices, limits=Limits(gpus=2))
    assert tight.status == "optimal"
    for one in (*tight.rejections, *tight.alternatives):
        assert (one.gpus or 0) <= 2 or one.reason.endswith("2 allowed")
    assert all((one.gpus or 0) <= 2 for one in tight.alternatives[:1])
    assert free.cost_usd_per_hour is not None
    assert free.cost_usd_per_hour <= (tight.cost_usd_per_hour or 0)


def test_without_a_mix_the_most_frugal_plan_is_found_at_once(knowledge_of: KnowledgeOf) -> None:
    """Thousands of columns, each with a choice of its own, would take the solver longer than its limit."""
    plan = ask(
        knowledge_of("meta-llama/Llama-3.2-1B-Instruct"),
        demand=Demand(concurrency=40),
        choices=Choices(mix=False),
        objective=Objective.ENERGY,
    )
    assert plan.status == "optimal"
    assert len(plan.lines) == 1


def test_an_offer_that_names_no_region_is_asked_about_when_one_was_asked_for(knowledge_of: KnowledgeOf) -> None:
    anywhere = ask(knowledge_of(LLAMA), demand=at_least(500), choices=Choices(regions=("eu",), providers=("verda",)))
    assert any("is listed without a region: ask whether it can be had in eu" in text for text in anywhere.warnings)
    named = ask(knowledge_of(LLAMA), demand=at_least(500), choices=Choices(regions=("us",), providers=("aws",)))
    assert not any("without a region" in text for text in named.warnings)
