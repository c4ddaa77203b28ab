"""A fleet problem as one CP-SAT program: every column a whole number, one function per rule.

One worker and a fixed seed: the same problem gives the same counts as long as the wall clock does not end the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat.clock import note_cut
from optimizer.cp_sat.interruption import interrupted, stopping
from optimizer.cp_sat.library import cp_model
from optimizer.errors import SolverFailed
from optimizer.fleet.bounds import useful_most
from optimizer.fleet.problem import SHARES, SUPPLY, WORK, FleetProblem, work_ten_millionths
from optimizer.replica_columns import Bools, Ints

LEAST_SECONDS = 0.05
BOUND_SLACK = 1e-6
"""CP-SAT's bound is a whole number in a double."""

Progress = Callable[[int, int], None]
"""Called with (cost, lower bound), micro-dollars, whenever a better plan is found."""


@dataclass(frozen=True)
class CompactAnswer:
    """What CP-SAT found; see `FleetSolution` for the fields of the same names."""

    found: bool
    infeasible: bool
    proven: bool
    counts: Ints
    shares: Ints
    served: Bools
    lower_bound_micro_usd: int
    seconds: float


@dataclass
class CompactProgram:
    """The CP-SAT model with its variables named for the rules.

    Attributes:
        counts: one per column.
        shares: entry of `column_covers` -> 5,040ths of the bucket that run there.
        served: one per service; a constant where it is required.
    """

    problem: FleetProblem
    model: cp_model.CpModel
    most: Ints
    counts: list[cp_model.IntVar]
    shares: dict[int, cp_model.IntVar]
    served: list[cp_model.IntVar]


def build_compact(problem: FleetProblem, serve: Bools) -> CompactProgram:
    """Variables and every rule; services in `serve` must be served, the others may."""
    model = cp_model.CpModel()
    most = useful_most(problem)
    counts = [_count(model, int(least), int(top)) for least, top in zip(problem.column_least, most, strict=True)]
    buckets = np.flatnonzero(problem.cover_is_bucket[problem.column_covers.index]).tolist()
    program = CompactProgram(
        problem,
        model,
        most,
        counts,
        {entry: model.new_int_var(0, SHARES, "") for entry in buckets},
        [model.new_constant(1) if must else model.new_bool_var("") for must in serve.tolist()],
    )
    cover_demands(program)
    survive_losing_one_machine(program)
    split_buckets(program)
    work_no_more_than_all_of_the_time(program)
    run_only_what_is_served(program, serve)
    stay_within_limits(program)
    return program


def _count(model: cp_model.CpModel, least: int, most: int) -> cp_model.IntVar:
    if least <= 1 or most < least:
        return model.new_int_var(0, most, "")
    return model.new_int_var_from_domain(cp_model.Domain.from_intervals([[0, 0], [least, most]]), "")


def cover_demands(program: CompactProgram) -> None:
    """Sum of min(covers, demand) x count >= demand, for every cover that is no bucket of a service that is served."""
    for cover, columns, gives in _by_cover(program.problem, bucket=False):
        demand = int(program.problem.cover_demand[cover])
        served = program.served[int(program.problem.cover_service[cover])]
        given = _sum(program, columns, np.minimum(gives, demand))
        program.model.add(given >= demand * served)


def survive_losing_one_machine(program: CompactProgram) -> None:
    """The same sum without what the loss of one machine takes of any one column."""
    problem = program.problem
    for cover, columns, gives in _by_cover(problem, bucket=False):
        if not problem.cover_survives[cover]:
            continue
        demand = int(problem.cover_demand[cover])
        served = program.served[int(problem.cover_service[cover])]
        cut = np.minimum(gives, demand)
        given = _sum(program, columns, cut)
        for column, amount in zip(columns.tolist(), cut.tolist(), strict=True):
            gone = _lost(program, column)
            program.model.add(given - amount * gone >= demand * served)


def _lost(program: CompactProgram, column: int) -> cp_model.IntVar:
    """At least min(replicas on one machine, count): what the loss of a machine takes of a column."""
    lost = int(program.problem.column_lost_replicas[column])
    gone = program.model.new_int_var(0, lost, "")
    program.model.add_min_equality(gone, [program.counts[column], program.model.new_constant(lost)])
    return gone


def split_buckets(program: CompactProgram) -> None:
    """All 5,040 shares of a bucket of a service that is served run somewhere."""
    problem, matrix = program.problem, program.problem.column_covers
    entries: dict[int, list[int]] = {cover: [] for cover in np.flatnonzero(problem.cover_is_bucket).tolist()}
    for entry in program.shares:
        entries[int(matrix.index[entry])].append(entry)
    for cover, mine in entries.items():
        served = program.served[int(problem.cover_service[cover])]
        program.model.add(sum(program.shares[entry] for entry in mine) == SHARES * served)


def work_no_more_than_all_of_the_time(program: CompactProgram) -> None:
    """Sum of work x shares <= all shares of the replicas' time, without a spare machine where it must survive."""
    problem, matrix = program.problem, program.problem.column_covers
    column_of = matrix.row
    entries: dict[int, list[int]] = {}
    for entry in program.shares:
        entries.setdefault(int(column_of[entry]), []).append(entry)
    for column, mine in entries.items():
        work = [
            work_ten_millionths(int(problem.cover_demand[matrix.index[entry]]), int(matrix.value[entry]))
            for entry in mine
        ]
        busy = cp_model.LinearExpr.weighted_sum([program.shares[entry] for entry in mine], work)
        program.model.add(busy <= WORK * SHARES * _free(program, column, mine))


def _free(program: CompactProgram, column: int, entries: list[int]) -> cp_model.LinearExprT:
    """Replicas of a column that may be kept busy."""
    problem = program.problem
    surviving = [entry for entry in entries if problem.cover_survives[problem.column_covers.index[entry]]]
    if not surviving:
        return program.counts[column]
    used = program.model.new_bool_var("")
    for entry in surviving:
        program.model.add(program.shares[entry] <= SHARES * used)
    return program.counts[column] - int(problem.column_lost_replicas[column]) * used


def run_only_what_is_served(program: CompactProgram, serve: Bools) -> None:
    """No replica of a service that is not served."""
    for column, service in enumerate(program.problem.column_service.tolist()):
        if service != SUPPLY and not serve[service]:
            program.model.add(program.counts[column] <= int(program.most[column]) * program.served[service])


def stay_within_limits(program: CompactProgram) -> None:
    """Sum of uses x count <= limit for every resource; what supply gives counts below 0."""
    uses = program.problem.column_uses
    order = np.argsort(uses.index, kind="stable")
    ends = np.searchsorted(uses.index[order], np.arange(program.problem.resources + 1))
    columns, amounts = uses.row[order], uses.value[order]
    for resource, limit in enumerate(program.problem.resource_limit.tolist()):
        mine = slice(ends[resource], ends[resource + 1])
        program.model.add(_sum(program, columns[mine], amounts[mine]) <= limit)


def _by_cover(problem: FleetProblem, *, bucket: bool) -> list[tuple[int, Ints, Ints]]:
    """(cover, its columns, what each gives) of every cover that is (or is not) a bucket."""
    matrix = problem.column_covers
    order = np.argsort(matrix.index, kind="stable")
    ends = np.searchsorted(matrix.index[order], np.arange(problem.covers + 1))
    columns, gives = matrix.row[order], matrix.value[order]
    return [
        (cover, columns[ends[cover] : ends[cover + 1]], gives[ends[cover] : ends[cover + 1]])
        for cover in np.flatnonzero(problem.cover_is_bucket == bucket).tolist()
    ]


def _sum(program: CompactProgram, columns: Ints, weights: Ints) -> cp_model.LinearExprT:
    if not len(columns):
        return program.model.new_constant(0)
    return cp_model.LinearExpr.weighted_sum([program.counts[c] for c in columns.tolist()], weights.tolist())


def solve_compact(
    problem: FleetProblem,
    *,
    gap: float,
    time_limit_seconds: float,
    seed: int,
    hint: Ints | None = None,
    lower_bound_micro_usd: int = 0,
    progress: Progress | None = None,
) -> CompactAnswer:
    """The cheapest plan that serves every service of the problem.

    Args:
        problem: the rules.
        gap: relative; the search ends when it is proven.
        time_limit_seconds: of wall time.
        seed: of CP-SAT.
        hint: shape (columns,): a plan to start from.
        lower_bound_micro_usd: known from elsewhere.
        progress: told of every better plan.
    """
    program = build_compact(problem, np.ones(problem.services, dtype=bool))
    cost = _sum(program, np.arange(problem.columns), problem.column_price_micro_usd)
    program.model.minimize(cost)
    if lower_bound_micro_usd > 0:
        program.model.add(cost >= lower_bound_micro_usd)
    _give_hint(program, hint)
    solver = compact_solver(time_limit_seconds, seed, gap)
    status = _run(solver, program.model, _Watch(progress) if progress else None)
    return _read(program, solver, status)


@dataclass(frozen=True)
class Chosen:
    """Which services to serve.

    Attributes:
        answer: the best choice, by the cheapest plan found; `proven` if none is more important, its bound that of the
            cheapest plan of all choices as important (0 when that was not asked).
        only: proven: no other choice is as important.
    """

    answer: CompactAnswer
    only: bool = False


def choose_served(problem: FleetProblem, *, gap: float, time_limit_seconds: float, seed: int) -> Chosen:
    """Which services to serve: the greatest weight of the highest priority, then of the next; then the least cost.

    Each priority is solved to proof and held. Where time ends the search, `proven` is False and the best choice found
    so far is given.
    """
    program = build_compact(problem, problem.required)
    answer, spent, proven = None, 0.0, True
    for level in sorted(set(problem.priority[~problem.required].tolist()), reverse=True) or [0]:
        mine = np.flatnonzero((problem.priority == level) & ~problem.required).tolist()
        weights = problem.weight[mine].tolist()
        served = cp_model.LinearExpr.weighted_sum([program.served[service] for service in mine], weights)
        program.model.maximize(served)
        solver = compact_solver(max(time_limit_seconds - spent, 0.01), seed, 0.0)
        found = _read(program, solver, _run(solver, program.model))
        spent += found.seconds
        if not found.found:
            return Chosen(replace(answer, proven=False, lower_bound_micro_usd=0) if answer else found)
        answer, proven = replace(found, lower_bound_micro_usd=0), proven and found.proven
        program.model.add(served >= int(problem.weight[mine] @ found.served[mine]))
        program.model.clear_hints()  # type: ignore[no-untyped-call]
        _give_hint(program, found.counts)
    assert answer is not None  # there is at least one level
    return _cheapest_choice(program, replace(answer, proven=proven), gap, max(time_limit_seconds - spent, 0.01), seed)


def _cheapest_choice(program: CompactProgram, choice: CompactAnswer, gap: float, seconds: float, seed: int) -> Chosen:
    """Of all choices as important as this one the cheapest; itself where it is the only one."""
    problem = program.problem
    cost = _sum(program, np.arange(problem.columns), problem.column_price_micro_usd)
    others = program.model.clone()
    in_it = [program.served[service] for service in np.flatnonzero(choice.served & ~problem.required).tolist()]
    others.clear_objective()  # type: ignore[no-untyped-call]
    others.add(sum(in_it) <= len(in_it) - 1)
    solver = compact_solver(seconds / 2, seed, 0.0)
    if _run(solver, others) == cp_model.INFEASIBLE:
        return Chosen(choice, only=True)
    program.model.minimize(cost)
    solver = compact_solver(max(seconds - solver.wall_time, 0.01), seed, gap)
    found = _read(program, solver, _run(solver, program.model))
    return Chosen(replace(found, proven=choice.proven) if found.found else choice)


def compact_solver(seconds: float, seed: int, gap: float) -> cp_model.CpSolver:
    """One worker that uses the linear relaxation fully."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.linearization_level = 2
    solver.parameters.random_seed = seed
    solver.parameters.catch_sigint_signal = False  # Ctrl-C is `interruption`'s
    solver.parameters.relative_gap_limit = gap
    solver.parameters.max_time_in_seconds = LEAST_SECONDS if interrupted() else seconds
    return solver


def _run(solver: cp_model.CpSolver, model: cp_model.CpModel, watch: _Watch | None = None) -> object:
    """Solve until the proof, the end of time or Ctrl-C; the status."""
    with stopping(solver.stop_search):
        status = solver.solve(model, watch)
    if status in (cp_model.FEASIBLE, cp_model.UNKNOWN):
        note_cut()
    return status


def _give_hint(program: CompactProgram, hint: Ints | None) -> None:
    if hint is not None:
        for variable, value in zip(program.counts, hint.tolist(), strict=True):
            program.model.add_hint(variable, value)


def _read(program: CompactProgram, solver: cp_model.CpSolver, status: object) -> CompactAnswer:
    problem = program.problem
    counts = np.zeros(problem.columns, dtype=np.int64)
    shares = np.zeros(len(problem.column_covers.value), dtype=np.int64)
    served = problem.required.copy()
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    bound = 0
    if status == cp_model.MODEL_INVALID:
        raise SolverFailed(f"CP-SAT refuses the program of this fleet: {program.model.validate()}")
    if found:
        values = np.asarray(solver.response_proto.solution, dtype=np.int64)
        counts = values[[one.index for one in program.counts]]
        shares[list(program.shares)] = values[[one.index for one in program.shares.values()]]
        served = values[[one.index for one in program.served]].astype(bool)
        bound = max(math.floor(solver.best_objective_bound + BOUND_SLACK), 0)
    return CompactAnswer(
        found=found,
        infeasible=status == cp_model.INFEASIBLE,
        proven=status == cp_model.OPTIMAL,
        counts=counts,
        shares=shares,
        served=served,
        lower_bound_micro_usd=bound,
        seconds=solver.wall_time,
    )


class _Watch(cp_model.CpSolverSolutionCallback):
    """Tells of every better plan while CP-SAT works."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def on_solution_callback(self) -> None:
        """Called by CP-SAT."""
        self._progress(round(self.objective_value), math.floor(self.best_objective_bound))
