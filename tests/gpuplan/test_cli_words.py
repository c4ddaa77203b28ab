"""What people type, read into base units or refused in one sentence."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplan.cli import words
from gpuplan.errors import BadWord

READERS = (
    words.rate,
    words.price,
    words.share,
    words.seconds,
    words.tokens,
    words.count,
    words.count_or_none,
    words.gibibytes,
    words.parameters,
)
HOSTILE = (
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "10$",
    "",
    " ",
    "ten",
    "0x10",
    "1_000",
    "١٢",
    "9" * 5000,
    "1e",
    ".",
    "5%%",
)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("word", HOSTILE)
def test_a_hostile_number_is_refused_in_one_line(read, word: str) -> None:
    with pytest.raises(BadWord) as refused:
        read(word)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(word=st.text())
def test_every_word_is_read_or_refused(read, word: str) -> None:
    try:
        value = read(word)
    except BadWord:
        return
    assert math.isfinite(value)
    assert value >= 0


@pytest.mark.parametrize(
    ("word", "expected"),
    [("25ms", 0.025), ("25 ms", 0.025), ("25MS", 0.025), ("800us", 0.0008), ("2", 2.0), ("1.5s", 1.5), ("1e-2", 0.01)],
)
def test_durations_are_in_seconds_unless_a_unit_says_otherwise(word: str, expected: float) -> None:
    assert words.seconds(word) == expected


def test_k_is_a_thousand_and_capital_k_is_1024_as_vllm_reads_them() -> None:
    assert (words.tokens("8k"), words.tokens("8K"), words.tokens("1m"), words.tokens("1M")) == (
        8_000,
        8_192,
        1_000_000,
        1 << 20,
    )


def test_the_longest_context_is_accepted_and_one_token_more_is_not() -> None:
    assert words.tokens(str(1 << 30)) == 1 << 30
    with pytest.raises(BadWord):
        words.tokens(str((1 << 30) + 1))


def test_zero_is_a_price_and_a_number_of_gpus_but_not_a_rate() -> None:
    assert words.price("0") == 0
    assert words.count_or_none("0") == 0
    for read in (words.rate, words.count, words.seconds, words.tokens):
        with pytest.raises(BadWord):
            read("0")


def test_a_share_is_at_most_one() -> None:
    assert words.share("1") == 1
    with pytest.raises(BadWord):
        words.share("1.01")


@given(st.floats(min_value=1e-6, max_value=1e9, allow_nan=False))
def test_what_python_prints_is_read_back(number: float) -> None:
    assert words.rate(repr(number)) == number
    assert words.price(repr(number)) == number
    assert words.seconds(repr(number)) == number
