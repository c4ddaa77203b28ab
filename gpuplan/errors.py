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


def known_errors() -> tuple[type[Exception], ...]:
    """The roots of the four packages' error trees: what a person, not a programmer, can mend.

    >>> from gpuplan import Demand, Requirements, plan
    >>> try:
    ...     plan(Requirements(model="llama-3.3-71b", demand=Demand(concurrency=8)))
    ... except known_errors() as error:
    ...     print(str(error)[:41])
    No model named 'llama-3.3-71b' is bundled
    """
    from catalog.errors import CatalogError
    from gpu_db.errors import GpuDbError
    from optimizer.errors import OptimizerError

    return (CatalogError, GpuDbError, GpuplanError, OptimizerError)


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
