"""One plan and what is asked beside it, made once: a report is looked at in many ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from gpuplan.fleets.planning import plan_fleet
from gpuplan.planning import plan
from gpuplan.reports.assumptions import Assumptions, assume
from gpuplan.reports.content import report
from gpuplan.reports.document import Report, Table
from gpuplan.reports.studies import Studies, study
from gpuplan.saving.plan_file import PlanFile, Sources, saved
from optimizer.fleet.plan import FleetPlan
from optimizer.fleet.services import Fleet, FleetLimits, Service
from optimizer.plan import Plan
from optimizer.requirements import Choices, Demand, Limits, Requirements

TODAY = date(2026, 11, 22)
HOSTILE = '=HYPERLINK("http://evil.example") | <script>alert(1)</script> [x](javascript:y) **b** ]]> </table> \u202e'


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What reports keep between runs is kept for these tests alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUPLAN_CACHE", str(folder))
        yield folder


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


# ── a fleet ──────────────────────────────────────────────────────────────────────────────────────────────────────────

OFFERS = """provider,instance_type,gpu,gpu_count,price_usd_per_hour,billing,region,as_of
acme,one,L40S,1,1.00,on-demand,eu,2026-11-01
brand,other,A10G,1,0.70,on-demand,eu,2026-11-02
"""


@pytest.fixture(scope="session")
def today() -> date:
    return TODAY


@pytest.fixture(scope="session")
def offers_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("fleet") / "offers.csv"
    file.write_text(OFFERS)
    return file


@pytest.fixture(scope="session")
def fleet_plan(offers_file: Path) -> FleetPlan:
    """Two services of which one finds no room: one GPU is allowed."""
    here = Choices(providers=("acme", "brand"), weight_formats=("bf16",))
    services = (
        Service(
            name="chat",
            models=("llama-3.1-8b",),
            demand=Demand(output_tokens_per_second=300),
            choices=here,
            priority=2,
        ),
        Service(name="mail", models=("llama-3.1-8b",), demand=Demand(output_tokens_per_second=100_000), choices=here),
    )
    fleet = Fleet(name="ours", services=services, limits=FleetLimits(gpus=1))
    return plan_fleet(fleet, offers_file=offers_file, today=TODAY)
