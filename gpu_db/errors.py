"""What can be wrong with machines and prices, drawn once.

    GpuDbError
    ├── UnknownName            a word that a person typed is not in the tables; str() names the nearest words
    │   ├── UnknownGpu
    │   │   └── AmbiguousGpu   the word names several GPUs and none of them is what people usually mean
    │   ├── UnknownProvider
    │   ├── UnknownInstanceType
    │   ├── UnknownRegion
    │   ├── UnknownBilling
    │   └── UnknownRestriction
    ├── OfferFileError         the user's own offers file; .problems holds one sentence each
    └── BadGpuDb               a bundled file is broken: a bug of ours, or a half-edited checkout

Every str() is for people: what was wrong, the value, what is allowed, the next step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

_SHOWN_PROBLEMS = 20
_SHOWN_CHARACTERS = 60


class GpuDbError(Exception):
    """Anything wrong with machines or prices."""


class UnknownName(GpuDbError):
    """A word that names nothing in the tables.

    Attributes:
        name: the word.
        nearest: known words that look like it, best first.
    """

    def __init__(self, kind: str, name: str, known: Collection[str], next_step: str) -> None:
        self.name = name
        self.nearest = nearest_names(name, known)
        hint = f" Did you mean {' or '.join(repr(word) for word in self.nearest)}?" if self.nearest else ""
        super().__init__(f"No {kind} named {shown(name)}.{hint} {next_step}")


class UnknownGpu(UnknownName):
    """No GPU has this name or alias."""


class AmbiguousGpu(UnknownGpu):
    """The word names several GPUs."""

    def __init__(self, name: str, gpus: Sequence[str]) -> None:
        self.name = name
        self.nearest = tuple(gpus)
        GpuDbError.__init__(self, f"{shown(name)} names several GPUs: {', '.join(gpus)}. Say which one.")


class UnknownProvider(UnknownName):
    """No offer of this provider."""


class UnknownInstanceType(UnknownName):
    """No offer with this instance type."""


class UnknownRegion(UnknownName):
    """No offer in this region."""


class UnknownBilling(UnknownName):
    """Not a way of paying that we know."""


class UnknownRestriction(UnknownName):
    """Not a restriction that we know."""


class OfferFileError(GpuDbError):
    """The user's offers file cannot be used.

    Attributes:
        problems: one sentence per problem, in file order.
        sentences: what is shown of them, each fit for a line of its own.
    """

    def __init__(self, path: object, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        listed = list(self.problems[:_SHOWN_PROBLEMS])
        if len(self.problems) > _SHOWN_PROBLEMS:
            listed.append(f"and {len(self.problems) - _SHOWN_PROBLEMS} more problems")
        what = f"The offers file {str(path)!r} cannot be used:"
        self.sentences = (f"{what} {listed[0]}",) if len(listed) == 1 else (what, *listed)
        super().__init__(" ".join((what, *listed)))


class BadGpuDb(GpuDbError):
    """A bundled data file is broken."""


def nearest_names(name: str, known: Collection[str], count: int = 3) -> tuple[str, ...]:
    """Return the known words that look most like `name`, compared without regard to case.

    >>> nearest_names("lamda", ["aws", "lambda", "runpod"])
    ('lambda',)
    """
    from difflib import get_close_matches  # 5 ms that only a misspelling pays

    by_key = {word.casefold(): word for word in known}
    wanted = name[: 2 * _SHOWN_CHARACTERS].casefold()
    starting = sorted((key for key in by_key if wanted and key.startswith(wanted)), key=len)
    holding = sorted((key for key in by_key if len(wanted) > 2 and wanted in key), key=len)
    close = [*starting, *get_close_matches(wanted, by_key, n=count, cutoff=0.5), *holding]
    return tuple(by_key[key] for key in dict.fromkeys(close))[:count]


def shown(value: str) -> str:
    """Return a user's word as an error shows it: quoted, escaped, and cut when it is absurdly long.

    >>> shown("H100"), shown("x" * 70)[-30:]
    ("'H100'", "xxxxxxxxxxxxxxxx' (70 letters)")
    """
    if len(value) <= _SHOWN_CHARACTERS:
        return repr(value)
    return f"{value[:_SHOWN_CHARACTERS]!r} ({len(value)} letters)"
