"""Linear programs over sparse arrays, through the solvers that OR-Tools brings: bounds, and what limits are worth.

The model goes to MathOpt as a protocol buffer filled from arrays: milliseconds, where one object per variable would
take seconds. HiGHS gives the duals; whole-number variables are allowed too.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from ortools.math_opt import (  # type: ignore[import-untyped]
    callback_pb2,
    model_parameters_pb2,
    model_pb2,
    parameters_pb2,
    result_pb2,
    solution_pb2,
)
from ortools.math_opt.core.python import solver as math_opt  # type: ignore[import-untyped]

from optimizer.cp_sat.clock import note_cut
from optimizer.cp_sat.interruption import interrupt, interrupted, listening
from optimizer.replica_columns import Bools, Floats, Ints

NO_LIMIT = float("inf")
LEAST_SECONDS = 0.01
LOG_CELLS = 10
CUT_SHORT = (result_pb2.LIMIT_TIME, result_pb2.LIMIT_NODE, result_pb2.LIMIT_INTERRUPTED)


@dataclass(frozen=True)
class LinearProgram:
    """Minimize cost x with low <= matrix x <= high and 0 <= x <= most.

    Attributes:
        cost, most: shape (variables,).
        row, variable, value: shape (entries,): the matrix.
        low, high: shape (rows,).
        whole: shape (variables,): must be a whole number; None = none of them.
    """

    cost: Floats
    most: Floats
    row: Ints
    variable: Ints
    value: Floats
    low: Floats
    high: Floats
    whole: Bools | None = None


@dataclass(frozen=True)
class LinearAnswer:
    """What the solver found.

    Attributes:
        feasible: a point was found; `values` is it.
        infeasible: proven that there is none.
        optimal: proven best (within the gap asked for).
        cut_short: the limit of time or of nodes ended the search.
        values: shape (variables,).
        duals: shape (rows,): rise of the optimum per unit of the right-hand side; zeros with whole variables.
        bound: no point costs less, up to the solver's tolerance.
    """

    feasible: bool
    infeasible: bool
    optimal: bool
    cut_short: bool
    values: Floats
    duals: Floats
    bound: float


class LinearSolver(Enum):
    """Solvers that come with OR-Tools."""

    GLOP = parameters_pb2.SOLVER_TYPE_GLOP
    """Simplex; no whole variables. The quickest up to some thousand rows."""
    HIGHS = parameters_pb2.SOLVER_TYPE_HIGHS
    """The quickest beyond, and with many whole variables of large range."""
    SCIP = parameters_pb2.SOLVER_TYPE_GSCIP
    """The quickest for many small choices."""


def solve_linear(
    program: LinearProgram,
    *,
    time_limit_seconds: float,
    gap: float = 0.0,
    seed: int = 0,
    nodes: int | None = None,
    solver: LinearSolver = LinearSolver.HIGHS,
    enough: float | None = None,
    start: Floats | None = None,
    told: Callable[[float, float], None] | None = None,
) -> LinearAnswer:
    """The least-cost point.

    Args:
        program: what to minimize.
        time_limit_seconds: wall time; noted (`clock`) when it ends the search.
        gap: relative, with whole variables.
        seed: of the solver.
        nodes: of the search tree, with whole variables: a limit that repeats; None = none.
        solver: which.
        enough: a whole point that costs no more than this ends the search (HiGHS; SCIP has no such parameter).
        start: shape (first variables,): values to start from.
        told: called with (cost, bound) whenever a better point is found (SCIP only).
    """
    parameters = parameters_pb2.SolveParametersProto()
    left = LEAST_SECONDS if interrupted() else max(time_limit_seconds, LEAST_SECONDS)
    parameters.time_limit.FromNanoseconds(int(left * 1e9))
    parameters.random_seed = seed
    parameters.gscip.bool_params["misc/catchctrlc"] = listening()
    if nodes is not None:
        parameters.node_limit = nodes
    if enough is not None and solver is LinearSolver.HIGHS:
        parameters.highs.double_options["objective_target"] = enough
    if solver is LinearSolver.GLOP:
        parameters.lp_algorithm = parameters_pb2.LP_ALGORITHM_DUAL_SIMPLEX  # starts feasible: no price is below 0
    quiet = _without_prints if program.whole is not None else nullcontext
    if program.whole is not None:
        parameters.relative_gap_tolerance = gap
    with quiet():
        result = math_opt.solve(
            _proto(program),
            solver.value,
            parameters_pb2.SolverInitializerProto(),
            parameters,
            _hinted(start),
            None if told is None else _Log(told),
            callback_pb2.CallbackRegistrationProto(),
            None,
            None,
        )
    if result.termination.limit == result_pb2.LIMIT_INTERRUPTED:
        interrupt()
    if result.termination.limit in (result_pb2.LIMIT_TIME, result_pb2.LIMIT_INTERRUPTED):
        note_cut()
    return _read(program, result)


class _Log:
    """Reads SCIP's log: the columns before the last two of a line of its table are the bound and the best cost."""

    def __init__(self, told: Callable[[float, float], None]) -> None:
        self._told, self._best = told, NO_LIMIT

    def __call__(self, lines: Sequence[str]) -> None:
        for line in lines:
            cells = line.split("|")
            if len(cells) > LOG_CELLS:
                self._read(cells[-4], cells[-3])

    def _read(self, bound: str, cost: str) -> None:
        try:
            lower, upper = float(bound), float(cost)
        except ValueError:  # the head of the table, or nothing found yet
            return
        if upper < self._best:
            self._best = upper
            self._told(upper, lower)


def _hinted(start: Floats | None) -> Any:
    """Values of the first variables to start from."""
    proto = model_parameters_pb2.ModelSolveParametersProto()
    if start is not None:
        hint = proto.solution_hints.add()
        hint.variable_values.ids.extend(range(len(start)))
        hint.variable_values.values.extend(start.tolist())
    return proto


@contextmanager
def _without_prints() -> Iterator[None]:
    """Standard output, where a plan is to stand, is closed to HiGHS 1.12's debugging line and SCIP's word of Ctrl-C."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        _flush_c()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flush_c() -> None:
    """C's own buffers, which Python's flush does not reach."""
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    library.fflush(None)


def _proto(program: LinearProgram) -> Any:
    """The MathOpt model; ids are positions."""
    variables, rows = len(program.cost), len(program.low)
    proto = model_pb2.ModelProto()
    proto.variables.ids.extend(range(variables))
    proto.variables.lower_bounds.extend([0.0] * variables)
    proto.variables.upper_bounds.extend(program.most.tolist())
    whole = np.zeros(variables, dtype=bool) if program.whole is None else program.whole
    proto.variables.integers.extend(whole.tolist())
    paid = np.flatnonzero(program.cost)
    proto.objective.linear_coefficients.ids.extend(paid.tolist())
    proto.objective.linear_coefficients.values.extend(program.cost[paid].tolist())
    proto.linear_constraints.ids.extend(range(rows))
    proto.linear_constraints.lower_bounds.extend(program.low.tolist())
    proto.linear_constraints.upper_bounds.extend(program.high.tolist())
    order = np.lexsort((program.variable, program.row))
    proto.linear_constraint_matrix.row_ids.extend(program.row[order].tolist())
    proto.linear_constraint_matrix.column_ids.extend(program.variable[order].tolist())
    proto.linear_constraint_matrix.coefficients.extend(program.value[order].tolist())
    return proto


def _read(program: LinearProgram, result: Any) -> LinearAnswer:
    variables, rows = len(program.cost), len(program.low)
    reason = result.termination.reason
    values, duals, feasible = np.zeros(variables), np.zeros(rows), False
    for solution in result.solutions[:1]:
        if solution.HasField("primal_solution"):
            primal = solution.primal_solution
            feasible = primal.feasibility_status == solution_pb2.SOLUTION_STATUS_FEASIBLE
            values[list(primal.variable_values.ids)] = primal.variable_values.values
        if solution.HasField("dual_solution"):
            dual = solution.dual_solution
            duals[list(dual.dual_values.ids)] = dual.dual_values.values
    return LinearAnswer(
        feasible,
        reason == result_pb2.TERMINATION_REASON_INFEASIBLE,
        reason == result_pb2.TERMINATION_REASON_OPTIMAL,
        result.termination.limit in CUT_SHORT,
        values,
        duals,
        float(result.termination.objective_bounds.dual_bound),
    )
