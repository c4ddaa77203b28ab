"""Look up the data of a fleet, then solve: what the command and the Python face call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from catalog.find import find_model
from catalog.model import ModelSpec
from catalog.quantization import SCHEMES, available_formats
from gpu_db.load import load_gpus, load_offers, load_user_offers
from gpu_db.machines import scaleup, topology_of_gpu
from gpu_db.offer import Offer
from gpu_db.query import find_gpu, override_offers, staleness_warnings
from gpu_db.regions import region_classes
from gpuplan import __version__
from gpuplan.errors import nearest
from gpuplan.planning import data_fingerprint, engine_named
from optimizer.answer import Stamp
from optimizer.engines.find import ENGINES
from optimizer.errors import BadRequirements
from optimizer.fleet.answer import Explained, limit_uses, write_fleet_plan
from optimizer.fleet.fleet import Program, build_program
from optimizer.fleet.market import Market, market_of
from optimizer.fleet.plan import FleetPlan
from optimizer.fleet.replicas import Replicas, replicas_of
from optimizer.fleet.services import Fleet, Service
from optimizer.fleet.solve import DEFAULT_GAP, DEFAULT_TIME_LIMIT_SECONDS, SEED, solve_fleet
from optimizer.performance.factors import load_factors
from optimizer.search import Knowledge, Search

Progress = Callable[[int, int], None]
Word = Callable[[str], None]


def plan_fleet(
    fleet: Fleet,
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    offline: bool = False,
    gap: float = DEFAULT_GAP,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
    seed: int = SEED,
    today: date | None = None,
    progress: Progress | None = None,
) -> FleetPlan:
    """The cheapest plan of a fleet, with its certificate.

    Args:
        fleet: the question.
        offers_file: a CSV of own machines and negotiated prices.
        factors_dir: a folder that `plan fit serving` wrote; None = the bundled factors.
        offline: whether the Hub may not be asked for models that are not bundled.
        gap: relative distance to the proven bound at which the search may end.
        time_limit_seconds: of solving.
        seed: of the solvers.
        today: the day that prices are judged by for age; None asks the clock.
        progress: called with (cost, bound) in micro-dollars whenever there is a better plan.

    Raises:
        BadRequirements: a service contradicts itself.
        catalog.errors.CatalogError: a model is unknown.
        gpu_db.errors.GpuDbError: a GPU, provider or region is unknown, or the offers file cannot be read.
    """
    program = program_of(fleet, offers_file=offers_file, factors_dir=factors_dir, offline=offline, today=today)
    solution = solve_fleet(
        program.problem, gap=gap, time_limit_seconds=time_limit_seconds, seed=seed, progress=progress
    )
    stamp = Stamp(__version__, data_fingerprint())
    plan = write_fleet_plan(program, solution, stamp, Explained(limits=limit_uses(program, solution.counts)))
    used = {line.offer.offer_id for line in plan.machines}
    offers = [supply.offer for supply in program.market.supplies if supply.offer.offer_id in used]
    old = staleness_warnings(offers, today or date.today())
    return plan.model_copy(update={"warnings": (*plan.warnings, *old)})


def program_of(
    fleet: Fleet,
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    offline: bool = False,
    today: date | None = None,
) -> Program:
    """The integer program of a fleet, from the bundled data and the asker's own offers. Raises as `plan_fleet`."""
    offers = offers_for(fleet, offers_file, today or date.today())
    market = market_of(fleet, offers)
    shelf = _Shelf(offers, factors_dir, offline)
    replicas = [shelf.replicas(fleet, market, number) for number in range(len(fleet.services))]
    return build_program(fleet, market, replicas)


def offers_for(fleet: Fleet, offers_file: str | Path | None, today: date) -> tuple[Offer, ...]:
    """Every machine that the fleet could have: bundled, from the asker's file, and owned."""
    bundled = load_offers()
    if offers_file is not None:
        bundled = override_offers(bundled, load_user_offers(offers_file))
    return (*bundled, *owned_offers(fleet, today))


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


class _Shelf:
    """Models with what is known about them, each looked up once."""

    def __init__(self, offers: tuple[Offer, ...], factors_dir: str | Path | None, offline: bool) -> None:
        self._offers, self._offline = offers, offline
        self._gpus = load_gpus()
        self._factors = load_factors(None if factors_dir is None else Path(factors_dir))
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
                for search, asked in [self._asked(service, model)]
            ]
        except BadRequirements as wrong:
            raise BadRequirements(f"Service {service.name!r}: {wrong}") from wrong
        return found

    def _asked(self, service: Service, model: str) -> tuple[Search, Service]:
        """The search for a model, and the service in the engines' and the model's own words."""
        engines = {engine.name: engine for engine in map(engine_named, service.choices.engines)}
        search = self._search(model, service.choices.engines)
        update: dict[str, object] = {"engines": tuple(engines)}
        formats = formats_above(search.knowledge.spec, service)
        if formats is not None:
            update["weight_formats"] = formats
        choices = service.choices.model_copy(update=update)
        return search, service.model_copy(update={"choices": choices})

    def _search(self, model: str, named: Sequence[str]) -> Search:
        key = (model, tuple(named))
        if key not in self._searches:
            engines = {engine.name: engine for engine in map(engine_named, (*ENGINES, *named))}
            spec = find_model(model, offline=self._offline)
            self._searches[key] = Search(Knowledge(spec, self._offers, self._gpus, engines, self._factors))
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
