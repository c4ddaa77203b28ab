"""Several fleets' plans side by side: machines, what serves each service, limits, and why they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gpuplan.compare import Comparison, Fact, Reason
from optimizer.fleet.plan import FleetPlan, ServiceAnswer
from optimizer.plan import OfferedMachine


@dataclass(frozen=True)
class NamedFleet:
    """A fleet's plan, and what it is called."""

    name: str
    plan: FleetPlan


def compare_fleets(fleets: Sequence[NamedFleet]) -> Comparison:
    """What the plans of two or more fleets say, and why each differs from the first."""
    plans = [each.plan for each in fleets]
    facts = tuple(_facts(plans))
    changed = [at for at in range(1, len(plans)) if any(fact.values[at] != fact.values[0] for fact in facts)]
    reasons = tuple(reason for at in changed for reason in _reasons(at, plans[0], plans[at]))
    return Comparison(names=tuple(each.name for each in fleets), facts=facts, reasons=reasons)


# ── what plans say ───────────────────────────────────────────────────────────────────────────────────────────────────

_SAID: tuple[tuple[str, str, Callable[[FleetPlan], object]], ...] = (
    ("purchase", "status", lambda plan: plan.status),
    ("purchase", "USD/h", lambda plan: _money(plan.cost_usd_per_hour)),
    ("purchase", "USD/month", lambda plan: _money(plan.cost_usd_per_month)),
    ("purchase", "machines", lambda plan: sum(line.count for line in plan.machines)),
    ("purchase", "GPUs", lambda plan: sum(line.count * line.offer.gpu_count for line in plan.machines)),
    ("serving", "services served", lambda plan: sum(service.served for service in plan.services)),
)
_MADE: tuple[tuple[str, str, Callable[[FleetPlan], object]], ...] = (
    ("made from", "prices as of", lambda plan: plan.prices_as_of or ""),
    ("made from", "data", lambda plan: plan.data_fingerprint),
    ("made from", "gpuplan", lambda plan: plan.gpuplan_version),
)


def _money(amount: float | None) -> str:
    return "" if amount is None else f"{amount:,.2f}"


def _facts(plans: Sequence[FleetPlan]) -> Iterator[Fact]:
    yield from _plain(plans, _SAID)
    yield from _by_name(plans, "purchase", _counts)
    yield from _by_name(plans, "serving", lambda plan: {each.name: _served(each) for each in plan.services})
    yield from _by_name(
        plans, "limits", lambda plan: {one.option: f"{one.used:g} of {one.most:g} {one.unit}" for one in plan.limits}
    )
    yield from _plain(plans, _MADE)


def _plain(
    plans: Sequence[FleetPlan], said: Sequence[tuple[str, str, Callable[[FleetPlan], object]]]
) -> Iterator[Fact]:
    for group, name, say in said:
        yield Fact(group=group, name=name, values=tuple(str(say(plan)) for plan in plans))


def _by_name(plans: Sequence[FleetPlan], group: str, say: Callable[[FleetPlan], dict[str, str]]) -> Iterator[Fact]:
    """One fact for each name that any plan has."""
    told = [say(plan) for plan in plans]
    for name in dict.fromkeys(name for each in told for name in each):
        yield Fact(group=group, name=name, values=tuple(each.get(name, "") for each in told))


def _counts(plan: FleetPlan) -> dict[str, str]:
    found: dict[str, int] = {}
    for line in plan.machines:
        found[_machine(line.offer)] = found.get(_machine(line.offer), 0) + line.count
    return {name: str(count) for name, count in found.items()}


def _machine(offer: OfferedMachine) -> str:
    return f"{offer.provider} {offer.gpu_count} x {offer.gpu}, {offer.billing}"


def _served(service: ServiceAnswer) -> str:
    if not service.served:
        return "not served"
    on = " + ".join(f"{one.replicas} on {one.machine}" for one in service.serving)
    return f"{service.shares_cost_usd_per_hour:,.2f} USD/h: {on}"


# ── why ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reasons(at: int, first: FleetPlan, other: FleetPlan) -> Iterator[Reason]:
    """Everything that the other plan rests on and the first does not."""
    found = [*_of_question(first, other), *_of_prices(first, other), *_of_data(first, other)]
    instead = [("solver", "they rest on the same: one of them was ended by its time limit or its gap")]
    for kind, sentence in found or instead:
        yield Reason(plan=at, kind=kind, sentence=sentence)


def _of_question(first: FleetPlan, other: FleetPlan) -> Iterator[tuple[str, str]]:
    one, two = (plan.question.model_dump(mode="json", exclude={"name", "services"}) for plan in (first, other))
    for place, before, after in _differences(one, two):
        yield "rule changed", f"{place}: {before} became {after}"
    services = [{each.name: each.model_dump(mode="json") for each in plan.question.services} for plan in (first, other)]
    for name in dict.fromkeys([*services[0], *services[1]]):
        if name not in services[1] or name not in services[0]:
            yield "rule changed", f"service {name!r} {'left' if name in services[0] else 'came'}"
            continue
        for place, before, after in _differences(services[0][name], services[1][name]):
            kind = "model changed" if place.startswith("models") else "rule changed"
            yield kind, f"service {name!r}, {place}: {before} became {after}"


def _differences(before: Any, after: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    """Where two trees of JSON differ, with what stands there."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(before.get(key), after.get(key), f"{place}.{key}" if place else str(key))
    elif before != after:
        yield place, _shown(before), _shown(after)


LONGEST_SHOWN = 80


def _shown(value: object) -> str:
    text = "nothing" if value in (None, [], ()) else str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def _of_prices(first: FleetPlan, other: FleetPlan) -> Iterator[tuple[str, str]]:
    """Machines that both plans have, at different prices."""
    known = {line.offer.offer_id: line.offer for line in first.machines}
    for after in {line.offer.offer_id: line.offer for line in other.machines}.values():
        before = known.get(after.offer_id)
        if before is not None and before.price_usd_per_hour != after.price_usd_per_hour:
            yield (
                "price moved",
                f"{after.offer_id}: {before.price_usd_per_hour:g} USD/h ({before.as_of}) became "
                f"{after.price_usd_per_hour:g} ({after.as_of})",
            )


def _of_data(first: FleetPlan, other: FleetPlan) -> Iterator[tuple[str, str]]:
    if first.data_fingerprint != other.data_fingerprint:
        yield "data changed", "the bundled data differ"
    if first.gpuplan_version != other.gpuplan_version:
        yield "program changed", f"gpuplan {first.gpuplan_version} became {other.gpuplan_version}"
