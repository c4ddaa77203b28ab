"""Options read words by their own readers, refuse in one sentence, and stand in the help."""

from __future__ import annotations

import pytest
import typer

from gpuplan.cli import app
from gpuplan.errors import UnknownName


def understood(*argv: str):
    return app.understand(argv)[1]


def refusal(*argv: str) -> str:
    with pytest.raises((typer.TyperException, UnknownName)) as refused:
        app.understand(argv)
    error = refused.value
    return app.sentence(error) if isinstance(error, typer.TyperException) else str(error)


def test_options_are_read_by_their_own_readers() -> None:
    asked = understood("--model", "m", "--budget", "10", "--gpu", "H100, A100", "--gpu=L4", "--json")
    assert (asked.model, asked.budget, asked.gpu, asked.json) == ("m", 10.0, ["H100", "A100", "L4"], True)


def test_what_is_not_given_is_its_default_or_none() -> None:
    asked = understood()
    assert (asked.model, asked.budget, asked.gpu, asked.objective, asked.json) == (None, None, None, "cost", False)
    assert (asked.isl, asked.time_limit) == (1024, 10.0)


def test_a_bad_value_names_its_option() -> None:
    assert refusal("--budget", "10$").startswith("--budget: '10$' is not a price")
    assert refusal("--gpu", "H100,,A100").startswith("--gpu: a name is needed")


def test_an_unknown_choice_names_the_allowed_ones_and_the_nearest() -> None:
    said = "--objective: 'latncy' is none of cost, throughput, latency, energy. Did you mean 'latency'?"
    assert refusal("--objective", "latncy") == said
    assert "Did you mean 'on-demand' or" in refusal("--billing", "spot,ondemand")


def test_a_mistyped_option_names_the_nearest() -> None:
    said = refusal("--bugdet", "10")
    assert "--bugdet" in said
    assert "--budget" in said


def test_help_is_that_of_the_command_that_was_typed() -> None:
    assert refusal("gpus", "H100").endswith("`plan gpus --help` lists what can be typed.")
    assert refusal("check", "memory", "--gpus").endswith("`plan check memory --help` lists what can be typed.")
    assert refusal("--budgt", "3").endswith("`plan --help` lists what can be typed.")


def test_an_option_is_no_second_word_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["prices", "--gpu", "A40"]) == app.BAD_INPUT
    assert capsys.readouterr().err.startswith("plan: No command 'prices'. Did you mean 'prices diff'")


def test_options_are_not_abbreviated() -> None:
    assert "--budg" in refusal("--budg", "10")


def test_a_missing_value_is_said() -> None:
    assert "--budget" in refusal("--budget")


def test_a_word_too_many_is_said() -> None:
    assert "surplus" in refusal("gpus", "surplus")
    assert "No command 'surplus'" in refusal_of_running("surplus")


def refusal_of_running(*argv: str) -> str:
    with pytest.raises(UnknownName) as refused:
        app.program().main(args=list(argv), standalone_mode=False)
    return str(refused.value)


def test_a_negative_number_reaches_the_reader() -> None:
    assert "'-5' is below zero" in refusal("--budget", "-5")


def test_a_bare_word_stands_for_the_model_of_a_calculator() -> None:
    assert understood("memory", "llama", "--gpu", "L4").name == "llama"


def test_every_command_has_a_summary_examples_and_described_options() -> None:
    for name in [app.MAIN_JOB, *app.command_names()]:
        file = app.load(name)
        assert file.SUMMARY.endswith(".")
        assert file.EXAMPLES
        command = app.program() if name == app.MAIN_JOB else app.command_of(name)
        assert all(option.help for option in command.params)
        names = [spelling for option in command.params for spelling in option.opts]
        assert len(names) == len(set(names))


def test_help_names_every_option_and_command(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 200)
    assert app.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(spelling in text for option in app.program().params for spelling in option.opts)
    assert all(app.load(name).SUMMARY in text for name in app.command_names())
