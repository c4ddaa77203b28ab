"""Drafts, adapters, context ranks, prefixes and lengths in the search: charged, audited, said."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from catalog.find import find_model
from optimizer.audit import audit
from optimizer.errors import BadRequirements
from optimizer.plan import Plan
from optimizer.requirements import (
    Choices,
    Demand,
    EngineOptions,
    LengthShare,
    Limits,
    LoraAdapters,
    Requirements,
    SpeculativeDecoding,
    Workload,
)
from optimizer.search import Knowledge
from optimizer.solve import solve
from tests.optimizer.questions import answer, apply

LLAMA, DEEPSEEK, VISION = "meta-llama/Llama-3.3-70B-Instruct", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen2.5-VL-7B-Instruct"
DRAFT = "meta-llama/Llama-3.1-8B-Instruct"
KnowledgeOf = Callable[[str], Knowledge]
BIG = Demand(output_tokens_per_second=3000)


def plan_of(knowledge: Knowledge, question: Requirements, draft: str | None = None) -> Plan:
    return solve(
        question,
        knowledge.spec,
        knowledge.offers,
        knowledge.gpus,
        tuple(knowledge.engines.values()),
        knowledge.factors,
        draft=None if draft is None else find_model(draft),
    )


def question(model: str = LLAMA, options: dict[str, Any] | None = None, **asked: Any) -> Requirements:
    started = EngineOptions(**(options or {}))
    return Requirements(model=model, options=started, **{"demand": BIG, **asked})


def adapted(rank: int, loaded: int) -> dict[str, Any]:
    return {"adapters": LoraAdapters(rank=rank, loaded=loaded)}


def test_a_draft_is_charged_and_the_command_names_it(knowledge_of: KnowledgeOf) -> None:
    guessing = {"speculation": SpeculativeDecoding(method="draft_model", tokens=3, draft=DRAFT, acceptance_rate=0.6)}
    plan = plan_of(knowledge_of(LLAMA), question(options=guessing), DRAFT)
    assert plan.status == "optimal"
    for line in plan.lines:
        assert line.memory.draft_weight_bytes > 0
        assert line.memory.requests_that_fit >= line.replica.max_num_seqs
        config = line.replica.command[line.replica.command.index("--speculative-config") + 1]
        assert config == f'{{"method":"draft_model","model":"{DRAFT}","num_speculative_tokens":3}}'


def test_more_adapters_never_cost_less(knowledge_of: KnowledgeOf) -> None:
    asked = [{}, adapted(16, 1), adapted(64, 32), adapted(256, 64)]
    plans = [plan_of(knowledge_of(LLAMA), question(options=each)) for each in asked]
    costs = [plan.cost_usd_per_hour for plan in plans]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]
    sizes = [max(line.memory.adapter_bytes for line in plan.lines) for plan in plans]
    assert sizes[0] == 0 < sizes[1]


def test_a_longer_shared_prefix_never_costs_more(knowledge_of: KnowledgeOf) -> None:
    work = Workload(input_tokens=8000, output_tokens=192)
    shared = [work.model_copy(update={"shared_prefix_tokens": tokens}) for tokens in (0, 4000, 7900)]
    costs = [plan_of(knowledge_of(LLAMA), question(workload=each)).cost_usd_per_hour for each in shared]
    assert all(later <= earlier for earlier, later in pairwise(costs))


def test_unlike_lengths_never_cost_less_and_the_longest_has_room(knowledge_of: KnowledgeOf) -> None:
    even = Workload(input_tokens=7000, output_tokens=1000)
    mixed = even.model_copy(
        update={"lengths": (LengthShare(tokens=1000, weight=75), LengthShare(tokens=29000, weight=25))}
    )
    plans = [plan_of(knowledge_of(LLAMA), question(workload=work)) for work in (even, mixed)]
    assert plans[0].cost_usd_per_hour <= plans[1].cost_usd_per_hour
    assert all(line.replica.max_model_len >= 29000 for line in plans[1].lines)


def test_context_ranks_are_ranks_that_would_keep_the_same_tokens(knowledge_of: KnowledgeOf) -> None:
    plan = plan_of(knowledge_of(DEEPSEEK), question(DEEPSEEK, {"decode_context_parallel": 4}))
    for line in plan.lines:
        assert line.replica.tensor_parallel % 4 == 0
        assert line.replica.command[line.replica.command.index("--decode-context-parallel-size") + 1] == "4"
    heads = plan_of(knowledge_of(LLAMA), question(options={"decode_context_parallel": 2}))
    assert all(line.replica.tensor_parallel == 16 for line in heads.lines)  # 8 KV heads, two copies of each


def test_models_that_keep_windows_have_no_context_ranks(knowledge_of: KnowledgeOf) -> None:
    gemma = "google/gemma-3-27b-it"
    plan = plan_of(knowledge_of(gemma), question(gemma, {"decode_context_parallel": 2}))
    assert plan.status == "infeasible"
    assert "--decode-context-parallel" in plan.conflicts[0]
    assert any(change.option == "--decode-context-parallel" for one in plan.relaxations for change in one.changes)


def test_a_vision_tower_that_is_left_out_is_not_paid_for(knowledge_of: KnowledgeOf) -> None:
    choices = Choices(gpus=("L4 24GB",), weight_formats=("bf16",))
    whole, alone = (
        plan_of(knowledge_of(VISION), question(VISION, {"language_model_only": only}, choices=choices))
        for only in (False, True)
    )
    assert alone.cost_usd_per_hour <= whole.cost_usd_per_hour
    assert "--language-model-only" in alone.lines[0].replica.command


@pytest.mark.parametrize("name", ["speculation", "adapters", "decode_context_parallel"])
def test_audit_finds_a_replica_that_is_not_started_as_asked(knowledge_of: KnowledgeOf, name: str) -> None:
    options = {
        "speculation": SpeculativeDecoding(method="mtp", acceptance_rate=0.85),
        "adapters": LoraAdapters(),
        "decode_context_parallel": 8,
    }
    asked = question(DEEPSEEK, options)
    plan = plan_of(knowledge_of(DEEPSEEK), asked)
    assert audit(plan, knowledge_of(DEEPSEEK)) == ()
    without = asked.options.model_copy(update={name: EngineOptions.model_fields[name].default})
    lying = plan.model_copy(update={"question": asked.model_copy(update={"options": without})})
    assert any("not as stated" in finding for finding in audit(lying, knowledge_of(DEEPSEEK)))


def test_what_speed_does_not_count_is_said(knowledge_of: KnowledgeOf) -> None:
    plain, asked = question(), question(options=adapted(16, 1))
    said = [
        [one for one in plan_of(knowledge_of(LLAMA), each).warnings if one.startswith("Speed is estimated as without")]
        for each in (plain, asked)
    ]
    assert said[0] == []
    assert "LoRA adapters" in said[1][0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"options": {"language_model_only": True}}, "has no vision tower: --language-model-only changes nothing"),
        ({"options": adapted(8, 2000), "limits": Limits(gpus=64)}, "--max-loras 2,000 is above max_num_seqs"),
        (
            {
                "workload": Workload(
                    input_tokens=1024,
                    shared_prefix_tokens=1000,
                    lengths=(LengthShare(tokens=900, weight=2), LengthShare(tokens=2800, weight=1)),
                )
            },
            "The shared prefix of 1,000 tokens is not shorter than the shortest request, 900",
        ),
    ],
)
def test_what_changes_nothing_is_said(knowledge_of: KnowledgeOf, asked: dict[str, Any], said: str) -> None:
    warnings = plan_of(knowledge_of(LLAMA), question(**asked)).warnings
    assert len([one for one in warnings if said in one]) == 1
    assert not any(said in one for one in plan_of(knowledge_of(LLAMA), question()).warnings)


def test_giving_adapters_up_is_a_relaxation_that_works(knowledge_of: KnowledgeOf) -> None:
    asked = question(options=adapted(512, 256), limits=Limits(budget_usd_per_hour=12))
    plan = plan_of(knowledge_of(LLAMA), asked)
    assert plan.status == "infeasible"
    one = next(one for one in plan.relaxations if one.changes[0].option == "--max-loras")
    mended = answer(knowledge_of(LLAMA), apply(asked, one))
    assert mended.cost_usd_per_hour == pytest.approx(one.cost_usd_per_hour)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speculation": SpeculativeDecoding(method="mtp")}, "no multi-token-prediction layers"),
        ({"adapters": LoraAdapters(targets=("w_pack",))}, "no linear layer 'w_pack'"),
    ],
)
def test_options_that_do_not_suit_the_model_are_refused(
    knowledge_of: KnowledgeOf, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRequirements, match=said):
        plan_of(knowledge_of(LLAMA), question(options=options))


def test_an_engine_without_the_option_is_no_candidate(knowledge_of: KnowledgeOf) -> None:
    choices = Choices(engines=("tensorrt-llm", "vllm"))
    plan = plan_of(knowledge_of(VISION), question(VISION, {"language_model_only": True}, choices=choices))
    assert {line.replica.engine for line in plan.lines} == {"vllm"}
    alone = replace(knowledge_of(VISION))
    refused = question(VISION, {"language_model_only": True}, choices=Choices(engines=("tensorrt-llm",)))
    assert any("no option for" in one.reason for one in plan_of(alone, refused).rejections)


def test_lengths_must_average_the_mean_request() -> None:
    work = Workload(lengths=(LengthShare(tokens=9000, weight=1),))
    with pytest.raises(ValueError, match="--lengths average 9000 tokens, --isl and --osl together 1536"):
        question(workload=work)
