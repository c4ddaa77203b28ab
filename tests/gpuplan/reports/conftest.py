"""One plan and what is asked beside it, made once: a report is looked at in many ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import pytest

from gpuplan.planning import plan
from gpuplan.reports.assumptions import Assumptions, assume
from gpuplan.reports.content import report
from gpuplan.reports.document import Report, Table
from gpuplan.reports.studies import Studies, study
from gpuplan.saving.plan_file import PlanFile, Sources, saved
from optimizer.plan import Plan
from optimizer.requirements import Demand, Limits, Requirements

TODAY = date(2026, 11, 22)
HOSTILE = '=HYPERLINK("http://evil.example") | <script>alert(1)</script> [x](javascript:y) **b** ]]> </table> \u202e'


@dataclass(frozen=True)
class Made:
    """A report and all that it was made of."""

    file: PlanFile
    studies: Studies
    assumptions: Assumptions
    report: Report

    @property
    def plan(self) -> Plan:
        return self.file.plan

    def table(self, title: str) -> Table:
        return next(table for section in self.report.sections for table in section.tables if table.title == title)


def made_of(file: PlanFile, studies: Studies, assumptions: Assumptions) -> Made:
    return Made(file, studies, assumptions, report(file, studies, assumptions, TODAY))


@pytest.fixture(scope="session")
def hostile_text() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def reported():
    """File, studies, assumptions -> Made."""
    return made_of


@pytest.fixture(scope="session")
def made() -> Made:
    """An 8B model at 2,000 tokens per second: small, and neither the smallest GPU nor a whole server."""
    asked = Requirements(
        model="llama-3.1-8b", demand=Demand(output_tokens_per_second=2000), limits=Limits(budget_usd_per_hour=20)
    )
    file, assumptions = saved(plan(asked, today=TODAY), Sources()), assume({})
    return made_of(file, study(file, assumptions, today=TODAY, offline=True), assumptions)


@pytest.fixture(scope="session")
def infeasible() -> Made:
    asked = Requirements(
        model="llama-3.1-8b", demand=Demand(output_tokens_per_second=5000), limits=Limits(budget_usd_per_hour=0.1)
    )
    file, assumptions = saved(plan(asked, today=TODAY), Sources()), assume({})
    return made_of(file, study(file, assumptions, today=TODAY, offline=True), assumptions)


@pytest.fixture(scope="session")
def hostile(made: Made) -> Made:
    """The same plan with names that mean harm in HTML, Markdown or a spreadsheet."""
    line = made.plan.lines[0]
    offer = line.offer.model_copy(
        update={"offer_id": HOSTILE, "provider": HOSTILE, "instance_type": HOSTILE, "source": HOSTILE, "notes": HOSTILE}
    )
    replica = line.replica.model_copy(update={"command": ("vllm", HOSTILE), "model": HOSTILE, "checkpoint": HOSTILE})
    bad_line = line.model_copy(update={"offer": offer, "replica": replica})
    rejections = tuple(each.model_copy(update={"reason": HOSTILE, "gpu": HOSTILE}) for each in made.plan.rejections[:3])
    changed = made.plan.model_copy(
        update={
            "model": HOSTILE,
            "lines": (bad_line, *made.plan.lines[1:]),
            "warnings": (HOSTILE,),
            "rejections": rejections,
        }
    )
    studies = replace(
        made.studies, remarks=(HOSTILE,), by_commitment={**made.studies.by_commitment, "on-demand": changed}
    )
    return made_of(made.file.model_copy(update={"plan": changed}), studies, made.assumptions)
