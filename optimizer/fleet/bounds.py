"""How many of each column a cheapest plan can use, and which columns no cheapest plan needs: both proof-safe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optimizer.fleet.problem import SUPPLY, WORK, FleetProblem
from optimizer.fleet.sparse import SparseRows, sparse_rows
from optimizer.replica_columns import Bools, Ints

DIVIDED = " / "
"""Between the name of a limit and what it was divided by."""
DIVISORS_MOST = 12
"""A limit of so many different amounts is no count of machines (a budget is none), and dividing it gains nothing."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def useful_most(problem: FleetProblem) -> Ints:
    """The most of each column that a cheapest plan can use, shape (columns,).

    Replicas of one column that alone meet every demand they serve, and what may be lost, leave any further one without
    work. Supply is of use only as far as everything that consumes it, at its own most, can take it.
    """
    most = np.minimum(problem.column_most, enough_alone(problem))
    most = np.where(problem.column_service == SUPPLY, problem.column_most, np.maximum(most, 0))
    most = np.where(
        (most < problem.column_least) & (most > 0), np.minimum(problem.column_least, problem.column_most), most
    )
    for _ in range(2):
        most = _consumable(problem, most)
    useful: Ints = np.where(most < problem.column_least, 0, most)
    return useful


def enough_alone(problem: FleetProblem) -> Ints:
    """Replicas of each column that alone do all that its service asks of it, losses included, shape (columns,)."""
    matrix = problem.column_covers
    row, demand = matrix.row, problem.cover_demand[matrix.index]
    needed = -(-demand // np.maximum(matrix.value, 1))
    bucket = problem.cover_is_bucket[matrix.index]
    alone = np.zeros(problem.columns, dtype=np.int64)
    np.maximum.at(alone, row[~bucket], needed[~bucket])
    shared = np.zeros(problem.columns, dtype=np.int64)
    for entry in np.flatnonzero(bucket).tolist():
        work = -(-int(demand[entry]) * WORK // int(matrix.value[entry]))
        shared[row[entry]] += -(-work // WORK)
    spare = np.zeros(problem.columns, dtype=bool)
    spare[row[problem.cover_survives[matrix.index]]] = True
    enough: Ints = np.maximum(alone, shared) + spare * problem.column_lost_replicas
    return np.maximum(enough, problem.column_least)


def _consumable(problem: FleetProblem, most: Ints) -> Ints:
    """`most` of supply cut at what consumers and limits below 0 can take of what it gives."""
    uses = problem.column_uses
    takes, gives = uses.value > 0, uses.value < 0
    wanted = np.bincount(
        uses.index[takes],
        weights=uses.value[takes].astype(np.float64) * most[uses.row[takes]],
        minlength=problem.resources,
    ) + np.maximum(-problem.resource_limit.astype(np.float64), 0.0)
    column = uses.row[gives]
    supply = problem.column_service[column] == SUPPLY
    column, index, value = column[supply], uses.index[gives][supply], -uses.value[gives][supply]
    enough = np.zeros(problem.columns)
    np.maximum.at(enough, column, np.ceil(wanted[index] / value))
    enough = np.maximum(enough * (1 + 1e-12), problem.column_least)  # a float's error must not cut a machine
    cut: Ints = np.where(problem.column_service == SUPPLY, np.minimum(most, np.ceil(enough)), most).astype(np.int64)
    return cut


def undominated(problem: FleetProblem) -> Bools:
    """Columns that a cheapest plan may need, shape (columns,).

    Two columns of one service that use the same resources in the same amounts differ only in their price and in what
    they cover. The one that costs no less and covers no more may be replaced by the other wherever it stands, if that
    one may be had as often as is useful. Where two are alike the first stays.
    """
    plain = (problem.column_least == 1) & (problem.column_lost_replicas == 1)
    plain &= (problem.column_service == SUPPLY) | (problem.column_most >= enough_alone(problem))
    kept = np.ones(problem.columns, dtype=bool)
    candidates = np.flatnonzero(plain & (problem.column_service != SUPPLY))
    if not len(candidates):
        return kept
    covers = problem.column_covers.take(candidates)
    single = np.diff(covers.start) == 1
    candidates, covers = candidates[single], covers.take(single)
    uses = problem.column_uses.take(candidates)
    group = np.stack(
        (problem.column_service[candidates].astype(np.uint64), covers.index.astype(np.uint64), row_hashes(uses))
    )
    covered = np.minimum(covers.value, problem.cover_demand[covers.index])
    price = problem.column_price_micro_usd[candidates]
    order = np.lexsort((candidates, -covered, price, group[2], group[1], group[0]))
    same = (np.diff(group[:, order], axis=1) == 0).all(axis=0)
    same &= _equal_rows(uses, order)
    number = np.concatenate(([0], np.cumsum(~same)))
    rank = np.unique(covered, return_inverse=True)[1].reshape(-1)[order]
    height = number * (len(order) + 1) + rank
    before = np.concatenate(([-1], np.maximum.accumulate(height)[:-1]))
    beaten = (before >= height) & (before >= number * (len(order) + 1))
    kept[candidates[order[beaten]]] = False
    return kept


def row_hashes(matrix: SparseRows) -> np.ndarray:
    """A number per row that equal rows share, shape (rows,)."""
    mixed = (matrix.index.astype(np.uint64) + np.uint64(1)) * _ODD
    mixed ^= mixed >> np.uint64(29)
    mixed = mixed * (matrix.value.astype(np.uint64) * _ODD + np.uint64(1))
    sums = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(mixed, dtype=np.uint64)))
    hashed: np.ndarray = sums[matrix.start[1:]] - sums[matrix.start[:-1]]
    return hashed


def _equal_rows(matrix: SparseRows, order: Ints) -> Bools:
    """Whether each row in this order has exactly the entries of the one before, shape (rows - 1,)."""
    ordered = matrix.take(order)
    lengths = np.diff(ordered.start)
    equal: Bools = lengths[1:] == lengths[:-1]
    later = np.flatnonzero(equal)
    span = lengths[1:][later]
    entries = np.repeat(ordered.start[1:-1][later] - np.concatenate(([0], np.cumsum(span)[:-1])), span)
    entries = (entries + np.arange(span.sum())).astype(np.int64)
    before = entries - np.repeat(span, span)
    differs = (ordered.index[entries] != ordered.index[before]) | (ordered.value[entries] != ordered.value[before])
    np.logical_and.at(equal, np.repeat(later, span), ~differs)
    return equal


def tightened(problem: FleetProblem) -> FleetProblem:
    """The same plans with narrower relaxations: limits cut, and further limits that whole numbers keep anyway.

    What is used of a resource is a multiple of the greatest common divisor of all that columns take or give of it: of
    a quota of 94 GPUs that only machines of 8 draw on, 88 can be used. Where nothing gives, dividing by d and rounding
    down (Chvatal and Gomory) gives sum of floor(uses / d) x <= floor(limit / d): of 21 GPUs no more than two machines
    of 8, though 5 machines of 1 can be had beside them. The new limits stand after the problem's own.
    """
    uses = problem.column_uses
    divisor = np.zeros(problem.resources, dtype=np.int64)
    np.gcd.at(divisor, uses.index, np.abs(uses.value))
    divisor = np.maximum(divisor, 1)
    limit = problem.resource_limit // divisor * divisor
    least, reach = np.zeros(problem.resources, dtype=np.int64), np.zeros(problem.resources)
    np.minimum.at(least, uses.index, uses.value)
    np.add.at(reach, uses.index, uses.value * problem.column_most[uses.row].astype(np.float64))
    loose = (least == 0) & (reach > limit) & (limit >= 0)
    extra = _divided(problem, limit, loose)
    if not extra:
        return replace(problem, resource_limit=limit)
    number = problem.resources + np.arange(len(extra))
    sizes = [len(columns) for _, columns, _, _ in extra]
    matrix = sparse_rows(
        problem.columns,
        np.concatenate((uses.row, *(columns for _, columns, _, _ in extra))),
        np.concatenate((uses.index, np.repeat(number, sizes))),
        np.concatenate((uses.value, *(amounts for _, _, amounts, _ in extra))),
    )
    return replace(
        problem,
        column_uses=matrix,
        resource_names=(*problem.resource_names, *(name for name, _, _, _ in extra)),
        resource_limit=np.concatenate((limit, [most for _, _, _, most in extra])),
    )


def _divided(problem: FleetProblem, limit: Ints, loose: Bools) -> list[tuple[str, Ints, Ints, int]]:
    """(name, columns, amounts, limit) of each limit divided by each amount that does not divide it."""
    uses = problem.column_uses
    entries = np.flatnonzero(loose[uses.index])
    entries = entries[np.argsort(uses.index[entries], kind="stable")]
    column = np.searchsorted(uses.start, entries, side="right") - 1
    ends = np.searchsorted(uses.index[entries], np.arange(problem.resources + 1))
    found = []
    for resource in np.flatnonzero(loose).tolist():
        mine = slice(ends[resource], ends[resource + 1])
        amounts, columns, top = uses.value[entries[mine]], column[mine], int(limit[resource])
        different = np.unique(amounts).tolist()
        for by in different if len(different) <= DIVISORS_MOST else ():
            part = amounts // by
            if by > 1 and top % by:
                name = f"{problem.resource_names[resource]}{DIVIDED}{by}"
                found.append((name, columns[part > 0], part[part > 0], top // by))
    return found
