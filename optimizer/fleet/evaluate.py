"""Whether counts keep every rule of a fleet problem, and what they cost: exact, in Python's own integers, no solver.

Every engine's answer passes through here before anyone sees it. It reads the rules from the problem alone: nothing
that an engine derived (pruned columns, bounds, cut coefficients) comes in.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from optimizer.fleet.problem import SHARES, SUPPLY, WORK, FleetProblem, work_ten_millionths
from optimizer.fleet.sparse import SparseRows
from optimizer.replica_columns import Bools, Ints


@dataclass(frozen=True)
class Evaluation:
    """What re-deriving a plan says.

    Attributes:
        cost_micro_usd: sum of price x count.
        findings: one sentence per broken rule; empty when the plan keeps them all.
    """

    cost_micro_usd: int
    findings: tuple[str, ...]


def evaluate(problem: FleetProblem, counts: Ints, shares: Ints, served: Bools) -> Evaluation:
    """Check every rule of the problem on these counts.

    Args:
        problem: the rules.
        counts: shape (columns,).
        shares: shape (entries of `column_covers`,): see `FleetSolution`.
        served: shape (services,): what is said to be served.
    """
    used = [int(column) for column in np.flatnonzero(counts)]
    count = {column: int(counts[column]) for column in used}
    cost = sum(int(problem.column_price_micro_usd[column]) * number for column, number in count.items())
    findings = [
        *_counts_in_range(problem, count),
        *_only_served_run(problem, count, served),
        *_limits_kept(problem, count),
        *_covers_kept(problem, count, served),
        *_buckets_kept(problem, count, shares, served),
    ]
    return Evaluation(cost, tuple(findings))


def _row(matrix: SparseRows, row: int) -> list[tuple[int, int]]:
    """(index, value) of one row."""
    part = slice(int(matrix.start[row]), int(matrix.start[row + 1]))
    return list(zip(matrix.index[part].tolist(), matrix.value[part].tolist(), strict=True))


def _counts_in_range(problem: FleetProblem, count: dict[int, int]) -> list[str]:
    return [
        f"column {column}: {number} lies outside {problem.column_least[column]} to {problem.column_most[column]}"
        for column, number in count.items()
        if not int(problem.column_least[column]) <= number <= int(problem.column_most[column])
    ]


def _only_served_run(problem: FleetProblem, count: dict[int, int], served: Bools) -> list[str]:
    unserved = [f"service {problem.service_names[s]} is required" for s in np.flatnonzero(problem.required & ~served)]
    for column in count:
        service = int(problem.column_service[column])
        if service != SUPPLY and not served[service]:
            unserved.append(f"column {column} runs for service {problem.service_names[service]}, which is not served")
    return unserved


def _limits_kept(problem: FleetProblem, count: dict[int, int]) -> list[str]:
    used: dict[int, int] = defaultdict(int)
    for column, number in count.items():
        for resource, amount in _row(problem.column_uses, column):
            used[resource] += amount * number
    limits = problem.resource_limit.tolist()
    touched = {**{r: 0 for r, limit in enumerate(limits) if limit < 0}, **used}
    return [
        f"resource {problem.resource_names[resource]}: {amount} used of {limits[resource]}"
        for resource, amount in touched.items()
        if amount > limits[resource]
    ]


def _covers_kept(problem: FleetProblem, count: dict[int, int], served: Bools) -> list[str]:
    given: dict[int, int] = defaultdict(int)
    lost: dict[int, int] = defaultdict(int)
    for column, number in count.items():
        gone = min(int(problem.column_lost_replicas[column]), number)
        for cover, amount in _row(problem.column_covers, column):
            given[cover] += amount * number
            lost[cover] = max(lost[cover], amount * gone)
    findings = []
    for cover in np.flatnonzero(~problem.cover_is_bucket & served[problem.cover_service]).tolist():
        left = given[cover] - (lost[cover] if problem.cover_survives[cover] else 0)
        if left < int(problem.cover_demand[cover]):
            name = problem.service_names[int(problem.cover_service[cover])]
            findings.append(f"service {name}: {left} of {problem.cover_demand[cover]} covered")
    return findings


def _buckets_kept(problem: FleetProblem, count: dict[int, int], shares: Ints, served: Bools) -> list[str]:
    split: dict[int, int] = defaultdict(int)
    work: dict[int, int] = defaultdict(int)
    spare: set[int] = set()
    matrix = problem.column_covers
    column_of = matrix.row if problem.cover_is_bucket.any() else np.empty(0, dtype=np.int64)
    for entry in np.flatnonzero(shares).tolist():
        cover, column, share = int(matrix.index[entry]), int(column_of[entry]), int(shares[entry])
        split[cover] += share if share > 0 else -SHARES
        work[column] += share * work_ten_millionths(int(problem.cover_demand[cover]), int(matrix.value[entry]))
        if problem.cover_survives[cover]:
            spare.add(column)
    findings = [
        f"service {problem.service_names[int(problem.cover_service[cover])]}: {split[cover]} of {SHARES} shares run"
        for cover in np.flatnonzero(problem.cover_is_bucket & served[problem.cover_service]).tolist()
        if split[cover] != SHARES
    ]
    for column, amount in work.items():
        free = count.get(column, 0) - (int(problem.column_lost_replicas[column]) if column in spare else 0)
        if amount > free * WORK * SHARES:
            findings.append(f"column {column}: {amount} of work for {free} replicas of {WORK * SHARES}")
    return findings
