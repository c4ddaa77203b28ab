"""Plans side by side: every difference is shown, and every cause is named once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpuplan.cli import app
from gpuplan.cli.commands.compare import _named
from gpuplan.compare import Comparison, compare
from gpuplan.electricity import Place
from gpuplan.saving.plan_file import PlanFile, Sources, saved, write_plan_file
from optimizer.plan import Plan

WORDS = ["--model", "llama-3.1-8b", "--min-tps", "300", "--gpu", "L4,A10G,A100", "--alternatives", "0"]


@pytest.fixture
def first(solved: Plan) -> PlanFile:
    return saved(solved, Sources())


def against(first: PlanFile, other: PlanFile) -> Comparison:
    return compare([_named("a", first), _named("b", other)])


def changed(file: PlanFile, **plan: object) -> PlanFile:
    return file.model_copy(update={"plan": file.plan.model_copy(update=plan)})


def kinds(found: Comparison) -> list[str]:
    return [reason.kind for reason in found.reasons]


def dearer(file: PlanFile) -> PlanFile:
    """The same machine, 10% dearer."""
    (line,) = file.plan.lines
    offer = line.offer.model_copy(update={"price_usd_per_hour": 2.189})
    return changed(file, lines=(line.model_copy(update={"offer": offer}),), cost_usd_per_hour=4.378)


def test_a_plan_differs_in_nothing_from_itself(first: PlanFile) -> None:
    found = against(first, first)
    assert found.differences == ()
    assert found.reasons == ()


def test_a_price_that_moved_is_named_with_both_prices(first: PlanFile) -> None:
    found = against(first, dearer(first))
    assert kinds(found) == ["price moved"]
    assert "1.99 USD/h (2026-10-02) became 2.189 (2026-10-02), +10.0%" in found.reasons[0].sentence
    assert {fact.name for fact in found.differences} == {"cost, USD/h", "price each, USD/h"}


def test_a_rule_that_changed_is_named_as_an_option(first: PlanFile) -> None:
    question = first.plan.question
    level = question.service_level.model_copy(update={"tpot_seconds": 0.02})
    limits = question.limits.model_copy(update={"budget_usd_per_hour": None})
    other = question.model_copy(update={"service_level": level, "limits": limits})
    found = against(first, changed(first, question=other))
    assert [reason.sentence for reason in found.reasons] == [
        "--max-tpot: 0.05 became 0.02",
        "--budget: 10.0 became nothing",
    ]
    assert set(kinds(found)) == {"rule changed"}


def test_another_model_is_no_rule(first: PlanFile) -> None:
    found = against(first, changed(first, question=first.plan.question.model_copy(update={"model": "x"}), model="x"))
    assert kinds(found) == ["model changed"]


def test_where_machines_stand_is_part_of_the_question(first: PlanFile) -> None:
    other = first.model_copy(update={"sources": Sources(place=Place(pue=1.5))})
    assert [reason.sentence for reason in against(first, other).reasons] == ["--pue: nothing became 1.5"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gpu_db", "data changed"),
        ("catalog", "model changed"),
        ("engines", "data changed"),
        ("factors", "data changed"),
    ],
)
def test_each_kind_of_data_is_told_apart(first: PlanFile, kind: str, said: str) -> None:
    assert first.fingerprints is not None
    prints = first.fingerprints.model_copy(update={kind: "0" * 16})
    assert kinds(against(first, first.model_copy(update={"fingerprints": prints}))) == [said]


def test_own_files_and_the_program_are_told(first: PlanFile) -> None:
    own = first.model_copy(
        update={"sources": Sources(offers_file="a.csv", offers_digest="1", prices_as_of="2026-09-01")}
    )
    found = against(first, changed(own, gpuplan_version="9"))
    assert kinds(found) == ["rule changed", "data changed", "program changed"]  # no price need have moved


def test_plans_of_version_1_are_compared_by_the_fingerprint_of_all_data(first: PlanFile) -> None:
    old = first.model_copy(update={"fingerprints": None})
    assert kinds(against(old, changed(old, data_fingerprint="f" * 16))) == ["data changed"]


def test_the_same_ground_and_another_plan_is_the_solvers(first: PlanFile) -> None:
    assert kinds(against(first, changed(first, status="feasible"))) == ["solver"]


def test_a_plan_and_nothing_fits_stand_side_by_side(first: PlanFile, unsolved: Plan) -> None:
    found = against(first, first.model_copy(update={"plan": unsolved}))
    cost = next(fact for fact in found.facts if fact.name == "cost, USD/h")
    assert cost.values == ("3.9800", "")


# ── through the command line ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two(tmp_path: Path, first: PlanFile) -> list[str]:
    names = [str(tmp_path / "monday.json"), str(tmp_path / "friday.json")]
    for name, file in zip(names, (first, dearer(first)), strict=True):
        write_plan_file(name, file)
    return names


def test_only_differences_are_shown_unless_all_is_asked_for(two: list[str], capsys) -> None:
    assert app.main(["compare", *two]) == 0
    few = capsys.readouterr().out
    assert "price each" in few
    assert "max_num_seqs" not in few
    assert "+10.0%" in few
    assert app.main(["compare", *two, "--all"]) == 0
    assert "max_num_seqs" in capsys.readouterr().out


def test_equal_plans_say_the_same(two: list[str], capsys) -> None:
    assert app.main(["compare", two[0], two[0]]) == 0
    assert capsys.readouterr().out == "They say the same.\n"


def test_json_holds_every_fact_and_reason(two: list[str], capsys) -> None:
    assert app.main(["compare", *two, "--json"]) == 0
    found = Comparison.model_validate(json.loads(capsys.readouterr().out))
    assert len(found.facts) > 30
    assert kinds(found) == ["price moved"]


def test_one_plan_alone_is_refused(two: list[str], capsys) -> None:
    assert app.main(["compare", two[0]]) == 2
    assert "One plan alone differs from nothing" in capsys.readouterr().err


def test_the_same_question_at_other_days_prices_and_on_another_engine(tmp_path: Path, capsys) -> None:
    place = str(tmp_path / "plan.json")
    assert app.main([*WORDS, "--save", place, "-q"]) == 0
    capsys.readouterr()
    asked = ["compare", place, "--now", "--prices-as-of", "2026-06-30", "--engine", "vllm==0.32.0", "--json"]
    assert app.main(asked) == 0
    found = Comparison.model_validate(json.loads(capsys.readouterr().out))
    assert found.names[1:] == ("now", "prices of 2026-06-30", "on vllm==0.32.0")
    facts = {fact.name: fact.values for fact in found.facts}
    assert facts["prices as of"] == ("newest", "newest", "2026-06-30", "newest")
    assert facts["price of"][2] <= "2026-06-30"
    assert [values.split()[-1] for values in facts["engine"]][3] == "0.32.0"
    assert not [reason for reason in found.reasons if reason.plan == 1]
    last = next(reason.sentence for reason in found.reasons if reason.plan == 3)
    assert last == "--engine: nothing became vllm==0.32.0"
    assert app.main([*WORDS, "--prices-as-of", "2026-06-30", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert facts["cost, USD/h"][2] == f"{alone['cost_usd_per_hour']:,.4f}"


def test_a_plan_of_other_days_prices_asks_for_them_again(tmp_path: Path, capsys) -> None:
    place = str(tmp_path / "plan.json")
    assert app.main([*WORDS, "--prices-as-of", "2026-06-30", "--save", place, "-q"]) == 0
    before = json.loads(Path(place).read_text())
    assert before["sources"]["prices_as_of"] == "2026-06-30"
    capsys.readouterr()
    assert app.main(["--from", place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost_usd_per_hour"] == before["plan"]["cost_usd_per_hour"]


@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "2019-01-01"])
def test_a_day_without_prices_is_one_sentence(day: str, capsys) -> None:
    assert app.main([*WORDS, "--prices-as-of", day]) == 2
    assert capsys.readouterr().err.count("\n") == 1
