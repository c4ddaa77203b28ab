"""Questions on all cores, answers in the order of the questions; each different question is solved once.

Processes are started afresh (the solver's threads do not survive a fork), read the data once, and end with their
parent even when it is killed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from typing import Protocol

from gpuplan.batch.answers import Answer
from gpuplan.batch.desk import Desk
from gpuplan.batch.errors import BadOutput
from optimizer.requirements import Requirements

AHEAD = 16
"""Questions per process that wait: enough that none idles behind a slow row."""


class Handed(Protocol):
    """An answer that is being made."""

    def result(self) -> Answer:
        """The answer, as soon as it is there."""
        ...


Hand = Callable[[Requirements], Handed]
"""Gives a question away to be answered."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def answers(asked: Iterable[Requirements | Answer], hand: Hand, waiting: int) -> Iterator[Answer]:
    """Answers in the order of the questions.

    Args:
        asked: questions, and answers of rows that could not be read.
        hand: gives a question away.
        waiting: at most so many questions are handed out beyond the one that is waited for.
    """
    made: dict[Hashable, Handed] = {}
    line: deque[Handed | Answer] = deque()
    for one in asked:
        line.append(one if isinstance(one, dict) else _once(made, one, hand))
        if len(line) > waiting:
            yield _taken(line.popleft())
    while line:
        yield _taken(line.popleft())


def _once(made: dict[Hashable, Handed], question: Requirements, hand: Hand) -> Handed:
    """What is being made of a question that was asked before, else of this one."""
    if question not in made:
        made[question] = hand(question)
    return made[question]


def _taken(one: Handed | Answer) -> Answer:
    return one if isinstance(one, dict) else one.result()


class Here:
    """This process alone."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.jobs = 1

    def hand(self, question: Requirements) -> Handed:
        """Answer it now."""
        return _Made(self.desk.answer(question))


class _Made:
    """An answer that is there."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def result(self) -> Answer:
        """It."""
        return self._answer


class Pool:
    """Several processes on this machine."""

    def __init__(self, desk: Desk, executor: ProcessPoolExecutor, jobs: int) -> None:
        self.desk = desk
        self.jobs = jobs
        self._executor = executor

    def hand(self, question: Requirements) -> Future[Answer]:
        """Put it in the line."""
        try:
            return self._executor.submit(_answer, question)
        except (OSError, ValueError) as error:  # its pipes are closed: the pool is breaking, and does not yet say so
            raise BrokenProcessPool(str(error)) from error


class _Opened(AbstractContextManager[Pool]):
    """A pool whose waiting questions are dropped when it is left early."""

    def __init__(self, desk: Desk, jobs: int) -> None:
        self._executor = ProcessPoolExecutor(jobs, get_context("spawn"), _sit_down, (desk,))
        self._pool = Pool(desk, self._executor, jobs)

    def __enter__(self) -> Pool:
        return self._pool

    def __exit__(self, kind: type[BaseException] | None, *others: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        if kind is BrokenProcessPool:
            raise BadOutput(
                "A process that solves was ended from outside, perhaps for want of memory; what is written is whole: "
                "--resume continues, --jobs 1 needs the least memory."
            )


def staff(desk: Desk, jobs: int) -> AbstractContextManager[Here | Pool]:
    """Who answers: this process, or several others."""
    return nullcontext(Here(desk)) if jobs == 1 else _Opened(desk, jobs)


_DESK: list[Desk] = []


def _sit_down(desk: Desk) -> None:
    """What a new process does first: reads the data, leaves Ctrl-C to its parent, and watches that it lives."""
    import signal
    from multiprocessing import parent_process
    from threading import Thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def leave_with_the_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=leave_with_the_parent, daemon=True).start()
    _DESK[:] = [desk]


def _answer(question: Requirements) -> Answer:
    return _DESK[0].answer(question)
