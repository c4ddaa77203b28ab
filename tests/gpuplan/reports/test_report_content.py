"""A report says what the plan says, and what is planned again is planned, not scaled."""

from __future__ import annotations

import doctest
from dataclasses import replace
from datetime import date
from functools import partial
from importlib import import_module

import pytest

from gpu_db.ownership import load_systems
from gpuplan.cli import app
from gpuplan.cli.commands import report as command
from gpuplan.cli.console import duration
from gpuplan.planning import answer, load_facts, plan
from gpuplan.reports.assumptions import assume, bundled
from gpuplan.reports.errors import BadReport
from gpuplan.reports.money import YEARS, calculation_of, paid_usd_per_year
from gpuplan.reports.studies import for_sale, repriced, study, swings, to_buy
from gpuplan.saving.plan_file import Sources
from optimizer.cost import HOURS_PER_YEAR, Ownership, colocation_usd_per_year
from optimizer.plan import Arrivals, Percentiles
from optimizer.requirements import Choices, Demand

TODAY = date(2026, 11, 22)
ROOMS = ("assumptions", "charts", "markdown", "page", "studies", "words", "workbook")


@pytest.mark.parametrize("room", ROOMS)
def test_every_sum_in_the_rooms_of_reports_comes_out(room):
    result = doctest.testmod(import_module(f"gpuplan.reports.{room}"))
    assert result.attempted > 0
    assert result.failed == 0


# ── the plan's own numbers ───────────────────────────────────────────────────────────────────────────────────────────


def test_key_figures_are_the_plans_numbers_as_json_has_them(made):
    totals = made.plan.model_dump(mode="json")["totals"]
    told = [row[1] for row in made.table("Key figures").rows]
    rate = totals["output_tokens_per_second"]
    names = ("usd_per_month", "usd_per_million_output_tokens", "gpus", "machines", "replicas")
    others = ("requests_per_second", "concurrency", "ttft_seconds", "tpot_seconds")
    assert told == [
        made.plan.cost_usd_per_hour,
        *(totals[name] for name in names),
        *(rate[name] for name in ("value", "low", "high")),
        *(totals[name] for name in others),
    ]


def test_the_energy_of_an_option_is_that_of_planning_it(made):
    recommended, *others = made.table("Energy of the cheapest on each GPU").rows
    assert recommended[1] == made.plan.energy.gpu_watts
    assert len(others) > 10
    gpu, watts, joules = others[0]
    choices = made.plan.question.choices.model_copy(update={"gpus": (gpu,), "mix": False})
    alone = plan(made.plan.question.model_copy(update={"choices": choices}))
    assert watts == pytest.approx(alone.energy.gpu_watts, abs=1)  # the solver's watts are whole
    assert joules == watts / alone.totals.output_tokens_per_second.value


def test_every_gpu_that_the_plan_rejected_stands_in_one_of_two_tables(made):
    dearer = made.table("Cheapest on each GPU").rows[1:]
    unable = made.table("GPUs on which nothing was found that keeps the promises").rows
    rejections = made.plan.rejections
    assert len(dearer) + len(unable) == len(rejections) > 10
    assert [(row[0], row[2], row[3], row[5]) for row in dearer] == [
        (one.gpu, one.cost_usd_per_hour, one.output_tokens_per_second, one.reason)
        for one in rejections
        if one.cost_usd_per_hour is not None
    ]


def test_the_recommendation_names_the_machines_the_price_and_its_day(made):
    text = made.report.sections[0].paragraphs[0]
    offer = made.plan.lines[0].offer
    assert text.startswith(f"Rent {made.plan.lines[0].count} x {offer.provider} {offer.instance_type}")
    assert offer.as_of.isoformat() in text
    assert f"{made.plan.cost_usd_per_hour:.2f} USD per hour" in text
    assert "Proven" in text


def test_every_offer_that_is_named_has_its_source_and_day(made):
    rows = {row[0]: row for row in made.table("Prices of the machines that are named here").rows}
    for found in (made.plan, *made.studies.by_commitment.values()):
        for line in found.lines:
            row = rows[line.offer.offer_id]
            assert row[1:] == (
                line.offer.price_usd_per_hour,
                line.offer.as_of.isoformat(),
                line.offer.confidence,
                line.offer.source,
                line.offer.notes or None,
            )


def test_warnings_of_the_plan_are_read(made, reported):
    warned = made.file.model_copy(update={"plan": made.plan.model_copy(update={"warnings": ("Mind the gap.",)})})
    said = [
        p for section in reported(warned, made.studies, made.assumptions).report.sections for p in section.paragraphs
    ]
    assert "Mind the gap." in said


def test_a_plan_that_found_nothing_says_what_would_give_one(infeasible):
    assert infeasible.report.calculation is None
    assert "Nothing that was considered serves" in infeasible.report.sections[0].paragraphs[0]
    told = infeasible.table("What would give a plan").rows
    assert told == tuple((one.sentence, one.cost_usd_per_hour) for one in infeasible.plan.relaxations)
    assert told
    recommendation = infeasible.report.sections[0].paragraphs[0]
    assert recommendation.endswith(f"The cheapest change of what was asked: {infeasible.plan.relaxations[0].sentence}.")
    titles = {section.title for section in infeasible.report.sections}
    assert not titles & {"Assumptions", "Price sources"}, "nothing was assumed and no price is named"


def test_the_recommendation_says_what_a_user_waits_for(made, reported):
    totals = made.plan.totals
    times = f"{duration(totals.ttft_seconds)} for the first token, {duration(totals.tpot_seconds)} for each next."
    assert f"At full load a user waits {times}" in made.report.sections[0].paragraphs[0]
    line = made.plan.lines[0]
    even = Percentiles(mean=1, p50=1, p95=1, p99=1)
    arrivals = Arrivals(
        requests_per_second=1,
        percentile=99,
        busy_share=0.5,
        slot_wait_share=0,
        ttft_seconds=even,
        tpot_seconds=even,
        within_limits_share=None,
        goodput_requests_per_second=None,
    )
    coming = line.model_copy(update={"estimate": line.estimate.model_copy(update={"arrivals": arrivals})})
    plan = made.plan.model_copy(update={"lines": (coming, *made.plan.lines[1:])})
    file = made.file.model_copy(update={"plan": plan})
    text = reported(file, made.studies, made.assumptions).report.sections[0].paragraphs[0]
    assert f"99 of 100 users wait at most {times}" in text


# ── planned again ────────────────────────────────────────────────────────────────────────────────────────────────────


def unlimited(made, **update):
    question = made.plan.question
    limits = question.limits.model_copy(update={"budget_usd_per_hour": None})
    return question.model_copy(update={"limits": limits, **update})


@pytest.mark.parametrize("billing", ["spot", "reserved-1y", "reserved-3y"])
def test_the_cheapest_by_commitment_is_what_plan_answers(made, billing):
    alone = plan(unlimited(made, choices=Choices(billings=(billing,))), today=TODAY)
    rows = {row[0]: row for row in made.table("Cheapest by commitment").rows}
    assert rows[billing][3] == alone.cost_usd_per_hour
    assert made.studies.by_commitment["on-demand"] is made.plan


def test_a_plan_of_another_days_prices_is_studied_with_that_days_prices(made):
    """In June nobody had been read to reserve for a year what the newest prices offer."""
    then = made.file.model_copy(update={"sources": Sources(prices_as_of="2026-06-15")})
    found = study(then, made.assumptions, today=TODAY, offline=True)
    asked = unlimited(made, choices=Choices(billings=("spot",)))
    alone = plan(asked, today=TODAY, prices_as_of=date(2026, 6, 15))
    assert found.by_commitment["spot"].lines[0].offer == alone.lines[0].offer
    assert "reserved-1y" in made.studies.by_commitment
    assert "reserved-1y" not in found.by_commitment
    assert any("2026-06-15" in remark for remark in found.remarks)


def test_an_own_file_that_is_gone_is_one_sentence(made, tmp_path):
    gone = made.file.model_copy(update={"sources": Sources(offers_file=str(tmp_path / "gone.csv"))})
    with pytest.raises(BadReport, match="cannot be read again"):
        study(gone, made.assumptions, today=TODAY, offline=True)


@pytest.mark.parametrize(("end", "demand"), [("low", 1000.0), ("high", 3000.0)])
def test_another_demand_is_planned_again(made, end, demand):
    swing = next(swing for swing in made.studies.swings if swing.name == "Demand")
    alone = plan(unlimited(made, demand=Demand(output_tokens_per_second=demand)), today=TODAY)
    case = getattr(swing, end)
    assert case.usd_per_hour == alone.cost_usd_per_hour
    rows = made.table("Every case").rows
    assert any(row[:3] == ("Demand", case.says, alone.cost_usd_per_hour) for row in rows)


def test_a_dearer_machine_is_left_for_a_cheaper_one(made):
    swing = next(swing for swing in made.studies.swings if swing.name.startswith("Price of"))
    others = [one.cost_usd_per_hour for one in made.plan.rejections if one.cost_usd_per_hour is not None]
    scaled = made.plan.cost_usd_per_hour * 1.3
    assert swing.high.usd_per_hour <= min(scaled, *others) + 1e-6
    assert swing.low.usd_per_hour == pytest.approx(made.plan.cost_usd_per_hour * 0.7)


def test_only_the_named_offers_change_their_price():
    facts = load_facts()
    name = facts.offers[0].offer_id
    changed = repriced(facts, {name}, 2.0)
    moved = [new.offer_id for old, new in zip(facts.offers, changed.offers, strict=True) if old != new]
    assert set(moved) == {name}
    assert changed.offers[0].price_usd_per_hour == 2 * facts.offers[0].price_usd_per_hour


def test_what_is_bought_costs_what_its_servers_cost(made):
    bought = made.studies.purchase
    prices = {system.name: system for system in load_systems()}
    machines = sum(prices[line.offer.instance_type].price_typical_usd * line.count for line in bought.plan.lines)
    watts = sum(prices[line.offer.instance_type].power_watts * line.count for line in bought.plan.lines)
    by_hand = Ownership(machines, 0.12, 4, 0, 0.04, colocation_usd_per_year(watts, 180))
    assert bought.owned.usd_per_year == pytest.approx(by_hand.usd_per_year)
    assert bought.plan.cost_usd_per_hour == pytest.approx(by_hand.usd_per_hour, abs=1e-6 * len(bought.plan.lines))


def test_a_server_and_its_price_can_be_given(made):
    assumptions = assume({"server_price": 123_000, "staff_usd_per_year": 50_000}, "dgx h200")
    found = study(made.file, assumptions, today=TODAY, offline=True).purchase
    assert [(system.name, count) for system, count in found.systems] == [("DGX H200", 1)]
    running = colocation_usd_per_year(10_200, 180) + 50_000
    assert found.owned == Ownership(123_000, 0.12, 4, 0, 0.04, running)


def test_machines_for_desks_are_bought_only_when_they_are_asked_for(made):
    def names(**given):
        return [system.name for system in for_sale(assume({}, **given))]

    assert set(names(desktops=True)) - set(names()) == {"DGX Spark"}
    assert names(server="DGX Spark") == ["DGX Spark"]
    words = " ".join(next(part for part in made.report.sections if part.title == "Rent or buy").paragraphs)
    assert "Machines for desks (DGX Spark) are bought only when asked for: --desktops." in words


def test_an_unknown_server_is_refused_with_the_nearest():
    with pytest.raises(BadReport, match="Did you mean 'DGX H200'"):
        for_sale(assume({}, "DGX H20"))


# ── money ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cost_over_years_is_rent_times_hours(made):
    rows = {row[0]: row[1:] for row in made.table("Cost over 1 to 5 years, USD").rows}
    hourly = made.plan.cost_usd_per_hour * HOURS_PER_YEAR
    assert rows["on-demand"] == pytest.approx([hourly * year for year in YEARS])
    reserved = made.studies.by_commitment["reserved-3y"].cost_usd_per_hour * HOURS_PER_YEAR
    assert rows["reserved-3y"] == pytest.approx([reserved * paid for paid in (3, 3, 3, 6, 6)])
    owned = made.studies.purchase.owned
    bought = rows["bought, what is left sold at its straight-line value"]
    assert bought == pytest.approx([owned.usd_per_year * year for year in YEARS])


def test_hours_that_are_not_used_are_not_paid_on_demand_and_are_reserved(made, reported):
    half = reported(made.file, made.studies, assume({"utilization": 0.5}))
    full = {row[0]: row[1] for row in made.table("Cost over 1 to 5 years, USD").rows}
    rows = {row[0]: row[1] for row in half.table("Cost over 1 to 5 years, USD").rows}
    assert rows["on-demand"] == pytest.approx(full["on-demand"] / 2)
    assert rows["reserved-1y"] == full["reserved-1y"]
    reserved = made.studies.by_commitment["reserved-1y"]
    assert paid_usd_per_year(reserved, 0.5) == pytest.approx(reserved.cost_usd_per_hour * HOURS_PER_YEAR)


def test_the_recommendation_does_not_hide_that_buying_is_cheaper(made, reported):
    """Machines that are given away must be named before the signature, those that are dear must not."""
    given_away = replace(made.studies.purchase, owned=Ownership(1.0, 0, 4, 0, 0, 0))
    dear = replace(made.studies.purchase, owned=Ownership(1e9, 0, 4, 0, 0, 0))
    told = reported(made.file, replace(made.studies, purchase=given_away), made.assumptions)
    hushed = reported(made.file, replace(made.studies, purchase=dear), made.assumptions)
    assert "buying" in told.report.sections[0].paragraphs[0]
    assert "buying" not in hushed.report.sections[0].paragraphs[0]


def test_the_tornado_has_its_longest_bar_on_top(made):
    chart = next(chart for section in made.report.sections for chart in section.charts if chart.kind == "tornado")
    spans = [abs(row[2] - row[1]) for row in chart.table.rows]
    assert spans == sorted(spans, reverse=True)
    assert chart.base == pytest.approx(made.plan.cost_usd_per_hour * HOURS_PER_YEAR)


# ── assumptions ──────────────────────────────────────────────────────────────────────────────────────────────────────

OTHERWISE = {
    "utilization": 0.5,
    "years": 2,
    "life_years": 6,
    "residual_share": 0.3,
    "network_share": 0.2,
    "maintenance_share": 0.1,
    "staff_usd_per_year": 1000,
    "colocation": 250,
    "electricity": 0.3,
    "demand_swing": 0.2,
    "price_swing": 0.1,
    "low_utilization": 0.3,
    "careful_confidence": 0.8,
}


SWINGS = {"demand_swing", "price_swing", "low_utilization", "careful_confidence"}


@pytest.mark.parametrize("key", OTHERWISE)
def test_a_changed_assumption_is_said_and_changes_a_number(made, reported, key):
    assumptions = assume({key: OTHERWISE[key]})
    facts = load_facts()
    ask = partial(answer, today=TODAY, offline=True, brief=True)
    if key in SWINGS:
        studies = replace(made.studies, swings=tuple(swings(made.plan, facts, assumptions, ask)))
    else:
        studies = replace(made.studies, purchase=to_buy(made.plan, facts, assumptions, ask))
    other = reported(made.file, studies, assumptions)
    rows = {row[3]: row for row in other.table("Assumptions and their options").rows}
    assert rows[bundled()[key].option][1] == OTHERWISE[key]
    assert calculation_of(other.studies, assumptions) != made.report.calculation or other.studies != made.studies


def test_every_assumption_has_its_option_and_its_source():
    options = {spelling for option in app.command_of("report").params for spelling in option.opts}
    assert set(command.OPTION_KEYS.values()) == set(bundled())
    for row in bundled().values():
        assert row.option in options
        assert row.source


def test_what_help_calls_the_default_is_the_default():
    helps = {spelling: option.help for option in app.command_of("report").params for spelling in option.opts}
    for key, words in (("years", "3"), ("life_years", "4"), ("network_share", "12%"), ("colocation", "180")):
        row = bundled()[key]
        assert f"default {words}" in helps[row.option]
        assert float(words.rstrip("%")) / (100 if "%" in words else 1) == row.value


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ({"utilization": 0.0}, None),
        ({"utilization": 1.1}, None),
        ({"residual_share": -0.1}, None),
        ({"pue": 0.9}, None),
        ({"careful_confidence": 0.4}, None),
        ({"years": float("nan")}, None),
        ({"server_price": 1.0}, None),
    ],
)
def test_an_assumption_out_of_range_is_one_sentence(given, server):
    with pytest.raises(BadReport, match="--"):
        assume(given, server)
