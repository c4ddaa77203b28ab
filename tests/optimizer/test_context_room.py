"""What a longer context than the requests need costs is said, and is so."""

from collections.abc import Callable

from optimizer.requirements import Choices, Demand, Workload
from optimizer.search import Knowledge
from tests.optimizer.questions import ask

KnowledgeOf = Callable[[str], Knowledge]
SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"


def rooms(warnings: tuple[str, ...]) -> list[str]:
    return [text for text in warnings if "has room for longer requests" in text]


def test_the_shorter_context_that_is_named_costs_what_is_said(knowledge_of: KnowledgeOf) -> None:
    known, long = knowledge_of(SCOUT), Workload(input_tokens=1 << 20, output_tokens=1000)
    free = ask(known, workload=long, demand=Demand(concurrency=1))
    (said,) = rooms(free.warnings)
    named, price = int(said.split("--max-model-len ")[1].split()[0]), float(said.split(" USD/h")[0].split()[-1])
    short = ask(known, workload=long, demand=Demand(concurrency=1), choices=Choices(max_model_len=named))
    assert (short.cost_usd_per_hour or 0) <= price < (free.cost_usd_per_hour or 0)
    assert not rooms(short.warnings)


def test_nothing_is_said_of_a_short_context(knowledge_of: KnowledgeOf) -> None:
    llama = knowledge_of("meta-llama/Llama-3.3-70B-Instruct")
    plan = ask(llama, workload=Workload(input_tokens=8000, output_tokens=500), demand=Demand(concurrency=4))
    assert plan.lines[0].replica.max_model_len > 2 * 8000
    assert not rooms(plan.warnings)
