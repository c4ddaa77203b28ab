"""How things are printed: aligned columns, bars and a few colours, on a terminal; the same words in a pipe.

Nothing else of this program writes to the terminal. Text from outside (names, notes, prices' sources) is shown with its
control characters spelt out, so that no file can move the cursor or fake a line.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

GIB = 1 << 30
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Styled:
    """Text with a style: one of "bold", "dim", "red", "green", "yellow", "cyan", or "" for none."""

    text: str
    style: str = ""


Part = str | Styled
Line = tuple[Part, ...]


@dataclass(frozen=True)
class Ink:
    """What the place that is printed to can show.

    Attributes:
        colour: whether it understands colours.
        blocks: whether it can show block characters.
        width: columns.
        terminal: whether somebody looks at it; what a pipe takes may be wider.
    """

    colour: bool = False
    blocks: bool = True
    width: int = 100
    terminal: bool = False


def ink_of(stream: TextIO) -> Ink:
    """What a stream can show: colours on a terminal unless NO_COLOR is set, blocks when its encoding has them."""
    terminal = stream.isatty()
    colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    blocks = "utf" in (stream.encoding or "ascii").lower()
    width = shutil.get_terminal_size((100, 40)).columns if terminal else 100
    return Ink(colour, blocks, max(60, min(width, 140)), terminal)


def clean(text: str) -> str:
    r"""Text with every control and other unprintable character spelt out.

    >>> clean("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def _painted(part: Part, ink: Ink) -> str:
    if isinstance(part, str):
        return clean(part)
    if not ink.colour or not part.style:
        return clean(part.text)
    return f"\x1b[{_CODES[part.style]}m{clean(part.text)}\x1b[0m"


def _width(line: Line) -> int:
    return sum(len(clean(part if isinstance(part, str) else part.text)) for part in line)


def render(lines: Sequence[Line], ink: Ink) -> str:
    """Lines -> text, each ended by a newline and without blanks at its end."""
    return "".join("".join(_painted(part, ink) for part in line).rstrip() + "\n" for line in lines)


def screen() -> Ink:
    """What stdout can show."""
    return ink_of(sys.stdout)


def show(lines: Sequence[Line]) -> None:
    """Print lines on stdout."""
    sys.stdout.write(render(lines, screen()))


class Jsonable(Protocol):
    """An answer that knows its JSON."""

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """The answer as JSON text."""
        ...


def show_answer(answer: Jsonable, page: Callable[[Ink], Sequence[Line]], *, as_json: bool) -> None:
    """Print an answer as one JSON object, or as the page that `page` makes for this screen."""
    if as_json:
        show_json(answer.model_dump_json(indent=2))
    else:
        show(page(screen()))


def show_rows(rows: Sequence[object], page: Callable[[Ink], Sequence[Line]], *, as_json: bool) -> None:
    """Print a table as a JSON list of objects, or as the lines that `page` makes for this screen."""
    if as_json:
        import json

        show_json(json.dumps(rows, indent=2, ensure_ascii=False, default=str))
    else:
        show(page(screen()))


def show_json(text: str) -> None:
    """Print one JSON text on stdout and nothing else."""
    sys.stdout.write(text + "\n")


def show_text(text: str) -> None:
    """Print a file's text on stdout as it is."""
    sys.stdout.write(text)


def show_csv(text: str) -> None:
    """Print a table in CSV on stdout and nothing else."""
    sys.stdout.write(text)


def complain(sentence: str, *others: str) -> None:
    """Print one sentence on stderr, or several, each on a line of its own."""
    for line in (f"plan: {sentence}", *(f"      {other}" for other in others)):
        sys.stderr.write(clean(line) + "\n")


def progress(unit: str = "USD/h") -> Callable[[int, int], None] | None:
    """Where a search says how far it is: one line on stderr, overwritten; None when stderr is no terminal."""
    if not sys.stderr.isatty():
        return None

    def say(cost_micro_usd: int, bound_micro_usd: int) -> None:
        far = max(cost_micro_usd - bound_micro_usd, 0) / max(cost_micro_usd, 1)
        _overwrite(f"{usd(cost_micro_usd / 1e6)} {unit} found, at least {usd(bound_micro_usd / 1e6)}, gap {far:.2%}")

    return say


def notice() -> Callable[[str], None] | None:
    """Where a job says what it is at, on the line of `progress`; None when stderr is no terminal."""
    return _overwrite if sys.stderr.isatty() else None


def _overwrite(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def hush() -> None:
    """Remove the line of `progress`."""
    if sys.stderr.isatty():
        _overwrite("")


def aligned(rows: Sequence[Sequence[Part]], right: Sequence[int] = (), indent: int = 2, gap: int = 2) -> list[Line]:
    """Rows of cells -> lines whose columns stand under each other.

    Args:
        rows: cells; short rows are allowed.
        right: which columns are aligned to the right (numbers).
        indent: blanks before each line.
        gap: blanks between columns.
    """
    columns = max((len(row) for row in rows), default=0)
    widths = [max((_width((row[at],)) for row in rows if at < len(row)), default=0) for at in range(columns)]
    lines: list[Line] = []
    for row in rows:
        parts: list[Part] = [" " * indent]
        for at, cell in enumerate(row):
            blank = " " * (widths[at] - _width((cell,)))
            parts += [blank, cell] if at in right else [cell, blank]
            parts.append(" " * gap)
        lines.append(tuple(parts))
    return lines


def fitted(rows: Sequence[Sequence[Part]], ink: Ink, right: Sequence[int], spare: Sequence[int]) -> list[Line]:
    """A table with a header, without as many of its spare columns as a terminal has no room for.

    Args:
        rows: the header, then cells; all equally long.
        ink: the screen; what goes elsewhere keeps all columns.
        right: which columns are aligned to the right.
        spare: columns that can be given up, the first one first.
    """
    for given_up in range(len(spare) + 1):
        kept = [at for at in range(len(rows[0])) if at not in spare[:given_up]]
        lines = aligned([[row[at] for at in kept] for row in rows], [kept.index(at) for at in right if at in kept])
        if not ink.terminal or max(map(_width, lines)) <= ink.width:
            break
    return lines


def header(names: Sequence[str]) -> list[Part]:
    """The first row of a table."""
    return [Styled(name, "dim") for name in names]


def wrapped(text: str, ink_width: int, indent: int, style: str = "", mark: str = "") -> list[Line]:
    """One paragraph -> lines that fit, the later ones under the first's text."""
    room = max(20, ink_width - indent - len(mark))
    pieces = textwrap.wrap(clean(text), room, break_long_words=False, break_on_hyphens=False) or [""]
    heads = [mark, *[" " * len(mark)] * (len(pieces) - 1)]
    return [(" " * indent, head, Styled(piece, style)) for head, piece in zip(heads, pieces, strict=True)]


def bar(part: float, whole: float, width: int, ink: Ink) -> str:
    """A bar that fills `part / whole` of `width` columns, in eighths of a column where the terminal can.

    >>> bar(1, 2, 4, Ink(blocks=False))
    '##..'
    """
    eighths = round(max(0.0, min(1.0, part / whole if whole > 0 else 0.0)) * width * 8)
    if not ink.blocks:
        return ("#" * (eighths // 8)).ljust(width, ".")
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def gib(size_bytes: float) -> str:
    """Bytes as GiB with two decimals.

    >>> gib(3 * 2**30)
    '3.00'
    """
    return f"{size_bytes / GIB:,.2f}"


def usd(amount: float) -> str:
    """An amount of USD: cents, and three significant digits below one.

    >>> [usd(2905.4), usd(9.8), usd(0.0412), usd(0)]
    ['2,905.40', '9.80', '0.0412', '0.00']
    """
    if 0 < abs(amount) < 0.1:
        return f"{amount:.3g}"
    return f"{amount:,.2f}"


def duration(length_seconds: float) -> str:
    """A duration in the unit that reads best.

    >>> [duration(0.0254), duration(0.31), duration(2.5), duration(150)]
    ['25.4 ms', '310 ms', '2.50 s', '150 s']
    """
    if length_seconds < 0.1:
        return f"{length_seconds * 1e3:.3g} ms"
    if length_seconds < 1:
        return f"{length_seconds * 1e3:.0f} ms"
    return f"{length_seconds:.2f} s" if length_seconds < 10 else f"{length_seconds:,.0f} s"


def quantity(number: float) -> str:
    """A count or a rate: no decimals from 100 on, three significant digits below.

    >>> [quantity(12345.6), quantity(99.96), quantity(3.14159)]
    ['12,346', '100', '3.14']
    """
    return f"{number:,.0f}" if abs(number) >= 99.95 else f"{number:.3g}"


def big(number: float) -> str:
    """A parameter count in the words people use.

    >>> [big(70_553_706_496), big(494_032_768), big(1_026_000_000_000)]
    ['70.6B', '494M', '1.03T']
    """
    for scale, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= scale:
            return f"{number / scale:.3g}{unit}"
    return f"{number:.0f}"
