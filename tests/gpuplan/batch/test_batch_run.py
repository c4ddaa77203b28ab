"""A table in, a table out: every row once, in order, whatever happens on the way."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import weakref
from concurrent.futures import Future
from datetime import date
from pathlib import Path

import openpyxl
import pytest

from gpuplan.batch.answers import refused
from gpuplan.batch.desk import Desk
from gpuplan.batch.errors import BadQuestions
from gpuplan.batch.run import understood
from gpuplan.batch.tables import read_table
from gpuplan.batch.workers import Pool, answers, staff
from gpuplan.cli import app
from gpuplan.planning import plan
from optimizer.errors import SolverFailed
from optimizer.plan import Plan
from optimizer.requirements import Demand, Requirements

ROOT = Path(__file__).resolve().parents[3]
TABLE = """Model,Team,max TPOT (ms),budget,min tps
llama-3.1-8b,=cmd(),100,$10/h,300
nonsense,b,,,300
qwen3-8b,c,100,,300
llama-3.1-8b,d,100,10 USD/h,300
llama-3.1-8b,e,100,cheap,300
llama-3.1-8b,f,0.001,,300
"""
FAST = ("--gpu", "L4,A10G", "--quantization", "bf16")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    place = tmp_path / "models.csv"
    place.write_text(TABLE)
    return place


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def batch(*words: str) -> int:
    return app.main(["batch", *words, *FAST])


def test_each_row_has_its_answer_in_order(table: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "plans.csv"
    assert batch(str(table), "--out", str(out)) == 0
    assert capsys.readouterr().out == f"{out}: 6 rows: 3 optimal, 1 infeasible, 2 error\n"
    rows = rows_of(out.read_text())
    assert [row["row"] for row in rows] == ["2", "3", "4", "5", "6", "7"]
    assert [row["status"] for row in rows] == ["optimal", "error", "optimal", "optimal", "error", "infeasible"]
    assert [row["Team"] for row in rows] == ["'=cmd()", "b", "c", "d", "e", "f"]
    assert "No model named 'nonsense'" in rows[1]["message"]
    assert (
        rows[4]["message"] == "budget: 'cheap' is not a price in USD per hour such as 10 or 12.50 (the number alone)."
    )
    assert "--max-tpot" in rows[5]["message"]


def test_a_row_equals_the_plan_of_its_question(table: Path, capsys) -> None:
    assert batch(str(table)) == 0
    row = rows_of(capsys.readouterr().out)[0]
    words = ["--model", "llama-3.1-8b", "--max-tpot", "100ms", "--budget", "10", "--min-tps", "300", *FAST, "--json"]
    assert app.main(words) == 0
    alone = json.loads(capsys.readouterr().out)
    assert float(row["cost_usd_per_hour"]) == alone["cost_usd_per_hour"]
    assert row["instance_type"] == alone["lines"][0]["offer"]["instance_type"]
    assert float(row["tpot_seconds"]) == pytest.approx(alone["totals"]["tpot_seconds"], rel=1e-5)


def test_every_kind_of_table_gives_the_same_answers(table: Path, tmp_path: Path, capsys) -> None:
    lines = list(csv.reader(io.StringIO(TABLE)))
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    book.active["B2"].data_type = "s"  # the text "=cmd()", no formula
    book.save(tmp_path / "models.xlsx")
    (tmp_path / "models.jsonl").write_text(
        "".join(json.dumps(dict(zip(lines[0], line, strict=True))) + "\n" for line in lines[1:])
    )
    (tmp_path / "models.txt").write_bytes(TABLE.encode("utf-16"))
    said = {}
    for name in ("models.csv", "models.xlsx", "models.jsonl", "models.txt"):
        assert batch(str(tmp_path / name)) == 0
        said[name] = [{**row, "row": ""} for row in rows_of(capsys.readouterr().out)]
    assert all(each == said["models.csv"] for each in said.values())


def test_answers_in_json_lines_hold_the_same(table: Path, tmp_path: Path, capsys) -> None:
    assert batch(str(table), "--out", str(tmp_path / "plans.jsonl")) == 0
    capsys.readouterr()
    assert batch(str(table)) == 0
    rows = rows_of(capsys.readouterr().out)
    objects = [json.loads(line) for line in (tmp_path / "plans.jsonl").read_text().splitlines()]
    assert [each["status"] for each in objects] == [row["status"] for row in rows]
    assert objects[0]["cost_usd_per_hour"] == float(rows[0]["cost_usd_per_hour"])
    assert objects[1]["cost_usd_per_hour"] is None
    assert objects[0]["Team"] == "=cmd()"


def test_stdin_is_a_table_too(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"model,min_tps\nllama-3.1-8b,300\n")))
    assert batch("-") == 0
    assert rows_of(capsys.readouterr().out)[0]["status"] == "optimal"


def test_the_command_line_fills_cells_that_are_empty_and_no_others(tmp_path: Path, capsys) -> None:
    (tmp_path / "t.csv").write_text("model,min_tps,gpu\nllama-3.1-8b,,\nllama-3.1-8b,600,L4\n")
    assert app.main(["batch", str(tmp_path / "t.csv"), "--min-tps", "300", "--gpu", "A10G"]) == 0
    first, second = rows_of(capsys.readouterr().out)
    assert (first["gpu"], second["gpu"]) == ("A10G 24GB", "L4 24GB")
    assert float(first["output_tokens_per_second"]) >= 300
    assert float(second["output_tokens_per_second"]) >= 600


def test_a_column_that_means_nothing_is_refused_unless_it_is_kept(tmp_path: Path, capsys) -> None:
    (tmp_path / "t.csv").write_text("model,status,min_tps\nllama-3.1-8b,urgent,300\n")
    assert batch(str(tmp_path / "t.csv")) == 2
    assert "'status' is no option of `plan`" in capsys.readouterr().err
    assert batch(str(tmp_path / "t.csv"), "--keep", "status") == 0
    (row,) = rows_of(capsys.readouterr().out)
    assert (row["asked_status"], row["status"]) == ("urgent", "optimal")


def test_a_wrong_key_of_json_lines_is_a_matter_of_its_row() -> None:
    table = read_table(b'{"model": "a", "min_tps": 1}\n{"model": "b", "bugdet": 1}\n', "x")
    first, second = understood(table, ()).table.rows
    assert first.problem == ""
    assert "Did you mean 'budget'" in second.problem


def test_keeping_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadQuestions, match="the table has no such column, only model"):
        understood(read_table(b"model\nx\n", "x"), ("owner",))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.csv",), "'none.csv' cannot be read: No such file"),
        (("{table}", "--out", "{table}"), "is the table itself"),
        (("{table}", "--out", "x.pdf"), "answers are written as .csv, .jsonl, .xlsx"),
        (("{table}", "--resume"), "--resume continues a file"),
        (("{table}", "--save", "x"), "No such option: --save"),
        (("{table}", "--bugdet", "3"), "No such option: --bugdet"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(table: Path, capsys, words: tuple[str, ...], said: str) -> None:
    assert batch(*(word.format(table=table) for word in words)) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


# ── who answers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def question(rate: float) -> Requirements:
    return Requirements(model="x", demand=Demand(output_tokens_per_second=rate))


def test_equal_questions_are_handed_out_once_and_answered_in_order() -> None:
    handed: list[Requirements] = []

    def hand(one: Requirements) -> Future:
        handed.append(one)
        future: Future = Future()
        future.set_result({"status": f"{one.demand.output_tokens_per_second}"})
        return future

    bad = refused("no")
    asked = [question(1), question(2), bad, question(1), question(2), question(3)]
    said = [each["status"] for each in answers(asked, hand, waiting=2)]
    assert said == ["1.0", "2.0", "error", "1.0", "2.0", "3.0"]
    assert handed == [question(1), question(2), question(3)]


def test_no_more_questions_are_handed_out_than_may_wait() -> None:
    out = 0

    def asked():
        nonlocal out
        for number in range(100):
            out += 1
            yield question(number + 1)

    def hand(one: Requirements) -> Future:
        future: Future = Future()
        future.set_result({})
        return future

    for taken, _ in enumerate(answers(asked(), hand, waiting=4), 1):
        assert out <= taken + 4


def test_a_bug_in_one_row_is_reported_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **others: object) -> None:
        raise ZeroDivisionError("x/0")

    monkeypatch.setattr("gpuplan.planning.answer", broken)
    row = Desk(today=date(2026, 11, 22)).answer(question(1))
    assert row["status"] == "error"
    assert row["message"] == "a bug of gpuplan, please report it with this row: ZeroDivisionError: x/0"


@pytest.mark.parametrize("failure", ["feasible", "no plan"])
def test_a_row_that_the_clock_ended_while_others_had_the_processor_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, solved: Plan, failure: str
) -> None:
    asked: list[Requirements] = []

    def starved(one: Requirements, *args: object, **others: object) -> Plan:
        asked.append(one)
        if len(asked) == 2:
            return solved
        if failure == "feasible":
            return solved.model_copy(update={"status": "feasible"})
        raise SolverFailed("No plan and no proof")

    monkeypatch.setattr("gpuplan.planning.answer", starved)
    assert Desk(today=date(2026, 11, 22)).answer(question(1))["status"] == "optimal"
    assert len(asked) == 2


def test_a_row_that_takes_its_own_time_is_asked_once(monkeypatch: pytest.MonkeyPatch, solved: Plan) -> None:
    asked: list[Requirements] = []

    def slow(one: Requirements, *args: object, **others: object) -> Plan:
        asked.append(one)
        until = time.process_time() + one.time_limit_seconds
        while time.process_time() < until:
            pass
        return solved.model_copy(update={"status": "feasible"})

    monkeypatch.setattr("gpuplan.planning.answer", slow)
    hard = question(1).model_copy(update={"time_limit_seconds": 0.01})
    assert Desk(today=date(2026, 11, 22)).answer(hard)["status"] == "feasible"
    assert len(asked) == 1


def test_answered_rows_leave_no_memory_behind(monkeypatch: pytest.MonkeyPatch, solved: Plan) -> None:
    """A search holds itself in a circle; the program looks for garbage only after very many objects."""
    left: list[weakref.ref[object]] = []

    def circled(*args: object, **others: object) -> Plan:
        class Search:
            pass

        one = Search()
        one.itself = one  # type: ignore[attr-defined]
        left.append(weakref.ref(one))
        return solved

    monkeypatch.setattr("gpuplan.planning.answer", circled)
    gc.disable()
    try:
        Desk(today=date(2026, 11, 22)).answer(question(1))
    finally:
        gc.enable()
    assert [each() for each in left] == [None]


def test_two_processes_answer_as_one_does(table: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone.csv", tmp_path / "together.csv"
    assert batch(str(table), "--out", str(alone), "--jobs", "1") == 0
    assert batch(str(table), "--out", str(together), "--jobs", "2") == 0
    assert alone.read_bytes() == together.read_bytes()


def test_a_process_that_is_ended_from_outside_is_said(table: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    submit = Pool.hand

    def hand(self: Pool, one: Requirements) -> Future:
        future = submit(self, one)
        for process in list((self._executor._processes or {}).values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return future

    monkeypatch.setattr(Pool, "hand", hand)
    assert batch(str(table), "--out", str(tmp_path / "plans.csv"), "--jobs", "2") == 2
    assert "--resume continues" in capsys.readouterr().err
    monkeypatch.setattr(Pool, "hand", submit)
    assert batch(str(table), "--out", str(tmp_path / "plans.csv"), "--resume", "--jobs", "1") == 0
    assert len(rows_of((tmp_path / "plans.csv").read_text())) == 6


def test_a_process_reads_data_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpuplan import planning

    loads: list[object] = []
    load = planning.load_facts
    monkeypatch.setattr(planning, "load_facts", lambda **files: loads.append(files) or load(**files))
    with staff(Desk(today=date(2026, 11, 22)), 1) as team:
        for rate in (100, 200):
            team.hand(question(rate).model_copy(update={"model": "llama-3.1-8b"})).result()
    assert len(loads) == 1


# ── ended and continued ──────────────────────────────────────────────────────────────────────────────────────────────


def many(rows: int) -> str:
    models = ("llama-3.1-8b", "qwen3-8b", "mistral-7b", "nonsense")
    return "model,min_tps,id\n" + "".join(f"{models[n % 4]},{100 + n // 4},{n}\n" for n in range(rows))


def start(table: Path, out: Path, jobs: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "gpuplan", "batch", str(table), "--out", str(out), "--resume", "--jobs", jobs, *FAST]
    with out.with_suffix(".stderr").open("wb") as said:
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)


def lines_in(out: Path) -> int:
    return out.read_bytes().count(b"\n") if out.exists() else 0


def killed_and_resumed(tmp_path: Path, rows: int, kills: int, seed: int) -> None:
    """Kill a run at random times, continue it each time, and compare with a run that nobody disturbed."""
    table, out, whole = tmp_path / "models.csv", tmp_path / "plans.csv", tmp_path / "whole.csv"
    table.write_text(many(rows))
    assert start(table, whole, "2").wait() == 0
    dice = random.Random(seed)
    written: list[int] = []
    for _ in range(kills):
        before = lines_in(out)
        run = start(table, out, dice.choice("12"))
        more = before + dice.randint(0, (rows - before) // kills)
        while run.poll() is None and lines_in(out) <= more:
            time.sleep(0.01)
        time.sleep(dice.random() * 0.05)
        run.kill()
        run.wait()
        written.append(lines_in(out))
    assert written == sorted(written)
    assert written[0] <= rows, "the first kill came after the last row: the test has shown nothing"
    assert start(table, out, "2").wait() == 0, out.with_suffix(".stderr").read_text()
    assert out.read_bytes() == whole.read_bytes()
    assert len(rows_of(out.read_text())) == rows


def test_a_killed_run_is_continued_to_the_same_bytes(tmp_path: Path) -> None:
    """GPUPLAN_KILLS=20 kills more often; `benchmarks/batch.py --kills 20` does so over 1,000 rows."""
    kills = int(os.environ.get("GPUPLAN_KILLS", "3"))
    killed_and_resumed(tmp_path, rows=20 * kills, kills=kills, seed=2)


def test_no_process_outlives_a_killed_run(tmp_path: Path) -> None:
    table, out = tmp_path / "models.csv", tmp_path / "plans.csv"
    table.write_text(many(200))
    run = start(table, out, "2")
    while lines_in(out) < 2:
        time.sleep(0.02)
    children = [int(each) for each in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert children
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}/stat").exists() and not is_zombie(child) for child in children):
        assert time.monotonic() < deadline, "a process outlived its parent by a minute"
        time.sleep(0.05)


def is_zombie(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_ctrl_c_says_so_and_leaves_what_can_be_continued(tmp_path: Path) -> None:
    table, out = tmp_path / "models.csv", tmp_path / "plans.csv"
    table.write_text(many(200))
    run = start(table, out, "2")
    while lines_in(out) < 2:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    assert run.wait() == app.STOPPED
    assert out.with_suffix(".stderr").read_text() == "plan: stopped\n"
    assert (tmp_path / "plans.csv.unfinished").exists()


def test_a_finished_output_is_left_as_it_is(table: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "plans.csv"
    assert batch(str(table), "--out", str(out)) == 0
    before = out.stat().st_mtime_ns
    assert batch(str(table), "--out", str(out), "--resume") == 0
    assert "is finished" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before


def test_the_same_question_is_the_same_plan_here_and_there() -> None:
    asked = question(100).model_copy(update={"model": "llama-3.1-8b", "alternatives": 0})
    row = Desk(today=date(2026, 11, 22)).answer(asked)
    assert row["cost_usd_per_hour"] == plan(asked).cost_usd_per_hour
