"""What a report says, section by section; how it looks is each format's own matter.

Numbers are those of the plan and of the studies, as they are: formats round what they show and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date

from gpuplan.cli.console import duration, quantity, usd
from gpuplan.cli.layout_page import degrees
from gpuplan.cli.plan_page import asked_for, layout, machines, proof, servers
from gpuplan.reports.assumptions import Assumptions
from gpuplan.reports.document import Calculation, Chart, Column, Report, Section, Table
from gpuplan.reports.money import calculation_of, money, paid_usd_per_year
from gpuplan.reports.sources import price_table, server_table
from gpuplan.reports.studies import RENTED, Studies
from gpuplan.reports.uncertainty import energy, risk, sensitivity
from gpuplan.reports.words import amount, percent, planned_gpus
from gpuplan.saving.plan_file import PlanFile
from optimizer.plan import Interval, Line, Plan, Rejection

GLOSSARY = (
    ("TTFT", "Time from a request's arrival to its first output token, queueing included."),
    ("TPOT", "Mean time between output tokens of one request after the first."),
    ("output tok/s", "Output tokens per second of all replicas together."),
    ("replica", "One running server of the model, on a part of a machine, a whole one, or several."),
    ("TP, PP, EP, DP", "Tensor, pipeline, expert and data parallel: how one replica lies over several GPUs."),
    ("KV cache", "GPU memory that holds what requests in flight have read and written so far."),
    ("on-demand", "Paid by the hour, ended at any time."),
    ("spot", "Cheaper, and taken away by the provider at any time: not for a service that must stay up alone."),
    ("reserved", "Committed for one or three years and paid for in every hour."),
    ("utilization", "Share of all hours in which the deployment is wanted; headroom under load is planned apart."),
    ("capital", "Servers and their network."),
    ("PUE", "All power of a room over that of its machines."),
    (
        "CO2e",
        "Greenhouse gases of the electricity, as carbon dioxide of the same effect; making machines is not in it.",
    ),
    ("optimal", "Proven: no plan of what is modelled costs less than the bound, and the plan costs the bound."),
    ("9 of 10 within", "The interval in which 90 % of left-out measurements of the same calibration lay."),
    ("month", "730 hours."),
)


def report(file: PlanFile, studies: Studies, assumptions: Assumptions, made_on: date) -> Report:
    """Everything that a report says of a plan.

    Args:
        file: the plan.
        studies: what was planned beside it.
        assumptions: what was assumed for that.
        made_on: the day of the report.
    """
    plan = file.plan
    said = None if plan.totals is None else calculation_of(studies, assumptions)
    parts = [_recommendation(plan, studies, said), _question(plan)]
    if said is None:
        parts += [_nothing_fits(plan)]
    else:
        parts += [_options(plan, studies), money(studies, said), energy(plan, said)]
        parts += [sensitivity(plan, studies, said), risk(plan, studies, said)]
        parts += [_prices(plan, studies), assumed(assumptions)]
    parts += [_origin(plan, studies), _glossary()]
    subtitle = f"Made on {made_on.isoformat()} by gpuplan {plan.gpuplan_version}"
    dated = f", prices of {plan.prices_as_of.isoformat()} and later" if plan.prices_as_of else ""
    return Report(f"Serving {plan.model}", subtitle + dated, made_on, tuple(parts), said)


# ── recommendation and question ──────────────────────────────────────────────────────────────────────────────────────


def _recommendation(plan: Plan, studies: Studies, said: Calculation | None) -> Section:
    if plan.totals is None or said is None:
        text = f"Nothing that was considered serves {plan.model} as asked. " + _ways_out(plan)
        return Section("Recommendation", (text.strip(),))
    sentences = [*_what_to_do(plan), *_what_it_does(plan), *_otherwise(plan, studies, said)]
    return Section("Recommendation", (" ".join(sentences),), tables=(_key_figures(plan),))


def _ways_out(plan: Plan) -> str:
    """The cheapest change of what was asked."""
    return f"The cheapest change of what was asked: {plan.relaxations[0].sentence}." if plan.relaxations else ""


def _what_to_do(plan: Plan) -> Iterator[str]:
    bought = [machines(line) for line in plan.lines if line.count]
    verb = "Use" if all(line.offer.billing == "owned" for line in plan.lines) else "Rent"
    assert plan.cost_usd_per_hour is not None
    assert plan.totals is not None
    yield f"{verb} {' and '.join(bought)}."
    yield (
        f"That serves {plan.model} for {usd(plan.cost_usd_per_hour)} USD per hour, {usd(plan.totals.usd_per_month)} "
        f"USD per month and {usd(plan.totals.usd_per_million_output_tokens)} USD per million output tokens at full "
        "load."
    )


def _what_it_does(plan: Plan) -> Iterator[str]:
    assert plan.totals is not None
    rate = plan.totals.output_tokens_per_second
    yield f"It is expected to give {quantity(rate.value)} output tok/s ({_error_bar(rate)})."
    yield _what_a_user_sees(plan)
    for each in plan.risks:
        chance = "not known" if each.chance is None else percent(each.chance)
        yield f"The chance to miss {each.option} {each.asked:g} is {chance}."
    if plan.status == "optimal":
        yield f"Proven of all that is modelled: {plan.proven}."
    else:
        yield "It keeps every promise; that nothing is better is not proven."


def _what_a_user_sees(plan: Plan) -> str:
    """Latency in words, under the planned load."""
    totals = plan.totals
    assert totals is not None
    held = {line.estimate.arrivals.percentile for line in plan.lines if line.estimate.arrivals is not None}
    whom = f"{max(held):g} of 100 users wait at most" if held else "At full load a user waits"
    return f"{whom} {duration(totals.ttft_seconds)} for the first token, {duration(totals.tpot_seconds)} for each next."


def _error_bar(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "no error bar is known: uncalibrated"
    return f"9 of 10 within {quantity(interval.low)} to {quantity(interval.high)}"


def _otherwise(plan: Plan, studies: Studies, said: Calculation) -> Iterator[str]:
    """Whether another way of paying costs less over the horizon."""
    costs = {name: rent.cost_usd(said.years, said.utilization) for name, rent in said.rents if name != "spot"}
    if said.owned is not None:
        costs["owned"] = said.owned.cost_usd(said.years)
    planned = paid_usd_per_year(plan, said.utilization) * said.years
    if costs and min(costs.values()) < planned * NOTABLE:
        cheapest = min(costs, key=lambda name: costs[name])
        what = f"buying {_bought(studies)}" if cheapest == "owned" else f"renting {cheapest}"
        yield (
            f"Over {said.years:g} years at {percent(said.utilization)} utilization {what} would cost less: "
            f"{amount(costs[cheapest])} USD instead of {amount(planned)}; the section on rent and purchase says what "
            "that rests on."
        )
    spot = dict(said.rents).get("spot")
    if spot is not None and spot.usd_per_hour < (plan.cost_usd_per_hour or 0.0):
        yield f"Spot machines would cost {usd(spot.usd_per_hour)} USD per hour and can be taken away at any time."


NOTABLE = 0.999
"""What costs less by a smaller share is the same money in other words."""


def _bought(studies: Studies) -> str:
    assert studies.purchase is not None
    return " and ".join(f"{count} x {system.name}" for system, count in studies.purchase.systems)


def _key_figures(plan: Plan) -> Table:
    totals = plan.totals
    assert totals is not None
    rate = totals.output_tokens_per_second
    rows: list[tuple[str, float | int | None, str]] = [
        ("Cost", plan.cost_usd_per_hour, "USD/h"),
        ("Cost", totals.usd_per_month, "USD/month"),
        ("Cost of output at full load", totals.usd_per_million_output_tokens, "USD per million tokens"),
        ("GPUs", totals.gpus, ""),
        ("Machines", totals.machines, ""),
        ("Replicas", totals.replicas, ""),
        ("Output, expected", rate.value, "tok/s"),
        ("Output, low end of 9 in 10", rate.low, "tok/s"),
        ("Output, high end of 9 in 10", rate.high, "tok/s"),
        ("Requests", totals.requests_per_second, "per second"),
        ("Requests in flight", totals.concurrency, ""),
        ("TTFT", totals.ttft_seconds, "s"),
        ("TPOT", totals.tpot_seconds, "s"),
    ]
    return Table("Key figures", (Column("what"), Column("value", "quantity"), Column("unit")), tuple(rows))


def _question(plan: Plan) -> Section:
    lines = [f"{servers(line)}." for line in plan.lines]
    asked = f"{plan.question.model}: {asked_for(plan.question)}."
    runs = (f"What runs on it: {' '.join(lines)}",) if lines else ()
    tables = (_commands(plan.lines),) if plan.lines else ()
    return Section("What was asked", (asked, *runs), tables=tables)


def _commands(lines: Sequence[Line]) -> Table:
    rows = tuple((number, layout(line.replica), " ".join(line.replica.command)) for number, line in enumerate(lines, 1))
    return Table("How it is started", (Column("kind", "count"), Column("layout"), Column("command")), rows)


def _nothing_fits(plan: Plan) -> Section:
    columns = (Column("change"), Column("USD/h", "usd_per_hour"))
    rows = tuple((each.sentence, each.cost_usd_per_hour) for each in plan.relaxations)
    conflicts = (f"These do not go together: {', '.join(plan.conflicts)}.",) if plan.conflicts else ()
    return Section("Why nothing fits", conflicts, tables=(Table("What would give a plan", columns, rows),))


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_OPTIONS = (
    Column("GPU"),
    Column("machines"),
    Column("USD/h", "usd_per_hour"),
    Column("output tok/s", "quantity"),
    Column("layout"),
    Column("what decided"),
)


def _options(plan: Plan, studies: Studies) -> Section:
    tables = [_on_each_gpu(plan), _by_commitment(plan, studies)]
    left_out = tuple((each.gpu, each.reason) for each in plan.rejections if each.cost_usd_per_hour is None)
    rows = tuple(_rejected(each) for each in plan.alternatives if each not in plan.rejections)
    if rows:
        tables.append(Table("Next best plans", _OPTIONS, rows))
    if left_out:
        columns = (Column("GPU"), Column("why not"))
        tables.append(Table("GPUs on which nothing was found that keeps the promises", columns, left_out))
    return Section("Options", charts=_gpu_chart(plan), tables=tuple(tables))


def _on_each_gpu(plan: Plan) -> Table:
    rows = [_planned(plan), *(_rejected(each) for each in plan.rejections if each.cost_usd_per_hour is not None)]
    return Table("Cheapest on each GPU", _OPTIONS, tuple(rows), note="The first row is what is recommended.")


def _planned(plan: Plan) -> tuple[str | float | None, ...]:
    assert plan.totals is not None
    return (
        planned_gpus(plan),
        _bill(plan),
        plan.cost_usd_per_hour,
        plan.totals.output_tokens_per_second.value,
        " and ".join(dict.fromkeys(layout(line.replica) for line in plan.lines)),
        "recommended",
    )


def _bill(plan: Plan) -> str:
    return " and ".join(f"{line.count} x {line.offer.offer_id}" for line in plan.lines if line.count)


def _rejected(each: Rejection) -> tuple[str | float | None, ...]:
    bill = f"{each.machines} x {each.offer_id}" if each.machines is not None and each.offer_id else None
    return (each.gpu, bill, each.cost_usd_per_hour, each.output_tokens_per_second, degrees(each) or None, each.reason)


def _by_commitment(plan: Plan, studies: Studies) -> Table:
    columns = (
        Column("paid"),
        Column("GPU"),
        Column("machines"),
        Column("USD/h", "usd_per_hour"),
        Column("output tok/s", "quantity"),
        Column("against the plan, USD/h", "signed_usd"),
    )
    rows = [_paid(billing, studies.by_commitment.get(billing), plan) for billing in RENTED]
    if studies.purchase is not None:
        rows.append(_paid("bought, spread over every hour of its life", studies.purchase.plan, plan))
    return Table("Cheapest by commitment", columns, tuple(rows), note="Each was planned again; budgets are lifted.")


def _paid(name: str, found: Plan | None, plan: Plan) -> tuple[str | float | None, ...]:
    if found is None or found.totals is None or found.cost_usd_per_hour is None or plan.cost_usd_per_hour is None:
        return (name, "nothing fits", None, None, None, None)
    cost = found.cost_usd_per_hour
    rate = found.totals.output_tokens_per_second.value
    return (name, planned_gpus(found), _bill(found), cost, rate, cost - plan.cost_usd_per_hour)


def _gpu_chart(plan: Plan) -> tuple[Chart, ...]:
    known = [(each.gpu, each.cost_usd_per_hour) for each in plan.rejections if each.cost_usd_per_hour is not None]
    if not known or plan.cost_usd_per_hour is None:
        return ()
    rows = ((f"{planned_gpus(plan)} (recommended)", plan.cost_usd_per_hour), *known[:CHARTED_GPUS])
    table = Table("Cost of the cheapest plan on each GPU", (Column("GPU"), Column("USD/h", "usd_per_hour")), rows)
    says = (
        f"The recommended plan costs {usd(plan.cost_usd_per_hour)} USD per hour; the next GPU, {known[0][0]}, "
        f"{usd(known[0][1])}."
    )
    return (Chart("bars", "options", table, says, "USD per hour"),)


CHARTED_GPUS = 11


# ── sources, assumptions, origin, glossary ───────────────────────────────────────────────────────────────────────────


def _prices(plan: Plan, studies: Studies) -> Section:
    plans = [plan, *studies.by_commitment.values()]
    tables = [price_table(line.offer for each in plans for line in each.lines if line.count)]
    if studies.purchase is not None:
        tables.append(server_table(system for system, _ in studies.purchase.systems))
    return Section("Price sources", tables=tuple(table for table in tables if table.rows))


def assumed(assumptions: Assumptions, keys: Collection[str] | None = None) -> Section:
    """What was assumed, all of it or only some."""
    columns = (Column("assumption"), Column("value", "quantity"), Column("unit"), Column("option"), Column("source"))
    rows = tuple(
        (row.label, row.value, row.unit, row.option, f"{row.source} {row.as_of}".strip())
        for row in assumptions.rows.values()
        if (row.key != "server_price" or row.given) and (keys is None or row.key in keys)
    )
    text = (
        "Each of these can be changed by its option: plan report plan.json --out report.html OPTION VALUE. What was "
        "asked, and prices, are changed by planning again: plan --from plan.json, --offers."
    )
    return Section("Assumptions", (text,), tables=(Table("Assumptions and their options", columns, rows),))


def _origin(plan: Plan, studies: Studies) -> Section:
    made = (
        f"{plan.status}: {proof(plan)}.",
        f"Made by gpuplan {plan.gpuplan_version} from data {plan.data_fingerprint}.",
        *studies.remarks,
    )
    return Section("How this was found", made)


def _glossary() -> Section:
    return Section("Glossary", tables=(Table("Words", (Column("word"), Column("meaning")), GLOSSARY),))
