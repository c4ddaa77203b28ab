"""Why this plan and not the next: the best on every other GPU, and what decided against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpu_db.query import find_gpus
from optimizer.candidates import STAGES, Candidates
from optimizer.cp_sat.program import Purchase
from optimizer.plan import Rejection, counted
from optimizer.pruning import Columns, unpruned
from optimizer.replica_columns import Ints
from optimizer.requirements import Objective, Requirements
from optimizer.search import Search, keeps_service_level, request_seconds
from optimizer.uniform import UniformPlans, keep_limits, uniform_plans


def rejections(search: Search, requirements: Requirements, purchase: Purchase | None = None) -> tuple[Rejection, ...]:
    """For each GPU that the plan does not use: the best it could do alone, and what decided against it.

    The best by the question's objective first; then the GPUs on which nothing keeps the promises, the nearest miss
    first, with the reason of the shape that came furthest.
    """
    used = set() if purchase is None else {purchase.columns.offers[m].gpu for m in np.flatnonzero(purchase.machines)}
    plans = uniform_plans(_columns(search, requirements, purchase), requirements)
    best: dict[str, int] = {}
    for column in _by_merit(search, plans, requirements).tolist():
        if (gpu := plans.gpu(column)) not in used:
            best.setdefault(gpu, column)
    could = [
        _described(search, requirements, plans, column, _what_decided(search, requirements, plans, column, purchase))
        for column in best.values()
        if plans.replicas[column]
    ]
    missed = [(_beyond_limits(plans, gpu, requirements), gpu) for gpu, at in best.items() if not plans.replicas[at]]
    names = sorted({offer.gpu for offer in search.offers(requirements.choices)} - used - set(best))
    missed += [(why_not(search, requirements, gpu), gpu) for gpu in names]
    missed += not_offered(search, requirements)
    could_not = [Rejection(gpu=gpu, reason=why.reason) for why, gpu in sorted(missed, key=lambda one: one[0].nearness)]
    return (*could, *could_not)


def _columns(search: Search, requirements: Requirements, purchase: Purchase | None) -> Columns:
    """What the best of each GPU is among: what the solver saw, unless that is only what a best plan can use."""
    if requirements.objective is Objective.LATENCY:
        candidates, offers = search.candidates(requirements), search.cheapest_offers(requirements.choices)
        return unpruned(candidates, offers, keeps_service_level(candidates, requirements))
    if purchase is None or requirements.limits.power_watts is not None:
        return search.columns(requirements)
    return purchase.columns


def alternatives(search: Search, requirements: Requirements, purchase: Purchase) -> tuple[Rejection, ...]:
    """The next best ways to serve everything with one machine type and one replica shape."""
    plans = uniform_plans(purchase.columns, requirements)
    used = set(np.flatnonzero(purchase.replicas).tolist())
    rows = [column for column in _by_merit(search, plans, requirements).tolist() if column not in used]
    return tuple(
        _described(search, requirements, plans, row, _what_decided(search, requirements, plans, row, purchase))
        for row in rows[: requirements.alternatives]
    )


def _by_merit(search: Search, plans: UniformPlans, requirements: Requirements) -> Ints:
    """Columns, those that keep the limits first, the best by the question's objective; ties by cost, then by place."""
    columns, objective = plans.columns, requirements.objective
    merit = plans.cost_usd_per_hour
    if objective is Objective.THROUGHPUT:
        merit = -plans.replicas * columns.output_tokens_per_second
    elif objective is Objective.ENERGY:
        merit = plans.power_watts
    elif objective is Objective.LATENCY:
        merit = request_seconds(search.candidates(requirements), requirements.workload)[columns.candidate]
    return np.lexsort((columns.candidate, plans.cost_usd_per_hour, merit, ~keep_limits(plans, requirements)))


def _described(search: Search, requirements: Requirements, plans: UniformPlans, column: int, reason: str) -> Rejection:
    shape = search.candidates(requirements).shapes.columns
    row = int(search.candidates(requirements).shape[plans.columns.candidate[column]])
    offer = plans.columns.offers[plans.columns.machine[column]]
    return Rejection(
        gpu=offer.gpu,
        reason=reason,
        cost_usd_per_hour=round(float(plans.cost_usd_per_hour[column]), 6),
        output_tokens_per_second=float(plans.replicas[column] * plans.columns.output_tokens_per_second[column]),
        tensor_parallel=int(shape.tensor_parallel[row]),
        pipeline_parallel=int(shape.pipeline_parallel[row]),
        data_parallel=int(shape.data_parallel[row]),
        expert_parallel=int(shape.expert_parallel[row]),
        replicas=int(plans.replicas[column]),
        machines=int(plans.machines[column]),
        gpus=int(plans.machines[column]) * offer.gpu_count,
        offer_id=offer.offer_id,
        power_watts=float(plans.power_watts[column]) if np.isfinite(plans.power_watts[column]) else None,
    )


def _what_decided(
    search: Search, requirements: Requirements, plans: UniformPlans, column: int, purchase: Purchase | None
) -> str:
    """One clause: the limit that it breaks, else by how much the plan is better."""
    cost, offer = float(plans.cost_usd_per_hour[column]), plans.columns.offers[plans.columns.machine[column]]
    machines, limits = int(plans.machines[column]), requirements.limits
    if offer.available_count is not None and machines > offer.available_count:
        return f"needs {counted(machines, 'machine')}, {offer.available_count} can be had"
    if limits.gpus is not None and machines * offer.gpu_count > limits.gpus:
        return f"needs {counted(machines * offer.gpu_count, 'GPU')}, {limits.gpus} allowed"
    if limits.budget_usd_per_hour is not None and cost > limits.budget_usd_per_hour + 1e-9:
        return f"costs {cost - limits.budget_usd_per_hour:.2f} USD/h more than the budget"
    watts = float(plans.power_watts[column])
    if limits.power_watts is not None and watts > limits.power_watts:
        return f"draws {watts - limits.power_watts:,.0f} W more than allowed"
    if purchase is None:
        return "fits alone, but not with the other rules"
    return _by_how_much(search, requirements, plans, column, purchase)


def _by_how_much(
    search: Search, requirements: Requirements, plans: UniformPlans, column: int, purchase: Purchase
) -> str:
    bought, here = purchase.columns, plans.columns
    if requirements.objective is Objective.THROUGHPUT:
        ours = float((purchase.replicas * bought.output_tokens_per_second).sum())
        return f"gives {ours - plans.replicas[column] * here.output_tokens_per_second[column]:,.0f} tok/s less"
    if requirements.objective is Objective.ENERGY:
        return f"draws {plans.power_watts[column] - purchase.power_watts:,.0f} W more"
    if requirements.objective is Objective.LATENCY:
        latency = request_seconds(search.candidates(requirements), requirements.workload)
        ours = latency[bought.candidate[np.flatnonzero(purchase.replicas)]].max()
        return f"a request takes {latency[here.candidate[column]]:.2f} s against {ours:.2f} s"
    more = float(plans.cost_usd_per_hour[column]) - purchase.cost_usd_per_hour
    return (
        f"costs {more:.2f} USD/h more" if more > 0 else "costs the same; ties go to more headroom, fewer machines, name"
    )


@dataclass(frozen=True)
class Miss:
    """Why no replica on a GPU can be part of a plan.

    Attributes:
        stage: how far its best shape came; see `candidates.STAGES`.
        excess: by how much that misses, to be compared within a stage.
        reason: in words.
    """

    stage: str
    excess: float
    reason: str

    @property
    def nearness(self) -> tuple[int, float]:
        """A key that sorts the nearest miss first."""
        return -STAGES.index(self.stage), self.excess


def not_offered(search: Search, requirements: Requirements) -> list[tuple[Miss, str]]:
    """The GPUs of each name that was asked for and of which no machine is left to choose from, with the reason."""
    choices = requirements.choices
    offered = {offer.gpu for offer in search.offers(choices)}
    asked = [{gpu.name for gpu in find_gpus(name)} for name in choices.gpus or ()]
    absent = sorted(set().union(*(names for names in asked if not names & offered)))
    priced = {offer.gpu for offer in search.knowledge.offers}
    reasons = {
        True: "no machine with it is left by --provider, --region, --billing, --exclude-gpu and --allow",
        False: "nobody's price of it is known: --offers FILE.csv takes yours",
    }
    return [(Miss(STAGES[0], 0.0, reasons[gpu in priced]), gpu) for gpu in absent]


def _beyond_limits(plans: UniformPlans, gpu: str, requirements: Requirements) -> Miss:
    """Why the limits leave no room for even one replica on this GPU: what the cheapest machines for one would take."""
    offers, limits = plans.columns.offers, requirements.limits
    needed = [
        (-(-int(gpus) // offers[machine].gpu_count), offers[machine])
        for gpus, machine in zip(plans.columns.gpus, plans.columns.machine.tolist(), strict=True)
        if offers[machine].gpu == gpu
    ]
    machines, offer = min(needed, key=lambda one: one[0] * one[1].price_usd_per_hour)
    cost, gpus = machines * offer.price_usd_per_hour, machines * offer.gpu_count
    if limits.budget_usd_per_hour is not None and cost > limits.budget_usd_per_hour:
        return Miss("speed", cost, f"costs {cost:,.2f} USD/h at least, {limits.budget_usd_per_hour:,.2f} allowed")
    if limits.gpus is not None and gpus > limits.gpus:
        return Miss("speed", float(gpus), f"needs {counted(gpus, 'GPU')}, {limits.gpus} allowed")
    return Miss("speed", float(machines), "too few of its machines can be had")


def why_not(search: Search, requirements: Requirements, gpu: str) -> Miss:
    """Why no replica on this GPU can be part of a plan: the reason of the shapes that came furthest."""
    candidates = search.candidates(requirements)
    mine = _rows_on(candidates, gpu)
    if len(mine):
        return _too_slow(candidates, mine, requirements)
    refusals = [one for one in candidates.refusals if one.gpu == gpu]
    if not refusals:
        return Miss(STAGES[0], 0.0, "no shape of the model fits its machines")
    nearest = max(refusals, key=lambda one: (STAGES.index(one.stage), -one.short_bytes, one.shapes))
    return Miss(nearest.stage, nearest.short_bytes, nearest.reason)


def _rows_on(candidates: Candidates, gpu: str) -> Ints:
    shapes = candidates.shapes.columns
    number = [one.name for one in shapes.gpus].index(gpu)
    return np.flatnonzero((shapes.gpu == number)[candidates.shape])


def _too_slow(candidates: Candidates, mine: Ints, requirements: Requirements) -> Miss:
    level = requirements.service_level
    if keeps_service_level(candidates, requirements)[mine].any():
        return Miss("speed", 0.0, "its power draw is not known")
    ttft, tpot = float(candidates.ttft_seconds[mine].min()), float(candidates.tpot_seconds[mine].min())
    if level.tpot_seconds is not None and tpot > level.tpot_seconds:
        reason = f"TPOT {tpot * 1e3:.1f} ms at best, {level.tpot_seconds * 1e3:g} ms asked"
        return Miss("speed", tpot / level.tpot_seconds, reason)
    if level.ttft_seconds is not None and ttft > level.ttft_seconds:
        reason = f"TTFT {ttft * 1e3:.0f} ms at best, {level.ttft_seconds * 1e3:g} ms asked"
        return Miss("speed", ttft / level.ttft_seconds, reason)
    return Miss("speed", 1.0, "no shape keeps TTFT and TPOT at once")
