"""What a fleet is asked to do: services with demands and promises, shared limits, and how machines may be paid."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gpu_db.offer import Billing
from optimizer.errors import BadRequirements
from optimizer.fleet.gpu_parts import Way
from optimizer.requirements import (
    Choices,
    Count,
    Demand,
    EngineOptions,
    Frozen,
    Limits,
    LoraAdapters,
    Positive,
    Requirements,
    ServiceLevel,
    Tokens,
    Workload,
)

MOST_SERVICES = 100_000
MOST_SIZES = 24
MOST_PRIORITY = 1_000_000
MOST_QUOTA = 1_000_000

Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Quota = Annotated[int, Field(ge=0, le=MOST_QUOTA)]


class RequestSize(Frozen):
    """Requests of one size: their lengths in tokens, and which share of all requests they are (on any scale)."""

    input_tokens: Tokens
    output_tokens: Tokens
    share: Positive = 1.0


class Service(Frozen):
    """One service of a fleet.

    Attributes:
        name: as it is called in the answer.
        models: any of these may answer; replicas of several may stand side by side.
        sizes: of its requests; each size may be served on another kind of GPU.
        demand: of all sizes together.
        service_level: kept for every size.
        choices: what its replicas may be and where they may stand; billing and restrictions are the fleet's.
        options: what every replica is started with.
        weight_format_floor: no format of fewer bits per weight; None = what `choices` say.
        required: without it there is no plan; otherwise it is dropped when not all can be served.
        priority: of a larger number is served first.
        weight: of those with equal priority the largest sum of weights is served.
        replicas_at_least: running copies, whatever the demand.
        survives_losing_one_machine: the demand is met without any one of its machines.
        spot_share_most: of its demand, on machines that may be taken away; 0 = none.
        shares_replicas: services that name the same group (LoRA variants of one base) run on the same replicas.
    """

    name: Name
    models: Annotated[tuple[Name, ...], Field(min_length=1, max_length=20)]
    sizes: Annotated[tuple[RequestSize, ...], Field(min_length=1, max_length=MOST_SIZES)] = (
        RequestSize(input_tokens=1024, output_tokens=512),
    )
    demand: Demand
    service_level: ServiceLevel = ServiceLevel()
    choices: Choices = Choices()
    options: EngineOptions = EngineOptions()
    weight_format_floor: Name | None = None
    required: bool = False
    priority: Annotated[int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)] = 0
    weight: Annotated[int, Field(ge=1, le=MOST_PRIORITY)] = 1
    replicas_at_least: Annotated[int, Field(ge=1, le=10_000)] = 1
    survives_losing_one_machine: bool = False
    spot_share_most: Share = 1.0
    shares_replicas: Name | None = None

    @property
    def size_shares(self) -> tuple[float, ...]:
        """Share of each size among all requests; they add up to 1."""
        whole = sum(size.share for size in self.sizes)
        return tuple(size.share / whole for size in self.sizes)

    @property
    def mean_output_tokens(self) -> float:
        """Output tokens of the mean request.

        >>> short = RequestSize(input_tokens=9, output_tokens=100, share=3)
        >>> long = RequestSize(input_tokens=9, output_tokens=500)
        >>> demand = Demand(requests_per_second=1)
        >>> Service(name="a", models=("m",), sizes=(short, long), demand=demand).mean_output_tokens
        200.0
        """
        return sum(size.output_tokens * share for size, share in zip(self.sizes, self.size_shares, strict=True))

    @property
    def requests_per_second(self) -> float:
        """Requests that come per second, of all sizes: asked, or what the tokens asked for amount to; the greater."""
        by_tokens = (self.demand.output_tokens_per_second or 0.0) / self.mean_output_tokens
        return max(self.demand.requests_per_second or 0.0, by_tokens)

    @property
    def longest_request(self) -> int:
        """Tokens of the largest size, input and output."""
        return max(size.input_tokens + size.output_tokens for size in self.sizes)

    def question(self, model: str, size: RequestSize) -> Requirements:
        """What one of its sizes asks of one of its models; of demand the search reads only the kind."""
        return Requirements(
            model=model,
            workload=Workload(input_tokens=size.input_tokens, output_tokens=size.output_tokens),
            demand=self.demand,
            service_level=self.service_level,
            choices=self.choices,
            options=self.options,
        )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Service:
        if self.demand == Demand():
            raise ValueError("asks for nothing: give it min_tps, requests_per_second or concurrency")
        return self

    @model_validator(mode="after")
    def _sizes_come_at_a_rate(self) -> Service:
        if len(self.sizes) > 1 and self.demand.concurrency is not None:
            raise ValueError("concurrency of several sizes says nothing about their rates: give requests_per_second")
        return self

    @model_validator(mode="after")
    def _percentiles_are_of_arrivals(self) -> Service:
        if self.service_level.percentile is not None and self.demand.requests_per_second is None:
            raise ValueError("percentile is of requests that come at random: it needs requests_per_second")
        return self


QuotaKind = Literal["gpu", "instance_type", "provider", "region"]
QUOTA_UNITS: dict[QuotaKind, str] = {
    "gpu": "GPUs",
    "instance_type": "machines",
    "provider": "GPUs",
    "region": "GPUs",
}


class QuotaOn(Frozen):
    """At most so many of something in the whole fleet: GPUs of a kind, a provider or a region, or machines of a type.

    Machines that one owns count for their GPU only.
    """

    kind: QuotaKind
    name: Name
    most: Quota


class FleetLimits(Limits):
    """What the whole fleet may not exceed."""

    quotas: tuple[QuotaOn, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> FleetLimits:
        twice = [key for key, number in Counter((q.kind, q.name.casefold()) for q in self.quotas).items() if number > 1]
        if twice:
            raise ValueError(f"the quota of {twice[0][0]} {twice[0][1]!r} stands twice; keep one")
        return self


class OwnedMachines(Frozen):
    """Machines that are there and paid for.

    Attributes:
        gpu: any of its names.
        gpus: in one machine.
        machines: how many.
        running_usd_per_hour: of one machine that is used: electricity and cooling; nothing of its price.
        region: where they stand.
    """

    name: Name
    gpu: Name
    gpus: Annotated[int, Field(ge=1, le=1024)]
    machines: Annotated[int, Field(ge=0, le=10_000)]
    running_usd_per_hour: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = 0.0
    region: Name = "any"


class Purchase(Frozen):
    """Buying systems at their list price, written off evenly.

    Attributes:
        years: until they are written off.
        usd_per_kilowatt_hour: None = the suggested default of the place.
        place: a key of the electricity prices: "us" or "eu", or a country's.
        room: whose PUE counts: "colo" or "cloud".
        upkeep_share_per_year: of the price: service contract, spares, staff.
        systems: names that may be bought; None = all.
    """

    years: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] = 4.0
    usd_per_kilowatt_hour: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)] | None = None
    place: Name = "us"
    room: Name = "colo"
    upkeep_share_per_year: Share = 0.0
    systems: tuple[Name, ...] | None = None


class Buying(Frozen):
    """How machines may be paid.

    Attributes:
        billings: ways of renting.
        spot_share_most: of each service's demand on spot machines, unless the service says less.
        allowed_restrictions: as in `Choices`.
        purchase: systems may be bought too; None = not.
    """

    billings: Annotated[tuple[Billing, ...], Field(min_length=1)] = ("on-demand",)
    spot_share_most: Share = 1.0
    allowed_restrictions: tuple[str, ...] = ()
    purchase: Purchase | None = None


class MonthDemand(Frozen):
    """What one service must serve in one month.

    Attributes:
        month: a number or a year and month: "1", "2027-01".
        demand: None = nothing.
        scenario: of several that may come true; "" = the only one.
    """

    month: Annotated[str, Field(pattern=r"^(\d{1,3}|\d{4}-\d{2})$")]
    service: Name
    demand: Demand | None
    scenario: Annotated[str, Field(max_length=100)] = ""


class Fleet(Frozen):
    """The whole question.

    Attributes:
        demand_by_month: for a calendar; services that a month does not name keep their own demand.
        share_gpus: how several small replicas may share one GPU: by MIG where it has it, by shares of its memory.
    """

    name: Name = "fleet"
    services: Annotated[tuple[Service, ...], Field(min_length=1, max_length=MOST_SERVICES)]
    limits: FleetLimits = FleetLimits()
    buying: Buying = Buying()
    owned: Annotated[tuple[OwnedMachines, ...], Field(max_length=1000)] = ()
    demand_by_month: Annotated[tuple[MonthDemand, ...], Field(max_length=1_000_000)] = ()
    machines_most: Count = 10_000
    share_gpus: tuple[Way, ...] = ()

    @model_validator(mode="after")
    def _shared_gpus_are_of_one_month(self) -> Fleet:
        if self.share_gpus and self.demand_by_month:
            raise ValueError("share_gpus is not planned by month: leave it or the demand by month out")
        return self

    @model_validator(mode="after")
    def _shares_are_vllms(self) -> Fleet:
        others = [one.name for one in self.services if {e.split()[0] for e in one.choices.engines} - {"vllm"}]
        if "fractions" in self.share_gpus and others:
            raise ValueError(f"fractions of a GPU are planned with vllm alone; {others[0]!r} names another engine")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Fleet:
        for kind, names in (("service", [s.name for s in self.services]), ("owned", [o.name for o in self.owned])):
            twice = [name for name, number in Counter(names).items() if number > 1]
            if twice:
                raise ValueError(f"two entries of {kind} are called {twice[0]!r}; names must differ")
        return self


def with_shared_replicas(fleet: Fleet) -> Fleet:
    """The same fleet in which services that share replicas are one service, whose sizes are those of all of them.

    LoRA variants of one base run on the same replicas, each batch with adapters of several; the replicas' time is
    divided among their requests. The tightest promise of the group holds for all of it.

    Raises:
        BadRequirements: members have different models, or ask for a concurrency, which cannot be added up as a rate.
    """
    groups: dict[str, list[Service]] = {}
    for service in fleet.services:
        groups.setdefault(service.shares_replicas or f"\0{service.name}", []).append(service)
    if all(len(members) == 1 for members in groups.values()):
        return fleet
    return fleet.model_copy(update={"services": tuple(_as_one(members) for members in groups.values())})


def _as_one(members: list[Service]) -> Service:
    first = members[0]
    if len(members) == 1:
        return first
    _check_group(members)
    by_rate = any(member.demand.requests_per_second for member in members)
    tokens = sum(member.requests_per_second * member.mean_output_tokens for member in members)
    requests = sum(member.requests_per_second for member in members)
    adapters = _adapters_of(members)
    return first.model_copy(
        update={
            "name": " + ".join(member.name for member in members),
            "sizes": _sizes_of(members),
            "demand": Demand(requests_per_second=requests) if by_rate else Demand(output_tokens_per_second=tokens),
            "service_level": _tightest(members),
            "options": first.options.model_copy(update={"adapters": adapters}),
            "required": any(member.required for member in members),
            "priority": max(member.priority for member in members),
            "weight": sum(member.weight for member in members),
            "replicas_at_least": max(member.replicas_at_least for member in members),
            "survives_losing_one_machine": any(member.survives_losing_one_machine for member in members),
            "spot_share_most": min(member.spot_share_most for member in members),
        }
    )


def _check_group(members: list[Service]) -> None:
    first = members[0]
    for member in members:
        if (member.models, member.choices) != (first.models, first.choices):
            raise BadRequirements(
                f"Services {first.name!r} and {member.name!r} share replicas and differ in model or choices "
                "(quantization, gpu, region, ...); make them equal or do not let them share."
            )
        if member.demand.concurrency is not None:
            raise BadRequirements(
                f"Service {member.name!r} shares replicas and asks for a concurrency, which adds up with no rate; "
                "give it min_tps or requests_per_second."
            )


def _sizes_of(members: list[Service]) -> tuple[RequestSize, ...]:
    """Sizes of all members, equal ones once; shares are requests per second."""
    rates: dict[tuple[int, int], float] = {}
    for member in members:
        for size, share in zip(member.sizes, member.size_shares, strict=True):
            key = (size.input_tokens, size.output_tokens)
            rates[key] = rates.get(key, 0.0) + share * member.requests_per_second
    return tuple(RequestSize(input_tokens=isl, output_tokens=osl, share=rate) for (isl, osl), rate in rates.items())


def _tightest(members: list[Service]) -> ServiceLevel:
    levels = [member.service_level for member in members]
    ttft = [level.ttft_seconds for level in levels if level.ttft_seconds is not None]
    tpot = [level.tpot_seconds for level in levels if level.tpot_seconds is not None]
    percentile = [level.percentile for level in levels if level.percentile is not None]
    return ServiceLevel(
        ttft_seconds=min(ttft, default=None),
        tpot_seconds=min(tpot, default=None),
        confidence=max(level.confidence for level in levels),
        percentile=max(percentile, default=None),
    )


def _adapters_of(members: list[Service]) -> LoraAdapters | None:
    """Room for the adapters of all members; None when none has any."""
    own = [member.options.adapters for member in members if member.options.adapters is not None]
    if not own:
        return None
    targets = own[0].targets if all(one.targets == own[0].targets for one in own) else ()
    return LoraAdapters(rank=max(one.rank for one in own), loaded=sum(one.loaded for one in own), targets=targets)
