"""What a report says of a fleet: what to have, who is served by what, which limits bind, how sure it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from gpuplan.cli.console import duration, quantity, usd
from gpuplan.cli.fleet_page import UNITS, worth_of
from gpuplan.cli.plan_page import layout
from gpuplan.reports.assumptions import Assumptions
from gpuplan.reports.content import GLOSSARY, assumed
from gpuplan.reports.document import Cell, Chart, Column, Report, Section, Table
from gpuplan.reports.money import BY_THE_HOUR, YEARS
from gpuplan.reports.sources import price_table
from gpuplan.reports.words import amount, percent
from optimizer.cost import HOURS_PER_YEAR
from optimizer.fleet.market import PURCHASED
from optimizer.fleet.plan import FleetPlan, ServedBy, ServiceAnswer
from optimizer.fleet.services import Service
from optimizer.plan import OfferedMachine

CHARTED = 12
NAMED = 4
"""Kinds of machines that the recommendation names one by one."""
USED = ("utilization",)
"""Assumptions that a fleet's report rests on."""

FLEET_GLOSSARY = (
    ("service", "One of the uses that are planned together: a model, its demand and its promises."),
    ("its part", "The cost of the machines that a service runs on, divided by the GPUs that each service has there."),
    ("priority", "When not all can be served, those of a larger number are served first."),
    ("worth", "What one more unit of a limit would save, found by planning again."),
    ("within gap", "Proven: no plan costs less than the bound, which lies at most that far below the plan's cost."),
)


@dataclass(frozen=True)
class Have:
    """Machines of one offer, all of them together.

    Attributes:
        gpus_used: on all of them.
    """

    offer: OfferedMachine
    count: int
    cost_usd_per_hour: float
    gpus_used: int

    @property
    def paid(self) -> str:
        """How it is paid."""
        return "bought" if self.offer.provider == PURCHASED else self.offer.billing


def haves(plan: FleetPlan) -> tuple[Have, ...]:
    """What is to be had, the dearest first."""
    found: dict[str, Have] = {}
    for line in plan.machines:
        known = found.get(line.offer.offer_id, Have(line.offer, 0, 0.0, 0))
        found[line.offer.offer_id] = Have(
            line.offer,
            known.count + line.count,
            known.cost_usd_per_hour + line.cost_usd_per_hour,
            known.gpus_used + line.gpus_used * line.count,
        )
    return tuple(sorted(found.values(), key=lambda one: -one.cost_usd_per_hour))


def fleet_report(plan: FleetPlan, assumptions: Assumptions, made_on: date) -> Report:
    """Everything that a report says of a fleet's plan.

    Args:
        plan: the answer.
        assumptions: the hours and years that cost is counted over.
        made_on: the day of the report.
    """
    parts = [_recommendation(plan), _question(plan)]
    if plan.machines:
        parts += [_machines(plan), _services(plan), _money(plan, assumptions)]
    if plan.dropped or plan.relaxations or plan.conflicts:
        parts.append(_not_served(plan))
    parts += [_limits(plan), _risk(plan), _prices(plan)]
    if plan.machines:
        parts.append(assumed(assumptions, USED))
    parts += [_origin(plan), _glossary()]
    dated = f", prices of {plan.prices_as_of.isoformat()} and later" if plan.prices_as_of else ""
    subtitle = f"Made on {made_on.isoformat()} by gpuplan {plan.gpuplan_version}{dated}"
    return Report(f"Fleet: {plan.question.name}", subtitle, made_on, tuple(parts), None)


# ── recommendation and question ──────────────────────────────────────────────────────────────────────────────────────


def _recommendation(plan: FleetPlan) -> Section:
    if plan.cost_usd_per_hour is None:
        words = (
            "No plan serves every required service." if plan.status == "infeasible" else "No plan was found in time."
        )
        change = (f"The cheapest change of what was asked: {one.sentence}." for one in plan.relaxations[:1])
        return Section("Recommendation", (" ".join([words, *change]),))
    return Section("Recommendation", (" ".join(_what_to_do(plan)),), tables=(_key_figures(plan),))


def _what_to_do(plan: FleetPlan) -> Iterator[str]:
    had = haves(plan)
    more = f"; and {len(had) - NAMED} more kinds of machines" if len(had) > NAMED else ""
    if had:
        yield f"{'; '.join(_to_get(one) for one in had[:NAMED])}{more}."
    served = sum(service.served for service in plan.services)
    yield (
        f"They serve {served} of {len(plan.services)} services for {usd(plan.cost_usd_per_hour or 0.0)} USD per hour, "
        f"{amount(plan.cost_usd_per_month or 0.0)} USD per month."
    )
    if plan.dropped:
        yield f"Not served: {_few([one.service for one in plan.dropped])}."
    yield _proven(plan)
    binding = [one for one in plan.limits if one.most > 0 and one.used >= one.most * ALMOST]
    if binding:
        yield f"At their limit: {_few([f'{one.option} ({one.most:g} {one.unit})' for one in binding])}."


def _to_get(one: Have) -> str:
    """What to do for machines, and how they are paid."""
    verb = {"bought": "Buy", "owned": "Use"}.get(one.paid, "Rent")
    paid = "" if verb != "Rent" else f", {one.paid}"
    return f"{verb} {one.count} x {_machine(one.offer)}{paid}"


ALMOST = 0.995
"""Of a limit, from which on it is called used up."""


def _proven(plan: FleetPlan) -> str:
    least = "nothing that serves as much" if plan.dropped else "nothing of what is modelled"
    bound = usd(plan.bound_usd_per_hour or 0.0)
    if plan.status == "optimal":
        return f"Proven: {least} costs less."
    if plan.status == "within gap":
        return f"Proven: {least} costs less than {bound} USD per hour."
    return f"That nothing costs less is not proven; the bound is {bound} USD per hour."


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _machine(offer: OfferedMachine) -> str:
    return f"{offer.provider} {offer.instance_type} ({offer.gpu_count} x {offer.gpu})"


def _key_figures(plan: FleetPlan) -> Table:
    gpus = sum(line.count * line.offer.gpu_count for line in plan.machines)
    serving = [one for service in plan.services for one in service.serving]
    watts = [None if one.power_watts is None else one.replicas * one.power_watts for one in serving]
    rows: list[tuple[Cell, ...]] = [
        ("Cost", plan.cost_usd_per_hour, "USD/h"),
        ("Cost", plan.cost_usd_per_month, "USD/month"),
        ("Services", len(plan.services), ""),
        ("Services served", sum(service.served for service in plan.services), ""),
        ("Machines", sum(line.count for line in plan.machines), ""),
        ("GPUs", gpus, ""),
        ("GPUs that serve", sum(line.count * line.gpus_used for line in plan.machines), ""),
        ("Replicas", sum(one.replicas for one in serving), ""),
        ("GPUs that serve draw", None if None in watts else sum(each or 0.0 for each in watts), "W"),
    ]
    return Table("Key figures", (Column("what"), Column("value", "quantity"), Column("unit")), tuple(rows))


def _question(plan: FleetPlan) -> Section:
    asked, buying = plan.question, plan.question.buying
    paid = ", ".join(buying.billings)
    words = [f"{len(asked.services)} services; machines paid {paid}"]
    if buying.purchase is not None:
        words.append(f"or bought and written off over {buying.purchase.years:g} years")
    if asked.owned:
        words.append(f"{sum(one.machines for one in asked.owned)} machines that are owned")
    columns = (
        Column("service"),
        Column("model"),
        Column("requests, tokens in/out"),
        Column("demand"),
        Column("promises"),
        Column("priority", "count"),
    )
    rows = tuple(_asked(service) for service in asked.services)
    return Section(
        "What was asked", (f"{'; '.join(words)}.",), tables=(Table("What each service asks", columns, rows),)
    )


def _asked(service: Service) -> tuple[Cell, ...]:
    level = service.service_level
    promises = [
        f"{name} {duration(value)}"
        for name, value in (("TTFT", level.ttft_seconds), ("TPOT", level.tpot_seconds))
        if value is not None
    ]
    sizes = ", ".join(
        f"{size.input_tokens}/{size.output_tokens}" + (f" ({share:.0%})" if share < 1 else "")
        for size, share in zip(service.sizes, service.size_shares, strict=True)
    )
    demand = {name: getattr(service.demand, name) for name in UNITS}
    wanted = ", ".join(f"{quantity(value)} {UNITS[name]}" for name, value in demand.items() if value is not None)
    required = "required" if service.required else ""
    return (
        service.name,
        " or ".join(service.models),
        sizes,
        wanted,
        ", ".join([*promises, *filter(None, [required])]) or None,
        service.priority,
    )


# ── machines and services ────────────────────────────────────────────────────────────────────────────────────────────


def _machines(plan: FleetPlan) -> Section:
    columns = (
        Column("machine"),
        Column("region"),
        Column("paid"),
        Column("machines", "count"),
        Column("USD/h each", "usd_per_hour"),
        Column("USD/h", "usd_per_hour"),
        Column("GPUs", "count"),
        Column("GPUs that serve", "count"),
    )
    had = haves(plan)
    rows = tuple(
        (
            _machine(one.offer),
            one.offer.region,
            one.paid,
            one.count,
            one.offer.price_usd_per_hour,
            one.cost_usd_per_hour,
            one.count * one.offer.gpu_count,
            one.gpus_used,
        )
        for one in had
    )
    return Section("Machines", charts=_machine_chart(had), tables=(Table("What to have", columns, rows),))


def _machine_chart(had: tuple[Have, ...]) -> tuple[Chart, ...]:
    if len(had) < 2:
        return ()
    rows = tuple((f"{one.count} x {one.offer.gpu}, {one.paid}", one.cost_usd_per_hour) for one in had[:CHARTED])
    labelled = _told_apart(rows)
    table = Table("Cost of each kind of machine", (Column("machines"), Column("USD/h", "usd_per_hour")), labelled)
    says = f"{_machine(had[0].offer)} takes most: {usd(had[0].cost_usd_per_hour)} USD per hour.{_shown_of(had)}"
    return (Chart("bars", "machines", table, says, "USD per hour"),)


def _shown_of(rows: Sequence[object]) -> str:
    """How many of them a chart shows, if not all."""
    return f" Shown are the {CHARTED} dearest of {len(rows)}." if len(rows) > CHARTED else ""


def _told_apart(rows: Iterable[tuple[str, float]]) -> tuple[tuple[Cell, ...], ...]:
    """Rows whose labels differ: a chart has one bar per label."""
    seen: dict[str, int] = {}
    made: list[tuple[Cell, ...]] = []
    for label, value in rows:
        seen[label] = seen.get(label, 0) + 1
        made.append((label if seen[label] == 1 else f"{label} ({seen[label]})", value))
    return tuple(made)


def _services(plan: FleetPlan) -> Section:
    served = sorted((one for one in plan.services if one.served), key=lambda one: -one.shares_cost_usd_per_hour)
    columns = (
        Column("service"),
        Column("asked"),
        Column("expected"),
        Column("its part, USD/h", "usd_per_hour"),
        Column("replicas", "count"),
        Column("of"),
        Column("on"),
    )
    rows = tuple(row for service in served for row in _served(service))
    commands = tuple(
        (service.name, f"{one.replicas} x", " ".join(one.replica.command))
        for service in served
        for one in service.serving
    )
    started = Table("How replicas are started", (Column("service"), Column("replicas"), Column("command")), commands)
    return Section(
        "Services", charts=_service_chart(served), tables=(Table("What serves each service", columns, rows), started)
    )


def _served(service: ServiceAnswer) -> Iterator[tuple[Cell, ...]]:
    asked = ", ".join(f"{quantity(value)} {UNITS[name]}" for name, value in service.asked.items())
    given = ", ".join(f"{quantity(value)} {UNITS[name]}" for name, value in service.given.items())
    for number, one in enumerate(service.serving):
        first = (service.name, asked, given or None, service.shares_cost_usd_per_hour)
        lead = first if number == 0 else (service.name, None, None, None)
        spot = " (spot)" if one.spot else ""
        model = one.replica.model.rpartition("/")[2]
        how = f"{model}, {layout(one.replica)}"
        yield (*lead, one.replicas, how, f"{one.machine}{spot}{_which_sizes(service, one)}")


def _which_sizes(service: ServiceAnswer, one: ServedBy) -> str:
    """Which share of each size runs there; nothing where there is one size."""
    sizes = {(size.input_tokens, size.output_tokens) for each in service.serving for size in each.sizes}
    if len(sizes) < 2:
        return ""
    return ": " + "; ".join(f"{percent(size.share)} of {size.input_tokens}/{size.output_tokens}" for size in one.sizes)


def _service_chart(served: list[ServiceAnswer]) -> tuple[Chart, ...]:
    if len(served) < 2:
        return ()
    rows = tuple((one.name, one.shares_cost_usd_per_hour) for one in served[:CHARTED])
    table = Table("Part of each service", (Column("service"), Column("USD/h", "usd_per_hour")), rows)
    says = f"{served[0].name} takes most: {usd(served[0].shares_cost_usd_per_hour)} USD per hour.{_shown_of(served)}"
    return (Chart("bars", "services", table, says, "USD per hour"),)


# ── money and limits ─────────────────────────────────────────────────────────────────────────────────────────────────


def _money(plan: FleetPlan, assumptions: Assumptions) -> Section:
    duty = assumptions.value("utilization")
    text = (
        f"What is paid by the hour is paid for {percent(duty)} of all hours (--utilization); reservations, purchases "
        "and machines that are owned for all of them. Demand stays as asked; by month it is planned with "
        "`plan fleet --demand`."
    )
    by_way: dict[str, float] = {}
    for one in haves(plan):
        hours = HOURS_PER_YEAR * (duty if one.offer.billing in BY_THE_HOUR else 1.0)
        by_way[one.paid] = by_way.get(one.paid, 0.0) + one.cost_usd_per_hour * hours
    columns = (Column("USD in all after"), *(Column(f"{year} year{'s' * (year > 1)}", "usd") for year in YEARS))
    rows: list[tuple[Cell, ...]] = [(way, *(cost * year for year in YEARS)) for way, cost in by_way.items()]
    if len(rows) > 1:
        rows.append(("all", *(sum(by_way.values()) * year for year in YEARS)))
    return Section("Cost over years", (text,), tables=(Table("Cost over 1 to 5 years, USD", columns, tuple(rows)),))


def _not_served(plan: FleetPlan) -> Section:
    tables = []
    if plan.dropped:
        dropped = tuple((one.service, one.priority, one.reason) for one in plan.dropped)
        tables.append(Table("Not served", (Column("service"), Column("priority", "count"), Column("why")), dropped))
    if plan.conflicts:
        rules = tuple((one,) for one in plan.conflicts)
        tables.append(Table("Rules that cannot all be kept", (Column("rule"),), rules))
    if plan.relaxations:
        changes = tuple((one.sentence, one.cost_usd_per_hour) for one in plan.relaxations)
        columns = (Column("change"), Column("USD/h then", "usd_per_hour"))
        tables.append(Table("What would serve more, each alone", columns, changes))
    return Section("What is not served", tables=tuple(tables))


def _limits(plan: FleetPlan) -> Section:
    if not plan.limits:
        return Section("Limits", ("No limit was set for all services together.",))
    columns = (
        Column("limit"),
        Column("used", "quantity"),
        Column("of", "quantity"),
        Column("unit"),
        Column("used", "share"),
        Column("worth"),
    )
    rows = tuple(
        (one.option, one.used, one.most, one.unit, one.used / one.most if one.most else None, worth_of(one) or None)
        for one in plan.limits
    )
    return Section("Limits", tables=(Table("Shared limits", columns, rows),))


# ── risk, sources, origin ────────────────────────────────────────────────────────────────────────────────────────────


def _risk(plan: FleetPlan) -> Section:
    columns = (
        Column("service"),
        Column("output tok/s of one replica"),
        Column("TTFT"),
        Column("TPOT"),
        Column("resting on"),
    )
    rows = tuple(
        row for service in plan.services if service.served for one in service.serving for row in _sure(service, one)
    )
    tables = [Table("How sure the speed of each service is", columns, rows)] if rows else []
    said = (*((one.gpu, one.sentence) for one in plan.why_not), *((one.gpu, one.sentence) for one in plan.sensitivity))
    if said:
        tables.append(Table("What would change the machines", (Column("GPU"), Column("what it takes")), said))
    return Section("Risk", plan.warnings, tables=tuple(tables))


def _sure(service: ServiceAnswer, one: ServedBy) -> Iterator[tuple[Cell, ...]]:
    for size in one.sizes:
        made = size.estimate
        rate, ttft, tpot = made.output_tokens_per_second, made.ttft_seconds, made.tpot_seconds
        low_high = "no error bar is known"
        if rate.low is not None and rate.high is not None:
            low_high = f"9 of 10 within {quantity(rate.low)} to {quantity(rate.high)}"
        yield (
            service.name,
            f"{quantity(rate.value)}; {low_high}",
            duration(ttft.value),
            duration(tpot.value),
            made.calibration,
        )


def _prices(plan: FleetPlan) -> Section:
    return Section("Price sources", tables=(price_table(one.offer for one in haves(plan)),))


def _origin(plan: FleetPlan) -> Section:
    proof = plan.proof
    solver = f"{proof.solver} {proof.solver_version} ({proof.engine}), {proof.columns:,} columns, seed {proof.seed}"
    gap = f", gap {proof.gap:.2%}" if proof.gap else ""
    return Section(
        "How this was found",
        (
            f"{plan.status}{gap}: {solver}; every rule re-derived from the counts.",
            f"Made by gpuplan {plan.gpuplan_version} from data {plan.data_fingerprint}.",
        ),
    )


def _glossary() -> Section:
    words = {word: meaning for word, meaning in GLOSSARY if word not in {"capital", "PUE", "CO2e"}}
    table = Table("Words", (Column("word"), Column("meaning")), (*FLEET_GLOSSARY, *words.items()))
    return Section("Glossary", tables=(table,))
