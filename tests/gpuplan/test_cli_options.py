"""One table of options makes the parser and the help."""

from __future__ import annotations

import pytest

from gpuplan.cli import app, options, words
from gpuplan.cli.options import Command, Group, Option
from gpuplan.errors import BadWord, UnknownName

COMMAND = Command(
    words="try",
    summary="A command.",
    description="What it does.",
    groups=(
        Group(
            "Things",
            (
                Option("--model", "A model", words.name, "MODEL"),
                Option("--budget", "USD per hour", words.price, "USD"),
                Option("--gpu", "Only these", words.name, "NAME", many=True),
                Option("--goal", "What is best", words.name, "GOAL", "cost", choices=("cost", "latency")),
                Option("--json", "As JSON"),
            ),
        ),
    ),
    positional="--model",
)


def read(*argv: str) -> options.Asked:
    return options.read(COMMAND, argv)


def test_options_are_read_by_their_own_readers() -> None:
    asked = read("llama", "--budget", "10", "--gpu", "H100, A100", "--gpu=L4", "--json")
    assert (asked.model, asked.budget, asked.gpu, asked.json) == ("llama", 10.0, ("H100", "A100", "L4"), True)


def test_what_is_not_given_is_its_default_or_none() -> None:
    asked = read()
    assert (asked.model, asked.budget, asked.gpu, asked.goal, asked.json) == (None, None, None, "cost", False)


def test_a_bad_value_names_its_option() -> None:
    with pytest.raises(BadWord, match=r"--budget: '10\$' is not a price"):
        read("--budget", "10$")


def test_an_unknown_choice_names_the_allowed_ones_and_the_nearest() -> None:
    with pytest.raises(BadWord, match=r"--goal: 'latncy' is none of cost, latency\. Did you mean 'latency'\?"):
        read("--goal", "latncy")


def test_a_mistyped_option_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"No option '--bugdet'\. Did you mean '--budget'\?"):
        read("--bugdet", "10")


def test_options_are_not_abbreviated() -> None:
    with pytest.raises(UnknownName, match="--budg"):
        read("--budg", "10")


def test_a_missing_value_is_said() -> None:
    with pytest.raises(BadWord, match="--budget: expected one argument"):
        read("--budget")


def test_a_word_too_many_is_said() -> None:
    with pytest.raises(UnknownName, match="'extra'"):
        read("llama", "extra")


def test_a_bare_word_stands_for_its_option_but_not_beside_it() -> None:
    assert read("llama") == read("--model", "llama")
    with pytest.raises(BadWord, match="give one"):
        read("--model", "llama", "qwen")


def test_a_negative_number_reaches_the_reader() -> None:
    with pytest.raises(BadWord, match="'-5' is below zero"):
        read("--budget", "-5")


def test_help_names_every_option_of_every_command() -> None:
    for name in [*app.command_names(), app.MAIN_JOB]:
        text = app.help_of(name)
        for option in app.load(name).COMMAND.options:
            assert option.spelling in text
        assert max(len(line) for line in text.split("Examples:")[0].splitlines()) <= options.HELP_WIDTH


def test_every_command_is_called_as_its_file_is_named() -> None:
    for name in app.command_names():
        assert app.load(name).COMMAND.words == name
