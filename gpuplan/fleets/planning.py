"""Look up the data of a fleet, then solve: what the command and the Python face call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from catalog.errors import CatalogError
from catalog.find import find_model
from catalog.model import ModelSpec
from catalog.quantization import SCHEMES, available_formats
from gpu_db.errors import GpuDbError
from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus, load_offers, load_user_offers
from gpu_db.machines import scaleup, topology_of_gpu
from gpu_db.offer import Offer
from gpu_db.ownership import (
    System,
    bought_machine,
    electricity_price,
    is_for_datacentres,
    load_systems,
    power_usage_effectiveness,
)
from gpu_db.query import find_gpu, override_offers, staleness_warnings
from gpu_db.regions import region_classes
from gpuplan import __version__
from gpuplan.errors import nearest
from gpuplan.fleets.explained import Again, Wishes, explain
from gpuplan.planning import check_options, data_fingerprint, engine_named, in_known_names
from optimizer.answer import Stamp
from optimizer.cost import HOURS_PER_YEAR, KILO, Ownership
from optimizer.cp_sat.integers import MICRO
from optimizer.engines.find import ENGINES
from optimizer.errors import AuditFailed, BadRequirements, OptimizerError
from optimizer.fleet.answer import write_fleet_plan
from optimizer.fleet.audit.audit import audit_fleet
from optimizer.fleet.audit.beside import FleetKnowledge
from optimizer.fleet.branching import solve_small
from optimizer.fleet.calendar import Calendar, write_calendar
from optimizer.fleet.calendar_program import CalendarProgram, build_calendar, without_commitments
from optimizer.fleet.fleet import Program, build_program
from optimizer.fleet.market import PURCHASED, Market, market_of
from optimizer.fleet.plan import FleetPlan
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.replicas import Replicas, questions_of, replicas_of
from optimizer.fleet.services import Fleet, Purchase, Service, with_shared_replicas
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.solve import DEFAULT_GAP, DEFAULT_TIME_LIMIT_SECONDS, SEED
from optimizer.patience import meant_milliseconds
from optimizer.performance.factors import load_factors
from optimizer.search import Knowledge, MachineTables, Search

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Effort:
    """How long and how far to look.

    Attributes:
        gap: relative distance to the proven bound at which the search may end.
        time_limit_seconds: of solving, and as much again of explaining.
        seed: of the solvers.
    """

    gap: float = DEFAULT_GAP
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS
    seed: int = SEED


def plan_fleet(
    fleet: Fleet,
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    offline: bool = False,
    effort: Effort | None = None,
    wishes: Wishes | None = None,
    today: date | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> FleetPlan:
    """The cheapest plan of a fleet, with its certificate and what explains it.

    Args:
        fleet: the question.
        offers_file: a CSV of own machines and negotiated prices.
        factors_dir: a folder that `plan fit serving` wrote; None = the bundled factors.
        offline: whether the Hub may not be asked for models that are not bundled.
        effort: how long and how far to look.
        wishes: what is to be explained.
        today: the day that prices are judged by for age; None asks the clock.
        progress: called with (cost, bound) in micro-dollars whenever there is a better plan.
        notice: told which explanation is being found.

    Raises:
        BadRequirements: a service contradicts itself.
        catalog.errors.CatalogError: a model is unknown.
        gpu_db.errors.GpuDbError: a GPU, provider or region is unknown, or the offers file cannot be read.
    """
    effort, wishes, today = effort or Effort(), wishes or Wishes(), today or date.today()
    desk = Desk(fleet, offers_for(fleet, offers_file, today), factors_dir, offline)
    program = desk.program()
    solution = _solve(program.problem, effort, progress)
    again = Again(
        lambda problem, seconds: _solve(problem, replace(effort, time_limit_seconds=seconds)),
        effort.time_limit_seconds,
        notice,
    )
    explained = explain(program, solution, wishes, again, replicas=desk.replicas, opened=desk.program)
    plan = write_fleet_plan(program, solution, Stamp(__version__, data_fingerprint()), explained)
    findings = audit_fleet(plan, desk.knowledge())
    if findings:
        raise AuditFailed(f"The fleet plan does not keep what it says: {'; '.join(findings[:5])}.")
    used = {line.offer.offer_id for line in plan.machines}
    offers = [supply.offer for supply in program.market.supplies if supply.offer.offer_id in used]
    return plan.model_copy(
        update={"warnings": (*_odd_limits(fleet), *plan.warnings, *staleness_warnings(offers, today))}
    )


def unplannable(
    fleet: Fleet,
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    offline: bool = False,
    today: date | None = None,
) -> dict[str, str]:
    """Services that cannot be planned whatever the others ask: name -> why; arguments are those of `plan_fleet`."""
    offers = offers_for(fleet, offers_file, today or date.today())
    shelf, found = _Shelf(offers, {}, factors_dir, offline), {}
    for service in fleet.services:
        alone = fleet.model_copy(update={"services": (service,), "share_gpus": ()})
        try:
            shelf.replicas(alone, market_of(alone, offers), 0)
        except (CatalogError, GpuDbError, OptimizerError) as wrong:
            found[service.name] = str(wrong).removeprefix(f"Service {service.name!r}: ")
    return found


def plan_calendar(
    fleet: Fleet,
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    offline: bool = False,
    effort: Effort | None = None,
    today: date | None = None,
    progress: Progress | None = None,
) -> Calendar:
    """What to reserve, rent and buy when, for demand by month; the dearest of several scenarios is what is planned for.

    What it costs to be sure of each scenario alone, and to commit to nothing, is solved too, each with the same effort.
    Arguments and errors are those of `plan_fleet`.
    """
    effort, today = effort or Effort(), today or date.today()
    desk = Desk(fleet, offers_for(fleet, offers_file, today), factors_dir, offline)
    program = desk.calendar()
    solution = _solve(program.problem, effort, progress)
    calendar = write_calendar(program, solution)
    if calendar.cost_usd is None:
        return calendar
    used = {entry.offer.offer_id for entry in calendar.entries}
    offers = [supply.offer for supply in program.market.supplies if supply.offer.offer_id in used]
    alone = {
        scenario: write_calendar(one, _solve(one.problem, effort))
        for scenario in program.scenarios
        if len(program.scenarios) > 1
        for one in [desk.calendar(scenario)]
    }
    uncommitted = without_commitments(program)
    rented = _solve(uncommitted, effort) if uncommitted is not None else None
    same = rented is not None and rented.counts.any() and bool((rented.served == solution.served).all())
    return calendar.model_copy(
        update={
            "alone_usd": {name: one.cost_usd for name, one in alone.items() if _serves_the_same(one, calendar, name)},
            "rented_only_usd": rented.cost_micro_usd / MICRO if rented is not None and same else None,
            "warnings": (*_odd_limits(fleet), *_time_ended(solution), *staleness_warnings(offers, today)),
        }
    )


def _serves_the_same(alone: Calendar, calendar: Calendar, scenario: str) -> bool:
    """Whether a calendar for one scenario alone leaves out exactly what the one for all leaves out in it."""
    mine = {name for name in calendar.dropped if name.endswith(f"({scenario})")}
    return alone.cost_usd is not None and set(alone.dropped) == mine


def _time_ended(solution: FleetSolution) -> tuple[str, ...]:
    far = f"Time ended before the proof: a calendar may be up to {solution.gap:.1%} cheaper; raise --time-limit."
    return (far,) if solution.status is FleetStatus.FEASIBLE else ()


def _solve(problem: FleetProblem, effort: Effort, progress: Progress | None = None) -> FleetSolution:
    return solve_small(
        problem,
        gap=effort.gap,
        time_limit_seconds=effort.time_limit_seconds,
        seed=effort.seed,
        progress=progress,
    )


class Desk:
    """One fleet with everything that is known about its models; the replicas of its services are found once."""

    def __init__(
        self, fleet: Fleet, offers: tuple[Offer, ...], factors_dir: str | Path | None = None, offline: bool = False
    ) -> None:
        fleet = with_shared_replicas(fleet)
        self.fleet, self.market = fleet, market_of(fleet, offers)
        shelf = _Shelf((*offers, *self.market.part_offers()), self.market.part_gpus(), factors_dir, offline)
        self.replicas = [shelf.replicas(fleet, self.market, number) for number in range(len(fleet.services))]
        self._shelf, self._offers = shelf, offers

    def knowledge(self) -> FleetKnowledge:
        """What a plan of this fleet is audited with."""
        asked = {}
        for service in self.fleet.services:
            for model in service.models:
                search, wanted = self._shelf.asked(service, model)
                known = search.knowledge
                questions = questions_of(wanted, model, known.spec)
                sizes = {(one.workload.input_tokens, one.workload.output_tokens): one for one in questions}
                asked[service.name, known.spec.repo_id] = (known, sizes)
        gpus = {**load_gpus(), **self.market.part_gpus()}
        return FleetKnowledge(self._offers, gpus, asked, self.market.parts_of_gpus())

    def calendar(self, only: str | None = None) -> CalendarProgram:
        """The integer program over the months; `only` plans for one scenario alone."""
        return build_calendar(self.fleet, self.market, self.replicas, only)

    def program(self, open_gpus: frozenset[str] = frozenset()) -> Program:
        """The integer program; machines with an open GPU stay in it whatever they cost."""
        return build_program(self.fleet, self.market, self.replicas, open_gpus)


def offers_for(fleet: Fleet, offers_file: str | Path | None, today: date) -> tuple[Offer, ...]:
    """Every machine that the fleet could have: bundled, from the asker's file, and owned."""
    bundled = load_offers()
    if offers_file is not None:
        bundled = override_offers(bundled, load_user_offers(offers_file))
    return (*bundled, *owned_offers(fleet, today), *systems_to_buy(fleet.buying.purchase))


def owned_offers(fleet: Fleet, today: date) -> tuple[Offer, ...]:
    """The fleet's own machines, priced at what running them costs."""
    offers = []
    for one in fleet.owned:
        gpu = find_gpu(one.gpu)
        domain, link = scaleup(topology_of_gpu(gpu), one.gpus)
        classes = region_classes(one.region)
        offers.append(
            Offer(
                offer_id=f"owned/{one.name}",
                provider="owned",
                instance_type=one.name,
                gpu=gpu.name,
                gpu_count=one.gpus,
                region=one.region,
                region_class=classes[0] if len(classes) == 1 else "any",
                billing="owned",
                price_usd_per_hour=one.running_usd_per_hour,
                as_of=today,
                source="the fleet file",
                confidence="high",
                scaleup_domain_gpus=domain,
                link_bytes_per_second=link,
                available_count=one.machines,
                region_classes=classes,
            )
        )
    return tuple(offers)


def systems_to_buy(purchase: Purchase | None) -> tuple[Offer, ...]:
    """Systems at their typical price, as machines with a price per hour over the years until they are written off.

    Machines for desks are among them only when they are named.

        price / years + upkeep per year, by the hour, + nameplate watts x PUE x price of electricity

    Raises:
        BadRequirements: a system is named that is not in the tables.
    """
    if purchase is None:
        return ()
    systems = {system.name: system for system in load_systems()}
    unknown = [name for name in purchase.systems or () if name not in systems]
    if unknown:
        near, known = nearest(unknown[0], systems), ", ".join(systems)
        raise BadRequirements(f"No system named {unknown[0]!r} can be bought.{near} They are {known}.")
    racked = [system.name for system in systems.values() if is_for_datacentres(find_gpu(system.gpu))]
    return tuple(_bought(systems[name], purchase) for name in purchase.systems or racked)


def _bought(system: System, purchase: Purchase) -> Offer:
    energy = purchase.usd_per_kilowatt_hour
    per_kilowatt_hour = electricity_price(purchase.place).value if energy is None else energy
    watts = system.power_watts * power_usage_effectiveness(purchase.room).value
    owned = Ownership(
        machines_usd=system.price_typical_usd,
        network_share=0,
        life_years=purchase.years,
        residual_share=0,
        maintenance_share=purchase.upkeep_share_per_year,
        running_usd_per_year=watts / KILO * HOURS_PER_YEAR * per_kilowatt_hour,
    )
    made_of = f"{system.price_typical_usd:,.0f} USD over {purchase.years:g} years, {watts / KILO:.1f} kW with cooling"
    return bought_machine(system, find_gpu(system.gpu), PURCHASED, round(owned.usd_per_hour, 6), made_of)


def _odd_limits(fleet: Fleet) -> Iterator[str]:
    for service in fleet.services:
        for question in meant_milliseconds(service.service_level):
            yield f"Service {service.name!r}: {in_the_files_words(question)}"


def in_the_files_words(sentence: str) -> str:
    """A sentence in which options of the command line are the words of a fleet file.

    >>> in_the_files_words("lower --isl or --max-model-len")
    'lower isl or max_model_len'
    """
    return re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), sentence)


class _Shelf:
    """Models with what is known about them, each looked up once."""

    def __init__(
        self, offers: tuple[Offer, ...], part_gpus: dict[str, Gpu], factors_dir: str | Path | None, offline: bool
    ) -> None:
        self._offers, self._offline = offers, offline
        self._gpus = {**load_gpus(), **part_gpus}
        self._factors = load_factors(None if factors_dir is None else Path(factors_dir))
        self._tables = MachineTables(self._offers, self._gpus, self._factors)
        self._searches: dict[tuple[str, tuple[str, ...]], Search] = {}

    def replicas(self, fleet: Fleet, market: Market, number: int) -> list[Replicas]:
        """The replicas of one service, for each of its models."""
        service = fleet.services[number]
        offers = market.offers_of(market.taste[number])
        power = fleet.limits.power_watts is not None
        try:
            found = [
                replicas_of(search, asked, model, offers, power=power)
                for model in service.models
                for search, asked in [self.asked(service, model)]
            ]
        except BadRequirements as wrong:
            raise BadRequirements(f"Service {service.name!r}: {in_the_files_words(str(wrong))}") from wrong
        return found

    def asked(self, service: Service, model: str) -> tuple[Search, Service]:
        """The search for a model, and the service in the engines' and the model's own words."""
        engines = tuple({engine.name: engine for engine in map(engine_named, service.choices.engines)}.values())
        search = self._search(model, service.choices.engines)
        spec, question = search.knowledge.spec, service.question(model, service.sizes[0])
        check_options(question, spec, engines, None)
        choices = in_known_names(question, spec, engines).choices
        formats = formats_above(spec, service)
        if formats is not None:
            choices = choices.model_copy(update={"weight_formats": formats})
        return search, service.model_copy(update={"choices": choices})

    def _search(self, model: str, named: Sequence[str]) -> Search:
        key = (model, tuple(named))
        if key not in self._searches:
            engines = {engine.name: engine for engine in map(engine_named, (*ENGINES, *named))}
            spec = find_model(model, offline=self._offline)
            knowledge = Knowledge(spec, self._offers, self._gpus, engines, self._factors)
            self._searches[key] = Search(knowledge, self._tables)
        return self._searches[key]


def formats_above(spec: ModelSpec, service: Service) -> tuple[str, ...] | None:
    """Weight formats that a service's floor leaves of a model; None = no floor was given.

    Raises:
        BadRequirements: the floor leaves none.
    """
    if service.weight_format_floor is None:
        return service.choices.weight_formats
    bits = {scheme.format: scheme.bits_per_weight for scheme in SCHEMES.values()}
    least = bits.get(service.weight_format_floor)
    if least is None:
        known = sorted(bits)
        raise BadRequirements(
            f"{service.weight_format_floor!r} is no weight format; quantization_floor takes {', '.join(known)}."
            f"{nearest(service.weight_format_floor, known)}"
        )
    wanted = service.choices.weight_formats or available_formats(spec)
    formats = tuple(name for name in wanted if bits.get(name, 0) >= least)
    if not formats:
        raise BadRequirements(
            f"{spec.repo_id} can be had in {', '.join(wanted)} weights, below the floor {service.weight_format_floor}; "
            "lower quantization_floor or take another model."
        )
    return formats
