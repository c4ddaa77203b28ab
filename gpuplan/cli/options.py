"""Options in typer's terms: a reader of `words` as the parser, one sentence when it refuses, a title in `--help`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import typer

from gpuplan.cli import words
from gpuplan.errors import BadWord, nearest

Asked = SimpleNamespace
"""What was typed, as values by parameter name."""

Reader = Callable[[str], object]
PRINTING = "What is printed"
MODEL_HELP = "A bundled model's name or alias, a folder with its config.json, or any repository on the Hub: owner/name"
REVISION_HELP = "A branch, tag or commit of the repository on the Hub, even if the model is bundled"
OFFLINE_HELP = "Never ask the Hub; what was read of it before still counts (also HF_HUB_OFFLINE=1)"


def option(name: str, help: str, read: Reader, metavar: str, panel: str, choices: Iterable[str] | None = None) -> Any:
    """An option with one value.

    Args:
        name: as typed, such as "--max-ttft"; may hold another spelling: "--max-lora-rank --lora-rank".
        help: one sentence without a full stop, with its unit.
        read: turns the typed word into the value, raising BadWord.
        metavar: what stands for the value in `--help`.
        panel: the title that it stands under.
        choices: the only words that it takes; None = `read` decides.
    """
    allowed = tuple(choices or ())
    text = f"{help}: {', '.join(allowed)}" if allowed else help
    parse = _parser(read, allowed)
    return typer.Option(*name.split(" "), help=text, parser=parse, metavar=metavar, rich_help_panel=panel)


def argument(help: str, read: Reader, metavar: str) -> Any:
    """A word without an option's name in front."""
    return typer.Argument(help=help, parser=_parser(read, ()), metavar=metavar, show_default=False)


def arguments(help: str, read: Reader, metavar: str) -> Any:
    """One or more words without an option's name in front."""
    return typer.Argument(help=help, parser=_parser(read, ()), metavar=f"{metavar}...", show_default=False)


def factor_folder(panel: str) -> Any:
    """`--factors`: what every command that predicts speed takes."""
    help = "A folder that `plan fit serving` wrote, instead of the bundled factors"
    return option("--factors", help, words.name, "DIR", panel)


def config_folder(panel: str) -> Any:
    """`--configs`: what every command that reads a table of models takes."""
    help = "A folder of folders owner--name with a config.json, for models that are not bundled"
    return option("--configs", help, words.name, "DIR", panel)


def several(name: str, help: str, metavar: str, panel: str, choices: Iterable[str] | None = None) -> Any:
    """An option with several names: repeated, or separated by commas."""
    allowed = tuple(choices or ())
    text = f"{help}: {', '.join(allowed)}" if allowed else help
    parse = _parser(words.name, allowed)

    def split(given: list[str] | None) -> list[object] | None:
        return [parse(word.strip()) for each in given for word in each.split(",")] if given else None

    return typer.Option(*name.split(" "), help=text, callback=split, metavar=f"{metavar},...", rich_help_panel=panel)


def flag(names: str, help: str, panel: str) -> Any:
    """An option that is given or not; `names` may hold a short form: "--quiet -q"."""
    return typer.Option(*names.split(" "), help=help, rich_help_panel=panel)


def _parser(read: Reader, allowed: tuple[str, ...]) -> Callable[[Any], Any]:
    """What typer calls with a typed word, and with a default that needs no reading."""

    def parse(word: Any) -> object:
        if not isinstance(word, str):
            return word
        try:
            value = read(word)
            if allowed and value not in allowed:
                raise BadWord(f"{word!r} is none of {', '.join(allowed)}.{nearest(word, allowed)}")
            return value
        except BadWord as wrong:
            raise typer.BadParameter(str(wrong)) from None

    return parse


def asked_in(context: typer.Context) -> Asked:
    """The values of a command's options, defaults included."""
    return Asked(**context.params)


def given_in(context: typer.Context) -> list[str]:
    """Parameters that were typed, not left at their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
