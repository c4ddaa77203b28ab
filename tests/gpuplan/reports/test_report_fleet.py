"""Fleets and calendars as reports: the plan's own numbers, nobody forgotten, words that stay words."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import openpyxl
import pytest

from gpuplan.cli import app
from gpuplan.fleets.planning import plan_calendar
from gpuplan.reports.assumptions import assume
from gpuplan.reports.calendar import calendar_report
from gpuplan.reports.document import Report, Table
from gpuplan.reports.fleet import fleet_report, haves
from gpuplan.reports.markdown import markdown
from gpuplan.reports.page import html
from gpuplan.reports.workbook import workbook
from optimizer.fleet.calendar import Calendar
from optimizer.fleet.plan import FleetPlan
from optimizer.fleet.services import MonthDemand

HOURS = 730


def table(report: Report, title: str) -> Table:
    return next(one for section in report.sections for one in section.tables if one.title == title)


@pytest.fixture(scope="module")
def report(fleet_plan: FleetPlan, today) -> Report:
    return fleet_report(fleet_plan, assume({"utilization": 0.5}), today)


@pytest.fixture(scope="module")
def calendar(fleet_plan: FleetPlan, offers_file: Path, today) -> Calendar:
    """Two months of which the second asks for nothing, or goes on."""
    asked = fleet_plan.question
    first = asked.services[0]
    rows = [
        MonthDemand(month=month, service=first.name, demand=demand, scenario=scenario)
        for scenario, last in (("ends", None), ("stays", first.demand))
        for month, demand in (("1", first.demand), ("2", last))
    ]
    fleet = asked.model_copy(update={"services": (first,), "demand_by_month": tuple(rows)})
    return plan_calendar(fleet, offers_file=offers_file, today=today)


def test_the_machines_of_the_report_cost_what_the_plan_costs(fleet_plan: FleetPlan, report: Report) -> None:
    rows = table(report, "What to have").rows
    assert sum(row[5] for row in rows) == pytest.approx(fleet_plan.cost_usd_per_hour)
    assert [row[3] * row[4] for row in rows] == pytest.approx([row[5] for row in rows])
    parts = [row[3] for row in table(report, "What serves each service").rows if row[3] is not None]
    assert sum(parts) == pytest.approx(fleet_plan.cost_usd_per_hour)
    figures = {(row[0], row[2]): row[1] for row in table(report, "Key figures").rows}
    assert figures["Cost", "USD/h"] == fleet_plan.cost_usd_per_hour
    assert figures["Cost", "USD/month"] == fleet_plan.cost_usd_per_month
    assert figures["Machines", ""] == sum(line.count for line in fleet_plan.machines)


def test_hours_that_are_not_used_are_not_paid_for(fleet_plan: FleetPlan, report: Report) -> None:
    rows = {row[0]: row[1:] for row in table(report, "Cost over 1 to 5 years, USD").rows}
    per_year = fleet_plan.cost_usd_per_hour * 8760 * 0.5
    assert rows["on-demand"] == pytest.approx([per_year * year for year in (1, 2, 3, 4, 5)])


def test_who_is_not_served_is_named_with_the_reason(fleet_plan: FleetPlan, report: Report) -> None:
    (dropped,) = fleet_plan.dropped
    assert table(report, "Not served").rows == ((dropped.service, dropped.priority, dropped.reason),)
    assert "Not served: mail." in report.sections[0].paragraphs[0]
    assert (
        report.sections[0].paragraphs[0].startswith("Rent 1 x brand other (1 x A10G 24GB), on-demand. They serve 1 of")
    )
    assert [row[0] for row in table(report, "What would serve more, each alone").rows] == [
        one.sentence for one in fleet_plan.relaxations
    ]


def test_every_limit_stands_with_how_much_of_it_is_used(fleet_plan: FleetPlan, report: Report) -> None:
    rows = table(report, "Shared limits").rows
    assert [row[:4] for row in rows] == [(one.option, one.used, one.most, one.unit) for one in fleet_plan.limits]
    assert "At their limit: max_gpus (1 GPUs)." in report.sections[0].paragraphs[0]


def test_machines_of_one_offer_are_told_once(fleet_plan: FleetPlan) -> None:
    (line, *_) = fleet_plan.machines
    twice = fleet_plan.model_copy(update={"machines": (line, line)})
    (had,) = haves(twice)
    assert (had.count, had.cost_usd_per_hour) == (2 * line.count, 2 * line.cost_usd_per_hour)
    assert had.gpus_used == 2 * line.count * line.gpus_used


def test_what_is_owned_is_used_and_what_is_for_sale_bought(fleet_plan: FleetPlan, today) -> None:
    (line,) = fleet_plan.machines
    for provider, billing, verb in (("purchased", "owned", "Buy 1 x"), ("cellar", "owned", "Use 1 x")):
        offer = line.offer.model_copy(update={"provider": provider, "billing": billing})
        plan = fleet_plan.model_copy(update={"machines": (line.model_copy(update={"offer": offer}),)})
        assert fleet_report(plan, assume({}), today).sections[0].paragraphs[0].startswith(verb)


def test_a_chart_of_many_services_says_how_many_it_shows(fleet_plan: FleetPlan, today) -> None:
    one = next(each for each in fleet_plan.services if each.served)
    many = tuple(one.model_copy(update={"name": f"s{number}"}) for number in range(20))
    said = fleet_report(fleet_plan.model_copy(update={"services": many}), assume({}), today)
    (chart,) = next(section for section in said.sections if section.title == "Services").charts
    assert len(chart.table.rows) == 12
    assert chart.says.endswith("Shown are the 12 dearest of 20.")


def test_a_fleet_without_a_plan_says_what_would_give_one(fleet_plan: FleetPlan, today) -> None:
    nothing = fleet_plan.model_copy(
        update={"status": "infeasible", "cost_usd_per_hour": None, "machines": (), "conflicts": ("a and b",)}
    )
    said = fleet_report(nothing, assume({}), today)
    assert said.sections[0].paragraphs[0].startswith("No plan serves every required service.")
    way_out = f"The cheapest change of what was asked: {fleet_plan.relaxations[0].sentence}."
    assert said.sections[0].paragraphs[0].endswith(way_out)
    assert not {section.title for section in said.sections} & {"Price sources", "Assumptions"}
    assert all(section.says_something for section in said.sections)
    assert table(said, "Rules that cannot all be kept").rows == (("a and b",),)


def test_a_calendar_is_told_entry_by_entry(calendar: Calendar, today) -> None:
    said = calendar_report(calendar, today)
    rows = table(said, "Reserve, rent, buy").rows
    assert [row[7] for row in rows] == [entry.cost_usd for entry in calendar.entries]
    assert {row[1] for row in rows} == {"rent"}
    price = calendar.entries[0].offer.price_usd_per_hour
    assert calendar.cost_usd == pytest.approx(2 * HOURS * price)
    alone = {row[0]: row[2] for row in table(said, "Each scenario alone").rows}
    assert alone == pytest.approx({"ends": HOURS * price, "stays": 0.0})
    (chart,) = next(section for section in said.sections if section.title == "Month by month").charts
    assert [row[1:] for row in chart.table.rows] == [
        pytest.approx((HOURS * price, HOURS * price)),
        (0.0, HOURS * price),
    ]


@pytest.mark.parametrize("kind", ["fleet", "calendar"])
def test_names_from_outside_stay_words_in_every_format(fleet_plan, calendar, hostile_text, today, kind: str) -> None:
    line = fleet_plan.machines[0]
    offer = line.offer.model_copy(update=dict.fromkeys(("provider", "instance_type", "source", "notes"), hostile_text))
    if kind == "fleet":
        services = tuple(one.model_copy(update={"name": hostile_text}) for one in fleet_plan.services)
        machines = (line.model_copy(update={"offer": offer}),)
        said = fleet_report(
            fleet_plan.model_copy(update={"services": services, "machines": machines, "warnings": (hostile_text,)}),
            assume({}),
            today,
        )
    else:
        entries = tuple(one.model_copy(update={"offer": offer}) for one in calendar.entries)
        said = calendar_report(calendar.model_copy(update={"entries": entries}), today)
    said = replace(said, title=hostile_text)
    page = html(said)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "](javascript:" not in markdown(said, "x").replace("\\]", "")
    book = workbook(said)
    cells = [c for sheet in openpyxl.load_workbook(BytesIO(book)) for row in sheet.iter_rows() for c in row]
    assert any(isinstance(cell.value, str) and "HYPERLINK" in cell.value for cell in cells)
    assert not [cell for cell in cells if cell.data_type == "f" or cell.hyperlink]


# ── from the command line ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def saved(fleet_plan: FleetPlan, tmp_path: Path) -> Path:
    place = tmp_path / "fleet.json"
    place.write_text(fleet_plan.model_dump_json())
    return place


def test_the_command_writes_a_fleet_in_each_format(saved: Path, capsys) -> None:
    for end in ("md", "xlsx"):
        assert app.main(["report", str(saved), "--out", str(saved.with_suffix(f".{end}"))]) == 3
    assert saved.with_suffix(".md").read_text().startswith("# Fleet: ours")
    assert "Services" in openpyxl.load_workbook(saved.with_suffix(".xlsx")).sheetnames
    capsys.readouterr()


def test_an_option_of_one_plan_is_refused_for_a_fleet(saved: Path, capsys) -> None:
    assert app.main(["report", str(saved), "--out", "x.md", "--server", "DGX H200"]) == 2
    assert "--server is about one plan; the report of a fleet does not read it." in capsys.readouterr().err


def test_a_saved_fleet_and_a_calendar_are_shown_as_they_were_printed(saved: Path, calendar: Calendar, capsys) -> None:
    assert app.main(["show", str(saved)]) == 3
    shown = capsys.readouterr().out
    assert shown.startswith("ours  2 services")
    assert "Made by" in shown
    assert app.main(["show", str(saved), "--quiet"]) == 3
    assert capsys.readouterr().out.startswith("ours: ")
    saved.write_text(calendar.model_dump_json())
    assert app.main(["show", str(saved)]) == 0
    assert "What to do" in capsys.readouterr().out


def test_demand_without_a_course_says_nothing_of_certainty(calendar: Calendar, today) -> None:
    one = calendar.model_copy(update={"alone_usd": {}})
    section = next(s for s in calendar_report(one, today).sections if s.title == "What certainty is worth")
    assert section.tables == ()
