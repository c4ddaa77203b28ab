"""What explains a fleet's plan: solving again while there is time, and saying what was cut short when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from gpu_db.query import find_gpus
from optimizer.fleet.answer import Explained, limit_uses
from optimizer.fleet.fleet import Program
from optimizer.fleet.other_gpus import sensitivity, why_not
from optimizer.fleet.plan import WhyNot
from optimizer.fleet.problem import FleetProblem
from optimizer.fleet.replicas import Replicas
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.fleet.unserved import conflicts, dropped_services, relaxations
from optimizer.fleet.variations import Solve
from optimizer.fleet.worth import worth_of_limits
from optimizer.relaxations import relaxations_of

IN_THE_PLAN = "plan"
LEAST_SECONDS = 0.01
REMEDIES_MOST = 5
"""Services that no machine can serve and for which the least change of their own words is looked for: a second each."""

Solver = Callable[[FleetProblem, float], FleetSolution]
"""Solves a problem within so many seconds."""


@dataclass(frozen=True)
class Wishes:
    """What is to be explained beside the plan.

    Attributes:
        worth: what a little more of each binding limit saves.
        why_not: GPUs that are forced into the plan, by any of their names.
        sensitivity: GPUs whose edge of price is sought; "plan" stands for those in the plan.
    """

    worth: bool = True
    why_not: tuple[str, ...] = ()
    sensitivity: tuple[str, ...] = ()


class Again:
    """Solving again until the time for explanations is used up; remembers which explanations that cut short.

    `notice` is told what is being found.

    Attributes:
        cut_short: what was being found when a solve ended without a proof.
    """

    def __init__(self, solver: Solver, seconds: float, notice: Callable[[str], None] | None = None) -> None:
        self._solver, self._until, self._notice = solver, time.perf_counter() + seconds, notice
        self.cut_short: dict[str, None] = {}

    def to_find(self, what: str) -> Solve:
        """How the problems of one explanation are solved."""

        def solve(problem: FleetProblem) -> FleetSolution:
            if self._notice is not None:
                self._notice(f"finding {what}")
            found = self._solver(problem, max(self._until - time.perf_counter(), LEAST_SECONDS))
            if found.status in (FleetStatus.UNKNOWN, FleetStatus.FEASIBLE):
                self.cut_short[what] = None
            return found

        return solve


def explain(
    program: Program,
    solution: FleetSolution,
    wishes: Wishes,
    again: Again,
    *,
    replicas: list[list[Replicas]],
    opened: Callable[[frozenset[str]], Program],
) -> Explained:
    """What was wished for, and always what is not served and why.

    Args:
        program, solution: the question as solved, and its plan.
        wishes: what is to be explained.
        again: solves.
        replicas: of each service.
        opened: the program in which machines with these GPUs stay whatever they cost.
    """
    remedy = _Remedies(program, replicas)
    if solution.status is FleetStatus.INFEASIBLE:
        found = Explained(
            limits=limit_uses(program, solution.counts),
            conflicts=conflicts(program, again.to_find("the conflict"), remedy),
            relaxations=relaxations(program, again.to_find("what would serve everything")),
        )
    elif solution.status is FleetStatus.UNKNOWN:
        found = Explained(limits=limit_uses(program, solution.counts))
    else:
        found = _of_a_plan(program, solution, wishes, again, remedy)
        found = _asked_about(found, solution, wishes, again, opened, program)
    return replace(found, cut_short=tuple(again.cut_short))


def _of_a_plan(program: Program, solution: FleetSolution, wishes: Wishes, again: Again, remedy: _Remedies) -> Explained:
    uses = limit_uses(program, solution.counts)
    worth = worth_of_limits(program, solution, again.to_find("what limits are worth")) if wishes.worth else uses
    if solution.served.all():
        return Explained(limits=worth)
    return Explained(
        limits=worth,
        dropped=dropped_services(program, solution, again.to_find("what the services not served would add"), remedy),
        relaxations=relaxations(program, again.to_find("what would serve everything")),
    )


class _Remedies:
    """What to say of services that no machine can serve: the least change of one of their words with which one can."""

    def __init__(self, program: Program, replicas: list[list[Replicas]]) -> None:
        self._services, self._replicas, self._left = program.fleet.services, replicas, REMEDIES_MOST

    def __call__(self, number: int) -> str:
        changes = self._changes(self._replicas[number])
        return "no machine that it accepts keeps its promises; " + (
            f"this would do: {' or '.join(changes)}" if changes else "loosen max_ttft, max_tpot, region or gpu"
        )

    def _changes(self, models: list[Replicas]) -> tuple[str, ...]:
        """Of the first model, if its requests are of one size."""
        if len(models[0].questions) > 1 or not self._left:
            return ()
        self._left -= 1
        found = relaxations_of(models[0].search, models[0].questions[0])
        return tuple(
            f"{one.changes[0].option.removeprefix('--').replace('-', '_')} {one.changes[0].value}"
            for one in found
            if len(one.changes) == 1 and one.changes[0].value
        )


def _asked_about(
    explained: Explained,
    solution: FleetSolution,
    wishes: Wishes,
    again: Again,
    opened: Callable[[frozenset[str]], Program],
    program: Program,
) -> Explained:
    """GPUs that were asked about by name, in a program that keeps them whatever they cost."""
    doubted = _gpu_names(wishes.why_not)
    edges = _gpu_names(name for name in wishes.sensitivity if name != IN_THE_PLAN)
    if IN_THE_PLAN in wishes.sensitivity:
        edges = tuple(dict.fromkeys([*gpus_in(program, solution), *edges]))
    if not doubted and not edges:
        return explained
    solve = again.to_find("GPUs that were asked about")
    wide, present = opened(frozenset([*doubted, *edges])), gpus_in(program, solution)
    best = solve(wide.problem)
    if best.status in (FleetStatus.UNKNOWN, FleetStatus.INFEASIBLE):
        return explained
    return replace(
        explained,
        why_not=tuple(_why_not(wide, best, gpu, solve, present=gpu in present) for gpu in doubted),
        sensitivity=tuple(sensitivity(wide, best, gpu, solve) for gpu in edges),
    )


def _why_not(program: Program, best: FleetSolution, gpu: str, solve: Solve, *, present: bool) -> WhyNot:
    return (
        WhyNot(gpu=gpu, sentence=f"{gpu} is in the plan.", exact=True)
        if present
        else why_not(program, best, gpu, solve)
    )


def _gpu_names(words: Iterable[str]) -> tuple[str, ...]:
    """Full names of the GPUs that the words cover."""
    return tuple(dict.fromkeys(gpu.name for word in words for gpu in find_gpus(word)))


def gpus_in(program: Program, solution: FleetSolution) -> tuple[str, ...]:
    """GPUs of the machines that a plan has, in the order of the offers."""
    return tuple(
        dict.fromkeys(
            program.market.supplies[number].offer.gpu
            for number, column in enumerate(program.supply.tolist())
            if column >= 0 and solution.counts[column]
        )
    )
