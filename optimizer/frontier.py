"""Every trade-off of one model: plans of one kind of replica that no other plan beats in all that is asked about.

A plan here is as many replicas of one kind as the demand needs, on the cheapest machines that run it. All of them are
enumerated, so the front needs no solver: what remains is the skyline of a table. Whether a mix of several kinds costs
less than a point of it, the solver is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from catalog.quantization import SCHEMES
from optimizer.answer import offered, replica_of
from optimizer.candidates import Candidates
from optimizer.cp_sat.objectives import Goal
from optimizer.cp_sat.program import solve_program
from optimizer.plan import OfferedMachine, Replica
from optimizer.pruning import Columns, unpruned
from optimizer.replica_columns import Bools, Floats, Ints
from optimizer.requirements import Demand, Frozen, Objective, Requirements
from optimizer.search import Search, keeps_service_level, request_seconds
from optimizer.uniform import keep_limits, uniform_plans, with_columns, worthwhile

Axis = Literal["cost", "latency", "ttft", "tpot", "throughput", "energy", "quality"]
AXES: tuple[Axis, ...] = get_args(Axis)
MORE_IS_BETTER = frozenset({"throughput", "quality"})
BLOCK = 2048
"""Plans that are compared with the front at once."""
MIXED_AXES = frozenset({"cost", "latency", "ttft", "tpot", "quality"})
"""What each replica of a plan has by itself: a mix is no worse in them when no replica in it is."""
MIXED_MOST = 40
"""Points for which the solver is asked whether a mix costs less: a tenth of a second each."""
CACHE_BIT_WEIGHS = 0.01
"""Of two plans with equal weights the one with the more precise cache has the higher quality; less than one bit."""


class FrontPoint(Frozen):
    """One plan of the front.

    Attributes:
        replicas, machines: of the whole plan.
        output_tokens_per_second: of all replicas.
        request_seconds: TTFT + TPOT x (output tokens - 1).
        power_watts: of all GPUs that are bought, idle ones included; None when unknown.
        joules_per_output_token: at full load.
        weight_bits: of most weights, the order of quality.
        mixed_usd_per_hour: proven by CP-SAT to be the least cost of any plan, of several kinds of replicas too, that is
            no worse in the other axes; None = not asked of the solver (see `MIXED_AXES`, `MIXED_MOST`).
    """

    cost_usd_per_hour: float
    ttft_seconds: float
    tpot_seconds: float
    request_seconds: float
    output_tokens_per_second: float
    power_watts: float | None
    joules_per_output_token: float | None
    weight_bits: int
    replicas: int
    machines: int
    offer: OfferedMachine
    replica: Replica
    mixed_usd_per_hour: float | None = None


class Frontier(Frozen):
    """All plans that no other beats, the cheapest first.

    Attributes:
        axes: in which they are compared.
        considered: plans that keep every promise and limit.
    """

    question: Requirements
    model: str
    axes: tuple[Axis, ...]
    considered: int
    points: tuple[FrontPoint, ...]


@dataclass(frozen=True)
class _Plans:
    """Plans as columns; arrays have shape (plans,)."""

    columns: Columns
    replicas: Ints
    machines: Ints
    values: dict[Axis, Floats]

    def merits(self, axes: tuple[Axis, ...]) -> Floats:
        """Less is better, shape (plans, axes)."""
        return np.column_stack([self.values[axis] * (-1 if axis in MORE_IS_BETTER else 1) for axis in axes])


def frontier(search: Search, requirements: Requirements, axes: tuple[Axis, ...]) -> Frontier:
    """The front of a question over some axes.

    Args:
        search: knows the model.
        requirements: demand, promises and limits are kept by every plan of the front; the objective is not read.
        axes: at least one.
    """
    plans = _all_plans(search, requirements)
    merits = plans.merits(axes)
    known = np.flatnonzero(np.isfinite(merits).all(axis=1))
    front = known[skyline(merits[known])]
    mixed = _mixed_costs(search, requirements, plans, axes, front)
    return Frontier(
        question=requirements,
        model=search.knowledge.spec.repo_id,
        axes=axes,
        considered=len(known),
        points=tuple(_point(search, requirements, plans, at, mixed.get(at)) for at in front.tolist()),
    )


def skyline(merits: Floats) -> Ints:
    """Rows that no other equals or beats in every column, in rising order of the first; of equal rows the first.

    >>> skyline(np.array([[2.0, 1.0], [1.0, 2.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
    [1, 0]
    """
    order = np.lexsort(merits.T[::-1])
    front = np.empty((0, merits.shape[1]))
    kept: list[Ints] = []
    for first in range(0, len(order), BLOCK):
        rows = order[first : first + BLOCK]
        rows = rows[~_covered(merits[rows], front)]
        rows = rows[_first_of_equals_unbeaten(merits[rows])]
        kept.append(rows)
        front = np.concatenate((front, merits[rows]))
    return np.concatenate(kept).astype(np.int64) if kept else np.empty(0, dtype=np.int64)


def _covered(rows: Floats, front: Floats) -> Bools:
    """Whether some row of the front is at least as good in every column, shape (rows,)."""
    covered = np.zeros(len(rows), dtype=bool)
    for first in range(0, len(front), BLOCK):
        part = front[first : first + BLOCK]
        covers: Bools = np.all(part[None] <= rows[:, None], axis=2)
        covered |= covers.any(axis=1)
    return covered


def _first_of_equals_unbeaten(rows: Floats) -> Bools:
    """Within rows in rising order: later ones can only be covered by earlier ones, shape (rows,)."""
    covers: Bools = np.all(rows[:, None] <= rows[None], axis=2)
    unbeaten: Bools = np.logical_not(np.triu(covers, 1).any(axis=0))
    return unbeaten


def _all_plans(search: Search, requirements: Requirements) -> _Plans:
    """Every candidate that keeps its promises, on every kind of machine, as often as the demand needs."""
    candidates = search.candidates(requirements)
    offers = search.cheapest_offers(requirements.choices)
    columns = unpruned(candidates, offers, keeps_service_level(candidates, requirements))
    plans = uniform_plans(columns, requirements)
    kept = np.flatnonzero(keep_limits(plans, requirements))
    at, replicas = columns.candidate[kept], plans.replicas[kept]
    tokens = replicas * columns.output_tokens_per_second[kept]
    values: dict[Axis, Floats] = {
        "cost": plans.cost_usd_per_hour[kept],
        "throughput": tokens,
        "energy": plans.power_watts[kept] / tokens,
        **{axis: value[at] for axis, value in candidate_values(candidates, requirements).items()},
    }
    return _Plans(columns.take(kept), replicas, plans.machines[kept], values)


def quality(candidates: Candidates) -> Floats:
    """Bits per weight of each evaluation, and a little for those of the cache: an order, no measure of answers."""
    bits = bits_by_format()
    return np.asarray(
        [
            bits[one.variant.spec.weight_format] + CACHE_BIT_WEIGHS * bits.get(one.variant.kv_format, 0)
            for one in candidates.evaluations
        ],
        dtype=np.float64,
    )


def bits_by_format() -> dict[str, int]:
    """Bits of one value in each format."""
    return {scheme.format: scheme.bits_per_weight for scheme in SCHEMES.values()}


def _mixed_costs(
    search: Search, requirements: Requirements, plans: _Plans, axes: tuple[Axis, ...], front: Ints
) -> dict[int, float]:
    """Plan -> the proven least cost of any plan that is no worse than it in the other axes.

    One question about cost for each: only replicas that reach what the plan has in every other axis may be used.
    """
    if "cost" not in axes or not set(axes) <= MIXED_AXES or requirements.demand == Demand():
        return {}
    candidates = search.candidates(requirements)
    whole = candidate_values(candidates, requirements)
    few = front if len(front) <= MIXED_MOST else front[np.linspace(0, len(front) - 1, MIXED_MOST).astype(np.int64)]
    asked, found = requirements.model_copy(update={"objective": Objective.COST}), {}
    for at in few.tolist():
        allowed = keeps_service_level(candidates, requirements)
        for axis in set(axes) - {"cost"}:
            sign = -1 if axis in MORE_IS_BETTER else 1
            allowed &= sign * whole[axis] <= sign * plans.values[axis][at]
        columns = search.columns(asked, allowed)
        cheap = solve_program(asked, with_columns(columns, worthwhile(columns, asked)), (Goal.COST,))
        if cheap is not None and cheap.optimal:
            found[at] = cheap.cost_usd_per_hour
    return found


def candidate_values(candidates: Candidates, requirements: Requirements) -> dict[Axis, Floats]:
    """What each candidate has by itself in the axes of `MIXED_AXES` but cost, each of shape (candidates,)."""
    return {
        "latency": request_seconds(candidates, requirements.workload),
        "ttft": candidates.ttft_seconds,
        "tpot": candidates.tpot_seconds,
        "quality": quality(candidates)[candidates.evaluation],
    }


def _point(search: Search, requirements: Requirements, plans: _Plans, at: int, mixed: float | None) -> FrontPoint:
    candidates = search.candidates(requirements)
    row = int(plans.columns.candidate[at])
    watts = plans.values["energy"][at] * plans.values["throughput"][at]
    known = bool(np.isfinite(watts))
    return FrontPoint(
        cost_usd_per_hour=round(float(plans.values["cost"][at]), 6),
        ttft_seconds=float(plans.values["ttft"][at]),
        tpot_seconds=float(plans.values["tpot"][at]),
        request_seconds=float(plans.values["latency"][at]),
        output_tokens_per_second=float(plans.values["throughput"][at]),
        power_watts=float(watts) if known else None,
        joules_per_output_token=float(plans.values["energy"][at]) if known else None,
        weight_bits=int(plans.values["quality"][at]),
        replicas=int(plans.replicas[at]),
        machines=int(plans.machines[at]),
        offer=offered(plans.columns.offers[int(plans.columns.machine[at])]),
        replica=replica_of(search, requirements, candidates, row),
        mixed_usd_per_hour=None if mixed is None else round(mixed, 6),
    )
