"""The answer for a fleet: machines to have, what serves each service on them, limits and their worth, the proof.

These models are the JSON schema of `plan fleet --json`; `schema_version` changes when a field changes its meaning.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from optimizer.fleet.services import Fleet
from optimizer.plan import Estimate, Memory, OfferedMachine, Replica
from optimizer.requirements import Frozen

FLEET_SCHEMA_VERSION: Literal["1"] = "1"
FleetStatusWord = Literal["optimal", "within gap", "feasible", "infeasible", "unknown"]


class SizeServed(Frozen):
    """Requests of one size on one kind of replica.

    Attributes:
        share: of the size's demand that runs here.
        estimate: of one replica that serves this size alone.
    """

    input_tokens: int
    output_tokens: int
    share: float
    estimate: Estimate


class ServedBy(Frozen):
    """Replicas of one kind, on one kind of machine.

    Attributes:
        machine: the kind, "8 x H100 SXM 80GB".
        power_watts: of one replica; None when unknown.
    """

    replicas: int
    machine: str
    spot: bool
    replica: Replica
    memory: Memory
    sizes: tuple[SizeServed, ...]
    power_watts: float | None


class ServiceAnswer(Frozen):
    """What serves one service.

    Attributes:
        served: whether its demand is met.
        asked, given: of each demand that it has, by its unit.
        shares_cost_usd_per_hour: of the machines that it runs on, its part by GPUs.
    """

    name: str
    served: bool
    asked: dict[str, float]
    given: dict[str, float]
    shares_cost_usd_per_hour: float
    serving: tuple[ServedBy, ...]


class Carried(Frozen):
    """Replicas of one service on one machine.

    Attributes:
        part: of one GPU that each has: "1g.10gb", "1/2"; empty = whole GPUs.
        share: of that GPU's memory.
    """

    service: str
    replicas: int
    gpus: int
    part: str = ""
    share: float = 1.0


class CutGpu(Frozen):
    """GPUs of one machine that are cut alike.

    Attributes:
        parts: of each, used or not: ("1g.10gb", "1g.10gb", "3g.40gb").
    """

    gpus: int
    parts: tuple[str, ...]


class MachineLine(Frozen):
    """Machines of one offer that carry the same.

    Attributes:
        gpus_used: on each.
        spans: they carry parts of a replica over several machines.
        cuts: GPUs of each that are cut into parts.
    """

    count: int
    offer: OfferedMachine
    cost_usd_per_hour: float
    gpus_used: int
    carries: tuple[Carried, ...]
    spans: bool = False
    cuts: tuple[CutGpu, ...] = ()


class LimitUse(Frozen):
    """A shared limit: how much of it is used, and what a little more would save, found by solving again.

    Attributes:
        worth_step: how much more was allowed; None = one more of the largest machine fits under it anyway, or its worth
            was not asked for.
        worth_usd_per_hour: saved by `worth_step` more; None = not asked for, or others are served then.
        worth_least_usd_per_hour, worth_most_usd_per_hour: between which the saving lies, by the bounds of both plans.
        worth_serves: services that are served only then.
        worth_drops: services that are no longer served then, for those.
        worth_proven: both plans are proven optimal, so the saving is exact.
        worth_unknown: time ended before it was found.
    """

    option: str
    most: float
    used: float
    unit: str
    worth_step: float | None = None
    worth_usd_per_hour: float | None = None
    worth_least_usd_per_hour: float | None = None
    worth_most_usd_per_hour: float | None = None
    worth_serves: tuple[str, ...] = ()
    worth_drops: tuple[str, ...] = ()
    worth_proven: bool = False
    worth_unknown: bool = False


class Dropped(Frozen):
    """A service that is not served, and why.

    Attributes:
        has_machine: some machine could serve it, if the shared limits left room.
    """

    service: str
    priority: int
    reason: str
    has_machine: bool = True


class FleetRelaxation(Frozen):
    """The least change of one limit that lets every service be served, and what that plan costs; solved again.

    Attributes:
        proven: no smaller change is enough, and with it no plan costs less; else the change is enough, and no more is
            known.
    """

    option: str
    asked: float
    value: float
    unit: str
    sentence: str
    cost_usd_per_hour: float
    proven: bool


class WhyNot(Frozen):
    """A GPU forced into the plan: what that costs, or why it cannot be.

    Attributes:
        extra_usd_per_hour: of the cheapest plan that serves the same and has a machine with this GPU.
        extra_least_usd_per_hour, extra_most_usd_per_hour: between which it lies, by the bounds of both plans.
        serves: services on it in that plan.
        exact: both plans are proven optimal, or it is proven that there is none.
    """

    gpu: str
    sentence: str
    cost_usd_per_hour: float | None = None
    extra_usd_per_hour: float | None = None
    extra_least_usd_per_hour: float | None = None
    extra_most_usd_per_hour: float | None = None
    serves: tuple[str, ...] = ()
    exact: bool = False


class PriceSensitivity(Frozen):
    """The price at which a GPU leaves the plan, or enters it.

    Attributes:
        price_factor: of all its prices today; None = there is none.
        exact: every plan on the way was proven optimal.
    """

    gpu: str
    in_plan: bool
    price_factor: float | None
    usd_per_gpu_hour: float | None
    sentence: str
    exact: bool


class FleetProof(Frozen):
    """How far the solver came."""

    solver: str
    solver_version: str
    engine: str
    status: FleetStatusWord
    bound_usd_per_hour: float | None
    gap: float | None
    served_proven: bool
    seconds: float
    columns: int
    seed: int
    audited: bool


class FleetPlan(Frozen):
    """The answer to one fleet.

    Attributes:
        cut_short: explanations for which the time was too short: what is said of them is true, and not all.
    """

    schema_version: Literal["1"] = FLEET_SCHEMA_VERSION
    gpuplan_version: str
    status: FleetStatusWord
    question: Fleet
    cost_usd_per_hour: float | None
    cost_usd_per_month: float | None
    bound_usd_per_hour: float | None
    services: tuple[ServiceAnswer, ...]
    machines: tuple[MachineLine, ...]
    limits: tuple[LimitUse, ...]
    dropped: tuple[Dropped, ...]
    conflicts: tuple[str, ...]
    relaxations: tuple[FleetRelaxation, ...]
    why_not: tuple[WhyNot, ...] = ()
    sensitivity: tuple[PriceSensitivity, ...] = ()
    cut_short: tuple[str, ...] = ()
    proof: FleetProof
    prices_as_of: date | None
    data_fingerprint: str
    warnings: tuple[str, ...]
