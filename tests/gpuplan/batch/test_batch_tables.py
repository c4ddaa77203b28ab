"""Tables as people, spreadsheets and enemies write them: read whole, or refused in one sentence."""

from __future__ import annotations

import io
import json
import random
import zipfile

import openpyxl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuplan.batch import tables
from gpuplan.batch.errors import BadQuestions
from gpuplan.batch.tables import Row, read_table

TEXT = "model,min_tps\nllama-3.1-8b,500\nmodèle,5\n"


def read(content: bytes | str):
    return read_table(content.encode() if isinstance(content, str) else content, "'models.csv'")


def cells(content: bytes | str) -> list[list[str]]:
    return [list(row.cells.values()) for row in read(content).rows]


def refusal(content: bytes | str) -> str:
    with pytest.raises(BadQuestions) as refused:
        read(content)
    said = str(refused.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


def said_of(content: bytes) -> str:
    """Why it is refused; "" if it is read."""
    try:
        read(content)
    except BadQuestions as error:
        return str(error)
    return ""


def workbook(rows: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_of_any_kind_is_read_with_every_letter(encoding: str) -> None:
    assert cells(TEXT.encode(encoding)) == [["llama-3.1-8b", "500"], ["modèle", "5"]]


def test_latin_1_is_refused_with_the_place_of_its_first_letter() -> None:
    said = refusal(TEXT.encode("latin-1"))
    assert "byte 34 (line 3) is 0xe8" in said
    assert "save it as CSV UTF-8" in said


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_part_columns(delimiter: str) -> None:
    assert cells(TEXT.replace(",", delimiter)) == [["llama-3.1-8b", "500"], ["modèle", "5"]]


def test_a_comma_in_the_header_wins_over_a_semicolon_in_a_name() -> None:
    assert read("model,gpu; or several\nx,L4;A10\n").columns == ("model", "gpu; or several")


def test_rows_are_numbered_as_a_spreadsheet_numbers_them() -> None:
    assert [row.number for row in read("model\na\n\n,\nb\n").rows] == [2, 5]


def test_a_quoted_cell_may_hold_commas_and_newlines() -> None:
    assert cells('model,note\nx,"a, b\nc"\n') == [["x", "a, b\nc"]]


def test_cells_that_are_missing_at_the_end_are_empty() -> None:
    assert read("model,min_tps,budget\nx\n").rows == (Row(2, {"model": "x"}),)


def test_a_cell_beyond_the_header_is_the_problem_of_its_row() -> None:
    first, second = read("model,min_tps\nx,1,000\ny,2\n").rows
    assert first.problem.startswith("'000' stands in no named column")
    assert second.problem == ""


def test_a_cell_under_no_name_is_the_problem_of_its_row() -> None:
    assert "'7' stands in no named column" in read("model,,min_tps\nx,7,1\n").rows[0].problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty; write a header such as model,min_tps,budget"),
        (" \n\r\n\t", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\x00" * 1000, "is empty"),
        ("model,min_tps\n", "has a header and no rows"),
        ("a," * 100_000 + "b\n1\n", "has 100,001 columns; at most 500"),
        ("," * 100_000 + "b\n1\n", "has 100,001 columns; at most 500"),
        ("model,model\nx,y\n", "the column 'model' stands twice"),
        ('model\n"x\n', "is not CSV"),
        ('model\n"x"y\n', "is not CSV"),
        ("model\n" + "x" * 200_000 + "\n", "is not CSV: field larger than field limit"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8 text: byte 0"),
        (b"\xff\xfea", "is not UTF-8 text"),
        (b"PK\x03\x04" + b"\x00" * 50, "is a broken zip file"),
    ],
)
def test_what_is_no_table_is_one_sentence(content: bytes | str, said: str) -> None:
    assert said in refusal(content)


def test_an_empty_header_behind_100_000_commas_costs_nothing() -> None:
    assert cells("model" + "," * 100_000 + "\nx\n") == [["x"]]


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGEST_BYTES", 10)
    assert "at most 10 are read: split it" in refusal("model\nx,y,z\n")


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 2)
    assert "more than 2 rows" in refusal("model\na\nb\nc\n")


def test_a_very_long_cell_is_the_problem_of_its_row() -> None:
    assert "has 20,001 letters" in read("model\n" + "x" * 20_001 + "\ny\n").rows[0].problem


# ── JSON Lines ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_lines_may_each_have_their_own_keys() -> None:
    table = read(
        '{"model": "a", "min_tps": 500.0}\n\n{"budget": null, "model": "b", "no_mix": true, "gpu": ["L4", "T4"]}\n'
    )
    assert table.columns == ("model", "min_tps", "budget", "no_mix", "gpu")
    assert [row.number for row in table.rows] == [1, 3]
    assert table.rows[0].cells == {"model": "a", "min_tps": "500"}
    assert table.rows[1].cells == {"budget": "", "model": "b", "no_mix": "yes", "gpu": "L4;T4"}


@pytest.mark.parametrize("line", ["{", "[1]", '"x"', '{"model": {"a": 1}}', '{"a": ' + "9" * 5000 + "}", "{" * 100_000])
def test_a_broken_line_of_json_is_the_problem_of_its_row(line: str) -> None:
    good, bad, last = read('{"model": "a"}\n' + line + '\n{"model": "b"}\n').rows
    assert (good.problem, last.problem) == ("", "")
    assert bad.problem.startswith("the line is n")
    assert len(bad.problem) < 200


# ── spreadsheets ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_workbook_is_read_like_its_csv() -> None:
    book = workbook(
        [["model", "min tps", "no mix"], [None, None, None], ["llama-3.1-8b", 500.0, True], ["x", 0.25, None]]
    )
    table = read(book)
    assert table.columns == ("model", "min tps", "no mix")
    assert [(row.number, list(row.cells.values())) for row in table.rows] == [
        (3, ["llama-3.1-8b", "500", "yes"]),
        (4, ["x", "0.25"]),
    ]


def test_a_zip_bomb_is_not_opened() -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (300 << 20))
    said = refusal(bomb.getvalue())
    assert "unpacks from" in said
    assert "is not opened" in said


def _sheet_only(xml: bytes) -> bytes:
    """A workbook whose first sheet is this."""
    source, out = zipfile.ZipFile(io.BytesIO(workbook([["model"], ["x"]]))), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in source.infolist():
            is_sheet = member.filename == "xl/worksheets/sheet1.xml"
            archive.writestr(member.filename, xml if is_sheet else source.read(member))
    return out.getvalue()


SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{}</worksheet>'
ROWS = '<row r="1"><c r="A1" t="inlineStr"><is><t>model</t></is></c></row>{}'


def test_entities_that_grow_are_refused() -> None:
    grow = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    xml = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "xxxxxxxxxx">{grow}]>' + SHEET.format(
        "<sheetData>"
        + ROWS.format('<row r="2"><c r="A2" t="inlineStr"><is><t>&e12;</t></is></c></row>')
        + "</sheetData>"
    )
    assert "is no spreadsheet that can be read" in refusal(_sheet_only(xml.encode()))


def test_the_size_that_a_sheet_claims_is_not_believed() -> None:
    rows = ROWS.format('<row r="2"><c r="A2"><v>7</v></c></row>')
    xml = SHEET.format(f'<dimension ref="A1:XFD1048576"/><sheetData>{rows}</sheetData>')
    assert cells(_sheet_only(xml.encode())) == [["7"]]


def test_a_sheet_of_16_384_columns_is_refused() -> None:
    rows = ROWS.format('<row r="2"><c r="XFD2"><v>7</v></c></row>')
    assert "columns; at most 500" in refusal(_sheet_only(SHEET.format(f"<sheetData>{rows}</sheetData>").encode()))


def test_a_zip_that_is_no_workbook_is_one_sentence() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert "is no spreadsheet that can be read" in refusal(out.getvalue())


def test_a_damaged_workbook_is_one_sentence_or_read() -> None:
    book = bytearray(workbook([["model"], ["x"]]))
    random.seed(7)
    for _ in range(60):
        torn = bytearray(book)
        for _ in range(random.randint(1, 5)):
            torn[random.randrange(4, len(torn))] = random.randrange(256)
        assert "\n" not in said_of(bytes(torn))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(b'{"a"\x00:1}')
def test_no_content_ends_in_a_traceback(content: bytes) -> None:
    assert said_of(content) or read(content).rows


@given(
    st.lists(st.dictionaries(st.sampled_from(["model", "gpu", "note"]), st.text(), min_size=1), min_size=1, max_size=5)
)
def test_any_text_comes_through_json_lines(records: list[dict[str, str]]) -> None:
    table = read("\n".join(json.dumps(record) for record in records))
    assert [row.cells for row in table.rows] == [{key: text.strip() for key, text in each.items()} for each in records]
