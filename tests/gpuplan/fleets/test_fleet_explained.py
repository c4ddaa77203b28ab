"""What a fleet's plan says about itself: each explanation is applied, and does what it said."""

import re
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

import gpuplan.fleets.planning
from gpuplan.cli import fleet_page
from gpuplan.cli.console import Ink, render
from gpuplan.fleets.explained import Wishes
from gpuplan.fleets.planning import Desk
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.solve import solve_fleet
from optimizer.fleet.variations import supply_of, with_at_least_one
from tests.gpuplan.fleets.small_market import fleet_of, offer, planned, served, words
from tests.optimizer.fleet.fleets import mip_optimum

L40S, H100 = "L40S 48GB", "H100 SXM 80GB"
ALL = {"a", "b", "c"}
THREE = (words("a", 2.0, priority=2), words("b", 3.0, priority=1), words("c", 4.0, isl="2k"))
WORTH = Wishes(worth=True)
KINDS = {"quota of GPU": "gpu", "quota of provider": "provider", "quota of region": "region"}
KINDS["quota of instance type"] = "instance_type"


def market(*, h100=4.0):
    """Three L40S at a dollar or one H100 at four do nearly the same; the dearest L40S stand elsewhere."""
    return (
        offer("cheap", 1.0),
        offer("dear", 1.5, provider="brand", region="us"),
        offer("big", h100, gpu=H100, provider="brand", region="us"),
        offer("four", 3.9, gpus=4, provider="brand", region="us"),
    )


def asked(services=THREE, *, wishes=None, gap=0.0, prices=market, **limits):
    """The plan under limits, as a file has them: quotas are mappings."""
    return planned(list(services), gap=gap, wishes=wishes, market=prices, limits=limits)


def changed(limits, option, value):
    """The same limits with another value of the one that an explanation names; None leaves it out."""
    kind = next((kind for kind in KINDS if option.startswith(kind)), None)
    if kind is None:
        return {name: most for name, most in (limits | {option: value}).items() if most is not None}
    name = option.removeprefix(kind).strip()
    quotas = {one: most for one, most in (limits[KINDS[kind]] | {name: value}).items() if most is not None}
    return limits | {KINDS[kind]: quotas}


LIMITS = {
    "budget": {"budget": 6.2},
    "GPUs": {"max_gpus": 3},
    "power": {"max_power": 1200},
    "GPU": {"gpu": {"L40S": 4, "H100": 1}},
    "provider": {"provider": {"acme": 2, "brand": 2}},
    "region": {"region": {"eu": 3, "us": 1}},
    "machines": {"instance_type": {"cheap-type": 2, "dear-type": 1, "big-type": 1, "four-type": 0}},
    "several": {"budget": 8, "gpu": {"L40S": 5, "H100": 0}},
}


@pytest.fixture(scope="module")
def tight():
    return {name: asked(wishes=WORTH, **limits) for name, limits in LIMITS.items()}


@pytest.mark.parametrize("name", LIMITS)
def test_a_relaxation_applied_serves_everything_at_the_stated_price_and_less_does_not(name, tight):
    plan = tight[name]
    assert served(plan) != ALL
    assert plan.relaxations
    for one in plan.relaxations:
        assert one.proven
        if one.option == "several limits together":
            continue
        enough = asked(**changed(LIMITS[name], one.option, one.value))
        assert served(enough) == ALL
        assert enough.cost_usd_per_hour == pytest.approx(one.cost_usd_per_hour)
        less = asked(**changed(LIMITS[name], one.option, round(one.value - (0.01 if one.unit == "USD/h" else 1), 2)))
        assert served(less) != ALL


@pytest.mark.parametrize("name", LIMITS)
def test_a_little_more_of_a_limit_is_worth_what_was_said(name, tight):
    plan = tight[name]
    worth = [one for one in plan.limits if one.worth_step is not None]
    assert worth
    for one in worth:
        assert one.worth_proven
        more = asked(**changed(LIMITS[name], one.option, round(one.most + one.worth_step, 2)))
        if one.worth_serves:
            assert served(more) - served(plan) == set(one.worth_serves)
            assert served(plan) - served(more) == set(one.worth_drops)
        else:
            saved = plan.cost_usd_per_hour - more.cost_usd_per_hour
            assert saved == pytest.approx(one.worth_usd_per_hour, abs=1e-6)
            assert one.worth_least_usd_per_hour == one.worth_most_usd_per_hour == one.worth_usd_per_hour


def test_one_more_of_a_quota_that_binds_a_plan_saves_money():
    (limit,) = asked(gpu={"L40S": 4}, wishes=WORTH).limits
    assert (limit.worth_step, limit.worth_serves) == (1, ())
    assert limit.worth_usd_per_hour > 0


def test_a_budget_is_said_to_lack_what_the_next_service_costs_and_no_more(tight):
    """A dollar more serves nobody; then what is needed is said, not the price of the largest machine."""
    (limit,) = asked(THREE[:2], budget=2.1, wishes=WORTH).limits
    assert limit.worth_serves == ("b",)
    assert served(asked(THREE[:2], budget=2.1 + limit.worth_step)) == {"a", "b"}
    assert served(asked(THREE[:2], budget=round(2.09 + limit.worth_step, 2))) == {"a"}


def test_a_loose_limit_is_worth_nothing_and_is_not_solved_again():
    assert asked(gpu={"L40S": 10_000}, wishes=WORTH).limits[0].worth_step is None


def test_within_a_gap_the_span_that_is_said_holds_the_truth():
    limits, wishes = {"gpu": {"L40S": 4}}, Wishes(worth=True, why_not=("H100 SXM", "L40S"))
    exact, rough = (asked(gap=gap, wishes=wishes, **limits) for gap in (0.0, 0.2))
    sure, about = exact.limits[0], rough.limits[0]
    assert about.worth_step == sure.worth_step
    assert about.worth_least_usd_per_hour - 1e-6 <= sure.worth_usd_per_hour <= about.worth_most_usd_per_hour + 1e-6
    for sure, about in zip(exact.why_not, rough.why_not, strict=True):
        if about.extra_usd_per_hour is not None and sure.extra_usd_per_hour is not None:
            assert about.extra_least_usd_per_hour - 1e-6 <= sure.extra_usd_per_hour
            assert sure.extra_usd_per_hour <= about.extra_most_usd_per_hour + 1e-6


CONFLICTS = [
    ({"budget": 1.5, "max_gpus": 100}, ALL),
    ({"budget": 1.5, "max_gpus": 1, "gpu": {"H100": 5}}, ALL),
    ({"gpu": {"L40S": 2, "H100": 1}}, ALL),
    ({"provider": {"acme": 1, "brand": 1}, "budget": 50}, ALL),
    ({"region": {"eu": 2, "us": 2}, "max_power": 900}, {"a", "c"}),
    ({"max_gpus": 2, "budget": 6}, {"b", "c"}),
]


@pytest.mark.parametrize(("limits", "required"), CONFLICTS)
def test_conflicting_rules_cannot_be_kept_and_without_any_one_of_them_they_can(limits, required):
    services = [one | {"required": "yes" if one["name"] in required else "no"} for one in THREE]
    none = asked(services, **limits)
    assert (none.status, none.cut_short) == ("infeasible", ())
    names = {found[1] for line in none.conflicts if (found := re.match(r"service (\w+) must be served", line))}
    options = [line.split(":")[0] for line in none.conflicts if not line.startswith("service")]
    assert names <= required
    only = [one for one in services if one["name"] in names]
    kept = {}
    for option, value in _values(limits).items():
        if option in options:
            kept = changed({"gpu": {}, "provider": {}, "region": {}} | kept, option, value)
    assert asked(only, **kept).status == "infeasible"
    for option in options:
        assert asked(only, **changed(kept, option, None)).status == "optimal"
    for name in names if len(names) > 1 else ():
        assert asked([one for one in only if one["name"] != name], **kept).status == "optimal"


def _values(limits):
    """Limits by the names that explanations give them."""
    plain = {name: most for name, most in limits.items() if not isinstance(most, dict)}
    return plain | {
        f"{said} {name}": most for said, kind in KINDS.items() for name, most in limits.get(kind, {}).items()
    }


def test_when_no_single_change_is_enough_all_are_named():
    required = [one | {"required": "yes"} for one in THREE]
    (joint,) = asked(required, budget=1, max_gpus=1).relaxations
    assert joint.option == "several limits together"
    budget, gpus = re.search(r"budget ([\d.]+) USD/h, max_gpus (\d+) GPUs", joint.sentence).groups()
    enough = asked(required, budget=float(budget), max_gpus=int(gpus))
    assert enough.cost_usd_per_hour == pytest.approx(joint.cost_usd_per_hour)


@pytest.mark.parametrize("limits", [{}, {"budget": 7}, {"gpu": {"L40S": 5}}])
def test_why_not_is_what_an_independent_program_finds_with_the_gpu_forced_in(limits):
    plan = asked(wishes=Wishes(worth=False, why_not=("H100 SXM", "L40S", "T4")), **limits)
    for one in plan.why_not[:2]:
        if one.sentence.endswith("is in the plan."):
            assert any(line.offer.gpu == one.gpu for line in plan.machines)
            continue
        program = opened(limits, one.gpu)
        keeps = np.asarray([name in served(plan) for name in program.problem.service_names])
        problem = replace(
            program.problem,
            required=np.ones_like(keeps),
            cover_demand=np.where(keeps[program.problem.cover_service], program.problem.cover_demand, 0),
        )
        forced = mip_optimum(with_at_least_one(problem, supply_of(program, one.gpu)))
        assert one.exact
        assert forced is not None
        assert one.cost_usd_per_hour == pytest.approx(forced[1] / 1e6)
        assert one.extra_usd_per_hour == pytest.approx(one.cost_usd_per_hour - plan.cost_usd_per_hour)
    assert "no offer of it is accepted" in plan.why_not[2].sentence


def opened(limits, gpu, prices=market):
    return Desk(fleet_of(list(THREE), limits=limits), prices()).program(frozenset([gpu]))


def test_a_gpu_that_the_limits_forbid_is_priced_without_them():
    two = THREE[:2]
    plan = asked(two, gpu={"H100": 0}, wishes=Wishes(worth=False, why_not=("H100 SXM",)))
    assert "the limits leave no room for it; without them, the plan costs" in plan.why_not[0].sentence
    free = asked(two, wishes=Wishes(worth=False, why_not=("H100 SXM",)))
    assert plan.why_not[0].cost_usd_per_hour == free.why_not[0].cost_usd_per_hour


@pytest.mark.parametrize("price", [2.0, 4.0, 6.0])
def test_a_price_edge_is_where_the_gpu_comes_or_goes(price):
    """Just below the stated price the GPU is worth having, just above it is not."""
    plan = asked(THREE[:2], prices=lambda: market(h100=price), wishes=Wishes(worth=False, sensitivity=("H100 SXM",)))
    (edge,) = plan.sensitivity
    assert edge.exact
    assert edge.usd_per_gpu_hour == pytest.approx(edge.price_factor * price)
    assert edge.in_plan is (price < edge.usd_per_gpu_hour)
    never = asked(THREE[:2], gpu={"H100": 0}).cost_usd_per_hour
    below, above = (_cost(edge.usd_per_gpu_hour * step) for step in (0.99, 1.01))
    assert below < never - 1e-6
    assert above == pytest.approx(never)


def _cost(price, services=THREE[:2], **limits):
    return asked(services, prices=lambda: market(h100=price), **limits).cost_usd_per_hour


def test_where_nothing_else_serves_the_same_the_edge_is_where_the_budget_ends():
    only = [words("a", 3.0, gpu="H100"), words("b", 1.0, priority=1)]
    plan = asked(only, budget=9, wishes=Wishes(worth=False, sensitivity=("H100 SXM",)))
    (edge,) = plan.sensitivity
    assert edge.exact
    assert edge.in_plan
    served_at = [
        served(asked(only, budget=9, prices=lambda price=edge.usd_per_gpu_hour * step: market(h100=price)))
        for step in (0.999, 1.001)
    ]
    assert served_at == [{"a", "b"}, {"b"}]


def test_without_a_budget_what_nothing_replaces_stays_at_any_price():
    plan = asked([words("a", 3.0, gpu="H100")], wishes=Wishes(worth=False, sensitivity=("plan",)))
    assert plan.sensitivity[0].sentence == f"{H100} stays at any price."
    assert plan.sensitivity[0].exact


def test_a_service_that_no_machine_serves_is_told_the_word_that_would_help():
    impossible = words("x", 1.0, max_tpot="1ms")
    plan = asked([THREE[0], impossible])
    (dropped,) = plan.dropped
    assert not dropped.has_machine
    said = re.search(r"this would do: max_tpot (\S+)", dropped.reason)[1]
    assert served(asked([THREE[0], impossible | {"max_tpot": said}])) == {"a", "x"}
    less = f"{float(said.removesuffix('ms')) * 0.99}ms"
    assert served(asked([THREE[0], impossible | {"max_tpot": less}])) == {"a"}
    assert plan.relaxations == ()


def test_a_required_service_that_no_machine_serves_is_the_conflict():
    none = asked([THREE[0], words("x", 1.0, max_tpot="1ms", required="yes")], budget=50)
    (sentence,) = none.conflicts
    assert sentence.startswith("service x must be served: no machine that it accepts keeps its promises; this would do")


def unknown(problem):
    """The answer when time ends before anything is found."""
    nothing = np.zeros(problem.columns, dtype=np.int64)
    return FleetSolution(
        status=FleetStatus.UNKNOWN,
        counts=nothing,
        shares=np.zeros(len(problem.column_covers.value), dtype=np.int64),
        served=np.zeros(problem.services, dtype=bool),
        served_proven=False,
        cost_micro_usd=0,
        lower_bound_micro_usd=0,
        resource_prices=np.zeros(problem.resources),
        engine="compact",
        seed=7,
        time_ended=True,
    )


def with_time_for(solves, **more):
    """The plan when the time is up after so many solves."""
    left, real = [solves], gpuplan.fleets.planning._solve

    def solve(problem, effort, progress=None):
        left[0] -= 1
        return real(problem, effort, progress) if left[0] >= 0 else unknown(problem)

    with patch("gpuplan.fleets.planning._solve", solve):
        return asked(**more)


def page(plan):
    return " ".join(render(fleet_page.full(plan, Ink()), Ink()).split())


def test_what_time_cut_short_is_said_on_the_page_and_nothing_is_made_up():
    wishes = Wishes(why_not=("H100 SXM",), sensitivity=("plan",))
    plan = with_time_for(1, budget=5, gpu={"L40S": 4}, wishes=wishes)
    assert plan.status == "optimal"
    assert plan.cut_short == (
        "what limits are worth",
        "what the services not served would add",
        "what would serve everything",
        "GPUs that were asked about",
    )
    assert any(one.worth_unknown for one in plan.limits)
    assert not any(one.worth_usd_per_hour or one.worth_serves for one in plan.limits)
    assert all("time ended" in one.reason for one in plan.dropped)
    assert (plan.relaxations, plan.why_not, plan.sensitivity) == ((), (), ())
    assert f"time ended while finding {', '.join(plan.cut_short)}; raise --time-limit" in page(plan)
    assert asked(budget=5, wishes=wishes).cut_short == ()


@pytest.mark.parametrize("solves", range(2, 9))
def test_whenever_time_ends_what_is_still_said_of_gpus_is_true_or_said_to_be_unknown(solves):
    wishes = Wishes(worth=False, why_not=("H100 SXM",), sensitivity=("H100 SXM", "L40S"))
    truth, plan = asked(wishes=wishes), with_time_for(solves, wishes=wishes)
    pairs = [*zip(plan.why_not, truth.why_not, strict=False), *zip(plan.sensitivity, truth.sensitivity, strict=False)]
    for found, true in pairs:
        assert found == true or "time ended" in found.sentence or (not found.exact and "about" in found.sentence)
    if not pairs or any(found != true for found, true in pairs):
        assert "GPUs that were asked about" in plan.cut_short


def test_a_conflict_that_time_cut_short_is_said_to_be_perhaps_too_large():
    required = [one | {"required": "yes"} for one in THREE]
    plan = with_time_for(1, services=required, budget=1, max_gpus=100)
    assert "the conflict" in plan.cut_short
    assert "perhaps fewer of them cannot either: time ended" in page(plan)


def test_the_least_important_is_dropped_first_and_who_is_served_is_said_to_be_proven():
    plan = asked(budget=5.5)
    assert served(plan) == {"a", "b"}
    assert [one.service for one in plan.dropped] == ["c"]
    assert "who is served is proven to be the most important that can be" in page(plan)
    unproven = plan.model_copy(update={"proof": plan.proof.model_copy(update={"served_proven": False})})
    assert "who is served is not proven to be" in page(unproven)


def test_solve_fleet_and_the_face_agree_on_the_cost():
    program = Desk(fleet_of(list(THREE)), market()).program()
    assert solve_fleet(program.problem, gap=0.0).cost_micro_usd / 1e6 == asked().cost_usd_per_hour
