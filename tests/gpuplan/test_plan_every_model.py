"""Every bundled model gets a proven plan with some budget, and where nothing fits each relaxation works when applied.

`GPUPLAN_EVERY_MODEL=1` asks all of them (some minutes); otherwise one of each architecture and weight format.
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from functools import cache

import pytest

from catalog.find import ModelRecord, bundled_models, retired_models
from gpuplan import planning
from gpuplan.cli import app, question
from optimizer.errors import BadRequirements
from optimizer.plan import Plan, Relaxation
from optimizer.requirements import Requirements


def chosen() -> list[ModelRecord]:
    """All, or the first of each architecture and weight format."""
    records = bundled_models()
    if os.environ.get("GPUPLAN_EVERY_MODEL"):
        return records
    return list({(record.architecture, record.weight_format): record for record in reversed(records)}.values())


def asked(*argv: str) -> Requirements:
    """What the command line makes of these words."""
    return question.requirements_of(app.understand(argv)[1])


@cache
def facts() -> planning.Facts:
    """What is the same for all questions here, read once."""
    return planning.load_facts()


def planned(asked: Requirements, today: date | None = None) -> Plan:
    return planning.answer(asked, facts(), today=today)


def applied(argv: list[str], relaxation: Relaxation) -> Plan:
    """The plan when each changed option is typed with its new value, or left out where that is empty."""
    for change in relaxation.changes:
        while change.option in argv:
            at = argv.index(change.option)
            flag = change.option == "--no-mix"
            argv = argv[:at] + argv[at + (1 if flag else 2) :]
        argv = [*argv, change.option, change.value] if change.value else argv
    return planned(asked(*argv))


@pytest.mark.slow
@pytest.mark.parametrize("record", chosen(), ids=lambda record: record.repo_id)
def test_a_bundled_model_is_served_at_some_price(record: ModelRecord) -> None:
    answer = planned(asked("--model", record.repo_id, "--min-tps", "500"))
    assert answer.status == "optimal", answer.rejections[:3]
    assert answer.proof.audited


@pytest.mark.slow
@pytest.mark.parametrize("name", retired_models())
def test_a_model_that_no_engine_serves_any_more_is_found_and_says_so(name: str) -> None:
    answer = planned(asked("--model", name, "--min-tps", "500"))
    assert answer.status == "infeasible"
    assert any(word in rejection.reason for rejection in answer.rejections for word in ("block_configs", "implement"))
    assert name not in {record.repo_id for record in bundled_models()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "--model llama-3.3-70b --min-tps 500 --budget 1",
        "--model llama-3.3-70b --min-tps 500 --budget 10 --max-tpot 3ms",
        "--model llama-3.3-70b --min-tps 100000 --max-gpus 8",
        "--model llama-3.3-70b --concurrency 64 --max-ttft 10ms --gpu H100",
        "--model llama-3.3-70b --min-tps 500 --gpu L4 --tensor-parallel 1 --pipeline-parallel 2",
        "--model deepseek-v3 --min-tps 500 --gpu T4 --max-gpus 16",
        "--model qwen3-30b-a3b --requests-per-second 50 --budget 3 --no-mix",
        "--model llama-3.1-8b --min-tps 500 --provider aws --region IN --billing owned",
    ],
)
def test_each_relaxation_gives_a_plan_at_the_price_that_it_states(words: str) -> None:
    argv = words.split(" ")
    answer = planned(asked(*argv))
    assert answer.status == "infeasible"
    assert answer.conflicts
    assert answer.relaxations
    for relaxation in answer.relaxations:
        found = applied(argv, relaxation)
        assert found.status in {"optimal", "feasible"}, relaxation.sentence
        assert found.cost_usd_per_hour is not None
        assert found.cost_usd_per_hour == pytest.approx(relaxation.cost_usd_per_hour, rel=1e-6), relaxation.sentence


@pytest.mark.slow
def test_the_same_question_gets_the_same_plan() -> None:
    """Byte for byte, but for the solver's seconds."""
    words = ("--model", "qwen3-30b-a3b", "--min-tps", "3000", "--max-tpot", "40ms")

    def once() -> str:
        answer = planned(asked(*words))
        return answer.model_copy(update={"proof": answer.proof.model_copy(update={"seconds": 0.0})}).model_dump_json()

    assert once() == once()


@pytest.mark.slow
def test_an_old_price_is_used_with_a_warning_that_names_its_date() -> None:
    words = ("--model", "llama-3.1-8b", "--min-tps", "100")
    used = planned(asked(*words)).lines[0].offer.as_of
    fresh = planned(asked(*words), today=used)
    old = planned(asked(*words), today=used + timedelta(days=181))
    assert not any(used.isoformat() in warning for warning in fresh.warnings)
    assert any(used.isoformat() in warning for warning in old.warnings)
    assert old.lines == fresh.lines


def test_an_unknown_cache_format_is_refused_and_auto_is_the_models_own() -> None:
    with pytest.raises(BadRequirements, match="'fp9' is no KV-cache format; --kv-cache-dtype takes auto, bf16"):
        planned(asked("--model", "llama-3.1-8b", "--min-tps", "100", "--kv-cache-dtype", "fp9"))
    own = planned(asked("--model", "llama-3.1-8b", "--min-tps", "100", "--kv-cache-dtype", "auto"))
    assert own.lines[0].replica.kv_cache_format == "bf16"
    assert own.question.choices.kv_cache_formats == ("auto",)


def test_one_engine_in_two_versions_is_refused() -> None:
    with pytest.raises(BadRequirements, match="two versions"):
        planned(asked("--model", "llama-3.1-8b", "--min-tps", "100", "--engine", "vllm,vllm==0.12.0"))


def test_an_engine_of_another_version_is_the_one_that_serves() -> None:
    answer = planned(asked("--model", "llama-3.1-8b", "--min-tps", "100", "--engine", "vllm==0.12.0"))
    assert {line.replica.engine_version for line in answer.lines} == {"0.12.0"}
    assert any("vllm 0.12.0 has was not checked: they are those of 0.33.0" in text for text in answer.warnings)


def test_a_format_that_the_engine_cannot_make_names_who_published_it() -> None:
    question = asked("--model", "llama-3.3-70b", "--min-tps", "500", "--engine", "sglang", "--quantization", "fp8")
    said = [text for text in planned(question).warnings if text.startswith("Published with fp8 weights")]
    assert said == [
        "Published with fp8 weights: RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic; --model plans it as it is."
    ]
