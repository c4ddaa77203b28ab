"""Each rule of a fleet three times: what it allows, what it forbids, and what just passes."""

from dataclasses import replace
from datetime import date
from functools import cache

import pytest

from gpu_db.load import load_offers
from gpuplan.fleet import Desk, formats_above, systems_to_buy
from optimizer.errors import BadRequirements
from optimizer.fleet.answer import limit_uses, machine_lines
from optimizer.fleet.services import (
    Buying,
    Fleet,
    FleetLimits,
    OwnedMachines,
    Purchase,
    QuotaOn,
    RequestSize,
    Service,
    with_shared_replicas,
)
from optimizer.fleet.solve import solve_fleet
from optimizer.requirements import Choices, Demand, EngineOptions, LoraAdapters, ServiceLevel

MODEL = "llama-3.1-8b"
PRICES = {"cheap": 1.0, "dear": 1.5, "spot": 0.4}


def offers():
    """One L40S each: a cheap one in the EU, a dear one in the US, a spot one; else alike."""
    base = next(o for o in load_offers() if o.gpu == "L40S 48GB" and o.gpu_count == 1 and o.billing == "on-demand")
    plain = replace(base, restrictions=(), available_count=None, minimum_count=1, as_of=date(2026, 11, 1))

    def one(name, provider, region, billing):
        return replace(
            plain,
            offer_id=name,
            provider=provider,
            instance_type=f"{name}-type",
            region=region,
            region_class=region,
            region_classes=(region,),
            billing=billing,
            price_usd_per_hour=PRICES[name],
        )

    return (
        one("cheap", "acme", "eu", "on-demand"),
        one("dear", "brand", "us", "on-demand"),
        one("spot", "acme", "eu", "spot"),
    )


def service(name="chat", machines=3.0, **more):
    """A demand of so many machines' throughput."""
    return Service(
        name=name,
        models=(MODEL,),
        demand=Demand(output_tokens_per_second=1.0 if machines is None else machines * one_machine()),
        service_level=ServiceLevel(tpot_seconds=0.05),
        **more,
    )


def solved(*services, more_offers=(), **fleet):
    asked = Fleet(services=services, **fleet)
    desk = Desk(asked, (*offers(), *more_offers))
    program = desk.program()
    return program, solve_fleet(program.problem, gap=0.0)


def bought(program, solution):
    """Machines by offer."""
    counts = {}
    for line in machine_lines(program, solution):
        name = line.offer.offer_id.split(" in ")[0]
        counts[name] = counts.get(name, 0) + line.count
    return counts


def machines_of(*services, **fleet):
    program, solution = solved(*services, **fleet)
    assert all(use.used <= use.most for use in limit_uses(program, solution.counts))
    return bought(program, solution)


@cache
def one_machine():
    """Tokens per second of one machine, a little less."""
    program, _ = solved(service(machines=None))
    (column,) = program.columns
    return 0.99 * float(column.replicas.output_tokens_per_second.max())


def quota(kind, name, most):
    return FleetLimits(quotas=(QuotaOn(kind=kind, name=name, most=most),))


def test_without_rules_the_cheapest_serves():
    assert machines_of(service()) == {"cheap": 3}


@pytest.mark.parametrize(("kind", "name"), [("provider", "acme"), ("instance_type", "cheap-type"), ("region", "eu")])
@pytest.mark.parametrize(("most", "expected"), [(3, {"cheap": 3}), (0, {"dear": 3}), (2, {"cheap": 2, "dear": 1})])
def test_a_quota_is_kept_to_the_last_machine(kind, name, most, expected):
    assert machines_of(service(), limits=quota(kind, name, most)) == expected


@pytest.mark.parametrize(("most", "served"), [(3, True), (2, False), (4, True)])
@pytest.mark.parametrize("kind", ["gpu", "gpus"])
def test_gpus_are_limited_by_kind_and_in_all(kind, most, served):
    limits = FleetLimits(gpus=most) if kind == "gpus" else quota("gpu", "L40S", most)
    _, solution = solved(service(), limits=limits)
    assert bool(solution.served.all()) == served


@pytest.mark.parametrize(("budget", "served"), [(3.0, True), (2.99, False), (3.01, True)])
def test_a_budget_is_kept_to_the_cent(budget, served):
    _, solution = solved(service(), limits=FleetLimits(budget_usd_per_hour=budget))
    assert bool(solution.served.all()) == served


def test_power_is_limited_to_what_the_replicas_need():
    program, solution = solved(service(), limits=FleetLimits(power_watts=1e9))
    used = limit_uses(program, solution.counts)[0].used
    assert used > 0
    enough, short = (solved(service(), limits=FleetLimits(power_watts=watts))[1] for watts in (used, 0.3 * used))
    assert enough.served.all()
    assert not short.served.all()


@pytest.mark.parametrize(("copies", "expected"), [(1, 3), (3, 3), (4, 4)])
def test_copies_run_whatever_the_demand(copies, expected):
    assert machines_of(service(replicas_at_least=copies)) == {"cheap": expected}


@pytest.mark.parametrize(("survives", "expected"), [(False, 3), (True, 4)])
def test_surviving_takes_one_machine_more(survives, expected):
    assert machines_of(service(survives_losing_one_machine=survives)) == {"cheap": expected}


def test_surviving_one_machine_of_demand_takes_two():
    assert machines_of(service(machines=1.0, survives_losing_one_machine=True)) == {"cheap": 2}


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, {"cheap": 3}), (1.0, {"spot": 3}), (0.34, {"cheap": 2, "spot": 1}), (0.66, {"cheap": 2, "spot": 1})],
)
def test_spot_serves_at_most_its_share(share, expected):
    """Of three machines' work, two thirds need two steady ones, and so does a little more than one third."""
    buying = Buying(billings=("on-demand", "spot"))
    assert machines_of(service(machines=3.0, spot_share_most=share), buying=buying) == expected


def test_the_fleets_share_of_spot_binds_services_that_would_take_more():
    buying = Buying(billings=("on-demand", "spot"), spot_share_most=0.0)
    assert machines_of(service(), buying=buying) == {"cheap": 3}


@pytest.mark.parametrize(
    ("machines", "expected"), [(3, {"owned/ours": 3}), (1, {"owned/ours": 1, "cheap": 2}), (0, {"cheap": 3})]
)
def test_owned_machines_are_used_first_and_no_more_than_there_are(machines, expected):
    from gpuplan.fleet import owned_offers

    asked = Fleet(
        services=(service(),),
        owned=(OwnedMachines(name="ours", gpu="L40S", gpus=1, machines=machines, running_usd_per_hour=0.1),),
    )
    owned = owned_offers(asked, date(2026, 11, 22))
    assert machines_of(service(), more_offers=owned, owned=asked.owned) == expected


@pytest.mark.parametrize(("region", "expected"), [("eu", {"cheap": 3}), ("us", {"dear": 3}), (None, {"cheap": 3})])
def test_a_service_stays_in_its_region(region, expected):
    choices = Choices(regions=None if region is None else (region,))
    assert machines_of(service(choices=choices)) == expected


@pytest.mark.parametrize(("first", "second", "served"), [(2, 1, "a"), (1, 2, "b")])
def test_the_more_important_is_served(first, second, served):
    limits = FleetLimits(budget_usd_per_hour=3.0)
    program, solution = solved(service("a", priority=first), service("b", priority=second), limits=limits)
    assert [program.fleet.services[at].name for at in solution.served.nonzero()[0]] == [served]


def test_a_required_service_goes_before_any_priority():
    limits = FleetLimits(budget_usd_per_hour=3.0)
    program, solution = solved(service("a", priority=9), service("b", required=True), limits=limits)
    assert [program.fleet.services[at].name for at in solution.served.nonzero()[0]] == ["b"]


def test_of_equal_priority_the_greater_weight_is_served():
    limits = FleetLimits(budget_usd_per_hour=3.0)
    program, solution = solved(service("a", weight=1), service("b", weight=2), limits=limits)
    assert [program.fleet.services[at].name for at in solution.served.nonzero()[0]] == ["b"]


def test_services_share_what_neither_fills_alone():
    """Two services of two thirds of a machine each: shared replicas need two machines' work once, not twice."""
    adapters = EngineOptions(adapters=LoraAdapters(rank=8, loaded=1))
    two = [service(name, machines=0.45, options=adapters, shares_replicas="base") for name in "ab"]
    alone = [one.model_copy(update={"shares_replicas": None}) for one in two]
    assert sum(machines_of(*two).values()) < sum(machines_of(*alone).values())


def test_a_group_has_room_for_all_adapters_and_keeps_the_tightest_promise():
    first = service("a", options=EngineOptions(adapters=LoraAdapters(rank=8, loaded=2)), shares_replicas="g")
    second = first.model_copy(
        update={
            "name": "b",
            "sizes": (RequestSize(input_tokens=100, output_tokens=50),),
            "service_level": ServiceLevel(tpot_seconds=0.02),
        }
    )
    (one,) = with_shared_replicas(Fleet(services=(first, second))).services
    assert one.options.adapters == LoraAdapters(rank=8, loaded=4)
    assert one.service_level.tpot_seconds == 0.02
    assert one.requests_per_second == pytest.approx(first.requests_per_second + second.requests_per_second)


def test_a_group_of_different_models_is_refused():
    pair = (service("a", shares_replicas="g"), service("b", shares_replicas="g").model_copy(update={"models": ("x",)}))
    with pytest.raises(BadRequirements, match="differ in model"):
        with_shared_replicas(Fleet(services=pair))


@pytest.mark.parametrize(("floor", "kept"), [("bf16", {"bf16"}), ("fp8", {"bf16", "fp8", "int8"}), (None, None)])
def test_a_floor_admits_formats_of_no_fewer_bits(floor, kept):
    from catalog.find import find_model

    found = formats_above(find_model(MODEL), service(weight_format_floor=floor))
    assert (None if found is None else set(found)) == kept


def test_a_floor_that_is_no_format_is_refused():
    from catalog.find import find_model

    with pytest.raises(BadRequirements, match="'fp9' is no weight format"):
        formats_above(find_model(MODEL), service(weight_format_floor="fp9"))


def test_a_system_costs_its_price_over_the_years_and_its_electricity():
    """As worked out by hand from the table's own row."""
    from gpu_db.ownership import load_systems, power_usage_effectiveness

    system = load_systems()[0]
    terms = Purchase(years=4, usd_per_kilowatt_hour=0.1, systems=(system.name,))
    (offer,) = systems_to_buy(terms)
    kilowatts = system.power_watts / 1000 * power_usage_effectiveness("colo").value
    assert offer.price_usd_per_hour == pytest.approx(system.price_typical_usd / 4 / 8760 + kilowatts * 0.1, abs=1e-5)
    with pytest.raises(BadRequirements, match="No system named 'x'"):
        systems_to_buy(Purchase(systems=("x",)))
