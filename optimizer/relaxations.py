"""Why nothing fits: the smallest set of rules that contradict each other, and the cheapest change of each.

A rule knows how to be dropped, and how to be brought as near to what was asked as the other rules allow. Every
relaxation is a question that was solved again with the changed value exactly as it is printed, so it works when tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.quantization import available_formats
from gpu_db.offer import Billing
from optimizer.cells import EVEN_ODDS
from optimizer.cp_sat.objectives import Goal
from optimizer.cp_sat.program import Purchase
from optimizer.plan import Change, Relaxation
from optimizer.replica_columns import Floats
from optimizer.requirements import MOST_CONFIDENCE, LoraAdapters, Objective, Requirements, SpeculativeDecoding
from optimizer.search import Search, keeps_service_level, planned_max_model_len, stored_variants

CHEAPEST = (Goal.COST,)
LOOSEST_PERCENTILE = 50.0
LOOSEST_RATE = 1e-6
"""Requests per second that any replica serves; they still come at random."""

RENTED: tuple[Billing, ...] = ("on-demand", "spot", "reserved-1y", "reserved-3y")


@dataclass(frozen=True)
class Rule:
    """One thing that can be asked.

    Attributes:
        name: as people call it; `option`: as one types it.
        group, field: where it stands in the Requirements.
        lifted: its value when nobody asks for it.
        loosest: its value when it forbids nothing, where that is not what nobody asking means.
        nearest: finds the value nearest to what was asked with which the others can be kept; None = it is only lifted.
        shown: a value as one types it.
    """

    name: str
    option: str
    group: str
    field: str
    lifted: Any = None
    loosest: Any = None
    nearest: Callable[[Search, Requirements], Any] | None = None
    shown: Callable[[Any], str] = str

    def value(self, requirements: Requirements) -> Any:
        """What is asked."""
        return getattr(getattr(requirements, self.group), self.field)

    def is_asked(self, requirements: Requirements) -> bool:
        """Whether the question has this rule at all."""
        return bool(self.value(requirements) != self.lifted)

    def changed(self, requirements: Requirements, value: Any) -> Requirements:
        """The same question with another value of this rule."""
        group = getattr(requirements, self.group).model_copy(update={self.field: value})
        return requirements.model_copy(update={self.group: group})

    def dropped(self, requirements: Requirements) -> Requirements:
        """The same question without this rule."""
        return self.changed(requirements, self.lifted if self.loosest is None else self.loosest)


def conflicting_rules(search: Search, requirements: Requirements) -> tuple[str, ...]:
    """A smallest set of rules that cannot be kept together: leaving any one of them out, a plan exists.

    Rules are left out one after the other; one whose absence does not help stays out. What remains is irreducible.
    Empty when there is no plan even without any rule.
    """
    question, kept = _as_cost(requirements), []
    for rule in rules_asked(requirements):
        without = rule.dropped(question)
        if cheapest(search, without) is None:
            question = without
        else:
            kept.append(rule)
    return tuple(f"{rule.option} {rule.shown(rule.value(requirements))}".strip() for rule in kept)


def relaxations_of(search: Search, requirements: Requirements) -> tuple[Relaxation, ...]:
    """For each rule the cheapest change that alone gives a plan; one joint change when no single one does."""
    question = _as_cost(requirements)
    found = [_relaxed(search, question, (rule,)) for rule in rules_asked(requirements)]
    found += [_widened(search, question, rule, value) for rule, value in _wider_choices(search, requirements)]
    if not any(found):
        found = [_relaxed(search, question, _rules_to_lift(search, question))]
    return tuple(sorted((one for one in found if one), key=lambda one: (one.cost_usd_per_hour, one.sentence)))


def rules_asked(requirements: Requirements) -> tuple[Rule, ...]:
    """The rules that the question has, the ones that people give up last first."""
    return tuple(rule for rule in RULES if rule.is_asked(requirements))


def cheapest(search: Search, requirements: Requirements) -> Purchase | None:
    """The cheapest purchase; ties are not broken."""
    return search.purchase(requirements, CHEAPEST)


def _as_cost(requirements: Requirements) -> Requirements:
    """The same rules with the objective cost: whether they can be kept does not depend on the goal."""
    return requirements.model_copy(update={"objective": Objective.COST})


def _rules_to_lift(search: Search, question: Requirements) -> tuple[Rule, ...]:
    """Rules that must change together: those that cannot be put back once all are lifted."""
    open_question, lifted = question, []
    for rule in rules_asked(question):
        open_question = rule.dropped(open_question)
    for rule in rules_asked(question):
        with_it = rule.changed(open_question, rule.value(question))
        if cheapest(search, with_it) is None:
            lifted.append(rule)
        else:
            open_question = with_it
    return tuple(lifted)


def _relaxed(search: Search, asked: Requirements, rules: tuple[Rule, ...]) -> Relaxation | None:
    """The least change of exactly these rules that gives a plan, or None when lifting them all does not."""
    question = asked
    for rule in rules:
        question = rule.dropped(question)
    if not rules or cheapest(search, question) is None:
        return None
    for rule in rules:
        if rule.nearest is not None:
            question = rule.changed(question, rule.nearest(search, question))
    return _answered(search, asked, question, rules)


def _widened(search: Search, asked: Requirements, rule: Rule, value: Any) -> Relaxation | None:
    """What a wider choice gives, or None when it gives no plan."""
    return _answered(search, asked, rule.changed(asked, value), (rule,))


def _answered(
    search: Search, asked: Requirements, question: Requirements, rules: tuple[Rule, ...]
) -> Relaxation | None:
    purchase = cheapest(search, question)
    if purchase is None:
        return None
    changes = tuple(_change(rule, asked, question) for rule in rules)
    cost = purchase.cost_usd_per_hour
    sentence = f"{' and '.join(_words(change) for change in changes)}: a plan for {cost:.2f} USD/h"
    return Relaxation(changes=changes, sentence=sentence, cost_usd_per_hour=round(cost, 6))


def _change(rule: Rule, asked: Requirements, question: Requirements) -> Change:
    before, after = rule.value(asked), rule.value(question)
    return Change(
        rule=rule.name,
        option=rule.option,
        asked="" if before is None else rule.shown(before),
        value="" if after == rule.lifted else rule.shown(after),
    )


def _words(change: Change) -> str:
    if not change.value:
        return f"without {change.option} {change.asked}".strip()
    return f"{change.option} {change.value} instead of {change.asked or 'the default'}"


def _least_budget(search: Search, question: Requirements) -> float:
    purchase = cheapest(search, question)
    return math.ceil(_known(purchase).cost_usd_per_hour * 100 - 1e-9) / 100


def _fewest_gpus(search: Search, question: Requirements) -> int:
    return round(_known(search.purchase(question, (Goal.GPUS,))).value)


def _least_power(search: Search, question: Requirements) -> float:
    return float(_known(search.purchase(question, (Goal.POWER,))).value)


def _most_tokens(search: Search, question: Requirements) -> float:
    milli = _known(search.purchase(question, (Goal.THROUGHPUT,))).value
    return rounded(milli / 1000, up=False)


def _most_requests(search: Search, question: Requirements) -> float:
    milli = _known(search.purchase(question, (Goal.THROUGHPUT,))).value
    return rounded(milli / 1000 / question.workload.output_tokens, up=False)


def _most_concurrency(search: Search, question: Requirements) -> int:
    # Without a demand in flight the columns keep only the fastest batch, so ask for one request to see them all.
    in_flight = question.model_copy(update={"demand": question.demand.model_copy(update={"concurrency": 1})})
    return round(_known(search.purchase(in_flight, (Goal.CONCURRENCY,))).value)


def _shortest(field: str) -> Callable[[Search, Requirements], float]:
    """The least `ttft_seconds` or `tpot_seconds` that some plan keeps, by bisection over the candidates' own."""

    def find(search: Search, question: Requirements) -> float:
        steps = _times(search, question, field)
        low, high = 0, len(steps) - 1
        while low < high:
            middle = (low + high) // 2
            level = question.service_level.model_copy(update={field: float(steps[middle])})
            tried = cheapest(search, question.model_copy(update={"service_level": level}))
            low, high = (low, middle) if tried is not None else (middle + 1, high)
        return rounded(float(steps[high]), up=True)

    return find


TIMES_TRIED = 513
SHORTEST_SECONDS = 1e-6


def _times(search: Search, question: Requirements, field: str) -> Floats:
    """Limits worth trying, rising; with the last one there is a plan.

    In a closed loop they are the candidates' own times. Under random arrivals a tighter limit lowers a candidate's rate
    and its time with it: then they lie evenly between the shortest time of any candidate and those without a limit.
    """
    candidates = search.candidates(question)
    steps = np.unique(getattr(candidates, field)[keeps_service_level(candidates, question)])
    if question.demand.requests_per_second is None:
        return steps
    level = question.service_level.model_copy(update={field: SHORTEST_SECONDS})
    quiet = search.candidates(question.model_copy(update={"service_level": level}))
    shortest = float(getattr(quiet, field).min())
    return np.geomspace(min(shortest, steps[-1]), steps[-1], TIMES_TRIED)


def _strictest_percentile(search: Search, question: Requirements) -> float:
    """The highest of the usual percentiles that some plan keeps; at the lowest there is one."""
    for percentile in (99.0, 95.0, 90.0, 75.0):
        level = question.service_level.model_copy(update={"percentile": percentile})
        if cheapest(search, question.model_copy(update={"service_level": level})) is not None:
            return percentile
    return LOOSEST_PERCENTILE


def _surest(search: Search, question: Requirements) -> float:
    """The highest confidence, in hundredths, that some plan keeps; plans get fewer as it rises."""
    low, high = round(EVEN_ODDS * 100), round(MOST_CONFIDENCE * 100)
    while low < high:
        middle = (low + high + 1) // 2
        level = question.service_level.model_copy(update={"confidence": middle / 100})
        tried = cheapest(search, question.model_copy(update={"service_level": level}))
        low, high = (middle, high) if tried is not None else (low, middle - 1)
    return low / 100


def _known(purchase: Purchase | None) -> Purchase:
    if purchase is None:
        raise ValueError("A rule was brought near to what was asked although lifting it gives no plan.")
    return purchase


def rounded(value: float, *, up: bool) -> float:
    """Four significant digits, rounded to the side on which a promise stays kept.

    >>> rounded(430.267, up=False), rounded(0.0381234, up=True)
    (430.2, 0.03813)
    """
    if value <= 0:
        return value
    scale = 10.0 ** (3 - math.floor(math.log10(value)))
    whole = math.ceil(value * scale - 1e-9) if up else math.floor(value * scale + 1e-9)
    return float(f"{whole / scale:.12g}")


def _wider_choices(search: Search, asked: Requirements) -> list[tuple[Rule, Any]]:
    """Choices that the question does not allow and that may help: each alone, as (rule, value)."""
    choices, workload = asked.choices, asked.workload
    formats = tuple(stored.weight_format for stored in stored_variants(search.knowledge.spec, choices))
    lower = [name for name in available_formats(search.knowledge.spec) if name not in formats]
    caches = choices.kv_cache_formats or ()
    wider: list[tuple[Rule, Any]] = [(WEIGHTS, (*formats, name)) for name in lower]
    wider += [(BILLING, (*choices.billings, name)) for name in RENTED if name not in choices.billings]
    wider += [(RESTRICTED, (*choices.allowed_restrictions, name)) for name in _not_allowed(search, asked)]
    if "fp8" not in caches:
        wider.append((CACHE, (*caches, "fp8")))
    if planned_max_model_len(search.knowledge.spec, workload, choices) > workload.longest_request:
        wider.append((CONTEXT, workload.longest_request))
    return wider


def _not_allowed(search: Search, asked: Requirements) -> list[str]:
    names = {name for offer in search.knowledge.offers for name in offer.restrictions}
    return sorted(names - set(asked.choices.allowed_restrictions))


def _names(values: Any) -> str:
    return ",".join(values) if values else ""


def _guesses(asked: SpeculativeDecoding) -> str:
    """As one types it."""
    return ":".join([asked.method.removesuffix("_model"), str(asked.tokens), *([asked.draft] if asked.draft else [])])


def _loaded(asked: LoraAdapters) -> str:
    return f"{asked.loaded} --max-lora-rank {asked.rank}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.10g}ms"


def _number(value: float) -> str:
    return f"{value:.10g}"


WEIGHTS = Rule("weight formats", "--quantization", "choices", "weight_formats", shown=_names)
CACHE = Rule("KV-cache formats", "--kv-cache-dtype", "choices", "kv_cache_formats", shown=_names)
SPECULATION = Rule("speculation", "--speculative", "options", "speculation", shown=_guesses)
ADAPTERS = Rule("adapters", "--max-loras", "options", "adapters", shown=_loaded)
CONTEXT_RANKS = Rule("context ranks", "--decode-context-parallel", "options", "decode_context_parallel", lifted=1)
CONTEXT = Rule("context", "--max-model-len", "choices", "max_model_len")
BILLING = Rule("billing", "--billing", "choices", "billings", lifted=("on-demand",), shown=_names)
RESTRICTED = Rule("restricted offers", "--allow", "choices", "allowed_restrictions", lifted=(), shown=_names)

RULES: tuple[Rule, ...] = (
    Rule("GPU", "--gpu", "choices", "gpus", shown=_names),
    Rule("excluded GPU", "--exclude-gpu", "choices", "gpus_excluded", lifted=(), shown=_names),
    WEIGHTS,
    CACHE,
    Rule("engine", "--engine", "choices", "engines", lifted=("vllm",), shown=_names),
    Rule("provider", "--provider", "choices", "providers", shown=_names),
    Rule("region", "--region", "choices", "regions", shown=_names),
    BILLING,
    Rule("age of prices", "--prices-since", "choices", "prices_since"),
    Rule("tensor parallel", "--tensor-parallel", "choices", "tensor_parallel"),
    Rule("pipeline parallel", "--pipeline-parallel", "choices", "pipeline_parallel"),
    CONTEXT,
    CONTEXT_RANKS,
    SPECULATION,
    ADAPTERS,
    Rule("no mixing", "--no-mix", "choices", "mix", lifted=True, shown=lambda _: ""),
    Rule("GPUs", "--max-gpus", "limits", "gpus", nearest=_fewest_gpus),
    Rule("power", "--max-power", "limits", "power_watts", nearest=_least_power, shown=_number),
    Rule("TTFT", "--max-ttft", "service_level", "ttft_seconds", nearest=_shortest("ttft_seconds"), shown=_milliseconds),
    Rule("TPOT", "--max-tpot", "service_level", "tpot_seconds", nearest=_shortest("tpot_seconds"), shown=_milliseconds),
    Rule(
        "confidence",
        "--confidence",
        "service_level",
        "confidence",
        lifted=EVEN_ODDS,
        nearest=_surest,
        shown=_number,
    ),
    Rule(
        "percentile",
        "--percentile",
        "service_level",
        "percentile",
        loosest=LOOSEST_PERCENTILE,
        nearest=_strictest_percentile,
        shown=_number,
    ),
    Rule("concurrency", "--concurrency", "demand", "concurrency", nearest=_most_concurrency),
    Rule(
        "requests per second",
        "--requests-per-second",
        "demand",
        "requests_per_second",
        loosest=LOOSEST_RATE,
        nearest=_most_requests,
        shown=_number,
    ),
    Rule("throughput", "--min-tps", "demand", "output_tokens_per_second", nearest=_most_tokens, shown=_number),
    Rule("budget", "--budget", "limits", "budget_usd_per_hour", nearest=_least_budget, shown=_number),
)
"""Every rule that can be asked for, those that people give up last first."""
