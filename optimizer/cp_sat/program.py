"""The integer program of one question: how many machines of each type, how many replicas of each column on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.cp_sat import constraints, integers, objectives
from optimizer.cp_sat.library import cp_model
from optimizer.cp_sat.objectives import Goal
from optimizer.errors import SolverFailed
from optimizer.pruning import Columns
from optimizer.replica_columns import Bools, Ints
from optimizer.requirements import Requirements

SEED = 7


@dataclass
class Program:
    """A CP-SAT model with its variables named for the rules.

    Attributes:
        columns: what is decided about.
        model: the CP-SAT model.
        machines: how many of each machine type are bought, in the order of `columns.offers`.
        replicas: how many replicas of each column run, in the order of the columns.
        machine_bounds: the largest useful count of each machine type, shape (machines,).
    """

    columns: Columns
    requirements: Requirements
    model: cp_model.CpModel
    machines: list[cp_model.IntVar]
    replicas: list[cp_model.IntVar]
    machine_bounds: Ints
    replica_bounds: Ints


@dataclass(frozen=True)
class Purchase:
    """The solver's answer: counts, with the bound that proves them.

    Attributes:
        columns: what was decided about.
        machines, replicas: counts, in the order of `columns.offers` and of the columns.
        goal: the first goal; `value` and `bound` are its, in its own integer unit.
        optimal: whether the first goal is proven.
        tie_broken: whether the goals after it are proven too.
        cost_usd_per_hour, cost_bound_usd_per_hour: of the machines.
        seconds: that the solver took.
    """

    columns: Columns
    machines: Ints
    replicas: Ints
    goal: Goal
    optimal: bool
    tie_broken: bool
    value: int
    bound: int
    cost_usd_per_hour: float
    cost_bound_usd_per_hour: float
    seconds: float

    @property
    def power_watts(self) -> float:
        """Of all GPUs that are bought, rounded up per replica as the rules count; NaN when one is not known."""
        columns, used, bought = self.columns, self.replicas > 0, self.machines > 0
        idle = (self.machines[bought] * columns.machine_watts[bought]).sum()
        return float(idle + (self.replicas[used] * columns.added_watts[used]).sum())

    def as_unproven(self, bound: int, cost_bound_usd_per_hour: float) -> Purchase:
        """The same purchase as a plan for the goal of cost; `bound`, in micro-dollars, was proven elsewhere."""
        cost = int((self.machines * objectives.prices_micro_usd(self.columns)).sum())
        return replace(
            self,
            goal=Goal.COST,
            optimal=False,
            tie_broken=False,
            value=cost,
            bound=bound,
            cost_bound_usd_per_hour=cost_bound_usd_per_hour,
        )

    def among(self, columns: Columns, kept: Bools) -> Purchase:
        """The same purchase told of all columns; it was made of those that were kept, shape (columns,)."""
        machines, replicas = np.zeros(len(columns.offers), dtype=np.int64), np.zeros(len(columns), dtype=np.int64)
        machines[np.unique(columns.machine[kept])], replicas[kept] = self.machines, self.replicas
        return replace(self, columns=columns, machines=machines, replicas=replicas)


def solve_program(requirements: Requirements, columns: Columns, goals: tuple[Goal, ...]) -> Purchase | None:
    """The best purchase by the goals in their order, or None when it is proven that there is none.

    Every goal is solved to proof and then held while the next one breaks its ties; one worker and a fixed seed make the
    same question give the same answer.

    Raises:
        SolverFailed: when the time limit ends the search before there is a plan or a proof that there is none.
    """
    if not len(columns):
        return None
    program = build_program(requirements, columns, goals[0])
    purchase: Purchase | None = None
    for goal in goals:
        expression = objectives.state(program, goal)
        spent = 0.0 if purchase is None else purchase.seconds
        solver = _solver(max(requirements.time_limit_seconds - spent, 0.01))
        status = solver.solve(program.model)
        if purchase is None and status == cp_model.INFEASIBLE:
            return None
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            break
        purchase = _read(program, solver, goal, purchase, proven=status == cp_model.OPTIMAL)
        if not purchase.tie_broken:
            break
        objectives.hold(program, goal, expression, round(solver.objective_value))
    if purchase is None:
        raise SolverFailed(
            f"No plan and no proof that there is none within {requirements.time_limit_seconds:g} s; "
            "give more with --time-limit."
        )
    return purchase


def build_program(requirements: Requirements, columns: Columns, goal: Goal) -> Program:
    """Variables and every rule that the question asks for."""
    model = cp_model.CpModel()
    machine_bounds = constraints.useful_machines(requirements, columns, goal)
    gpus = np.asarray([offer.gpu_count for offer in columns.offers], dtype=np.int64)
    replica_bounds = (machine_bounds * gpus)[columns.machine] // np.maximum(columns.gpus, 1)
    program = Program(
        columns,
        requirements,
        model,
        [model.new_int_var(0, int(most), "") for most in machine_bounds],
        [model.new_int_var(0, int(most), "") for most in replica_bounds],
        machine_bounds,
        replica_bounds,
    )
    for rule in constraints.RULES:
        rule(program)
    return program


def _solver(seconds: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.linearization_level = 2
    solver.parameters.random_seed = SEED
    solver.parameters.max_time_in_seconds = seconds
    return solver


def _read(program: Program, solver: cp_model.CpSolver, goal: Goal, first: Purchase | None, *, proven: bool) -> Purchase:
    """The counts after this goal; value and bound stay those of the first goal."""
    solution = np.asarray(solver.response_proto.solution, dtype=np.int64)
    machines = solution[: len(program.machines)]
    replicas = solution[len(program.machines) : len(program.machines) + len(program.replicas)]
    cost = integers.usd(float((machines * objectives.prices_micro_usd(program.columns)).sum()))
    if first is not None:
        bound = first.cost_bound_usd_per_hour if first.goal is Goal.COST else cost
        return replace(
            first,
            machines=machines,
            replicas=replicas,
            tie_broken=first.tie_broken and proven,
            cost_usd_per_hour=cost,
            cost_bound_usd_per_hour=bound,
            seconds=first.seconds + solver.wall_time,
        )
    value, bound = round(solver.objective_value), round(solver.best_objective_bound)
    return Purchase(
        columns=program.columns,
        machines=machines,
        replicas=replicas,
        goal=goal,
        optimal=proven,
        tie_broken=proven,
        value=value,
        bound=bound,
        cost_usd_per_hour=cost,
        cost_bound_usd_per_hour=integers.usd(bound) if goal is Goal.COST else cost,
        seconds=solver.wall_time,
    )
