"""Ctrl-C while a solver works: it is told to stop, and the work ends with the best that was found.

The work runs in a thread of its own, because Python's signals reach nobody while a solver has the main thread. CP-SAT
stops at once. SCIP, which MathOpt gives no way to be told from Python, catches the signal itself while it runs, and
who called it passes it on (`listening`). HiGHS ends its current solve at that solve's own limits. Nothing begins after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from optimizer.cp_sat.clock import note_cut

Result = TypeVar("Result")
POLL_SECONDS = 0.1

_stop = threading.Event()
_listening = threading.Event()
_running: list[Callable[[], object]] = []


def interrupted() -> bool:
    """Whether the running work was told to stop."""
    return _stop.is_set()


def listening() -> bool:
    """Whether somebody waits for Ctrl-C: a solver that catches it meanwhile must pass it on by `interrupt`."""
    return _listening.is_set()


def seconds_until(until: float) -> float:
    """Seconds left until `time.perf_counter()` is there, none once the work was told to stop; to have none is noted."""
    left = 0.0 if interrupted() else until - time.perf_counter()
    if left <= 0:
        note_cut()
    return left


@contextmanager
def stopping(stop: Callable[[], object]) -> Iterator[None]:
    """While a solver runs: `stop` is called when the work is told to stop."""
    _running.append(stop)
    try:
        yield
    finally:
        _running.remove(stop)


def interrupt() -> None:
    """Tell the running work to stop."""
    _stop.set()
    for stop in list(_running):
        stop()


def run_until_interrupted(work: Callable[[], Result]) -> tuple[Result, bool]:
    """The result of the work, and whether Ctrl-C has cut it short. A second Ctrl-C ends it without a result.

    Raises:
        KeyboardInterrupt: the second one.
    """
    results: list[Result] = []
    failures: list[BaseException] = []
    done = threading.Event()  # a thread whose join was interrupted counts as ended

    def run() -> None:
        try:
            results.append(work())
        except BaseException as failure:  # raised again in the thread that waits
            failures.append(failure)
        finally:
            done.set()

    _stop.clear()
    _listening.set()
    threading.Thread(target=run, daemon=True).start()
    while not done.is_set():
        try:
            done.wait(POLL_SECONDS)
        except KeyboardInterrupt:
            if interrupted():
                raise
            interrupt()
    cut_short = interrupted()
    _stop.clear()
    _listening.clear()
    if failures:
        raise failures[0]
    return results[0], cut_short
