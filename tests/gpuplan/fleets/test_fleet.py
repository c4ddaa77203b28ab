"""Fleets from the bundled data: what one service costs alone, together, and within shared limits."""

import pytest

from gpuplan.fleets.planning import Effort, Wishes, plan_fleet
from gpuplan.planning import plan
from optimizer.fleet.services import Fleet, FleetLimits, QuotaOn, RequestSize, Service
from optimizer.requirements import Demand, Requirements, ServiceLevel, Workload

SMALL, MIDDLE = "llama-3.1-8b", "Qwen/Qwen3-32B"


def service(name="chat", model=SMALL, tps=3000.0, tpot=0.05, **more):
    return Service(
        name=name,
        models=(model,),
        demand=Demand(output_tokens_per_second=tps),
        service_level=ServiceLevel(tpot_seconds=tpot),
        **more,
    )


def planned(*services, gap=0.0, **more):
    return plan_fleet(Fleet(services=services, **more), effort=Effort(gap=gap), wishes=Wishes(worth=False))


@pytest.fixture(scope="module")
def alone():
    """USD per hour of one service alone, by the single-model program."""

    def cost(model, tps):
        asked = Requirements(
            model=model,
            workload=Workload(),
            demand=Demand(output_tokens_per_second=tps),
            service_level=ServiceLevel(tpot_seconds=0.05),
            alternatives=0,
        )
        return plan(asked).cost_usd_per_hour

    return {SMALL: cost(SMALL, 3000.0), MIDDLE: cost(MIDDLE, 2000.0)}


@pytest.mark.parametrize(("model", "tps"), [(SMALL, 3000.0), (MIDDLE, 2000.0)])
def test_a_fleet_of_one_costs_what_the_single_model_program_says(model, tps, alone):
    answer = planned(service(model=model, tps=tps))
    assert answer.status == "optimal"
    assert answer.cost_usd_per_hour == pytest.approx(alone[model], abs=1e-6)


def test_services_together_never_cost_more_than_alone(alone):
    answer = planned(service("a"), service("b", MIDDLE, 2000.0))
    assert answer.cost_usd_per_hour <= sum(alone.values()) + 1e-6


def test_machines_carry_exactly_the_replicas_that_serve(alone):
    answer = planned(service("a"), service("b", MIDDLE, 2000.0))
    for one in answer.services:
        serving = sum(each.replicas for each in one.serving)
        carried = sum(
            line.count * c.replicas for line in answer.machines for c in line.carries if c.service == one.name
        )
        assert serving == carried > 0
    assert sum(one.shares_cost_usd_per_hour for one in answer.services) == pytest.approx(answer.cost_usd_per_hour)


def test_a_quota_is_kept_and_costs_nothing_when_loose(alone):
    free = planned(service())
    gpu = free.machines[0].offer.gpu
    used = sum(line.count * line.offer.gpu_count for line in free.machines if line.offer.gpu == gpu)
    loose = planned(service(), limits=FleetLimits(quotas=(QuotaOn(kind="gpu", name=gpu, most=used),)))
    tight = planned(service(), limits=FleetLimits(quotas=(QuotaOn(kind="gpu", name=gpu, most=used - 1),)))
    assert loose.cost_usd_per_hour == free.cost_usd_per_hour
    assert tight.cost_usd_per_hour > free.cost_usd_per_hour
    assert tight.limits[0].used <= used - 1


def test_sizes_are_split_over_gpus_and_every_request_runs():
    sizes = (
        RequestSize(input_tokens=300, output_tokens=100, share=0.8),
        RequestSize(input_tokens=6000, output_tokens=500, share=0.2),
    )
    answer = planned(service(tps=2000.0, sizes=sizes), gap=0.001)
    (one,) = answer.services
    for size in sizes:
        shares = [s.share for each in one.serving for s in each.sizes if s.input_tokens == size.input_tokens]
        assert sum(shares) == pytest.approx(1.0, abs=1e-3)


def test_a_service_whose_limit_looks_like_milliseconds_is_questioned():
    said = "Service 'chat': max_tpot 50 is in seconds: if milliseconds were meant, type max_tpot 50ms."
    assert said in planned(service(tps=100.0, tpot=50)).warnings
    assert said not in planned(service(tps=100.0)).warnings
