"""Options as a table: the parser, `--help` and docs/cli.md are all made from it.

Why not typer: since 0.29 it loads pydantic and builds one validator per option before anything runs, 0.2 s of a
one-second answer, and `plan --help` could not stay free of it. Why not rich: 0.1 s, for tables that `console` aligns.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from gpuplan.errors import BadWord, UnknownName, nearest

HELP_WIDTH = 100

Asked = argparse.Namespace
"""What was typed, as values by option key."""


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        name: as typed, such as "--max-ttft".
        help: one sentence, without a full stop; says the unit and the default.
        read: turns the typed word into a value, raising BadWord; None for a flag that is given or not.
        metavar: what stands for the value in `--help`.
        default: the value when it is not given.
        many: whether it can be repeated, and its value separated by commas; the value is then a tuple or None.
        choices: the only words that it takes; None = `read` decides.
        short: one-letter form, such as "-q".
    """

    name: str
    help: str
    read: Callable[[str], object] | None = None
    metavar: str = ""
    default: object = None
    many: bool = False
    choices: tuple[str, ...] | None = None
    short: str | None = None

    @property
    def key(self) -> str:
        """Name of its value: "max_ttft"."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def spelling(self) -> str:
        """How `--help` shows it: "-q, --quiet" or "--budget USD"."""
        flags = f"{self.short}, {self.name}" if self.short else self.name
        return f"{flags} {self.metavar}{',...' if self.many else ''}".rstrip()


@dataclass(frozen=True)
class Group:
    """Options that belong together, under one title in `--help`."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Command:
    """What a command is: how it is called, what it says of itself, what it takes.

    Attributes:
        words: what one types to call it, such as "gpus"; "" for the main job.
        summary: one line.
        description: what it prints and when it fails, as paragraphs.
        groups: its options.
        positional: the option that its one positional word stands for, such as "--model"; None = it has none.
        examples: command lines that work.
    """

    words: str
    summary: str
    description: str
    groups: tuple[Group, ...]
    positional: str | None = None
    examples: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[Option, ...]:
        """All its options, in the order of `--help`."""
        return tuple(option for group in self.groups for option in group.options)

    @property
    def positional_option(self) -> Option | None:
        """The option that a bare word stands for."""
        return next((option for option in self.options if option.name == self.positional), None)


HELP = Option("--help", "Show this text and leave", short="-h")


class _Parser(argparse.ArgumentParser):
    """Splits words; says nothing and never leaves the program by itself."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would have printed."""
        raise BadWord(message.removeprefix("argument "))


def _splitter(command: Command) -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False, prog="plan")
    for option in (*command.options, HELP):
        flags = [option.short, option.name] if option.short else [option.name]
        action = "store_true" if option.read is None else "append" if option.many else "store"
        parser.add_argument(*flags, dest=option.key, action=action, default=None)
    parser.add_argument("words", nargs="*")
    return parser


def _value(option: Option, word: str) -> object:
    """One typed word -> its value; the option's name goes in front of what was wrong."""
    assert option.read is not None
    try:
        if option.choices is not None and word not in option.choices:
            raise BadWord(f"{word!r} is none of {', '.join(option.choices)}.{nearest(word, option.choices)}")
        return option.read(word)
    except BadWord as wrong:
        raise BadWord(f"{option.name}: {wrong}") from None


def _typed(option: Option, given: str | list[str] | bool | None) -> object:
    """What one option's words mean: a flag's bool, one value, or a tuple of values."""
    if option.read is None:
        return bool(given)
    if given is None:
        return option.default
    if not isinstance(given, list):
        return _value(option, str(given))
    return tuple(_value(option, word.strip()) for each in given for word in each.split(","))


def _refuse_extras(command: Command, left: Sequence[str]) -> None:
    """Raise for what is neither an option nor an expected word."""
    known = [option.name for option in (*command.options, HELP)]
    for word in left:
        if word.startswith("-"):
            bare = word.partition("=")[0]
            raise UnknownName(f"No option {bare!r}.{nearest(bare, known)} `{_called(command)} --help` lists them all.")
        raise UnknownName(f"{word!r} was not expected here. `{_called(command)} --help` shows what is.")


def _called(command: Command) -> str:
    return f"plan {command.words}".rstrip()


def read(command: Command, argv: Sequence[str]) -> Asked:
    """The words after a command -> its options' values by key.

    Args:
        command: what may be typed.
        argv: what was typed after the command's own words.

    Returns:
        A namespace with one attribute per option (`max_ttft`), one for the positional, and `help`.

    Raises:
        BadWord: a value cannot be read.
        UnknownName: an option or word that the command does not have.
    """
    split, left = _splitter(command).parse_known_args(list(argv))
    given = vars(split)
    if given["help"]:
        return Asked(help=True)
    positionals = given["words"]
    _refuse_extras(command, left)
    bare = command.positional_option
    _refuse_extras(command, positionals[1 if bare else 0 :])
    if bare and positionals:
        if given[bare.key] is not None:
            raise BadWord(f"{bare.name} was given, and {positionals[0]!r} beside it; give one.")
        given[bare.key] = positionals[0]
    asked = {option.key: _typed(option, given[option.key]) for option in command.options}
    return Asked(help=False, **asked)


def _option_lines(options: Sequence[Option]) -> list[str]:
    column = 30
    lines: list[str] = []
    for option in options:
        text = textwrap.wrap(_sentence(option), HELP_WIDTH - column, break_on_hyphens=False)
        head = f"  {option.spelling}"
        first = text.pop(0) if len(head) < column - 1 else ""
        lines.append(f"{head:<{column}}{first}".rstrip())
        lines += [" " * column + line for line in text]
    return lines


def _sentence(option: Option) -> str:
    choices = f": {', '.join(option.choices)}" if option.choices else ""
    default = f" (default: {option.default})" if option.default is not None else ""
    return f"{option.help}{choices}{default}"


def help_text(command: Command, others: Sequence[tuple[str, str]] = ()) -> str:
    """The text of `--help`, at a fixed width so that it reads the same everywhere.

    Args:
        command: whose help.
        others: other commands and their summaries, listed at the end.
    """
    word = f" [{command.positional_option.metavar}]" if command.positional_option else ""
    lines = [f"Usage: {_called(command)}{word} [options]", "", command.summary, ""]
    for paragraph in command.description.split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), HELP_WIDTH), ""]
    for group in (*command.groups, Group("Help", (HELP,))):
        lines += [f"{group.title}:", *_option_lines(group.options), ""]
    if others:
        lines += ["Other commands:", *(f"  {name:<16}{summary}" for name, summary in others), ""]
    if command.examples:
        lines += ["Examples:", *(f"  {example}" for example in command.examples), ""]
    return "\n".join(lines)
