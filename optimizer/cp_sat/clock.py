"""Whether the wall clock had a say: what it cuts short ends elsewhere on a busier machine, and an answer must say so.

Solvers note it where they are run, whoever called them; who answers asks once, at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False)
class Watch:
    """Whether the clock has cut anything short since it began."""

    cut: bool = False


class _Open(threading.local):
    """The watches of the thread that solves."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []


_open = _Open()


def note_cut() -> None:
    """The clock (or Ctrl-C, which repeats no better) has ended something that would have gone on."""
    for watch in _open.watches:
        watch.cut = True


@contextmanager
def watching() -> Iterator[Watch]:
    """A watch over what is done meanwhile, in this thread.

    >>> with watching() as outer:
    ...     with watching() as inner:
    ...         note_cut()
    ...     with watching() as later:
    ...         pass
    >>> outer.cut, inner.cut, later.cut
    (True, True, False)
    """
    watch = Watch()
    _open.watches.append(watch)
    try:
        yield watch
    finally:
        _open.watches.remove(watch)
