"""Tables that nobody should send: one sentence each from every command that reads one, and nothing is lost or run."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import openpyxl
import pytest

from gpuplan.cli import app

WIDE = 100_000


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("xl/workbook.xml", "w") as member:
        for _ in range(600):
            member.write(bytes(1 << 20))
    return file.getvalue()


TABLES = {
    "empty": b"",
    "blank": b"\n\n  \n",
    "a header alone": b"name,model,min_tps\n",
    "100,000 columns": b",".join(b"c%d" % at for at in range(WIDE)) + b"\n" + b",".join([b"1"] * WIDE),
    "Latin-1": "name,model,min_tps\nZürich,llama-3.1-8b,100\n".encode("latin-1"),
    "no text": bytes(range(256)) * 8,
    "a quote that never ends": b'name,model,min_tps\n"a,llama-3.1-8b,1\n',
    "a cell of five million letters": b"name,model,min_tps\na," + b"x" * 5_000_000 + b",1\n",
    "a zip bomb": bomb(),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("command", ["batch", "fleet"])
def test_a_table_that_cannot_be_read_is_one_sentence(kind: str, command: str, tmp_path: Path, capsys) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    table.write_bytes(TABLES[kind])
    words = ["batch", str(table), "--out", str(out)] if command == "batch" else ["fleet", str(table)]
    assert app.main(words) == app.BAD_INPUT
    said, complaint = capsys.readouterr()
    assert said == ""
    assert complaint.startswith("plan: ")
    assert complaint.count("\n") == 1
    assert len(complaint) < 300
    assert not out.exists()
    assert table.read_bytes() == TABLES[kind]


@pytest.mark.parametrize("end", ["csv", "xlsx"])
def test_cells_that_a_spreadsheet_would_run_come_out_as_words(end: str, tmp_path: Path, capsys) -> None:
    """The one row has an answer, the other says why not, and neither cell is a formula."""
    table, out = tmp_path / "t.csv", tmp_path / f"out.{end}"
    table.write_text('note,model,min_tps,gpu\n"=HYPERLINK(""http://x"")",llama-3.1-8b,100,L4\n+cmd,@SUM(A1),100,L4\n')
    assert app.main(["batch", str(table), "--out", str(out)]) == 0
    capsys.readouterr()
    if end == "csv":
        _, first, second = csv.reader(io.StringIO(out.read_text()))
        assert (first[1], second[1], second[2]) == ('\'=HYPERLINK("http://x")', "'+cmd", "'@SUM(A1)")
        return
    sheet = openpyxl.load_workbook(out).active
    assert [sheet[place].value for place in ("B2", "B3", "C3")] == ['=HYPERLINK("http://x")', "+cmd", "@SUM(A1)"]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}
