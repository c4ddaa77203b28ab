"""The linear relaxation of a fleet problem: a quick bound, and what one more unit of each limit is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from optimizer.cp_sat.fleet_linear import NO_LIMIT, LinearAnswer, LinearProgram, LinearSolver, solve_linear
from optimizer.fleet.bounds import useful_most
from optimizer.fleet.problem import FleetProblem
from optimizer.replica_columns import Bools, Floats, Ints

SIMPLEX_UNTIL = 2_000
"""Rows up to which GLOP is the quicker linear solver: it starts at once, HiGHS takes some 10 ms to do so."""


@dataclass(frozen=True)
class Relaxation:
    """The answer of the relaxation.

    Attributes:
        answer: of the solver; the first variables are the columns.
        resource_prices: shape (resources,): micro-dollars that one more unit saves, at least 0.
    """

    answer: LinearAnswer
    resource_prices: Floats


def relax(problem: FleetProblem, *, time_limit_seconds: float) -> Relaxation:
    """Solve the problem with counts and shares that need not be whole; every service is served."""
    program = relaxed_program(problem)
    solver = LinearSolver.GLOP if len(program.low) <= SIMPLEX_UNTIL else LinearSolver.HIGHS
    answer = solve_linear(program, time_limit_seconds=time_limit_seconds, solver=solver)
    return Relaxation(
        answer, np.maximum(-answer.duals[-problem.resources :], 0.0) if problem.resources else np.zeros(0)
    )


def relaxed_program(
    problem: FleetProblem, *, whole: Bools | None = None, optional: Bools | None = None
) -> LinearProgram:
    """Every rule as a linear row; with whole counts they say all of the problem, without they bound it from below.

    Variables: the columns; one per service of `optional` that says whether it is served; then one share (0 to 1) per
    entry of a bucket, and what survival and minimum purchases need. Rows: covers (divided by their demand; of a bucket
    all runs), the time of columns in buckets, survival, minimum purchases, last the resources.

    Args:
        problem: the rules.
        whole: shape (columns,): counts that must be whole; None = none, and minimum purchases are left out.
        optional: shape (services,): may be left unserved; None = none.
    """
    draft = _Draft(problem, useful_most(problem).astype(np.float64))
    draft.add_variables(draft.most, cost=problem.column_price_micro_usd.astype(np.float64), whole=whole)
    if optional is not None:
        draft.served[optional] = draft.add_variables(np.ones(int(optional.sum())), whole=True)
    _cover_demands(draft)
    shares, busy = _split_buckets(draft)
    if problem.cover_survives.any():
        _survive_losing_one_machine(draft)
        _keep_a_machine_spare(draft, shares, busy)
    if whole is not None:
        _buy_at_least(draft)
    uses = problem.column_uses
    limits = draft.add_rows(high=problem.resource_limit.astype(np.float64))
    draft.add(limits[uses.index], uses.row, uses.value)
    return draft.program(binaries=whole is not None)


class _Draft:
    """A linear program in the making: the problem, what a column can be of use at most, and what is there so far.

    Attributes:
        served: shape (services,): the variable that says whether it is served; -1 = it must be.
    """

    def __init__(self, problem: FleetProblem, most: Floats) -> None:
        self.problem, self.most = problem, most
        self.served = np.full(problem.services, -1)
        self._variables: list[tuple[Floats, Floats, Bools]] = []
        self._rows: list[tuple[Floats, Floats]] = []
        self._entries: list[tuple[Ints, Ints, Floats]] = []

    def add_variables(self, most: Floats, *, cost: ArrayLike = 0.0, whole: ArrayLike | None = None) -> Ints:
        """Variables from 0 to `most`; `whole` where they must be whole numbers. Their numbers."""
        first = sum(len(one) for one, _, _ in self._variables)
        must = np.asarray(False if whole is None else whole, dtype=bool)
        self._variables.append(
            (most, np.broadcast_to(np.asarray(cost, dtype=np.float64), most.shape), np.broadcast_to(must, most.shape))
        )
        return np.arange(first, first + len(most))

    def add_rows(self, *, low: Floats | None = None, high: Floats | None = None) -> Ints:
        """Rows with one side. Their numbers."""
        first = sum(len(one) for one, _ in self._rows)
        size = len(high) if low is None and high is not None else len(low if low is not None else ())
        self._rows.append(
            (np.full(size, -NO_LIMIT) if low is None else low, np.full(size, NO_LIMIT) if high is None else high)
        )
        return np.arange(first, first + size)

    def add(self, row: Ints, variable: Ints, value: ArrayLike) -> None:
        """Entries of the matrix, one for each row and variable."""
        self._entries.append((row, variable, np.broadcast_to(np.asarray(value, dtype=np.float64), row.shape)))

    def ask(self, covers: Ints) -> Ints:
        """Rows that ask for all of each of these covers, if its service is served. Their numbers."""
        problem = self.problem
        asked = problem.cover_is_bucket[covers] | (problem.cover_demand[covers] > 0)
        served = self.served[problem.cover_service[covers]]
        rows = self.add_rows(low=np.where(asked & (served < 0), 1.0, 0.0))
        may = np.flatnonzero(asked & (served >= 0))
        self.add(rows[may], served[may], -1.0)
        return rows

    def program(self, *, binaries: bool) -> LinearProgram:
        """The program; without `binaries` nothing must be whole."""
        most, cost, whole = (np.concatenate(parts) for parts in zip(*self._variables, strict=True))
        low, high = (np.concatenate(parts) for parts in zip(*self._rows, strict=True))
        row, variable, value = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        return LinearProgram(cost, most, row, variable, value, low, high, whole if binaries else None)


def _cover_demands(draft: _Draft) -> None:
    """Sum of min(covers, demand) / demand x count >= 1; the rows of buckets are filled by `_split_buckets`."""
    matrix = draft.problem.column_covers
    rows = draft.ask(np.arange(draft.problem.covers))
    plain = np.flatnonzero(~draft.problem.cover_is_bucket[matrix.index])
    draft.add(rows[matrix.index[plain]], matrix.row[plain], _parts(draft.problem)[plain])


def _parts(problem: FleetProblem) -> Floats:
    """What one of each column gives to a cover, of its demand, at most all; shape (entries of `column_covers`,)."""
    matrix = problem.column_covers
    demand = np.maximum(problem.cover_demand[matrix.index].astype(np.float64), 1.0)
    parts: Floats = np.minimum(matrix.value / demand, 1.0)
    return parts


def _split_buckets(draft: _Draft) -> tuple[Ints, Ints]:
    """All of a bucket runs, and no column works longer than all of its time.

    Returns:
        The variable of each entry's share and the row of each column's time; -1 where there is none.
    """
    problem, matrix = draft.problem, draft.problem.column_covers
    entries = np.flatnonzero(problem.cover_is_bucket[matrix.index])
    column, cover = matrix.row[entries], matrix.index[entries]
    shares, busy = np.full(len(matrix.index), -1), np.full(problem.columns, -1)
    shares[entries] = draft.add_variables(np.ones(len(entries)))
    draft.add(cover, shares[entries], 1.0)
    columns = np.unique(column)
    busy[columns] = draft.add_rows(high=np.zeros(len(columns)))
    draft.add(busy[column], shares[entries], problem.cover_demand[cover] / matrix.value[entries])
    draft.add(busy[columns], columns, -1.0)
    return shares, busy


def _survive_losing_one_machine(draft: _Draft) -> None:
    """What all columns give, less the most that the loss of one machine takes of any of them, is the demand still.

    A machine takes min(count, L) replicas of a column, no more than `gone`:

        gone >= L x many,    gone >= count - most x many,    gone >= L / most x count       (many is 0 or 1)
    """
    problem, matrix = draft.problem, draft.problem.column_covers
    entries = np.flatnonzero(problem.cover_survives[matrix.index] & ~problem.cover_is_bucket[matrix.index])
    columns, place = np.unique(matrix.row[entries], return_inverse=True)
    most = np.maximum(draft.most[columns], 1.0)
    lost = np.minimum(problem.column_lost_replicas[columns], most)
    gone, many = draft.add_variables(lost), draft.add_variables(np.ones(len(columns)), whole=True)
    for of_many, of_count in ((-lost, 0.0), (most, -1.0), (0.0, -lost / most)):
        rows = draft.add_rows(low=np.zeros(len(columns)))
        draft.add(rows, gone, 1.0)
        draft.add(rows, many, of_many)
        draft.add(rows, columns, of_count)
    _without_the_worst(draft, entries, gone[place.reshape(-1)])


def _without_the_worst(draft: _Draft, entries: Ints, gone: Ints) -> None:
    """Each cover without the most that is gone of any of its columns."""
    matrix, part = draft.problem.column_covers, _parts(draft.problem)
    covers, place = np.unique(matrix.index[entries], return_inverse=True)
    place = place.reshape(-1)
    rows, worst = draft.ask(covers), draft.add_variables(np.full(len(covers), NO_LIMIT))
    draft.add(rows[place], matrix.row[entries], part[entries])
    draft.add(rows, worst, -1.0)
    above = draft.add_rows(low=np.zeros(len(entries)))
    draft.add(above, worst[place], 1.0)
    draft.add(above, gone, -part[entries])


def _keep_a_machine_spare(draft: _Draft, shares: Ints, busy: Ints) -> None:
    """A column that runs some of a bucket that survives has a machine more than its work needs."""
    problem, matrix = draft.problem, draft.problem.column_covers
    entries = np.flatnonzero(problem.cover_survives[matrix.index] & problem.cover_is_bucket[matrix.index])
    columns, place = np.unique(matrix.row[entries], return_inverse=True)
    used = draft.add_variables(np.ones(len(columns)), whole=True)
    rows = draft.add_rows(low=np.zeros(len(entries)))
    draft.add(rows, used[place.reshape(-1)], 1.0)
    draft.add(rows, shares[entries], -1.0)
    draft.add(busy[columns], used, problem.column_lost_replicas[columns])


def _buy_at_least(draft: _Draft) -> None:
    """None, or at least so many: least x bought <= count <= most x bought."""
    columns = np.flatnonzero((draft.problem.column_least > 1) & (draft.most > 0))
    least, most = draft.problem.column_least[columns].astype(np.float64), draft.most[columns]
    bought = draft.add_variables(np.ones(len(columns)), whole=True)
    for of_count, of_bought in ((1.0, -least), (-1.0, most)):
        rows = draft.add_rows(low=np.zeros(len(columns)))
        draft.add(rows, columns, of_count)
        draft.add(rows, bought, of_bought)
