"""Fleets side by side: what differs, and every reason that lies under it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from gpuplan.cli import app
from gpuplan.fleets.compare import NamedFleet, compare_fleets
from optimizer.fleet.plan import FleetPlan


def compared(first: FleetPlan, other: FleetPlan):
    return compare_fleets([NamedFleet("a", first), NamedFleet("b", other)])


def dearer(plan: FleetPlan) -> FleetPlan:
    """The same plan on a day when its machine cost twice as much."""
    (line,) = plan.machines
    offer = line.offer.model_copy(update={"price_usd_per_hour": 1.40, "as_of": date(2026, 11, 20)})
    changed = line.model_copy(update={"offer": offer, "cost_usd_per_hour": 1.40})
    return plan.model_copy(update={"machines": (changed,), "cost_usd_per_hour": 1.40})


def test_a_plan_says_the_same_as_itself(fleet_plan: FleetPlan) -> None:
    found = compared(fleet_plan, fleet_plan)
    assert found.differences == ()
    assert found.reasons == ()


def test_a_price_that_moved_is_the_reason(fleet_plan: FleetPlan) -> None:
    found = compared(fleet_plan, dearer(fleet_plan))
    assert [(fact.name, fact.values) for fact in found.differences] == [("USD/h", ("0.70", "1.40"))]
    (reason,) = found.reasons
    assert reason.kind == "price moved"
    assert reason.sentence.endswith("0.7 USD/h (2026-11-02) became 1.4 (2026-11-20)")


def test_each_rule_that_changed_is_told_with_both_values(fleet_plan: FleetPlan) -> None:
    chat, mail = fleet_plan.question.services
    limits = fleet_plan.question.limits.model_copy(update={"gpus": 4})
    asked = fleet_plan.question.model_copy(
        update={"limits": limits, "services": (chat.model_copy(update={"models": ("qwen3-8b",)}),)}
    )
    services = tuple(each for each in fleet_plan.services if each.name != mail.name)
    found = compared(fleet_plan, fleet_plan.model_copy(update={"question": asked, "services": services}))
    assert [(reason.kind, reason.sentence) for reason in found.reasons] == [
        ("rule changed", "limits.gpus: 1 became 4"),
        ("model changed", "service 'chat', models: ['llama-3.1-8b'] became ['qwen3-8b']"),
        ("rule changed", "service 'mail' left"),
    ]
    assert ("mail", ("not served", "")) in [(fact.name, fact.values) for fact in found.differences]


def test_two_fleets_are_compared_from_the_command_line(fleet_plan: FleetPlan, tmp_path: Path, capsys) -> None:
    first, other = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text(fleet_plan.model_dump_json())
    other.write_text(dearer(fleet_plan).model_dump_json())
    assert app.main(["compare", str(first), str(other)]) == 0
    assert "price moved: " in capsys.readouterr().out
    assert app.main(["compare", str(first), str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reasons"][0]["kind"] == "price moved"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{fleet}", "{one}"), "Plans of one model stand beside each other"),
        (("{fleet}", "{fleet}", "--now"), "--now, --prices-as-of and --engine ask one model's question again"),
        (("{fleet}",), "Name 2 to 8 plans of fleets"),
    ],
)
def test_what_cannot_stand_side_by_side_is_one_sentence(
    made, fleet_plan: FleetPlan, tmp_path: Path, capsys, words: tuple[str, ...], said: str
) -> None:
    fleet, one = tmp_path / "a.json", tmp_path / "b.json"
    fleet.write_text(fleet_plan.model_dump_json())
    one.write_text(made.file.model_dump_json())
    assert app.main(["compare", *(word.format(fleet=fleet, one=one) for word in words)]) == 2
    assert said in capsys.readouterr().err
