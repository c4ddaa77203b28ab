"""How far a long job is: a bar with rate and time left, on a terminal; nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[], object]
"""Says that one more is done."""


@contextmanager
def progress(total: int, done: int, what: str) -> Iterator[Step]:
    """Show how far a job is while it lasts.

    Args:
        total: how many there are.
        done: how many were done before this run.
        what: is counted, in the plural.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

    class Rate(TextColumn):
        """How many per second, of late."""

        def render(self, task: Task) -> object:  # type: ignore[override]
            """Nothing before the first is done."""
            speed = task.finished_speed or task.speed
            self.text_format = f"{speed:.1f} {what}/s" if speed else ""
            return super().render(task)

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), Rate(""), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=total, completed=done)
        yield lambda: shown.advance(task)
