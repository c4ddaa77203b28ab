"""Questions that the tests ask, and relaxations applied as a person would type them."""

from typing import Any

from optimizer.plan import Plan, Relaxation
from optimizer.relaxations import RESTRICTED, RULES
from optimizer.requirements import Demand, Requirements
from optimizer.search import Knowledge, MachineTables
from optimizer.solve import solve


def ask(knowledge: Knowledge, **asked: Any) -> Plan:
    question = Requirements(model=knowledge.spec.repo_id, **asked)
    return answer(knowledge, question)


def answer(knowledge: Knowledge, question: Requirements) -> Plan:
    return solve(
        question,
        knowledge.spec,
        knowledge.offers,
        knowledge.gpus,
        tuple(knowledge.engines.values()),
        knowledge.factors,
        gpuplan_version="test",
        data_fingerprint="test",
        tables=tables_of(knowledge),
    )


_TABLES: dict[tuple[int, int, int], MachineTables] = {}


def tables_of(knowledge: Knowledge) -> MachineTables:
    """Shared by all questions of one world, as `plan batch` shares them: a model's candidates are found once."""
    world = knowledge.offers, knowledge.gpus, knowledge.factors
    offers, gpus, factors = map(id, world)  # the tables hold on to all three, so no other object gets these numbers
    return _TABLES.setdefault((offers, gpus, factors), MachineTables(*world))


def at_least(tokens: float) -> Demand:
    return Demand(output_tokens_per_second=tokens)


def apply(question: Requirements, relaxation: Relaxation) -> Requirements:
    """The question with the changes as a person would type them."""
    rules = {rule.option: rule for rule in (*RULES, RESTRICTED)}
    for change in relaxation.changes:
        rule = rules[change.option]
        question = rule.changed(question, typed(change.value, rule.value(question), rule.lifted))
    return question


def typed(text: str, before: Any, lifted: Any) -> Any:
    if not text:
        return lifted
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    if text.replace(".", "", 1).isdigit():
        return type(before)(text) if before is not None else int(text)
    return tuple(text.split(","))
