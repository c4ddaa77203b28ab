"""Aligned, honest and safe to print."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from gpuplan.cli import app, console
from gpuplan.cli.console import Ink, Styled


def test_columns_stand_under_each_other_and_numbers_to_the_right() -> None:
    lines = console.aligned([["name", "GiB"], ["weights", "68.00"], ["KV", "6.00"]], right=(1,), indent=0)
    assert console.render(lines, Ink()) == "name       GiB\nweights  68.00\nKV        6.00\n"


def test_colours_do_not_move_columns() -> None:
    rows = [[Styled("a", "bold"), "1"], ["long", Styled("2", "dim")]]
    plain = console.render(console.aligned(rows), Ink(colour=False))
    painted = console.render(console.aligned(rows), Ink(colour=True))
    for code in ("\x1b[1m", "\x1b[2m", "\x1b[0m"):
        painted = painted.replace(code, "")
    assert painted == plain


@given(st.text())
def test_no_text_from_outside_moves_the_cursor_or_fakes_a_line(text: str) -> None:
    for part in (text, Styled(text, "red")):
        shown = console.render([(part,)], Ink())
        assert shown.count("\n") == 1
        assert shown.rstrip("\n").isprintable()


@given(st.floats(0, 1), st.integers(1, 60))
def test_a_bar_is_as_wide_as_it_was_asked_to_be(share: float, width: int) -> None:
    for ink in (Ink(blocks=True), Ink(blocks=False)):
        assert len(console.bar(share, 1.0, width, ink)) == width


def test_a_bar_of_everything_is_full_and_of_nothing_empty() -> None:
    ink = Ink(blocks=False)
    assert [console.bar(part, whole, 5, ink) for part, whole in ((1, 1), (0, 1), (1, 0))] == ["#####", ".....", "....."]


def test_a_pipe_gets_no_colours() -> None:
    assert not console.ink_of(io.StringIO()).colour


def test_an_ascii_terminal_gets_no_blocks() -> None:
    assert not console.ink_of(io.TextIOWrapper(io.BytesIO(), encoding="ascii")).blocks


def test_wrapped_text_fits_and_hangs_under_its_first_line() -> None:
    lines = console.render(console.wrapped("one two three four five six seven", 24, 2, mark="- "), Ink()).splitlines()
    assert lines == ["  - one two three four", "    five six seven"]


def test_each_problem_of_a_file_stands_on_its_own_line(tmp_path, capsys) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("services:\n  - {name: b, modle: x, min_tps: 5}\n  - {name: a, model: llama-3.1-8b}\n")
    assert app.main(["fleet", str(file)]) == 2
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("plan: ")
    assert others
    assert all(line.startswith("      ") for line in others)
    assert any(line.endswith("Did you mean 'model'?") for line in (first, *others))


def test_a_value_with_a_line_break_stays_on_its_line(capsys) -> None:
    console.complain("No model named 'a\nplan: all is well'")
    assert capsys.readouterr().err == "plan: No model named 'a\\nplan: all is well'\n"


def test_a_narrow_terminal_gets_fewer_columns_and_a_pipe_all() -> None:
    rows = [["GPU", "architecture", "GiB"], ["H100 SXM 80GB", "Hopper" * 8, "79.6"]]
    narrow, wide = Ink(width=60, terminal=True), Ink(width=60)
    assert console.render(console.fitted(rows, narrow, right=(2,), spare=(1,)), narrow).splitlines() == [
        "  GPU             GiB",
        "  H100 SXM 80GB  79.6",
    ]
    assert "architecture" in console.render(console.fitted(rows, wide, right=(2,), spare=(1,)), wide)
    assert "Hopper" in console.render(console.fitted(rows, narrow, right=(2,), spare=()), narrow)  # nothing to spare
