"""Where questions are answered one after another: everything that they share is read once."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from gpuplan.batch.answers import Answer, answer_of, refused
from optimizer.errors import SolverFailed

if TYPE_CHECKING:
    from gpuplan.electricity import Place
    from gpuplan.planning import Facts
    from optimizer.plan import Plan
    from optimizer.requirements import Requirements


@dataclass(frozen=True)
class Desk:
    """What is said once for all rows.

    Attributes:
        today: the day that prices are judged by for age.
        offers_file, factors_dir, offline, place, prices_as_of: as `gpuplan.planning.plan` takes them.
    """

    today: date
    offers_file: str | None = None
    factors_dir: str | None = None
    offline: bool = False
    place: Place | None = None
    prices_as_of: date | None = None

    @cached_property
    def facts(self) -> Facts:
        """The data, read when it is first needed."""
        from gpuplan.planning import load_facts

        read = load_facts(offers_file=self.offers_file, factors_dir=self.factors_dir, prices_as_of=self.prices_as_of)
        gc.collect()
        gc.freeze()  # what every row needs is looked through no more
        return read

    def answer(self, question: Requirements) -> Answer:
        """The row of one question; what cannot be answered says why."""
        from gpuplan.errors import known_errors

        try:
            return answer_of(self._plan(question))
        except known_errors() as error:
            return refused(str(error))
        except Exception as bug:  # reported in its row: thousands of other rows are not lost to it
            return refused(f"a bug of gpuplan, please report it with this row: {type(bug).__name__}: {bug}")
        finally:
            gc.collect()  # a question leaves few objects behind, and megabytes of numbers in them

    def _plan(self, question: Requirements) -> Plan:
        """The plan of one question, asked again where the clock ended the search while others had the processor.

        A row must not depend on what else the machine does: the time limit is held to be of the processor.
        """
        from gpuplan.planning import answer

        for last in (False, False, True):
            began = time.process_time()
            try:
                plan = answer(
                    question, self.facts, today=self.today, offline=self.offline, place=self.place, brief=True
                )
            except SolverFailed:
                if last or time.process_time() - began >= question.time_limit_seconds:
                    raise
                continue
            if plan.status != "feasible" or time.process_time() - began >= question.time_limit_seconds:
                return plan
        return plan
