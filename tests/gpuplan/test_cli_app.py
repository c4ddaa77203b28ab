"""Words in, exit status and one sentence out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from gpu_db.offer import Billing, Restriction
from gpuplan import __main__ as start
from gpuplan.cli import app, console, question
from gpuplan.cli.commands import plan as main_job
from optimizer.errors import BadRequirements
from optimizer.requirements import Demand, Objective, Requirements

ROOT = Path(__file__).resolve().parent.parent.parent


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What stderr says of words that must be refused."""
    assert app.main(argv) == app.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["gpuz"], "No command 'gpuz'. Did you mean 'gpus'"),
        (["--modle", "x"], "No such option: --modle (Possible options: "),
        ([], "Say which model: --model"),
        (["--model", ""], "--model: a name is needed"),
        (["--model", "x", "--budget", "10$"], "--budget: '10$' is not a price in USD per hour"),
        (["--model", "x", "--min-tps", "nan"], "--min-tps: 'nan' is not a rate"),
        (["--model", "x", "--min-tps", "1e400"], "--min-tps: '1e400' is too large"),
        (["--model", "x", "--min-tps", "-3"], "--min-tps: '-3' is not above zero"),
        (["--model", "x", "--objective", "speed"], "--objective: 'speed' is none of cost, throughput"),
        (["--model", "x", "--objective", "throughput"], "needs --budget or --max-gpus"),
        (["--model", "x", "--alternatives", "2000"], "--alternatives:"),
        (["--model", "x"], "Say how much must be served: --min-tps"),
        (["--model", "x", "surplus"], "No command 'surplus'"),
        (["--model", "a\x1b[2J"], "holds characters that no name has"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence_and_exit_2(capsys, argv: list[str], said: str) -> None:
    assert said in complaint(capsys, *argv)


def test_help_is_printed_and_exit_is_0(capsys) -> None:
    assert app.main(["--help"]) == app.ANSWERED
    out, err = capsys.readouterr()
    assert "Usage: plan" in out
    assert "Exit status: 0 a plan" in out
    assert err == ""


def test_the_main_job_may_be_called_by_name(capsys) -> None:
    assert app.main(["plan", "--version"]) == app.main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_an_option_of_the_main_job_is_not_silently_lost_before_a_command(capsys) -> None:
    assert "--model belongs to the main job" in complaint(capsys, "--model", "x", "gpus")


def test_the_version_is_that_of_the_package(capsys) -> None:
    import gpuplan

    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpuplan {gpuplan.__version__}\n"


def test_the_schema_names_the_fields_that_are_promised(capsys) -> None:
    import json

    assert app.main(["schema"]) == 0
    fields = set(json.loads(capsys.readouterr().out)["properties"])
    promised = {"status", "cost_usd_per_hour", "bound_usd_per_hour", "lines", "rejections", "relaxations"}
    assert promised | {"prices_as_of", "warnings", "schema_version"} <= fields


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch):
    """Let `gpuplan.planning.plan` give a ready answer, or raise one."""

    def answer_with(answer: object) -> None:
        def plan(requirements: object, **_: object) -> object:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr("gpuplan.planning.plan", plan)

    return answer_with


QUESTION = ("--model", "x", "--min-tps", "1")


def test_json_is_one_object_that_reads_back_as_the_plan(capsys, answering, solved) -> None:
    answering(solved)
    assert app.main([*QUESTION, "--json"]) == 0
    out, err = capsys.readouterr()
    assert type(solved).model_validate_json(out) == solved
    assert err == ""


def test_nothing_fits_is_exit_3_with_its_json_on_stdout(capsys, answering, unsolved) -> None:
    answering(unsolved)
    assert app.main([*QUESTION, "--json"]) == app.NOTHING_FITS
    assert type(unsolved).model_validate_json(capsys.readouterr().out) == unsolved
    assert app.main(QUESTION) == app.NOTHING_FITS
    assert "Nothing fits" in capsys.readouterr().out


def test_quiet_is_one_line_and_the_command(capsys, answering, solved) -> None:
    answering(solved)
    assert app.main([*QUESTION, "-q"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_ctrl_c_leaves_cleanly(capsys, answering) -> None:
    answering(KeyboardInterrupt())
    assert app.main(QUESTION) == app.STOPPED
    assert capsys.readouterr().err == "plan: stopped\n"


def test_ctrl_c_leaves_cleanly_while_the_program_still_loads(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gpuplan.cli.app.main", interrupted)
    assert start.main() == app.STOPPED
    assert capsys.readouterr().err == "plan: stopped\n"


def test_an_error_of_ours_is_a_sentence_with_nothing_on_stdout(capsys, answering) -> None:
    answering(BadRequirements("This cannot be."))
    assert complaint(capsys, *QUESTION, "--json") == "plan: This cannot be.\n"


def test_a_bug_of_ours_is_not_hidden(answering) -> None:
    answering(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        app.main(QUESTION)


def options_of_the_main_job() -> set[str]:
    return {option.name for option in app.program().params} - {"help"}


def test_every_option_of_the_main_job_reaches_the_question() -> None:
    """An option that nobody reads would be a promise that is not kept."""
    elsewhere = {"prices_as_of", "offers", "offline", "factors", "no_mix", "json", "quiet", "verbose", "version"}
    elsewhere |= {"pue", "electricity", "grid"}  # what powers the machines
    elsewhere |= {"save", "from_", "url", "from_url"}  # the question and its plan, kept and taken up again
    elsewhere |= {"deploy", "format", "force"}  # files that start the plan
    assert options_of_the_main_job() == set(question.PLACES) | set(ADDED) | elsewhere


ADDED = {
    "isl": "2k",
    "osl": "1k",
    "lengths": "1k:1,2k:1",
    "shared_prefix_tokens": "100",
    "prefix_hit_rate": "0.5",
    "speculative": "mtp:2",
    "acceptance_rate": "0.5",
    "max_lora_rank": "8",
    "max_loras": "3",
    "lora_target_modules": "q_proj",
    "language_model_only": "",
    "decode_context_parallel": "2",
}
"""Options that together make the workload and the engine's options, with a value that is not the default."""


@pytest.mark.parametrize("name", ADDED)
def test_each_option_of_workload_and_engine_changes_the_question(name: str) -> None:
    plain = ["--model", "x", "--min-tps", "1"]
    plain += ["--speculative", "mtp:1"] if name == "acceptance_rate" else []
    words = [f"--{name.replace('_', '-')}", *([ADDED[name]] if ADDED[name] else [])]
    asked = [question.requirements_of(app.understand(argv)[1]) for argv in (plain, [*plain, *words])]
    assert asked[0] != asked[1]
    assert (asked[0].workload, asked[0].options) != (asked[1].workload, asked[1].options)


def test_defaults_in_the_help_are_those_of_the_requirements() -> None:
    _, asked = app.understand(["--model", "x", "--min-tps", "1"])
    assert question.requirements_of(asked) == Requirements(model="x", demand=Demand(output_tokens_per_second=1))


def test_choices_in_the_help_are_all_that_exist() -> None:
    assert tuple(Objective) == main_job.OBJECTIVES
    assert get_args(Billing) == main_job.BILLINGS
    assert get_args(Restriction) == main_job.RESTRICTIONS


def test_typed_words_become_the_requirements_they_mean() -> None:
    typed = "--model m --concurrency 8 --isl 2k --max-tpot 25ms --gpu H100,L4 --gpu A100 --no-mix --max-gpus 4"
    _, values = app.understand(typed.split(" "))
    asked = question.requirements_of(values)
    assert asked.demand.concurrency == 8
    assert asked.workload.input_tokens == 2000
    assert asked.service_level.tpot_seconds == 0.025
    assert asked.choices.gpus == ("H100", "L4", "A100")
    assert not asked.choices.mix
    assert asked.limits.gpus == 4


def run_in_shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False)


def test_a_reader_that_leaves_early_is_not_an_error() -> None:
    done = run_in_shell('set -o pipefail; "$PYTHON" -m gpuplan schema | true')
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_unicode_is_no_reason_to_fail() -> None:
    done = run_in_shell('"$PYTHON" -m gpuplan --model "Ωμέγα" --min-tps x', PYTHONIOENCODING="ascii")
    assert done.returncode == app.BAD_INPUT
    assert done.stderr.count("\n") == 1


def test_show_writes_what_render_renders(capsys) -> None:
    console.show([("a", console.Styled("b", "bold"))])
    assert capsys.readouterr().out == "ab\n"
