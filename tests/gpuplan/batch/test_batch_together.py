"""Rows planned together: one answer per row and one in all, limits of the sum, nobody lost to a neighbour's mistake."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import openpyxl
import pytest

from gpuplan.cli import app
from gpuplan.fleets.planning import Effort, Wishes, plan_fleet
from gpuplan.saving.errors import BadPlanFile
from gpuplan.saving.fleet_plan import read_saved
from gpuplan.saving.plan_file import PlanFile
from optimizer.fleet.plan import FleetPlan

TABLE = """id,model,min tps,max TPOT (ms),priority
chat,llama-3.1-8b,900,100,2
mail,nonsense,300,,1
code,qwen3-8b,700,100,1
long,llama-3.1-8b,5k,,1
far,qwen3-8b,cheap,,1
"""
FAST = ("--gpu", "L4,A10G", "--quantization", "bf16")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("together") / "models.csv"
    place.write_text(TABLE.replace("5k", "400"))
    return place


@pytest.fixture(scope="module")
def answered(table: Path) -> tuple[list[dict[str, str]], FleetPlan]:
    """The answers of the table without any limit, and the fleet's plan beside them."""
    out, saved = table.with_name("plans.csv"), table.with_name("fleet.json")
    assert together(str(table), "--out", str(out), "--save-fleet", str(saved)) == 0
    plan = read_saved(saved)
    assert isinstance(plan, FleetPlan)
    return rows_of(out.read_text()), plan


def together(*words: str) -> int:
    return app.main(["batch", *words, "--fleet", *FAST])


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_each_row_has_its_answer_and_a_last_row_the_sum(answered: tuple[list[dict[str, str]], FleetPlan]) -> None:
    rows, plan = answered
    assert [row["row"] for row in rows] == ["2", "3", "4", "5", "6", "all"]
    assert [row["status"] for row in rows] == ["optimal", "error", "optimal", "optimal", "error", "optimal"]
    assert [row["id"] for row in rows[:5]] == ["chat", "mail", "code", "long", "far"]
    assert "No model named 'nonsense'" in rows[1]["message"]
    assert rows[4]["message"].startswith("min-tps: 'cheap' is not a rate")
    parts = sum(float(row["cost_usd_per_hour"]) for row in rows[:5] if row["cost_usd_per_hour"])
    assert parts == pytest.approx(float(rows[5]["cost_usd_per_hour"]), rel=1e-5)
    assert float(rows[5]["cost_usd_per_hour"]) == plan.cost_usd_per_hour
    assert int(rows[5]["machines"]) == sum(line.count for line in plan.machines)
    assert int(rows[5]["replicas"]) == sum(int(row["replicas"]) for row in rows[:5] if row["replicas"])
    for row, asked in zip(rows[:4:3], (900, 400), strict=True):
        assert float(row["output_tokens_per_second"]) >= asked
        assert float(row["tpot_seconds"]) <= 0.1


def test_the_fleet_is_the_one_that_plan_fleet_solves(answered: tuple[list[dict[str, str]], FleetPlan]) -> None:
    _, plan = answered
    again = plan_fleet(plan.question, effort=Effort(time_limit_seconds=10), wishes=Wishes(worth=False))
    assert again.cost_usd_per_hour == plan.cost_usd_per_hour
    assert again.machines == plan.machines
    assert [service.name for service in plan.question.services] == ["chat", "code", "long"]
    assert [service.priority for service in plan.question.services] == [2, 1, 1]


def test_a_limit_of_all_rows_serves_the_more_important_one(tmp_path: Path, capsys) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "plans.xlsx"
    table.write_text("name,model,min_tps,priority\na,qwen3-8b,200,1\nb,llama-3.1-8b,200,5\n")
    assert together(str(table), "--max-gpus", "1", "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert f"{out}: 2 rows: 1 optimal, 1 not served\n" in said
    assert "1 of 2 services, 1 machines" in said
    first, second, total = [[cell.value for cell in row] for row in openpyxl.load_workbook(out).active.iter_rows()][1:]
    names = [cell.value for cell in openpyxl.load_workbook(out).active[1]]
    assert dict(zip(names, first, strict=True))["status"] == "not served"
    assert "the shared limits leave no room" in dict(zip(names, first, strict=True))["message"]
    assert dict(zip(names, second, strict=True))["status"] == "optimal"
    whole = dict(zip(names, total, strict=True))
    assert (whole["row"], whole["gpus"], whole["machines"]) == ("all", 1, 1)
    assert "max_gpus: 1 of 1 GPUs" in whole["message"]


def test_a_row_that_cannot_be_planned_leaves_the_others_alone(tmp_path: Path, capsys) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "model,min_tps,isl,quantization,min_tps_unused\n".replace(",min_tps_unused", "")
        + "llama-3.1-8b,200,,\nllama-3.1-8b,200,500k,\nllama-3.1-8b,200,,nvfp17\n"
    )
    assert app.main(["batch", str(table), "--fleet", "--gpu", "L4"]) == 0
    good, long, odd, total = rows_of(capsys.readouterr().out)
    assert (good["status"], total["status"]) == ("optimal", "optimal")
    assert "longer than the context" in long["message"]
    assert "cannot be had in nvfp17 weights" in odd["message"]
    assert total["cost_usd_per_hour"] == good["cost_usd_per_hour"]


def test_a_file_of_limits_holds_for_all_rows_and_typed_ones_replace_it(tmp_path: Path, capsys) -> None:
    table, limits = tmp_path / "t.csv", tmp_path / "limits.json"
    table.write_text("model,min_tps\nllama-3.1-8b,200\n")
    owned = {"name": "cellar", "gpu": "L4", "gpus": 1, "machines": 4, "usd_per_hour": 0.01}
    limits.write_text(json.dumps({"limits": {"max_gpus": 0}, "owned": [owned]}))
    assert together(str(table), "--limits", str(limits)) == 0
    (none, total) = rows_of(capsys.readouterr().out)
    assert (none["status"], total["machines"]) == ("not served", "0")
    assert together(str(table), "--limits", str(limits), "--max-gpus", "8") == 0
    (row, total) = rows_of(capsys.readouterr().out)
    assert (row["provider"], row["instance_type"]) == ("owned", "cellar")
    assert total["message"] == "max_gpus: 1 of 8 GPUs"


def test_a_table_of_which_no_row_can_be_asked_still_answers_each(tmp_path: Path, capsys) -> None:
    (tmp_path / "t.csv").write_text("model,min_tps\nnonsense,1\nnonsense,2\n")
    assert together(str(tmp_path / "t.csv")) == 0
    assert [row["status"] for row in rows_of(capsys.readouterr().out)] == ["error", "error"]


@pytest.mark.parametrize(
    ("header", "words", "said"),
    [
        ("model,min_tps,budget", (), "'budget' limits each row"),
        ("model,min_tps,lengths", (), "'lengths' is nothing that a fleet is planned with"),
        ("model,min_tps", ("--resume", "--out", "x.csv"), "--resume says nothing of rows that are planned together"),
        ("model,min_tps", ("--jobs", "2"), "--jobs says nothing"),
        ("model,min_tps", ("--objective", "energy"), "--objective says nothing"),
        ("model,min_tps", ("--limits", "none.yaml"), "none.yaml: it cannot be read"),
    ],
)
def test_what_a_fleet_does_not_know_is_one_sentence(
    tmp_path: Path, capsys, header: str, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "t.csv").write_text(
        f"{header}\nllama-3.1-8b,1,1\n".replace(",1,1", ",1" + ",1" * (header.count(",") - 1))
    )
    assert together(str(tmp_path / "t.csv"), *words) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


def test_limits_without_a_fleet_are_refused(table: Path, capsys) -> None:
    assert app.main(["batch", str(table), "--limits", "x.yaml"]) == 2
    assert "add --fleet" in capsys.readouterr().err


# ── the plan of all rows on disk ─────────────────────────────────────────────────────────────────────────────────────


def test_a_fleet_plan_is_not_written_over_something_else(table: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "notes.json").write_text("mine")
    assert together(str(table), "--save-fleet", str(tmp_path / "notes.json")) == 2
    assert "is no plan, so it is not overwritten" in capsys.readouterr().err
    assert (tmp_path / "notes.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "infeasible"}, "its cost says otherwise"),
        ({"services": []}, "carries what is no service of it"),
        ({"schema_version": "9"}, "is no plan that this program wrote: at schema_version"),
        ({"machines": 3}, "at machines"),
    ],
)
def test_a_fleet_plan_that_was_changed_is_refused(
    answered: tuple[list[dict[str, str]], FleetPlan], tmp_path: Path, change: dict, said: str
) -> None:
    _, plan = answered
    record = json.loads(plan.model_dump_json())
    (tmp_path / "fleet.json").write_text(json.dumps(record | change))
    with pytest.raises(BadPlanFile, match=said):
        read_saved(tmp_path / "fleet.json")


def test_what_was_saved_is_told_apart(answered: tuple[list[dict[str, str]], FleetPlan], solved, tmp_path: Path) -> None:
    _, fleet = answered
    (tmp_path / "one.json").write_text(solved.model_dump_json())
    (tmp_path / "all.json").write_text(fleet.model_dump_json())
    assert isinstance(read_saved(tmp_path / "one.json"), PlanFile)
    assert read_saved(tmp_path / "all.json") == fleet
