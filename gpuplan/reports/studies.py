"""What a report asks beyond its plan: the same question paid otherwise, bought, and with what may change changed.

Every study is planned again, not scaled: another price or another demand may buy other machines. The limit on cost is
lifted for them, so that they say what it would cost instead of that it is too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from gpu_db.errors import GpuDbError
from gpu_db.offer import Billing, Offer
from gpu_db.ownership import System, bought_machine, is_for_datacentres, load_systems
from gpu_db.query import find_gpu
from gpuplan.errors import nearest
from gpuplan.planning import Facts, answer, load_facts
from gpuplan.reports.assumptions import COLOCATION, ELECTRICITY, PUE, SERVER_PRICE, Assumptions
from gpuplan.reports.errors import BadReport
from gpuplan.saving.fingerprints import digest_of
from gpuplan.saving.plan_file import PlanFile
from optimizer.cost import KILO, Ownership, colocation_usd_per_year, own_room_usd_per_year
from optimizer.errors import OptimizerError
from optimizer.plan import Plan
from optimizer.requirements import Objective, Requirements
from optimizer.search import MachineTables

Ask = Callable[[Requirements, Facts], Plan]

RENTED: tuple[Billing, ...] = ("on-demand", "spot", "reserved-1y", "reserved-3y")


@dataclass(frozen=True)
class Purchase:
    """The same question answered with servers of one's own.

    Attributes:
        plan: its prices per hour are owning spread over every hour of a year.
        systems: what is bought, with how many of each.
        owned: all of them together.
        provisioned_watts: nameplate.
        running_rate: USD per kW and year.
    """

    plan: Plan
    systems: tuple[tuple[System, int], ...]
    owned: Ownership
    provisioned_watts: float
    running_rate: float


@dataclass(frozen=True)
class Case:
    """One end of what may change: in words, and the plan that it leads to; None when there is none."""

    says: str
    plan: Plan | None
    factor: float = 1.0

    @property
    def usd_per_hour(self) -> float | None:
        """Of the plan, times `factor` for what scales without planning again (all prices, hours in use)."""
        cost = self.plan.cost_usd_per_hour if self.plan is not None else None
        return None if cost is None else cost * self.factor


@dataclass(frozen=True)
class Swing:
    """Something that may change, at both ends."""

    name: str
    low: Case
    high: Case


@dataclass(frozen=True)
class Studies:
    """Everything that was asked beside the plan.

    Attributes:
        by_commitment: the cheapest plan for each way of paying; status "infeasible" where there is none.
        purchase: None when no server that is for sale serves.
        swings: for the tornado.
        remarks: what a reader must know of how they were made.
        desktops_left_out: machines for desks that were not considered for purchase.
    """

    by_commitment: Mapping[str, Plan]
    purchase: Purchase | None
    swings: tuple[Swing, ...]
    remarks: tuple[str, ...]
    desktops_left_out: tuple[str, ...] = ()


def study(file: PlanFile, assumptions: Assumptions, *, today: date | None = None, offline: bool = False) -> Studies:
    """Ask everything that a report needs; nothing for a plan that found nothing.

    Args:
        file: the plan, and the files and places that it was made with.
        assumptions: how far things may change, and what owning costs.
        today: the day that prices are judged by.
        offline: whether the Hub may not be asked for a model that is not bundled.

    Raises:
        BadReport: an own file of the plan is gone, or no server has the name that was given.
    """
    facts = _facts(file)

    def ask(requirements: Requirements, known: Facts) -> Plan:
        return answer(requirements, known, today=today, offline=offline, place=file.sources.place, brief=True)

    if file.plan.totals is None:
        return Studies({}, None, (), ())
    return Studies(
        by_commitment=by_commitment(file.plan, facts, ask),
        purchase=to_buy(file.plan, facts, assumptions, ask),
        swings=tuple(swings(file.plan, facts, assumptions, ask)),
        remarks=tuple(_remarks(file, facts)),
        desktops_left_out=desktops_left_out(assumptions),
    )


def _facts(file: PlanFile) -> Facts:
    made = file.sources
    try:
        day = date.fromisoformat(made.prices_as_of) if made.prices_as_of is not None else None
        return load_facts(offers_file=made.offers_file, factors_dir=made.factors_dir, prices_as_of=day)
    except (GpuDbError, OptimizerError, OSError, ValueError) as error:
        raise BadReport(f"The plan was made with files that cannot be read again: {error}") from error


def with_offers(facts: Facts, offers: tuple[Offer, ...]) -> Facts:
    """The same facts with other machines to choose from."""
    return replace(facts, offers=offers, tables=MachineTables(offers, facts.gpus, facts.factors))


def _remarks(file: PlanFile, facts: Facts) -> Iterator[str]:
    if file.sources.prices_as_of is not None:
        yield f"Everything was planned with the prices of {file.sources.prices_as_of}, not with the newest."
    if file.plan.data_fingerprint != facts.data_fingerprint:
        yield (
            f"The plan was made from other data ({file.plan.data_fingerprint}) than what was planned again for this "
            f"report ({facts.data_fingerprint}): `plan --from` makes it anew."
        )
    own = {
        "prices": (file.sources.offers_file, file.sources.offers_digest),
        "factors": (file.sources.factors_dir, file.sources.factors_digest),
    }
    for what, (path, digest) in own.items():
        if path is not None and digest is not None and digest_of(path) != digest:
            yield f"Your own {what} in {path} have changed since the plan was made."


# ── paid otherwise ───────────────────────────────────────────────────────────────────────────────────────────────────


def lifted(question: Requirements) -> Requirements:
    """The question without its limit on cost where cost is what is made small, and without next-best plans."""
    limits = question.limits
    if question.objective is Objective.COST:
        limits = limits.model_copy(update={"budget_usd_per_hour": None})
    return question.model_copy(update={"limits": limits, "alternatives": 0})


def by_commitment(plan: Plan, facts: Facts, ask: Ask) -> dict[str, Plan]:
    """The cheapest plan for each way of paying; the plan itself where it is the answer already."""
    own = plan.question.choices.billings
    found: dict[str, Plan] = {}
    for billing in RENTED:
        if own == (billing,):
            found[billing] = plan
            continue
        choices = plan.question.choices.model_copy(update={"billings": (billing,)})
        rented = tuple(offer for offer in facts.offers if offer.billing == billing)
        if rented:
            asked = lifted(plan.question).model_copy(update={"choices": choices})
            found[billing] = ask(asked, with_offers(facts, rented))
    return found


# ── bought ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def running_usd_per_year(watts: float, assumptions: Assumptions) -> float:
    """What so much nameplate power costs a year: colocation, or electricity of a room of one's own."""
    if assumptions.own_room:
        return own_room_usd_per_year(watts, assumptions.value(PUE), assumptions.value(ELECTRICITY))
    return colocation_usd_per_year(watts, assumptions.value(COLOCATION))


def ownership(machines_usd: float, watts: float, assumptions: Assumptions, staff_usd_per_year: float) -> Ownership:
    """Machines of this price and nameplate power, as assumed."""
    return Ownership(
        machines_usd=machines_usd,
        network_share=assumptions.value("network_share"),
        life_years=assumptions.value("life_years"),
        residual_share=assumptions.value("residual_share"),
        maintenance_share=assumptions.value("maintenance_share"),
        running_usd_per_year=running_usd_per_year(watts, assumptions) + staff_usd_per_year,
    )


def to_buy(plan: Plan, facts: Facts, assumptions: Assumptions, ask: Ask) -> Purchase | None:
    """The cheapest servers of one's own over their life that serve; None when none of those with a price does."""
    systems = {system.name: system for system in for_sale(assumptions)}
    offers = tuple(_as_offer(system, facts, assumptions) for system in systems.values() if system.gpu in facts.gpus)
    update = {"billings": ("owned",), "providers": None, "regions": None}
    choices = plan.question.choices.model_copy(update=update)
    bought = ask(lifted(plan.question).model_copy(update={"choices": choices}), with_offers(facts, offers))
    if bought.totals is None:
        return None
    counted = tuple((systems[line.offer.instance_type], line.count) for line in bought.lines if line.count)
    watts = sum(system.power_watts * count for system, count in counted)
    price = sum(system.price_typical_usd * count for system, count in counted)
    owned = ownership(price, watts, assumptions, assumptions.value("staff_usd_per_year"))
    return Purchase(bought, counted, owned, watts, running_usd_per_year(KILO, assumptions))


def for_sale(assumptions: Assumptions) -> tuple[System, ...]:
    """Servers that may be bought, at the price that was given for one of them; desktops only when they are asked for.

    Raises:
        BadReport: none has the name.
    """
    systems = load_systems()
    if assumptions.server is None:
        return systems if assumptions.desktops else tuple(each for each in systems if _has_a_rack(each))
    named = [system for system in systems if system.name.casefold() == assumptions.server.casefold()]
    if not named:
        names = [system.name for system in systems]
        raise BadReport(
            f"No server {assumptions.server!r} has a known price.{nearest(assumptions.server, names)} "
            f"Those that have: {', '.join(names)}."
        )
    price = assumptions.rows[SERVER_PRICE]
    return (replace(named[0], price_typical_usd=price.value),) if price.given else (named[0],)


def desktops_left_out(assumptions: Assumptions) -> tuple[str, ...]:
    """Machines with a price that stand on desks, where nobody asked for them."""
    if assumptions.desktops or assumptions.server is not None:
        return ()
    return tuple(each.name for each in load_systems() if not _has_a_rack(each))


def _has_a_rack(system: System) -> bool:
    return is_for_datacentres(find_gpu(system.gpu))


def _as_offer(system: System, facts: Facts, assumptions: Assumptions) -> Offer:
    """A server as a machine that costs its owner so much in every hour; staff comes once, whatever is bought."""
    owned = ownership(system.price_typical_usd, system.power_watts, assumptions, 0.0)
    return bought_machine(system, facts.gpus[system.gpu], "bought", owned.usd_per_hour, system.notes)


# ── changed ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def swings(plan: Plan, facts: Facts, assumptions: Assumptions, ask: Ask) -> Iterator[Swing]:
    """What may change, each at its two ends."""
    question = lifted(plan.question)
    demand, price = assumptions.value("demand_swing"), assumptions.value("price_swing")
    if question.objective is Objective.COST:
        low, high = (ask(scaled_demand(question, factor), facts) for factor in (max(1 - demand, 0.01), 1 + demand))
        yield Swing("Demand", Case(f"-{demand:.0%}", low), Case(f"+{demand:.0%}", high))
    own = {line.offer.offer_id for line in plan.lines}
    low, high = (ask(question, repriced(facts, own, factor)) for factor in (max(1 - price, 0.01), 1 + price))
    yield Swing("Price of the planned machines alone", Case(f"-{price:.0%}", low), Case(f"+{price:.0%}", high))
    yield Swing("All prices", Case(f"-{price:.0%}", plan, max(1 - price, 0.01)), Case(f"+{price:.0%}", plan, 1 + price))
    yield from _careful(plan, question, facts, assumptions, ask)
    if all(line.offer.billing in {"on-demand", "spot"} for line in plan.lines):
        least, most = assumptions.value("low_utilization"), 1.0
        yield Swing(
            "Utilization: hours that are paid for",
            Case(f"{least:.0%}", plan, least / assumptions.value("utilization")),
            Case(f"{most:.0%}", plan, most / assumptions.value("utilization")),
        )


def _careful(plan: Plan, question: Requirements, facts: Facts, assumptions: Assumptions, ask: Ask) -> Iterator[Swing]:
    """Counting on the careful end of the speed's error bars instead of what was counted on."""
    level, careful = question.service_level, assumptions.value("careful_confidence")
    if careful <= level.confidence or question.objective is not Objective.COST:
        return
    asked = question.model_copy(update={"service_level": level.model_copy(update={"confidence": careful})})
    yield Swing(
        "Confidence in the speed",
        Case(f"{level.confidence:.0%}", plan),
        Case(f"{careful:.0%}", ask(asked, facts)),
    )


def scaled_demand(question: Requirements, factor: float) -> Requirements:
    """The question with every demand times `factor`.

    >>> from optimizer.requirements import Demand
    >>> scaled_demand(Requirements(model="x", demand=Demand(concurrency=3)), 0.5).demand.concurrency
    2
    """
    demand = question.demand
    update = {
        "output_tokens_per_second": _times(demand.output_tokens_per_second, factor),
        "requests_per_second": _times(demand.requests_per_second, factor),
        "concurrency": None if demand.concurrency is None else max(1, round(demand.concurrency * factor)),
    }
    return question.model_copy(update={"demand": demand.model_copy(update=update)})


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def repriced(facts: Facts, offer_ids: Sequence[str] | set[str], factor: float) -> Facts:
    """The same facts with the price of some offers times `factor`."""
    offers = tuple(
        replace(offer, price_usd_per_hour=offer.price_usd_per_hour * factor) if offer.offer_id in offer_ids else offer
        for offer in facts.offers
    )
    return with_offers(facts, offers)
