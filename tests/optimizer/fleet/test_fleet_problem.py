"""The nouns of a fleet: what fits together, what is refused, what exact evaluation says of a plan."""

import doctest
from dataclasses import replace

import numpy as np
import pytest

from optimizer.fleet import draft as draft_module
from optimizer.fleet import problem as problem_module
from optimizer.fleet import sparse as sparse_module
from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.errors import BadFleetProblem
from optimizer.fleet.evaluate import evaluate
from optimizer.fleet.problem import SHARES
from optimizer.fleet.sparse import sparse_rows


@pytest.mark.parametrize("module", [draft_module, problem_module, sparse_module])
def test_fleet_docs_are_true(module):
    assert doctest.testmod(module).failed == 0


def shared_machine():
    """Two services on one kind of 8-GPU machine of 16 USD/h, of which two can be had."""
    draft = FleetDraft()
    slots, machines = draft.add_resource("slots"), draft.add_resource("quota", limit=2)
    draft.add_supply(price_micro_usd=16_000_000, gives={slots: 8}, uses={machines: 1})
    for name, demand in (("chat", 100), ("code", 50)):
        service = draft.add_service(name)
        cover = draft.add_cover(service, demand)
        draft.add_columns(service, price_micro_usd=[0, 0], covers={cover: [20, 50]}, uses={slots: [1, 2]})
    return draft.build()


def evaluated(problem, counts, shares=None, served=None):
    shares = np.zeros(len(problem.column_covers.value), dtype=np.int64) if shares is None else np.asarray(shares)
    served = np.ones(problem.services, dtype=bool) if served is None else np.asarray(served)
    return evaluate(problem, np.asarray(counts), shares, served)


def test_a_plan_that_keeps_every_rule_has_no_findings():
    evaluation = evaluated(shared_machine(), [1, 0, 2, 0, 1])
    assert evaluation.findings == ()
    assert evaluation.cost_micro_usd == 16_000_000


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([0, 0, 2, 0, 1], "resource slots: -2 used of 0"),
        ([3, 0, 2, 0, 1], "resource quota: 3 used of 2"),
        ([1, 0, 1, 0, 1], "service chat: 50 of 100 covered"),
        ([1, -1, 3, 0, 1], "column 1: -1 lies outside 1 to 10000"),
    ],
)
def test_each_broken_rule_is_said(counts, says):
    findings = evaluated(shared_machine(), counts).findings
    if says.startswith("resource slots"):
        assert findings == ("resource slots: 6 used of 0",)
    else:
        assert says in findings


def test_what_is_not_served_needs_no_cover_but_may_not_run_or_be_required():
    problem = shared_machine()
    findings = evaluated(problem, [1, 0, 2, 0, 1], served=[True, False]).findings
    assert findings == (
        "service code is required",
        "column 4 runs for service code, which is not served",
    )
    optional = replace(problem, required=np.array([True, False]))
    assert evaluated(optional, [1, 0, 2, 0, 0], served=[True, False]).findings == ()


def survivor(lost=1):
    draft = FleetDraft()
    chat = draft.add_service("chat")
    cover = draft.add_cover(chat, 100, survives=True)
    draft.add_columns(chat, price_micro_usd=[1, 1], covers={cover: [50, 100]}, lost_replicas=lost)
    return draft.build()


@pytest.mark.parametrize(
    ("counts", "lost", "survives"),
    [
        ([2, 0], 1, False),
        ([3, 0], 1, True),
        ([0, 2], 1, True),
        ([2, 1], 1, True),
        ([0, 1], 1, False),
        ([3, 0], 2, False),
    ],
)
def test_survival_takes_away_the_worst_machine(counts, lost, survives):
    assert (evaluated(survivor(lost), counts).findings == ()) is survives


def bucketed(survives=False):
    draft = FleetDraft()
    chat = draft.add_service("chat")
    short = draft.add_cover(chat, 4, bucket=True, survives=survives)
    long = draft.add_cover(chat, 1, bucket=True, survives=survives)
    draft.add_columns(chat, price_micro_usd=[1, 5], covers={short: [4, 16], long: [0, 2]})
    return draft.build()


def test_buckets_share_the_time_of_a_replica():
    problem = bucketed()
    assert problem.column_covers.value.tolist() == [4, 16, 2]  # what cannot serve a bucket has no entry
    assert evaluated(problem, [0, 1], [0, SHARES, SHARES]).findings == ()  # 1/4 + 1/2 of its time
    assert evaluated(problem, [1, 1], [SHARES, 0, SHARES]).findings == ()
    assert evaluated(problem, [1, 1], [SHARES, 0, SHARES - 1]).findings == ("service chat: 5039 of 5040 shares run",)
    assert evaluated(problem, [0, 1], [1, SHARES - 1, SHARES]).findings[0].startswith("column 0")
    assert evaluated(problem, [0, 1], [-1, SHARES + 1, SHARES]).findings


def test_a_bucket_that_survives_has_a_machine_more():
    problem = bucketed(survives=True)
    assert evaluated(problem, [0, 1], [0, SHARES, SHARES]).findings
    assert evaluated(problem, [0, 2], [0, SHARES, SHARES]).findings == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"column_price_micro_usd": np.full(5, -1)}, "column_price_micro_usd is -1 somewhere; at least 0 is needed"),
        ({"column_least": np.zeros(5, dtype=np.int64)}, "column_least is 0 somewhere"),
        ({"resource_limit": np.zeros(3, dtype=np.int64)}, "one number per resource, 2, is needed"),
        ({"column_service": np.full(5, 2)}, "column_service names service 2 of 2"),
        ({"column_service": np.array([-1, 1, 1, 1, 1])}, "not its own"),
        ({"cover_service": np.array([1, 0])}, "must rise"),
        ({"column_most": np.full(5, 1 << 60)}, "more than 2\\^61"),
        ({"column_uses": sparse_rows(5, np.array([0]), np.array([2]), np.array([1]))}, "it has places 0 to 1"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(change, says):
    with pytest.raises(BadFleetProblem, match=says):
        replace(shared_machine(), **change).check()


@pytest.mark.parametrize(("most", "fits"), [((1 << 61) // 16_000_000 - 1, True), ((1 << 61) // 16_000_000 + 1, False)])
def test_sums_just_inside_64_bits_pass_and_just_outside_are_refused(most, fits):
    draft = FleetDraft()
    draft.add_supply(price_micro_usd=16_000_000, gives={draft.add_resource("slots"): 8}, most=most)
    if fits:
        assert draft.build().columns == 1
    else:
        with pytest.raises(BadFleetProblem, match="price sums"):
            draft.build()


def test_rows_are_taken_in_the_order_asked_for():
    matrix = sparse_rows(3, np.array([0, 0, 2]), np.array([1, 0, 2]), np.array([5, 6, 7]))
    taken = matrix.take(np.array([2, 1, 0]))
    assert taken.start.tolist() == [0, 1, 1, 3]
    assert taken.index.tolist() == [2, 0, 1]
    assert taken.times(np.array([1, 10, 100])).tolist() == [700, 0, 56]


@pytest.mark.parametrize("price", [[1.5], ["1"], [None]])
def test_only_whole_numbers_are_taken(price):
    draft = FleetDraft()
    with pytest.raises(BadFleetProblem, match="whole numbers"):
        draft.add_columns(draft.add_service("chat"), price_micro_usd=price)
