"""The program `plan` (and `gpuplan`): finds the command, runs it, turns errors into a sentence and an exit status.

A command is a file in `gpuplan/cli/commands/` with `COMMAND` (what may be typed) and `run(asked) -> exit status`; its
file name is its words (`models.py` is `plan models`, `check_memory.py` is `plan check memory`). Only the file of the
command that was typed is loaded. Without a command word, `plan` does the main job: `commands/plan.py`.

Exit status: 0 answered; 2 bad input or an unknown name; 3 nothing fits; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from gpuplan.cli import console, options
from gpuplan.errors import UnknownName, nearest

# pydantic otherwise reads the metadata of every installed package in search of plugins, 0.02 s that no plan needs
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

ANSWERED, BAD_INPUT, NOTHING_FITS, STOPPED = 0, 2, 3, 130
MAIN_JOB = "plan"
HOME = "gpuplan.cli.commands"


class CommandFile(Protocol):
    """What a file in `commands/` must hold."""

    COMMAND: options.Command

    def run(self, asked: options.Asked) -> int:
        """Do it and return the exit status."""


def command_names() -> list[str]:
    """Every command's words, the main job's aside, in alphabetical order."""
    files = (Path(__file__).parent / "commands").glob("[!_]*.py")
    return sorted(file.stem.replace("_", " ") for file in files if file.stem != MAIN_JOB)


def load(name: str) -> CommandFile:
    """The file of one command, by its words."""
    return cast(CommandFile, import_module(f"{HOME}.{name.replace(' ', '_')}"))


def _leading_words(argv: Sequence[str]) -> list[str]:
    """The words before the first option."""
    ends = [at for at, word in enumerate(argv) if word.startswith("-")]
    return list(argv[: ends[0]] if ends else argv)


def find(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Which command was typed, and the words after its own.

    >>> find(["gpus", "--json"])
    ('gpus', ['--json'])
    >>> find(["--model", "llama-3.3-70b"])
    ('plan', ['--model', 'llama-3.3-70b'])
    """
    leading = _leading_words(argv)
    names = [*command_names(), MAIN_JOB]
    for length in (2, 1):
        name = " ".join(leading[:length])
        if len(leading) >= length and name in names:
            return name, list(argv[length:])
    if leading:
        known = ", ".join(names)
        raise UnknownName(f"No command {leading[0]!r}.{nearest(leading[0], names)} The commands are {known}.")
    return MAIN_JOB, list(argv)


def help_of(name: str) -> str:
    """The help text of one command; the main job's lists the others."""
    others = [(each, load(each).COMMAND.summary) for each in command_names()] if name == MAIN_JOB else []
    return options.help_text(load(name).COMMAND, others)


def _run(argv: Sequence[str]) -> int:
    name, left = find(argv)
    file = load(name)
    asked = options.read(file.COMMAND, left)
    if asked.help:
        sys.stdout.write(help_of(name))
        return ANSWERED
    return file.run(asked)


def known_errors() -> tuple[type[Exception], ...]:
    """The roots of the four packages' error trees: what a person, not a programmer, can mend."""
    from catalog.errors import CatalogError
    from gpu_db.errors import GpuDbError
    from gpuplan.errors import GpuplanError
    from optimizer.errors import OptimizerError

    return (CatalogError, GpuDbError, GpuplanError, OptimizerError)


def _speak_plainly() -> None:
    """Let no name that the terminal's encoding lacks end the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _leave_pipe() -> int:
    """The reader has gone (`plan models | head`): write nothing more, say nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ANSWERED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: the words after the program's name; None takes them from the process.

    Returns:
        The exit status.
    """
    _speak_plainly()
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        console.complain("stopped")
        return STOPPED
    except BrokenPipeError:
        return _leave_pipe()
    except known_errors() as error:
        console.complain(str(error))
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
