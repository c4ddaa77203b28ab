"""What is written is whole, is what was answered, and is never run by a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplan.batch.answers import COLUMNS, answer_of
from gpuplan.batch.errors import BadOutput
from gpuplan.batch.output import Basis, as_line, cell, marked, opened, rows_of
from optimizer.plan import Plan

BASIS = Basis(table="t", options="o", data="d", gpuplan_version="0.1.0", today=date(2026, 11, 22))
NAMES = ("row", "model", "status")


def written(
    path: Path, rows: int, *, resume: bool = False, basis: Basis = BASIS, then: BaseException | None = None
) -> int:
    """Rows that were there when `rows` were to be written; the last of them was."""
    with opened(path, NAMES, basis, resume=resume) as out:
        for number in range(out.done, rows):
            out.write({"row": number, "model": "a\nb", "status": f"=row {number}"})
        if then is not None:
            raise then
        return out.done


@given(st.text())
def test_no_cell_starts_a_formula_or_another_line(text: str) -> None:
    said = cell(text)
    assert "\n" not in said
    assert "\r" not in said
    is_number = said.lstrip("+-")[:1].isdigit()
    assert said.lstrip()[:1] not in set("=+-@|") or is_number


@given(st.lists(st.text() | st.integers() | st.none(), min_size=3, max_size=3))
def test_a_line_of_csv_is_one_line_of_as_many_cells(values: list) -> None:
    line = as_line(dict(zip(NAMES, values, strict=True)), NAMES, ".csv")
    assert line.count("\n") == 1
    (back,) = csv.reader(io.StringIO(line))
    assert back == [cell(value) for value in values]


@given(st.lists(st.text(), min_size=3, max_size=3))
def test_a_line_of_json_loses_nothing(values: list) -> None:
    line = as_line(dict(zip(NAMES, values, strict=True)), NAMES, ".jsonl")
    assert line.count("\n") == 1
    assert list(json.loads(line).values()) == values


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".xlsx"])
@pytest.mark.parametrize("torn", [0, 1, 7, 10**6])
def test_an_output_cut_anywhere_is_continued_to_the_same_bytes(tmp_path: Path, suffix: str, torn: int) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    written(whole, 5)
    with pytest.raises(KeyboardInterrupt):
        written(cut, 3, then=KeyboardInterrupt())
    content = rows_of(cut).read_bytes()
    rows_of(cut).write_bytes(content[: max(len(content) - torn, 0)])
    assert written(cut, 5, resume=True) == {0: 3, 1: 2, 7: 2, 10**6: 0}[torn]
    assert cut.read_bytes() == whole.read_bytes()
    assert not marked(cut).exists()


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_a_finished_output_has_no_mark(tmp_path: Path, name: str) -> None:
    written(tmp_path / name, 2)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_spreadsheet_holds_words_as_words_and_numbers_as_numbers(tmp_path: Path) -> None:
    place = tmp_path / "a.xlsx"
    with opened(place, (*NAMES, "cost"), BASIS, resume=False) as out:
        out.write({"row": 2, "model": "=1+1\x01\ud800", "status": "http://x.example", "cost": 1.5})
        out.write({"row": 3, "model": "x" * 40_000, "status": "@a", "cost": None})
    sheet = openpyxl.load_workbook(place).active
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert rows[0] == ["row", "model", "status", "cost"]
    assert rows[1] == [2, "=1+1 ?", "http://x.example", 1.5]
    assert [sheet[place].data_type for place in ("A2", "B2", "C2", "D2")] == ["n", "s", "s", "n"]
    assert sheet["C2"].hyperlink is None
    assert (len(rows[2][1]), rows[2][3]) == (32_767, None)


def test_a_spreadsheet_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    before = (tmp_path / "a.xlsx").read_bytes()
    with pytest.raises(BadOutput, match="is no output of `plan batch`, so it is not overwritten"):
        written(tmp_path / "a.xlsx", 1)
    assert (tmp_path / "a.xlsx").read_bytes() == before


def test_an_unfinished_output_is_not_begun_anew(tmp_path: Path) -> None:
    marked(tmp_path / "a.csv").write_text("{}")
    with pytest.raises(BadOutput, match="is not finished: --resume continues it"):
        written(tmp_path / "a.csv", 1)


@pytest.mark.parametrize("mark", ["", "{}", "[]", '{"today": 3}', '{"today": "x"}', "\x00"])
def test_a_broken_mark_is_one_sentence(tmp_path: Path, mark: str) -> None:
    marked(tmp_path / "a.csv").write_text(mark)
    with pytest.raises(BadOutput, match="is broken; remove it"):
        written(tmp_path / "a.csv", 1, resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [("table", "the table changed"), ("options", "the options changed"), ("data", "the bundled data changed")],
)
def test_only_the_same_run_is_continued(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "a.csv", NAMES, BASIS, resume=False):
        raise KeyboardInterrupt
    other = Basis(**(BASIS.__dict__ | {change: "x"}))
    with pytest.raises(BadOutput, match=said):
        written(tmp_path / "a.csv", 1, resume=True, basis=other)


def test_a_run_that_is_continued_tomorrow_counts_from_the_day_it_was_begun(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "a.csv", NAMES, BASIS, resume=False):
        raise KeyboardInterrupt
    tomorrow = Basis(**(BASIS.__dict__ | {"today": date(2026, 11, 23)}))
    with opened(tmp_path / "a.csv", NAMES, tomorrow, resume=True) as out:
        assert out.today == date(2026, 11, 22)


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,min_tps\n")
    with pytest.raises(BadOutput, match="is no output of `plan batch`, so it is not overwritten"):
        written(tmp_path / "a.csv", 1)
    assert (tmp_path / "a.csv").read_text() == "model,min_tps\n"


def test_an_output_of_before_is_made_anew(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", 3)
    written(tmp_path / "a.csv", 1)
    assert (tmp_path / "a.csv").read_text().count("\n") == 2
    written(tmp_path / "a.xlsx", 3)
    written(tmp_path / "a.xlsx", 1)
    assert openpyxl.load_workbook(tmp_path / "a.xlsx").active.max_row == 2


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="cannot be written: No such file"):
        written(tmp_path / "no" / "a.csv", 1)


def test_the_row_says_what_the_plan_says(solved: Plan) -> None:
    row = answer_of(solved)
    assert set(row) == set(COLUMNS)
    expected = {
        "status": "optimal",
        "cost_usd_per_hour": 3.98,
        "machines": 2,
        "gpu": "GH200 96GB",
        "tensor_parallel": "1",
        "output_tokens_per_second": 612.0,
        "output_tokens_per_second_low": 540.0,
        "tpot_seconds": 0.0254,
        "prices_as_of": "2026-10-02",
        "message": "",
    }
    assert {name: row[name] for name in expected} == expected
    assert "'it'\"'\"'s mine'" in str(row["command"])


def test_the_row_of_what_does_not_fit_says_why_and_the_cheapest_change(unsolved: Plan) -> None:
    row = answer_of(unsolved)
    assert row["cost_usd_per_hour"] is None
    assert "exclude each other; cheapest change: budget 3.98 instead of 1.00" in str(row["message"])


def test_lines_that_differ_are_joined(solved: Plan) -> None:
    (line,) = solved.lines
    other = line.model_copy(update={"replica": line.replica.model_copy(update={"tensor_parallel": 4})})
    row = answer_of(solved.model_copy(update={"lines": (line, other)}))
    assert (row["tensor_parallel"], row["provider"]) == ("1 + 4", "lambda")


def test_every_column_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "batch.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")]
    assert [name for name in rows if name in COLUMNS] == list(COLUMNS)
