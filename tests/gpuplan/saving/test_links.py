"""A question goes into a link and comes back; links of others are read with care."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplan.cli import app
from gpuplan.cli.question import requirements_of
from gpuplan.cli.question_words import QUESTION_OPTIONS
from gpuplan.saving.errors import BadLink
from gpuplan.saving.link import LONGEST_LINK, fragment_of, words_in

WORDS = ["--model", "meta-llama/Llama-3.3-70B-Instruct", "--min-tps", "500", "--budget", "10", "--no-mix"]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app.main(words) == 0
    return capsys.readouterr().out


def test_a_link_is_as_short_as_what_was_typed(capsys) -> None:
    said = printed(capsys, *WORDS, "--url")
    assert said == "#v=1&model=meta-llama/Llama-3.3-70B-Instruct&min-tps=500.0&budget=10.0&no-mix=\n"


def test_a_link_asks_what_was_typed(capsys) -> None:
    link = printed(capsys, *WORDS, "--pue", "1.1", "--gpu", "H100,rtx 4090", "--url").strip()
    again = printed(capsys, "--from-url", f"https://example.org/plan{link}", "--url").strip()
    assert again == link


def test_a_link_plans(capsys) -> None:
    said = json.loads(
        printed(capsys, "--from-url", "#v=1&model=llama-3.1-8b&min-tps=100&gpu=L4", "--alternatives", "0", "--json")
    )
    assert said["status"] == "optimal"
    assert (
        requirements_of(app.understand(["--model", "llama-3.1-8b", "--min-tps", "100", "--gpu", "L4"])[1])
        .model_copy(update={"alternatives": 0})
        .model_dump(mode="json")
        == said["question"]
    )


def test_own_files_do_not_go_into_a_link(capsys) -> None:
    assert app.main([*WORDS, "--offers", "own.csv", "--url"]) == 2
    assert "A link holds no files of yours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("", "has no version in front"),
        ("https://example.org", "holds no question"),
        ("#model=x", "has no version in front"),
        ("#v=9&model=x", "is of version '9'; this program reads version 1"),
        ("#v=1&offers=/etc/passwd", "asks for 'offers', which is no option of a question"),
        ("#v=1&save=x", "asks for 'save'"),
        ("#v=1&from=x", "asks for 'from'"),
        ("#v=1&bugdet=3", "Did you mean 'budget'?"),
        ("#v=1&model=%ff", "holds no question"),
        ("#v=1" + "&gpu=x" * 3000, "holds no question"),
        ("#" + "x" * LONGEST_LINK, "at most 100,000 are read"),
    ],
)
def test_what_is_no_link_of_ours_is_one_sentence(link: str, said: str) -> None:
    with pytest.raises(BadLink) as refused:
        words_in(link, QUESTION_OPTIONS)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", ["budget=cheap", "model=", "speculative=magic", "lengths=1:0"])
def test_a_value_that_no_option_takes_is_one_sentence(capsys, value: str) -> None:
    assert app.main(["--from-url", f"#v=1&model=llama-3.1-8b&min-tps=1&{value}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"--{value.split('=', maxsplit=1)[0]}" in err


@given(
    st.lists(st.tuples(st.sampled_from(sorted(QUESTION_OPTIONS)), st.text(st.characters(codec="utf-8"))), max_size=8)
)
def test_any_words_come_back_from_a_link(words: list[tuple[str, str]]) -> None:
    link = fragment_of(words)
    assert link.isascii()
    assert words_in(link, QUESTION_OPTIONS) == words
