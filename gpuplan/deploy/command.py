"""The command that starts a replica, taken apart: its model, its options by name, and put together again.

A plan may come from anywhere, so a command is only run when every word of it is one that our engines write: the known
program, known options, values of the right kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from gpuplan.deploy.errors import BadPlan, CannotDeploy
from optimizer.engines.launch import HEAD_ADDRESS

DATA = Path(__file__).resolve().parent / "data"
Values = tuple[str, ...]


@cache
def option_table() -> dict[str, dict[str, Any]]:
    """By engine: its program and the kinds of its options; see data/options.json."""
    table = json.loads((DATA / "options.json").read_text(encoding="utf-8"))
    return {engine: entry for engine, entry in table.items() if engine != "about"}


@dataclass(frozen=True, slots=True)
class Command:
    """A serving command.

    Attributes:
        engine: whose it is.
        launcher: words before the program.
        model: repository or path of the checkpoint.
        options: in the order in which they are written, each with its values; the model is not among them.
    """

    engine: str
    launcher: tuple[str, ...]
    model: str
    options: tuple[tuple[str, Values], ...]

    def kind(self, option: str) -> str:
        """How an option's value is read: "flag", "int", ...; see data/options.json."""
        return str(option_table()[self.engine]["options"][option])

    def value(self, option: str) -> str | None:
        """The first value of an option; None when it is not given."""
        return next((values[0] for name, values in self.options if name == option and values), None)

    def with_option(self, option: str, *values: str) -> Command:
        """The same with one more option."""
        return replace(self, options=(*self.options, (option, values)))

    def without(self, *options: str) -> Command:
        """The same without some options."""
        return replace(self, options=tuple(each for each in self.options if each[0] not in options))

    def without_kind(self, *kinds: str) -> Command:
        """The same without the options of some kinds."""
        return self.without(*(name for name, _ in self.options if self.kind(name) in kinds))

    def serving_on(self, port: int, host: str = "0.0.0.0") -> Command:
        """The same, answering on a port of every network interface: in a container, localhost reaches nobody."""
        entry = option_table()[self.engine]
        return self.with_option(entry["host"], host).with_option(entry["port"], str(port))

    def words(self, head_address: str = HEAD_ADDRESS) -> tuple[str, ...]:
        """The argv.

        Args:
            head_address: of the machine that leads, put in place of HEAD_ADDRESS where an address is expected.
        """
        return tuple(
            word.replace(HEAD_ADDRESS, head_address, 1) if is_address else word for word, is_address in self.tagged()
        )

    def tagged(self) -> Iterator[tuple[str, bool]]:
        """Each word of the argv, and whether it is an address that begins with HEAD_ADDRESS."""
        entry = option_table()[self.engine]
        model = (entry["model"], self.model) if "model" in entry else (self.model,)
        yield from ((word, False) for word in (*self.launcher, *entry["program"], *model))
        for name, values in self.options:
            yield name, False
            led = self.kind(name) == "address"
            yield from ((value, led and value.partition(":")[0] == HEAD_ADDRESS) for value in values)


def read_command(engine: str, words: Sequence[str]) -> Command:
    """Take a plan's command apart.

    Args:
        engine: its engine.
        words: the argv.

    Raises:
        BadPlan: it is no command that this program writes for this engine.
        CannotDeploy: a name in it would be taken for an option.
    """
    if engine not in option_table():
        raise BadPlan(f"The plan's engine {engine!r} is none of {', '.join(option_table())}.")
    entry, left = option_table()[engine], list(words)
    launcher = _taken(left, entry.get("launcher", []))
    if _taken(left, entry["program"]) != tuple(entry["program"]):
        raise BadPlan(f"The plan's command begins with {' '.join(words[:2])!r}, not with {' '.join(entry['program'])}.")
    model = None if "model" in entry else _model(engine, left)
    options = tuple(_options(engine, left))
    if "model" in entry:
        named = dict(options).get(entry["model"])
        if not named:
            raise BadPlan(f"The plan's command names no model: it has no {entry['model']}.")
        model = named[0]
        options = tuple(each for each in options if each[0] != entry["model"])
    return Command(engine, launcher, str(model), options)


def _taken(left: list[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted words, if they stand in front, taken away."""
    found = tuple(left[: len(wanted)])
    if list(found) != list(wanted):
        return ()
    del left[: len(wanted)]
    return found


def _model(engine: str, left: list[str]) -> str:
    if not left or left[0].startswith("-"):
        raise CannotDeploy(f"{engine} would take the model {left[0] if left else ''!r} for an option; rename it.")
    return left.pop(0)


def _options(engine: str, left: list[str]) -> Iterator[tuple[str, Values]]:
    kinds = option_table()[engine]["options"]
    while left:
        name = left.pop(0)
        if name not in kinds:
            raise BadPlan(f"The plan's command has {name!r}, which this program never writes for {engine}.")
        yield name, _values(name, kinds[name], left, kinds)


def _values(name: str, kind: str, left: list[str], kinds: dict[str, str]) -> Values:
    if kind == "flag":
        return ()
    end = next((at for at, word in enumerate(left) if word in kinds), len(left)) if kind == "list" else 1
    values = tuple(left[:end])
    del left[:end]
    if not values or not all(_is_a(kind, value) for value in values):
        raise BadPlan(f"The plan's command has {' '.join(values)[:80]!r} after {name}, which is no {kind}.")
    option = next((value for value in values if value.startswith("-")), None)
    if option is not None:
        raise CannotDeploy(f"{option!r} after {name} would be taken for an option; rename it.")
    return values


def _is_a(kind: str, value: str) -> bool:
    try:
        if kind in {"int", "rank"}:
            return str(int(value)) == value
        if kind == "float":
            return 0 <= float(value) < float("inf")
        return kind != "json" or isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False
