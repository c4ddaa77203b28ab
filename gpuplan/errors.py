"""What can go wrong between a person and the planner, and who can mend it.

GpuplanError
├── BadWord           an option's value cannot be read (the asker)
└── UnknownName       no such command, option, provider or region (the asker)
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class GpuplanError(Exception):
    """Any error of this package; its text is one sentence for a person."""


class BadWord(GpuplanError):
    """What was typed for an option is not what that option takes."""


class UnknownName(GpuplanError):
    """A name that is none of the names that exist."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are nearest to a mistyped one.

    >>> nearest("lamda", ["lambda", "aws"])
    " Did you mean 'lambda'?"
    >>> nearest("zzz", ["lambda", "aws"])
    ''
    """
    by_folded = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold()[:100], by_folded, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(by_folded[each]) for each in close)}?" if close else ""
