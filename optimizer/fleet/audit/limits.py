"""Limits, sums and the proof of a fleet's plan, counted and added up from its machines."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gpu_db.query import find_gpus
from gpu_db.regions import is_everywhere, region_words
from optimizer.answer import HOURS_PER_MONTH
from optimizer.audit import CENT_OF_MICRO, RELATIVE
from optimizer.fleet.audit.beside import Beside
from optimizer.fleet.plan import FleetPlan, MachineLine
from optimizer.fleet.services import QUOTA_UNITS, QuotaOn

CENTS = CENT_OF_MICRO * 10
GAPS = 1e-9
_WORDS = {"gpu": "GPU", "instance_type": "instance type", "provider": "provider", "region": "region"}


def audit_limits(beside: Beside) -> Iterator[str]:
    """Budget, GPUs, watts and quotas, counted from the machines; each stated as it is used."""
    limits, found = beside.fleet.limits, {}
    lines = beside.plan.machines
    if limits.budget_usd_per_hour is not None:
        cost = sum(line.count * line.offer.price_usd_per_hour for line in lines)
        found["budget"] = (cost, limits.budget_usd_per_hour)
    if limits.gpus is not None:
        found["max_gpus"] = (sum(line.count * line.offer.gpu_count for line in lines), limits.gpus)
    if limits.power_watts is not None:
        found["max_power"] = (_watts(beside.plan), limits.power_watts)
    for quota in limits.quotas:
        found[f"quota of {_WORDS[quota.kind]} {quota.name}"] = (_counted(beside, quota), quota.most)
    stated = {use.option: use for use in beside.plan.limits}
    if set(stated) != set(found):
        yield f"limits on {', '.join(sorted(found))} were asked for"
        return
    for name, (used, most) in found.items():
        use = stated[name]
        if used > most + CENTS:
            yield f"{name}: {used} used of {most}"
        if not math.isclose(use.used, used, abs_tol=CENTS, rel_tol=RELATIVE):
            yield f"{name}: {used} used, {use.used} stated"
        if not math.isclose(use.most, math.floor(most) if name == "max_power" else most, abs_tol=CENTS):
            yield f"{name} is {most}, {use.most} stated"


def _counted(beside: Beside, quota: QuotaOn) -> int:
    """What counts for a quota: machines of a type, or GPUs; rented ones, for a GPU also what is owned."""
    counted = [line for line in beside.plan.machines if _counts(beside, quota, line)]
    return sum(line.count * (1 if QUOTA_UNITS[quota.kind] == "machines" else line.offer.gpu_count) for line in counted)


def _counts(beside: Beside, quota: QuotaOn, line: MachineLine) -> bool:
    offer, key = line.offer, quota.name.strip().casefold()
    if quota.kind == "gpu":
        return offer.gpu in {gpu.name for gpu in find_gpus(quota.name)}
    if offer.billing == "owned":
        return False
    if quota.kind == "provider":
        return key in {offer.provider.casefold(), offer.provider.casefold().split(":")[0]}
    if quota.kind == "instance_type":
        return offer.instance_type.casefold() == key
    return _in_region(beside, line, key)


def _in_region(beside: Beside, line: MachineLine, key: str) -> bool:
    """Rented in it by name; or nowhere else to be had."""
    name, region = beside.sold_as(line.offer.offer_id)
    offer = beside.offer.get(name)
    if region is not None or offer is None or is_everywhere(offer.region):
        return region == key
    return set(region_words(offer.region)) <= {key} or set(offer.region_classes) <= {key}


def audit_sums(beside: Beside) -> Iterator[str]:
    """Costs of the machines, their sum by the hour and the month, and what each service has of it."""
    for line in beside.plan.machines:
        if not math.isclose(line.cost_usd_per_hour, line.count * line.offer.price_usd_per_hour, abs_tol=CENTS):
            yield f"{line.count} x {line.offer.offer_id} cost something else"
    cost = sum(line.count * line.offer.price_usd_per_hour for line in beside.plan.machines)
    if beside.plan.cost_usd_per_hour is None or not math.isclose(beside.plan.cost_usd_per_hour, cost, abs_tol=CENTS):
        yield f"the machines cost {cost:.6f} USD/h, not {beside.plan.cost_usd_per_hour}"
        return
    month = beside.plan.cost_usd_per_hour * HOURS_PER_MONTH
    if beside.plan.cost_usd_per_month is None or not math.isclose(beside.plan.cost_usd_per_month, month):
        yield f"a month costs {month:.2f} USD, not {beside.plan.cost_usd_per_month}"
    shares = _shares(beside.plan)
    for answer in beside.plan.services:
        if not math.isclose(answer.shares_cost_usd_per_hour, shares.get(answer.name, 0.0), abs_tol=CENTS):
            yield f"{answer.name} has {shares.get(answer.name, 0.0):.6f} USD/h of the machines"


def audit_proof(beside: Beside) -> Iterator[str]:
    """The bound is below the cost, the status what it says, the day that of the oldest price."""
    plan, proof = beside.plan, beside.plan.proof
    cost, bound = plan.cost_usd_per_hour or 0.0, plan.bound_usd_per_hour
    if (proof.status, proof.bound_usd_per_hour) != (plan.status, bound):
        yield "the proof is of another plan"
    if bound is None or bound > cost + CENTS or bound < 0:
        yield f"the bound {bound} is above the cost"
    elif plan.status == "optimal" and bound < cost - CENTS:
        yield f"the bound {bound} is below the cost {cost:.6f}, so it is not proven optimal"
    elif proof.gap is None or not math.isclose(proof.gap, (cost - bound) / cost if cost else 0.0, abs_tol=GAPS):
        yield f"the bound is {(cost - bound) / cost if cost else 0.0:.4%} below the cost"
    oldest = min((line.offer.as_of for line in plan.machines), default=None)
    if plan.prices_as_of != oldest:
        yield f"the oldest price is of {oldest}, not {plan.prices_as_of}"
    unserved = {answer.name for answer in plan.services if not answer.served}
    if not {one.service for one in plan.dropped} <= unserved:
        yield "a service that is served is said to be dropped"


def _watts(plan: FleetPlan) -> float:
    """Of all replicas, each kind rounded up to whole watts."""
    return sum(
        one.replicas * math.ceil(math.inf if one.power_watts is None else one.power_watts)
        for answer in plan.services
        for one in answer.serving
    )


def _shares(plan: FleetPlan) -> dict[str, float]:
    """Service -> its part of the machines that it stands on, by GPUs and parts of them."""
    shares: dict[str, float] = {}
    for line in plan.machines:
        whole = sum(each.replicas * each.gpus * each.share for each in line.carries)
        for each in line.carries:
            part = each.replicas * each.gpus * each.share / whole if whole else 1 / len(line.carries)
            shares[each.service] = shares.get(each.service, 0.0) + part * line.count * line.offer.price_usd_per_hour
    return shares
