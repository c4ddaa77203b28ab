"""A table of any shape is read as far as it goes, and written so that no cell does anything."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplan.measuring import tables
from gpuplan.measuring.errors import BadTable
from gpuplan.measuring.tables import csv_text, harmless, read_table, write_table

WANTED = ("model", "tp", "kv_tokens")


def table(tmp_path, content, wanted=WANTED):
    file = tmp_path / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(file, wanted)


def test_rows_are_read_by_name_with_their_line_in_the_file(tmp_path):
    read = table(tmp_path, "model,tp\na,1\n\nb,2\n")
    assert read.rows == ({"model": "a", "tp": "1"}, {"model": "b", "tp": "2"})
    assert read.lines == (2, 4)
    assert not read.problems


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_finds_the_known_names(tmp_path, mark):
    assert table(tmp_path, f"model{mark}tp\na{mark}1\n").rows == ({"model": "a", "tp": "1"},)


def test_names_are_compared_without_case_blanks_and_byte_order_mark(tmp_path):
    assert table(tmp_path, "\ufeff Model , TP\na,1\n").columns == ("model", "tp")


def test_a_cell_of_ten_megabytes_is_cut_and_its_neighbours_live(tmp_path):
    read = table(tmp_path, f"model,tp\na,{'x' * 10_000_000}\nb,2\n")
    assert [row["model"] for row in read.rows] == ["a", "b"]
    assert len(read.rows[0]["tp"]) == tables.LONGEST_CELL
    assert read.problems == ("Row 2: the cell 'tp' has 10,000,000 characters; it is cut to 32,767.",)


def test_the_limit_of_other_readers_is_left_as_it_was(tmp_path):
    before = csv.field_size_limit()
    table(tmp_path, f"model\n{'x' * 200_000}\n")
    assert csv.field_size_limit() == before


def test_of_a_hundred_thousand_columns_the_known_ones_are_kept(tmp_path):
    names = ",".join(f"c{number}" for number in range(100_000))
    read = table(tmp_path, f"{names},model\n{',' * 100_000}a\n")
    assert read.rows[0]["model"] == "a"
    assert len(read.columns) == tables.MOST_COLUMNS + 1
    assert "100,001 columns; 99,488 unknown ones are left out" in read.problems[0]


def test_short_and_long_rows_are_named_and_kept(tmp_path):
    read = table(tmp_path, "model,tp\na\nb,2,3,4\nc,3\n")
    assert [row["tp"] for row in read.rows] == ["", "2", "3"]
    assert read.problems == (
        "Row 2 has 1 cells where the header has 2.",
        "Row 3 has 4 cells where the header has 2.",
    )


def test_a_column_twice_is_read_once_and_named(tmp_path):
    read = table(tmp_path, "model,tp,tp\na,1,9\n")
    assert read.rows == ({"model": "a", "tp": "1"},)
    assert "'tp' stands 2 times" in read.problems[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model,tp\nQwen/Qwen3-8B,1\n".encode("utf-16"), "UTF-16"),
        (b"model,tp\nQwen/Qwen3-8B,1\n\xff\xfe,2\n", "not UTF-8"),
        (b"model,tp\nQwen/Qwen3-8B,1\x00\n", "NUL"),
    ],
)
def test_other_encodings_are_read_and_said(tmp_path, content, said):
    read = table(tmp_path, content)
    assert read.rows[0] == {"model": "Qwen/Qwen3-8B", "tp": "1"}
    assert said in read.problems[0]


@pytest.mark.parametrize("content", ["", "   \n \n", "\ufeff"])
def test_a_file_without_a_line_is_refused(tmp_path, content):
    with pytest.raises(BadTable, match="is empty"):
        table(tmp_path, content)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv", "a\0b"):
        with pytest.raises(BadTable):
            read_table(path, WANTED)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 3)
    with pytest.raises(BadTable, match="larger"):
        table(tmp_path, "model\na\n")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_cell_that_is_written_starts_a_formula(cell):
    written = harmless(cell)
    assert written.lstrip(" ")[:1] not in tables.FORMULA_STARTS or _is_number(written)
    assert written.removeprefix("'") == cell.removeprefix("'")


def _is_number(text):
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4))
def test_what_is_written_reads_back_in_its_place(cells):
    names = [f"c{number}" for number in range(len(cells))]
    text = csv_text(names, [dict(zip(names, cells, strict=True))])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [names, [harmless(cell) for cell in cells]]


def test_a_table_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(BadTable, match="cannot be written"):
        write_table(tmp_path / "no" / "such.csv", ["a"], [])
