"""The report as Markdown: all of it, and nothing that anybody else's words could do."""

from __future__ import annotations

import re

from gpuplan.cli.app import main
from gpuplan.reports.markdown import escaped, markdown
from gpuplan.reports.words import said
from gpuplan.saving.plan_file import write_plan_file


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_cell_of_every_table_is_there_in_its_words(made):
    lines = markdown(made.report, "charts").splitlines()
    for section in made.report.sections:
        assert f"## {escaped(section.title)}" in lines
        for table in section.tables:
            at = lines.index(f"**{escaped(table.title)}**", lines.index(f"## {escaped(section.title)}")) + 2
            assert cells(lines[at]) == [escaped(column.name) for column in table.columns]
            for offset, row in enumerate(table.rows, start=2):
                words = [escaped(said(cell, column.kind)) for cell, column in zip(row, table.columns, strict=True)]
                assert cells(lines[at + offset]) == [word.strip() for word in words]


def test_hostile_names_stay_text(hostile, hostile_text):
    text = markdown(hostile.report, "charts")
    assert escaped(hostile_text) in text
    assert "<script" not in text.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(java", text)
    assert "http:" not in text
    assert "\u202e" not in text
    widths = [len(cells(line)) for line in text.splitlines() if line.startswith("| ")]
    assert min(widths) > 1


def test_the_command_writes_the_report_and_its_charts(made, tmp_path, capsys):
    source, out = tmp_path / "plan.json", tmp_path / "re port.md"
    write_plan_file(source, made.file)
    assert main(["report", str(source), "--out", str(out), "--offline"]) == 0
    text = out.read_text()
    links = re.findall(r"\]\(([^)]+\.png)\)", text)
    assert links == [f"re%20port_charts/{name}.png" for name in ("options", "cash", "sensitivity")]
    for name in ("options", "cash", "sensitivity"):
        assert (tmp_path / "re port_charts" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert f"{made.plan.cost_usd_per_hour:.2f}" in text
    assert capsys.readouterr().out.count("wrote") == 4


def test_a_name_of_no_format_is_refused_before_any_work(tmp_path, capsys):
    assert main(["report", str(tmp_path / "no plan.json"), "--out", "report.docx"]) == 2
    assert "report.docx" in capsys.readouterr().err


def test_an_infeasible_plan_is_reported_and_says_so(infeasible, tmp_path):
    source, out = tmp_path / "plan.json", tmp_path / "report.md"
    write_plan_file(source, infeasible.file)
    assert main(["report", str(source), "--out", str(out)]) == 3
    assert "Why nothing fits" in out.read_text()


def test_a_folder_that_is_not_there_is_one_sentence(infeasible, tmp_path, capsys):
    source = tmp_path / "plan.json"
    write_plan_file(source, infeasible.file)
    assert main(["report", str(source), "--out", str(tmp_path / "none" / "report.md")]) == 2
    assert "cannot be written" in capsys.readouterr().err
