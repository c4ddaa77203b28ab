"""The program `plan` (and `gpuplan`): finds the command, runs it, turns errors into a sentence and an exit status.

A command is a file in `gpuplan/cli/commands/` with `command` (its typer function), `SUMMARY` and `EXAMPLES`; the
file's name is the command's: `read_log.py` is `plan read-log`, and `check_memory.py` is `plan check memory`, because
`check` is a word that another may follow. Only the file of the command that was typed is loaded. Without a
command word, `plan` does the main job: `commands/plan.py`.

Exit status: 0 answered; 2 bad input or an unknown name; 3 nothing fits; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gpuplan.cli import console
from gpuplan.cli.options import Asked, asked_in
from gpuplan.errors import UnknownName, known_errors, nearest

# pydantic otherwise reads the metadata of every installed package in search of plugins, 0.02 s that no plan needs
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

ANSWERED, BAD_INPUT, NOTHING_FITS, STOPPED = 0, 2, 3, 130
MAIN_JOB = "plan"
HOME = "gpuplan.cli.commands"
VERBS = frozenset({"check", "fit", "models", "prices"})
"""First words of commands of two words; `models` is also one by itself."""


class CommandFile(Protocol):
    """What a file in `commands/` must hold."""

    SUMMARY: str
    EXAMPLES: tuple[str, ...]
    command: Callable[..., int | None]


def command_names() -> list[str]:
    """Every command, the main job aside, in alphabetical order."""
    files = (Path(__file__).parent / "commands").glob("[!_]*.py")
    return sorted(_typed(file.stem) for file in files if file.stem != MAIN_JOB)


def _typed(stem: str) -> str:
    """A file's name as one types it.

    >>> _typed("read_log"), _typed("check_memory")
    ('read-log', 'check memory')
    """
    verb, _, rest = stem.partition("_")
    return f"{verb} {rest.replace('_', '-')}".strip() if verb in VERBS else stem.replace("_", "-")


def load(name: str) -> CommandFile:
    """The file of one command."""
    return cast(CommandFile, import_module(f"{HOME}.{name.replace(' ', '_').replace('-', '_')}"))


def _split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The words of the command in front, as one, and the others.

    >>> _split(["check", "memory", "rows.csv"]), _split(["gpus", "--json"])
    (('check memory', ['rows.csv']), ('gpus', ['--json']))
    """
    both = " ".join(words[:2])
    second = len(words) > 1 and not words[1].startswith("-")
    several = 2 if second and words[0] in VERBS and (both in command_names() or words[0] not in command_names()) else 1
    return " ".join(words[:several]), list(words[several:])


class CommandFolder(TyperGroup):
    """The main job, with the other commands found in their folder and loaded when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the files."""
        return command_names()

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the words begin with, and the words after it."""
        name, left = _split(args)
        return name, self.get_command(ctx, name), left

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command in one file, or UnknownName."""
        names = command_names()
        if cmd_name not in names:
            known = ", ".join(names)
            raise UnknownName(f"No command {cmd_name!r}.{nearest(cmd_name, names)} The commands are {known}.")
        return command_of(cmd_name)


def command_of(name: str) -> Any:
    """One command as typer's object."""
    app, file = _app(), load(name)
    app.command(name=name, short_help=file.SUMMARY, help=_help(file), epilog=_examples(file))(file.command)
    return get_command(app)


def _app(**settings: Any) -> typer.Typer:
    """A typer app that leaves errors to `main` and completion to the shell."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", **settings)


def _help(file: CommandFile) -> str:
    """The docstring with each paragraph on one line, for the terminal to wrap."""
    paragraphs = inspect.cleandoc(file.command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _examples(file: CommandFile) -> str:
    return "\n\n".join(["Examples:", *file.EXAMPLES])


def program() -> Any:
    """The whole program as typer's command object."""
    app, main_job = _app(cls=CommandFolder), load(MAIN_JOB)
    describe = app.callback(invoke_without_command=True, help=_help(main_job), epilog=_examples(main_job))
    describe(main_job.command)
    return get_command(app)


def understand(argv: Sequence[str]) -> tuple[str, Asked]:
    """What these words mean, without doing it: the command's name and its values.

    >>> name, asked = understand(["--model", "llama-3.3-70b", "--max-tpot", "25ms"])
    >>> name, asked.max_tpot
    ('plan', 0.025)
    """
    first, after = _split(argv)
    if first in command_names():
        return first, asked_in(command_of(first).make_context(f"{MAIN_JOB} {first}", after))
    return MAIN_JOB, asked_in(program().make_context(MAIN_JOB, list(argv)))


def _speak_plainly() -> None:
    """Let no name that the terminal's encoding lacks end the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _leave_pipe() -> int:
    """The reader has gone (`plan models | head`): write nothing more, say nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ANSWERED


def sentence(error: typer.TyperException) -> str:
    """What typer found wrong, the option's name in front."""
    option = getattr(error, "param", None)
    if isinstance(error, typer.BadParameter) and option is not None and error.message:
        long = [spelling for spelling in option.opts if spelling.startswith("--")]
        return f"{(long or option.opts)[0]}: {error.message}"
    text = (isinstance(error, typer.BadParameter) and error.message) or error.format_message()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else MAIN_JOB
    return f"{text.rstrip('.')}. `{command} --help` lists what can be typed." if "--help" not in text else text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: the words after the program's name; None takes them from the process.

    Returns:
        The exit status.
    """
    _speak_plainly()
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        # `gpuplan plan --model X` is what one types without having read that the main job needs no word
        status = program().main(
            args=words[1:] if words[:1] == [MAIN_JOB] else words, prog_name="plan", standalone_mode=False
        )
        sys.stdout.flush()
        return _stopped() if status == STOPPED else int(status or ANSWERED)
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except BrokenPipeError:
        return _leave_pipe()
    except SystemExit:  # typer has met a reader that left early, and has hushed stdout
        return ANSWERED
    except typer.TyperException as error:
        console.complain(sentence(error))
        return BAD_INPUT
    except known_errors() as error:
        console.complain(*(getattr(error, "sentences", None) or (str(error),)))
        return BAD_INPUT


def _stopped() -> int:
    console.complain("stopped")
    return STOPPED


if __name__ == "__main__":
    sys.exit(main())
