"""What a fleet's plan says about itself: each explanation is applied, and does what it said."""

import pytest

from gpu_db.load import load_offers
from gpuplan.fleet import Desk, Effort, Wishes, plan_fleet
from optimizer.fleet.explain import sensitivity
from optimizer.fleet.market import market_of
from optimizer.fleet.services import Fleet, FleetLimits, QuotaOn, Service
from optimizer.fleet.solve import solve_fleet
from optimizer.requirements import Choices, Demand, ServiceLevel

EXACT = Effort(gap=0.0)
CHEAP = "RTX A4000 16GB"


def service(name, tps, priority=0, **more):
    return Service(
        name=name,
        models=("llama-3.1-8b",),
        demand=Demand(output_tokens_per_second=tps),
        service_level=ServiceLevel(tpot_seconds=0.05),
        choices=Choices(gpus=(CHEAP, "L40S", "H100", "MI300X")),
        priority=priority,
        **more,
    )


def fleet(budget=None, quota=None, gpus=None, required=False):
    services = (service("a", 2000, 2, required=required), service("b", 3000, 1), service("c", 5000))
    quotas = () if quota is None else (QuotaOn(kind="gpu", name=CHEAP, most=quota),)
    return Fleet(services=services, limits=FleetLimits(budget_usd_per_hour=budget, gpus=gpus, quotas=quotas))


def planned(asked, **wishes):
    return plan_fleet(asked, effort=EXACT, wishes=Wishes(**wishes))


def served(plan):
    return {one.name for one in plan.services if one.served}


@pytest.fixture(scope="module")
def free():
    return planned(fleet(), worth=False)


@pytest.fixture(scope="module")
def poor(free):
    return planned(fleet(budget=round(0.6 * free.cost_usd_per_hour, 2), gpus=20))


def test_the_least_important_is_dropped_first(free, poor):
    assert served(free) == {"a", "b", "c"}
    assert served(poor) >= {"a"}
    assert "c" not in served(poor)
    assert [one.service for one in poor.dropped] == [n for n in ("a", "b", "c") if n not in served(poor)]


def test_a_relaxation_applied_serves_everything_at_the_stated_price_and_a_cent_less_does_not(free, poor):
    budget = next(one for one in poor.relaxations if one.option == "budget")
    enough = planned(fleet(budget=budget.value, gpus=20), worth=False)
    assert served(enough) == {"a", "b", "c"}
    assert enough.cost_usd_per_hour == pytest.approx(budget.cost_usd_per_hour)
    less = planned(fleet(budget=round(budget.value - 0.01, 2), gpus=20), worth=False)
    assert served(less) != {"a", "b", "c"}


def test_one_more_of_a_quota_saves_what_was_said(free):
    used = sum(line.count * line.offer.gpu_count for line in free.machines if line.offer.gpu == CHEAP)
    assert used > 1
    tight = planned(fleet(quota=used - 1))
    (limit,) = tight.limits
    assert limit.worth_proven
    assert limit.worth_usd_per_hour > 0
    more = planned(fleet(quota=used - 1 + round(limit.worth_step)), worth=False)
    assert tight.cost_usd_per_hour - more.cost_usd_per_hour == pytest.approx(limit.worth_usd_per_hour, abs=1e-6)


def test_a_loose_limit_is_worth_nothing_and_is_not_solved_again(free):
    plan = planned(fleet(quota=10_000))
    assert plan.limits[0].worth_step is None


def test_conflicting_rules_are_irreducible():
    budget, gpus = 0.2, 100
    none = planned(fleet(budget=budget, gpus=gpus, required=True))
    assert none.status == "infeasible"
    assert [sentence.split(":")[0] for sentence in none.conflicts] == ["budget", "service a must be served"]
    assert planned(fleet(gpus=gpus, required=True), worth=False).status == "optimal"
    assert planned(fleet(budget=budget, gpus=gpus), worth=False).status == "optimal"


def test_when_no_single_change_is_enough_all_are_named():
    none = planned(fleet(budget=0.2, gpus=0, required=True))
    (joint,) = none.relaxations
    assert joint.option == "several limits together"
    assert "budget" in joint.sentence
    assert "max_gpus" in joint.sentence


def test_why_not_is_answered_by_forcing_it(free):
    plan = planned(fleet(), worth=False, why_not=("MI300X", CHEAP, "T4"))
    forced, inside, never = plan.why_not
    assert forced.extra_usd_per_hour > 0
    assert forced.cost_usd_per_hour == pytest.approx(plan.cost_usd_per_hour + forced.extra_usd_per_hour)
    assert inside.sentence == f"{CHEAP} is in the plan."
    assert "no offer of it is accepted" in never.sentence


@pytest.fixture(scope="module")
def desk():
    return Desk(fleet(), load_offers())


@pytest.mark.parametrize("gpu", [CHEAP, "MI300X 192GB"])
def test_a_price_edge_is_where_the_gpu_comes_or_goes(gpu, desk):
    """Just below the stated price the GPU is worth having, just above it is not."""
    program = desk.program(frozenset([CHEAP, "MI300X 192GB"]))

    def solve(problem):
        return solve_fleet(problem, gap=0.0)

    best = solve(program.problem)
    edge = sensitivity(program, best, gpu, solve)
    assert edge.exact
    below, above = (_cost(desk, gpu, edge.price_factor * step) for step in (0.99, 1.01))
    never = _cost(desk, gpu, 100.0)
    assert below < never
    assert above == pytest.approx(never)


def _cost(desk, gpu, factor):
    from dataclasses import replace

    offers = [
        replace(offer, price_usd_per_hour=offer.price_usd_per_hour * factor) if offer.gpu == gpu else offer
        for offer in load_offers()
    ]
    other = Desk.__new__(Desk)
    other.fleet, other.market, other.replicas = desk.fleet, market_of(desk.fleet, offers), desk.replicas
    return solve_fleet(other.program().problem, gap=0.0).cost_micro_usd / 1e6
