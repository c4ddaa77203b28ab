"""Parts of GPUs: what the vendor's guide allows, packings against brute force, fleets that share what none fills."""

import doctest
import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from pydantic import ValidationError

from gpu_db.load import load_offers
from gpu_db.query import find_gpu
from gpuplan.fleets.planning import Desk
from optimizer.fleet import gpu_parts as gpu_parts_module
from optimizer.fleet import placement as placement_module
from optimizer.fleet.answer import machine_lines, service_answers
from optimizer.fleet.branching import solve_small
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.gpu_parts import STARTS, gpu_parts, ways_to_cut
from optimizer.fleet.placement import Block, place, with_parts
from optimizer.fleet.services import Fleet, FleetLimits, MonthDemand, Service
from optimizer.fleet.solve import solve_fleet
from optimizer.requirements import Choices, Demand, ServiceLevel

CONTEXT = 0.55e9


def parts_of(name, *ways):
    return gpu_parts(find_gpu(name), ways, utilization=0.92, context_bytes=CONTEXT)


@pytest.mark.parametrize("module", [gpu_parts_module, placement_module])
def test_docs_of_parts_are_true(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("cut", "allowed"),
    [
        ({"1g.10gb": 7}, True),
        ({"3g.40gb": 1, "4g.40gb": 1}, True),
        ({"3g.40gb": 2}, True),
        ({"2g.20gb": 3, "1g.10gb": 1}, True),
        ({"1g.20gb": 4}, True),
        ({"1g.10gb": 8}, False),
        ({"4g.40gb": 2}, False),
        ({"3g.40gb": 1, "2g.20gb": 3}, False),
        ({"3g.40gb": 2, "1g.10gb": 1}, False),
    ],
)
def test_an_80_gb_card_is_cut_as_nvidias_guide_says(cut, allowed):
    """Source: NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles", A100 and H100."""
    gpu = find_gpu("H100 SXM 80GB")
    ways = [dict(way) for way in ways_to_cut(gpu, parts_of(gpu.name, "mig"))]
    assert any(all(way.get(name, 0) >= number for name, number in cut.items()) for way in ways) is allowed


@pytest.mark.parametrize("name", ["H100 SXM 80GB", "A30"])
def test_no_way_to_cut_is_beaten_and_none_is_more_than_the_card(name):
    parts = {part.name: part for part in parts_of(name, "mig", "fractions")}
    ways = [dict(way) for way in ways_to_cut(find_gpu(name), tuple(parts.values()))]
    for one, other in itertools.permutations(ways, 2):
        assert not all(other.get(part, 0) >= number for part, number in one.items())
    assert all(sum(parts[part].share * number for part, number in way.items()) <= 1 + 1e-9 for way in ways)


def test_parts_are_their_share_of_the_card_and_say_whose_they_are():
    card, part = find_gpu("A100 SXM 80GB"), parts_of("A100 SXM 80GB", "mig")[3]
    assert (part.name, part.share, part.gpu.part_of) == ("3g.40gb", 0.5, card.name)
    assert part.gpu.flop_per_second["bf16"] == pytest.approx(card.flop_per_second["bf16"] * 3 / 7)
    assert part.gpu.power_watts == pytest.approx(card.power_watts * 3 / 7)


@pytest.mark.parametrize(
    ("context", "denominators"), [(1.4e9, ["1/2", "1/3", "1/4"]), (2.0e9, ["1/2", "1/3"]), (4e9, [])]
)
def test_engines_side_by_side_leave_room_for_every_ones_context(context, denominators):
    found = gpu_parts(find_gpu("H100 SXM 80GB"), ("fractions",), utilization=0.92, context_bytes=context)
    assert [part.name for part in found] == denominators


@pytest.mark.parametrize("name", ["L40S", "MI300X"])
def test_cards_that_mig_does_not_split_have_no_slices(name):
    assert parts_of(name, "mig") == ()
    assert parts_of(name, "fractions")


@cache
def fits_one_card(wanted):
    """Whether slices (compute, memory) can be placed on one card of seven and eight; every order of them is tried."""
    starts = STARTS[7, 8]

    def placed(left, taken, compute):
        if not left:
            return True
        (needs, size), rest = left[0], left[1:]
        return compute >= needs and any(
            not taken & set(range(at, at + size)) and placed(rest, taken | set(range(at, at + size)), compute - needs)
            for at in starts[needs, size]
        )

    return placed(wanted, frozenset(), 7)


def fewest_cards(wanted):
    """Of all partitions of the slices into sets that fit one card, the fewest."""
    if not wanted:
        return 0
    best = len(wanted)
    first, rest = wanted[0], wanted[1:]
    for mask in range(1 << len(rest)):
        mine = tuple(sorted((first, *(one for bit, one in enumerate(rest) if mask >> bit & 1))))
        if fits_one_card(mine):
            others = tuple(one for bit, one in enumerate(rest) if not mask >> bit & 1)
            best = min(best, 1 + fewest_cards(others))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_slices_are_packed_on_as_few_cards_as_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    gpu, kinds = find_gpu("H100 SXM 80GB"), parts_of("H100 SXM 80GB", "mig")
    number = rng.multinomial(int(rng.integers(1, 8)), np.ones(len(kinds)) / len(kinds))
    draft = FleetDraft()
    cards = draft.add_resource("cards")
    slots = {kind.name: draft.add_resource(kind.name) for kind in kinds}
    draft.add_supply(price_micro_usd=1, gives={cards: 1})
    for way in ways_to_cut(gpu, kinds):
        draft.add_supply(price_micro_usd=0, gives={slots[name]: count for name, count in way}, uses={cards: 1})
    for kind, wanted in zip(kinds, number.tolist(), strict=True):
        if wanted:
            service = draft.add_service(kind.name)
            cover = draft.add_cover(service, wanted)
            draft.add_columns(service, price_micro_usd=0, covers={cover: 1}, uses={slots[kind.name]: 1})
    solution = solve_fleet(draft.build(), gap=0.0)
    slices = [
        (kind.compute_slices, kind.memory_slices)
        for kind, count in zip(kinds, number, strict=True)
        for _ in range(count)
    ]
    assert solution.cost_micro_usd == fewest_cards(tuple(sorted(slices)))


def test_replicas_on_parts_stand_on_the_machines_whose_gpus_are_cut():
    loads = place([Block(5, 1, 2), Block(9, 1, 3)], [(0, 1)], 8)
    (line,) = with_parts(loads, {9: {100: 2, 101: 1}}, {100: [(20, 4)], 101: [(21, 3)]})
    assert line.cuts == ((9, 3),)
    assert dict(line.carries) == {5: 2, 20: 4, 21: 3}


def offers():
    """One H100 at 2 USD/h."""
    some = next(o for o in load_offers() if o.gpu == "H100 SXM 80GB" and o.gpu_count == 1 and o.billing == "on-demand")
    return (replace(some, restrictions=(), available_count=None, minimum_count=1, price_usd_per_hour=2.0),)


def service(name, tokens=100.0, **more):
    level = more.pop("service_level", ServiceLevel(tpot_seconds=0.05))
    return Service(
        name=name, models=("llama-3.2-1b",), demand=Demand(output_tokens_per_second=tokens), service_level=level, **more
    )


def solved(*services, **more):
    program = Desk(Fleet(services=services, **more), offers()).program()
    return program, solve_small(program.problem, gap=0.0, time_limit_seconds=20, seed=7)


@pytest.mark.parametrize(
    ("ways", "services", "cards"), [((), 4, 4), (("mig",), 7, 1), (("mig",), 8, 2), (("fractions",), 4, 1)]
)
def test_small_services_share_a_card_only_when_asked(ways, services, cards):
    program, solution = solved(*(service(f"{number}") for number in range(services)), share_gpus=ways)
    assert solution.cost_micro_usd == 2_000_000 * cards
    lines = machine_lines(program, solution)
    assert sum(line.count for line in lines) == cards
    assert {one.service for line in lines for one in line.carries} == {f"{number}" for number in range(services)}
    for line in lines:
        held = [name for cut in line.cuts for name in cut.parts for _ in range(cut.gpus)]
        assert all(held.count(one.part) >= one.replicas for one in line.carries if one.part)
        assert line.gpus_used <= line.offer.gpu_count


def test_what_stands_on_a_part_is_smaller_slower_and_uncalibrated():
    program, solution = solved(service("a"), service("b"), share_gpus=("fractions",))
    whole_program, whole = solved(service("a"))
    (alone,) = next(service_answers(whole_program, whole, ())).serving
    for answer in service_answers(program, solution, machine_lines(program, solution)):
        (one,) = answer.serving
        engines = int(one.replica.gpu.removeprefix("H100 SXM 80GB 1/"))
        assert one.sizes[0].estimate.calibration == "uncalibrated"
        assert one.memory.total_bytes <= alone.memory.total_bytes / engines
        assert 0.92 / engines - 1e-4 <= one.replica.gpu_memory_utilization <= 0.92 / engines
        assert f"{one.replica.gpu_memory_utilization:g}" in one.replica.command


def test_a_service_that_needs_more_than_a_part_has_a_whole_card():
    program, solution = solved(service("a", service_level=ServiceLevel(tpot_seconds=0.002)), share_gpus=("mig",))
    assert [one.part for line in machine_lines(program, solution) for one in line.carries] == [""]


def test_a_lost_machine_takes_every_part_of_it():
    program, solution = solved(service("a", survives_losing_one_machine=True), share_gpus=("mig",))
    assert sum(line.count for line in machine_lines(program, solution)) == 2


def test_a_quota_counts_cards_not_parts():
    limits = FleetLimits(gpus=1)
    _, solution = solved(*(service(f"{number}") for number in range(8)), share_gpus=("mig",), limits=limits)
    assert solution.served.sum() == 7


def test_sharing_by_month_or_with_engines_of_other_shares_is_refused():
    by_month = (MonthDemand(month="1", service="a", demand=None),)
    with pytest.raises(ValidationError, match="not planned by month"):
        Fleet(services=(service("a"),), share_gpus=("mig",), demand_by_month=by_month)
    with pytest.raises(ValidationError, match="vllm alone"):
        Fleet(services=(service("a", choices=Choices(engines=("sglang",))),), share_gpus=("fractions",))
