"""The audit of a fleet's plan: true plans pass, and no number or word of one can be changed unnoticed."""

import ast
import copy
import inspect
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from gpu_db.load import load_offers
from gpuplan.fleets.planning import Desk
from optimizer.answer import Stamp
from optimizer.fleet.answer import Explained, limit_uses, write_fleet_plan
from optimizer.fleet.audit import audit
from optimizer.fleet.audit.audit import audit_fleet
from optimizer.fleet.branching import solve_small
from optimizer.fleet.plan import FleetPlan
from optimizer.fleet.services import Buying, Fleet, FleetLimits, QuotaOn, RequestSize, Service
from optimizer.requirements import Choices, Demand, ServiceLevel

LEVEL = ServiceLevel(tpot_seconds=0.05)


def offers():
    """Few cards of three providers, one of them spot, one with two GPUs, none restricted."""
    wanted = {("L40S 48GB", "on-demand"), ("L40S 48GB", "spot"), ("H100 SXM 80GB", "on-demand")}
    found, seen = [], set()
    for offer in load_offers():
        key = (offer.gpu, offer.billing, offer.gpu_count)
        if (offer.gpu, offer.billing) in wanted and offer.gpu_count <= 2 and key not in seen:
            seen.add(key)
            plain = replace(offer, restrictions=(), available_count=20, minimum_count=1)
            found.append(replace(plain, region="eu", region_class="eu", region_classes=("eu",)))
    return tuple(found)


def service(name, tokens, **more):
    return Service(
        name=name,
        models=("llama-3.1-8b",),
        demand=more.pop("demand", None) or Demand(output_tokens_per_second=tokens),
        service_level=more.pop("service_level", LEVEL),
        **more,
    )


FLEETS = {
    "plain": Fleet(
        services=(service("a", 3000.0), service("b", 100.0, replicas_at_least=2, priority=3)),
        limits=FleetLimits(budget_usd_per_hour=50, gpus=40, quotas=(QuotaOn(kind="gpu", name="L40S", most=20),)),
    ),
    "promises": Fleet(
        services=(
            service("a", 3000.0, survives_losing_one_machine=True),
            service("b", 4000.0, spot_share_most=0.5, choices=Choices(gpus=("L40S",), regions=("eu",))),
        ),
        buying=Buying(billings=("on-demand", "spot")),
        limits=FleetLimits(power_watts=20_000, quotas=(QuotaOn(kind="region", name="eu", most=30),)),
    ),
    "sizes": Fleet(
        services=(
            service(
                "a",
                0.0,
                demand=Demand(requests_per_second=9.0),
                sizes=(
                    RequestSize(input_tokens=300, output_tokens=100, share=3),
                    RequestSize(input_tokens=6000, output_tokens=400),
                ),
            ),
        ),
    ),
    "shared": Fleet(
        services=tuple(
            service(name, 100.0).model_copy(update={"models": ("llama-3.2-1b",)}) for name in ("a", "b", "c")
        ),
        share_gpus=("mig", "fractions"),
    ),
    "dropped": Fleet(
        services=(service("a", 3000.0, required=True), service("b", 90_000.0)), limits=FleetLimits(gpus=8)
    ),
}


@cache
def planned(name):
    desk = Desk(FLEETS[name], offers())
    program = desk.program()
    solution = solve_small(program.problem, gap=0.0, time_limit_seconds=30, seed=7)
    explained = Explained(limits=limit_uses(program, solution.counts))
    return write_fleet_plan(program, solution, Stamp("test", "0"), explained), desk.knowledge()


@pytest.mark.parametrize("name", FLEETS)
def test_a_plan_that_is_true_has_no_findings(name):
    plan, knowledge = planned(name)
    assert plan.cost_usd_per_hour
    assert any(line.offer.billing == "spot" for line in plan.machines) == (name == "promises")
    assert any(line.cuts for line in plan.machines) == (name == "shared")
    assert audit_fleet(plan, knowledge) == ()


def leaves(value, path=()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield path, value
        return
    for key, item in pairs:
        yield from leaves(item, (*path, key))


def changed(document, path, value):
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


NOT_PROMISED = {"unit", "priority", "reason"}
PROMISED = ("cost_usd_per_hour", "cost_usd_per_month", "bound_usd_per_hour", "services", "machines", "limits")


def forged(name):
    """(path, plan) with one number larger, one after the other; in the first two entries of every list."""
    plan, _ = planned(name)
    document = plan.model_dump(mode="json")
    for path, value in leaves(document):
        if any(isinstance(key, int) and key > 1 for key in path):
            continue
        if (
            path[0] in PROMISED
            and path[-1] not in NOT_PROMISED
            and not str(path[-1]).startswith("worth_")
            and isinstance(value, int | float)
        ):
            other = (
                not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 1.01 + 0.01
            )
            yield path, changed(document, path, other)


@pytest.mark.parametrize("name", FLEETS)
def test_no_number_of_a_plan_can_be_changed_unnoticed(name):
    _, knowledge = planned(name)
    tried = 0
    for path, document in forged(name):
        try:
            plan = FleetPlan.model_validate_json(json.dumps(document))
        except ValueError:
            continue
        tried += 1
        assert audit_fleet(plan, knowledge), f"{path} passed"
    assert tried > 50


@pytest.mark.parametrize(
    ("name", "path", "word"),
    [
        ("plain", ("machines", 0, "offer", "offer_id"), "none/at/all"),
        ("plain", ("machines", 0, "offer", "as_of"), "2026-11-11"),
        ("plain", ("machines", 0, "carries", 0, "service"), "b"),
        ("plain", ("services", 0, "name"), "x"),
        ("plain", ("services", 0, "served"), False),
        ("plain", ("services", 0, "serving", 0, "replica", "weight_format"), "int4"),
        ("plain", ("services", 0, "serving", 0, "replica", "model"), "meta-llama/Llama-3.3-70B-Instruct"),
        ("plain", ("services", 0, "serving", 0, "replica", "command"), ["vllm", "serve", "x"]),
        ("plain", ("services", 0, "serving", 0, "machine"), "8 x H100 SXM 80GB"),
        ("plain", ("question", "limits", "budget_usd_per_hour"), 0.1),
        ("plain", ("question", "limits", "gpus"), 1),
        ("plain", ("question", "limits", "quotas", 0, "most"), 0),
        ("plain", ("question", "services", 0, "service_level", "tpot_seconds"), 0.001),
        ("plain", ("question", "services", 0, "demand", "output_tokens_per_second"), 1e6),
        ("plain", ("question", "services", 1, "replicas_at_least"), 90),
        ("plain", ("question", "services", 0, "choices", "gpus"), ["T4"]),
        ("plain", ("question", "services", 0, "weight_format_floor"), "fp32"),
        ("plain", ("proof", "status"), "feasible"),
        ("plain", ("proof", "gap"), 0.5),
        ("plain", ("prices_as_of",), "2026-11-20"),
        ("promises", ("question", "services", 1, "survives_losing_one_machine"), True),
        ("promises", ("question", "services", 0, "spot_share_most"), 0.0),
        ("promises", ("question", "services", 1, "choices", "regions"), ["us"]),
        ("promises", ("question", "limits", "quotas", 0, "most"), 0),
        ("promises", ("question", "limits", "power_watts"), 10.0),
        ("promises", ("question", "buying", "billings"), ["on-demand"]),
        ("sizes", ("question", "services", 0, "demand", "requests_per_second"), 90.0),
        ("sizes", ("question", "services", 0, "sizes", 1, "share"), 30.0),
        ("shared", ("machines", 0, "carries", 0, "part"), ""),
        ("shared", ("machines", 0, "cuts", 0, "parts"), ["4g.40gb", "4g.40gb", "4g.40gb"]),
        ("shared", ("machines", 0, "cuts"), []),
        ("dropped", ("question", "services", 1, "required"), True),
        ("dropped", ("services", 1, "served"), True),
    ],
)
def test_no_word_can_be_changed_unnoticed(name, path, word):
    plan, knowledge = planned(name)
    document = changed(plan.model_dump(mode="json"), path, word)
    if path[-1] == "weight_format_floor":
        document["services"][0]["serving"][0]["replica"]["weight_format"] = "int4"
    assert audit_fleet(FleetPlan.model_validate_json(json.dumps(document)), knowledge)


def test_a_plan_that_is_none_may_buy_nothing():
    plan, knowledge = planned("plain")
    assert audit_fleet(plan.model_copy(update={"status": "infeasible"}), knowledge)
    nothing = {"status": "unknown", "machines": (), "cost_usd_per_hour": None}
    assert audit_fleet(plan.model_copy(update=nothing), knowledge) == ()


def test_the_audit_imports_no_solver_and_no_program():
    trees = [ast.parse(file.read_text()) for file in Path(inspect.getfile(audit)).parent.glob("*.py")]
    modules = {node.module for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    forbidden = (
        "cp_sat",
        "fleet.fleet",
        "fleet.problem",
        "fleet.solve",
        "fleet.solution",
        "fleet.answer",
        "fleet.market",
    )
    assert not [module for module in modules if module and any(word in module for word in forbidden)]
