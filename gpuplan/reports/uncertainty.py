"""What may come otherwise: energy that depends on the place, what moves the cost, how sure each number is."""

from __future__ import annotations

from collections.abc import Iterator

from gpuplan.cli.console import duration, quantity, usd
from gpuplan.reports.document import Calculation, Cell, Chart, Column, Section, Table
from gpuplan.reports.money import paid_usd_per_year, yearly_hours
from gpuplan.reports.studies import Case, Studies, Swing
from gpuplan.reports.words import percent, planned_gpus
from optimizer.cost import break_even_utilization
from optimizer.plan import Interval, Plan

GRAMS_PER_TONNE = 1e6
KILO = 1000.0

# ── energy ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def energy(plan: Plan, said: Calculation) -> Section:
    """What the planned machines draw and emit."""
    used = plan.energy
    if used is None:
        text = "The power limit of a planned GPU is not known, so nothing is said of its energy."
        return Section("Energy and CO2", (text,))
    hours = yearly_hours(said)
    rows: list[tuple[Cell, ...]] = [
        ("GPUs under the planned load", used.gpu_watts, "W"),
        ("At the wall, hosts and room included", used.wall_watts, "W"),
        ("Per output token, at the wall", used.wall_joules_per_output_token, "J"),
        ("Per year at the assumed utilization", used.wall_watts / KILO * hours, "kWh"),
        ("CO2e per hour", used.grams_co2e_per_hour, "g"),
        ("CO2e per million output tokens", used.grams_co2e_per_million_output_tokens, "g"),
        ("CO2e per year at the assumed utilization", _tonnes(used.grams_co2e_per_hour, hours), "t"),
        ("Electricity per hour, paid by the provider", used.electricity_usd_per_hour, "USD"),
    ]
    unknown = ("The carbon of the grid is not known for every region of the plan: plan again with --grid GRAMS.",)
    columns = (Column("what"), Column("value", "quantity"), Column("unit"))
    return Section(
        "Energy and CO2",
        (*(unknown if used.grams_co2e_per_hour is None else ()), f"Sources: {'; '.join(used.sources)}."),
        tables=(
            Table("Energy and CO2e of the planned machines", columns, tuple(rows)),
            _on_each_gpu(plan, used.gpu_watts),
        ),
    )


def _on_each_gpu(plan: Plan, gpu_watts: float) -> Table:
    """What the GPUs of each option draw; hosts and rooms differ by provider and are left out."""
    assert plan.totals is not None
    options = [(planned_gpus(plan), gpu_watts, plan.totals.output_tokens_per_second.value)]
    options += [
        (each.gpu, each.power_watts, each.output_tokens_per_second)
        for each in plan.rejections
        if each.power_watts is not None and each.output_tokens_per_second
    ]
    rows = tuple((gpu, watts, watts / rate) for gpu, watts, rate in options)
    columns = (Column("GPU"), Column("GPUs, W", "quantity"), Column("J per output token", "quantity"))
    note = "GPUs alone, idle ones of the same machines included; the first row is what is recommended."
    return Table("Energy of the cheapest on each GPU", columns, rows, note=note)


def _tonnes(grams_per_hour: float | None, hours: float) -> float | None:
    return None if grams_per_hour is None else grams_per_hour * hours / GRAMS_PER_TONNE


# ── sensitivity ──────────────────────────────────────────────────────────────────────────────────────────────────────


def sensitivity(plan: Plan, studies: Studies, said: Calculation) -> Section:
    """What moves the cost, and whether it moves the plan."""
    base = paid_usd_per_year(plan, said.utilization)
    ordered = sorted(studies.swings, key=lambda swing: -_span(swing, said))
    text = (
        f"Each bar is the cost of a year, {usd(base)} USD as planned, when one thing alone changes. Demand, the price "
        "of the planned machines and confidence were planned again: another plan may be cheaper then, and is what the "
        "bar shows. Budgets are lifted."
    )
    return Section("Sensitivity", (text,), charts=_tornado(ordered, base, said), tables=(_cases(plan, ordered, said),))


def yearly(case: Case, said: Calculation) -> float | None:
    """What a year costs then; None when nothing fits."""
    if case.plan is None or case.plan.totals is None:
        return None
    return paid_usd_per_year(case.plan, said.utilization) * case.factor


def _span(swing: Swing, said: Calculation) -> float:
    ends = [yearly(case, said) for case in (swing.low, swing.high)]
    known = [end for end in ends if end is not None]
    return max(known) - min(known) if known else 0.0


def _tornado(ordered: list[Swing], base: float, said: Calculation) -> tuple[Chart, ...]:
    columns = (
        Column("what changes"),
        Column("low, USD/year", "usd"),
        Column("high, USD/year", "usd"),
        Column("low"),
        Column("high"),
    )
    rows = tuple(
        (
            swing.name,
            yearly(swing.low, said),
            yearly(swing.high, said),
            swing.low.says,
            swing.high.says,
        )
        for swing in ordered
    )
    known = tuple(row for row in rows if row[1] is not None and row[2] is not None)
    if not known:
        return ()
    says = f"{ordered[0].name} moves the cost of a year most: {_ends(ordered[0], said)} USD."
    table = Table("Cost of a year when one thing changes, USD", columns, known)
    return (Chart("tornado", "sensitivity", table, says, "USD per year", base),)


def _ends(swing: Swing, said: Calculation) -> str:
    ends = [yearly(case, said) for case in (swing.low, swing.high)]
    return " to ".join("nothing fits" if end is None else usd(end) for end in ends)


def _cases(plan: Plan, ordered: list[Swing], said: Calculation) -> Table:
    columns = (
        Column("what changes"),
        Column("to"),
        Column("USD/h", "usd_per_hour"),
        Column("USD/year", "usd"),
        Column("change", "share"),
        Column("what is bought then"),
    )
    cases = [(swing.name, case) for swing in ordered for case in (swing.low, swing.high)]
    return Table("Every case", columns, tuple(_case(plan, name, case, said) for name, case in cases))


def _case(plan: Plan, name: str, case: Case, said: Calculation) -> tuple[Cell, ...]:
    cost = case.usd_per_hour
    if cost is None or not plan.cost_usd_per_hour:
        return (name, case.says, cost, None, None, "nothing fits")
    change = cost / plan.cost_usd_per_hour - 1
    return (name, case.says, cost, yearly(case, said), change, _then(plan, case.plan))


def _then(plan: Plan, other: Plan | None) -> str:
    if other is None or _bill(other) == _bill(plan):
        return "the same machines"
    return " and ".join(f"{count} x {offer}" for offer, count in _bill(other).items())


def _bill(plan: Plan) -> dict[str, int]:
    bill: dict[str, int] = {}
    for line in plan.lines:
        if line.count:
            bill[line.offer.offer_id] = bill.get(line.offer.offer_id, 0) + line.count
    return bill


# ── risk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def risk(plan: Plan, studies: Studies, said: Calculation) -> Section:
    """How sure each number is, and what would change the decision."""
    return Section("Risk", plan.warnings, tables=(_certainty(plan, studies), _turning_points(plan, studies, said)))


def _certainty(plan: Plan, studies: Studies) -> Table:
    rows: list[tuple[Cell, ...]] = [("Choice of machines", _proven(plan), "of what is modelled, at these prices")]
    for number, line in enumerate(plan.lines, start=1):
        of = f" of kind {number}" if len(plan.lines) > 1 else ""
        made = line.estimate
        rows += [
            (f"Output tok/s{of}", _between(made.output_tokens_per_second, quantity), made.calibration),
            (f"TTFT{of}", _between(made.ttft_seconds, duration), made.calibration),
            (f"TPOT{of}", _between(made.tpot_seconds, duration), made.calibration),
            (f"Price{of}", f"{line.offer.confidence} confidence", f"read on {line.offer.as_of.isoformat()}"),
        ]
    for each in plan.risks:
        chance = "not known" if each.chance is None else percent(each.chance)
        rows.append((f"Chance to miss {each.option} {each.asked:g}", chance, "by the error bars"))
    if studies.purchase is not None:
        for system, _ in studies.purchase.systems:
            span = f"{usd(system.price_low_usd)} to {usd(system.price_high_usd)} USD"
            rows.append((f"Price of {system.name}", span, f"{system.confidence} confidence"))
    return Table("How sure each number is", (Column("number"), Column("how sure"), Column("resting on")), tuple(rows))


def _proven(plan: Plan) -> str:
    return "proven optimal" if plan.status == "optimal" else "not proven: a cheaper plan is not excluded"


def _between(interval: Interval, say: object) -> str:
    words = say if callable(say) else str
    if interval.low is None or interval.high is None:
        return f"{words(interval.value)}; no error bar is known"
    return f"{words(interval.value)}; 9 of 10 within {words(interval.low)} to {words(interval.high)}"


def _turning_points(plan: Plan, studies: Studies, said: Calculation) -> Table:
    rows = tuple(_changes(plan, studies, said))
    return Table("What would change the decision", (Column("if"), Column("then")), rows)


def _changes(plan: Plan, studies: Studies, said: Calculation) -> Iterator[tuple[str, str]]:
    yield from _dearer(plan)
    if said.owned is not None:
        for name, rent in said.rents:
            share = break_even_utilization(said.owned.usd_per_year, rent.usd_per_hour)
            if not rent.term_years and share <= 1:
                yield (f"more than {percent(share)} of all hours are used, for years", f"buy instead of renting {name}")
    for swing in studies.swings:
        for case in (swing.low, swing.high):
            if case.plan is not None and case.plan.totals is not None and _bill(case.plan) != _bill(plan):
                yield (f"{swing.name.lower()} becomes {case.says}", f"take {_then(plan, case.plan)}")
    for line in plan.lines:
        if line.estimate.output_tokens_per_second.low is None:
            yield (f"{line.replica.gpu} is slower than its datasheet lets hope", "measure one machine before signing")


def _dearer(plan: Plan) -> Iterator[tuple[str, str]]:
    """How far the planned price may rise before the best on another GPU wins."""
    others = [each for each in plan.rejections if each.cost_usd_per_hour is not None]
    cost = plan.cost_usd_per_hour
    if not others or not cost:
        return
    best = min(others, key=lambda each: each.cost_usd_per_hour or 0.0)
    assert best.cost_usd_per_hour is not None
    room = best.cost_usd_per_hour / cost - 1
    if room >= 0:
        yield (
            f"the planned machines become more than {percent(room)} dearer",
            f"take {best.machines} x {best.offer_id}",
        )
