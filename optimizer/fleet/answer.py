"""From a fleet's counts to the plan that people and programs read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.answer import HOURS_PER_MONTH, Stamp, estimate_of, offered, replica_of
from optimizer.cells import memory_at
from optimizer.cp_sat.integers import MICRO
from optimizer.cp_sat.library import SOLVER_VERSION
from optimizer.fleet.fleet import Column, LimitKind, LimitRow, Program
from optimizer.fleet.gpu_parts import GpuPart
from optimizer.fleet.placement import Block, Loaded, place, with_parts
from optimizer.fleet.places import pool_label
from optimizer.fleet.plan import (
    Carried,
    CutGpu,
    Dropped,
    FleetPlan,
    FleetProof,
    FleetRelaxation,
    LimitUse,
    MachineLine,
    PriceSensitivity,
    ServedBy,
    ServiceAnswer,
    SizeServed,
    WhyNot,
)
from optimizer.fleet.problem import SHARES
from optimizer.fleet.solution import FleetSolution, FleetStatus
from optimizer.performance.certainty import NOT_MEASURED
from optimizer.plan import Replica
from optimizer.replica_columns import Ints

NO_PLAN = (FleetStatus.INFEASIBLE, FleetStatus.UNKNOWN)


@dataclass(frozen=True)
class Explained:
    """What was found out beside the plan."""

    limits: tuple[LimitUse, ...] = ()
    conflicts: tuple[str, ...] = ()
    relaxations: tuple[FleetRelaxation, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    why_not: tuple[WhyNot, ...] = ()
    sensitivity: tuple[PriceSensitivity, ...] = ()
    cut_short: tuple[str, ...] = ()


def write_fleet_plan(program: Program, solution: FleetSolution, stamp: Stamp, explained: Explained) -> FleetPlan:
    """The plan of a solution, with what explains it."""
    machines = machine_lines(program, solution)
    found = solution.status not in NO_PLAN
    cost = solution.cost_micro_usd / MICRO
    services = tuple(service_answers(program, solution, machines))
    return FleetPlan(
        gpuplan_version=stamp.gpuplan_version,
        status=solution.status.value,
        question=program.fleet,
        cost_usd_per_hour=cost if found else None,
        cost_usd_per_month=cost * HOURS_PER_MONTH if found else None,
        bound_usd_per_hour=solution.lower_bound_micro_usd / MICRO if found else None,
        services=services,
        machines=machines,
        limits=explained.limits,
        dropped=explained.dropped,
        conflicts=explained.conflicts,
        relaxations=explained.relaxations,
        why_not=explained.why_not,
        sensitivity=explained.sensitivity,
        cut_short=explained.cut_short,
        proof=_proof(program, solution),
        prices_as_of=min((line.offer.as_of for line in machines), default=None),
        data_fingerprint=stamp.data_fingerprint,
        warnings=tuple(_warnings(machines, services, solution)),
    )


SOLVERS = {"compact": "CP-SAT", "branch and cut": "SCIP", "decomposition": "HiGHS, SCIP and CP-SAT"}
"""Engine -> the solvers of OR-Tools that do its work."""


def solvers_of(engine: str) -> str:
    """Whose work an engine is: "OR-Tools SCIP"."""
    return f"OR-Tools {SOLVERS.get(engine, '')}".strip()


def _proof(program: Program, solution: FleetSolution) -> FleetProof:
    found = solution.status not in NO_PLAN
    return FleetProof(
        solver=solvers_of(solution.engine),
        solver_version=SOLVER_VERSION,
        engine=solution.engine,
        status=solution.status.value,
        bound_usd_per_hour=solution.lower_bound_micro_usd / MICRO if found else None,
        gap=solution.gap if found else None,
        served_proven=solution.served_proven,
        seconds=solution.seconds,
        columns=program.problem.columns,
        seed=solution.seed,
        audited=found,
    )


def machine_lines(program: Program, solution: FleetSolution) -> tuple[MachineLine, ...]:
    """The machines to have, those that carry the same together."""
    return tuple(_machine_line(program, loaded) for loads in _loads(program, solution).values() for loaded in loads)


def _loads(program: Program, solution: FleetSolution) -> dict[int, tuple[Loaded, ...]]:
    """Pool -> its machines with what they carry."""
    blocks: dict[int, list[Block]] = {}
    for each in program.columns:
        used = np.flatnonzero(solution.counts[each.numbers])
        for at in used.tolist():
            block = Block(int(each.numbers[at]), gpus_of(each, at), int(solution.counts[each.numbers[at]]))
            blocks.setdefault(int(each.pool[at]), []).append(block)
    for column, number in program.cuts.items():
        if solution.counts[column]:
            cut_block = Block(column, 1, int(solution.counts[column]))
            blocks.setdefault(program.market.cuts[number].pool, []).append(cut_block)
    had: dict[int, list[tuple[int, int]]] = {}
    for number, column in enumerate(program.supply.tolist()):
        if column >= 0 and solution.counts[column]:
            had.setdefault(program.market.supplies[number].pool, []).append((number, int(solution.counts[column])))
    return {pool: _placed(program, pool, blocks, machines) for pool, machines in sorted(had.items())}


def _placed(
    program: Program, pool: int, blocks: Mapping[int, Sequence[Block]], machines: Sequence[tuple[int, int]]
) -> tuple[Loaded, ...]:
    """What stands on each machine of one pool, on parts of its GPUs too."""
    market = program.market
    loads = place(blocks.get(pool, ()), machines, market.pools[pool].place.gpu_count)
    gives = {
        column: dict(market.cuts[number].gives)
        for column, number in program.cuts.items()
        if market.cuts[number].pool == pool
    }
    if not gives:
        return loads
    wanted = {
        part: [(block.column, block.replicas) for block in blocks.get(part, ())]
        for part in range(len(market.pools))
        if market.pools[part].cut_from == pool
    }
    return with_parts(loads, gives, wanted)


def gpus_of(column: Column, at: int) -> int:
    """GPUs of one replica of a column."""
    return int(column.replicas.gpus[column.replica[at]])


def _machine_line(program: Program, loaded: Loaded) -> MachineLine:
    offer = program.market.supplies[loaded.supply].offer
    owners = _owners(program)
    carries = tuple(
        Carried(
            service=program.fleet.services[owners[column][0].service].name,
            replicas=replicas,
            gpus=min(gpus_of(*owners[column]), offer.gpu_count),
            part=part.name if part else "",
            share=part.share if part else 1.0,
        )
        for column, replicas in loaded.carries
        for part in [_part_of(program, *owners[column])]
    )
    cuts = tuple(CutGpu(gpus=gpus, parts=_parts_in(program, column)) for column, gpus in loaded.cuts)
    whole = sum(each.replicas * each.gpus for each in carries if not each.part) + sum(each.gpus for each in cuts)
    return MachineLine(
        count=loaded.machines,
        offer=offered(offer),
        cost_usd_per_hour=round(loaded.machines * offer.price_usd_per_hour, 6),
        gpus_used=offer.gpu_count if loaded.part_of is not None else whole,
        carries=carries,
        spans=loaded.part_of is not None,
        cuts=cuts,
    )


def _part_of(program: Program, column: Column, at: int) -> GpuPart | None:
    """The part of a GPU that a replica has."""
    return program.market.pools[int(column.pool[at])].part


def _parts_in(program: Program, column: int) -> tuple[str, ...]:
    """Names of the parts that a cut gives, each as often as there are."""
    pools = program.market.pools
    gives = program.market.cuts[program.cuts[column]].gives
    return tuple(part.name for pool, count in gives for part in [pools[pool].part] if part for _ in range(count))


def _owners(program: Program) -> Mapping[int, tuple[Column, int]]:
    """Column number -> whose it is, and its place there."""
    return {int(number): (each, at) for each in program.columns for at, number in enumerate(each.numbers.tolist())}


OPTIONS: dict[LimitKind, str] = {
    "budget": "budget",
    "gpus": "max_gpus",
    "power": "max_power",
    "gpu": "quota of GPU",
    "instance_type": "quota of instance type",
    "provider": "quota of provider",
    "region": "quota of region",
}


def limit_name(limit: LimitRow) -> str:
    """A limit in words: "quota of GPU H100"."""
    return f"{OPTIONS[limit.kind]} {limit.name}".strip()


def limit_uses(program: Program, counts: Ints) -> tuple[LimitUse, ...]:
    """How much of each shared limit the counts take."""
    uses = program.problem.column_uses
    return tuple(
        LimitUse(
            option=limit_name(limit),
            most=int(program.problem.resource_limit[limit.resource]) / limit.scale,
            used=int(uses.value[mine] @ counts[uses.row[mine]]) / limit.scale,
            unit=limit.unit,
        )
        for limit in program.limits
        for mine in [np.flatnonzero(uses.index == limit.resource)]
    )


def service_answers(
    program: Program, solution: FleetSolution, machines: Sequence[MachineLine]
) -> Iterator[ServiceAnswer]:
    """What serves each service, in the order of the question."""
    shares = _cost_shares(machines)
    for number, service in enumerate(program.fleet.services):
        own = [each for each in program.columns if each.service == number]
        yield ServiceAnswer(
            name=service.name,
            served=bool(solution.served[number]),
            asked=_asked(program, number),
            given=_given(program, number, solution.counts),
            shares_cost_usd_per_hour=shares.get(service.name, 0.0),
            serving=tuple(one for each in own for one in _serving(program, each, solution)),
        )


def _cost_shares(machines: Sequence[MachineLine]) -> dict[str, float]:
    """Service -> its part of the machines it runs on, by GPUs used there."""
    shares: dict[str, float] = {}
    for line in machines:
        whole = sum(each.replicas * each.gpus * each.share for each in line.carries)
        for each in line.carries:
            part = each.replicas * each.gpus * each.share / whole if whole else 1 / len(line.carries)
            shares[each.service] = shares.get(each.service, 0.0) + part * line.cost_usd_per_hour
    return shares


def _asked(program: Program, number: int) -> dict[str, float]:
    demand = program.fleet.services[number].demand
    asked = {
        "output_tokens_per_second": demand.output_tokens_per_second,
        "requests_per_second": demand.requests_per_second,
        "concurrency": demand.concurrency,
    }
    return {name: float(value) for name, value in asked.items() if value is not None}


def _given(program: Program, number: int, counts: Ints) -> dict[str, float]:
    """What the replicas can do in the units that were asked; of several sizes no sum is meant, and nothing is said."""
    service = program.fleet.services[number]
    if len(service.sizes) > 1:
        return {}
    tokens = requests = 0.0
    for each in (each for each in program.columns if each.service == number):
        count = counts[each.numbers]
        tokens += float(count @ each.replicas.output_tokens_per_second[each.replica, 0])
        requests += float(count @ each.replicas.concurrency[each.replica])
    given = {
        "output_tokens_per_second": tokens,
        "requests_per_second": tokens / service.sizes[0].output_tokens,
        "concurrency": requests,
    }
    return {name: given[name] for name in _asked(program, number)}


def _serving(program: Program, column: Column, solution: FleetSolution) -> Iterator[ServedBy]:
    for at in np.flatnonzero(solution.counts[column.numbers]).tolist():
        replicas, row = column.replicas, int(column.replica[at])
        shares = _size_shares(program, column, at, solution)
        first = next(size for size, share in enumerate(shares) if share > 0) if any(shares) else 0
        candidates = replicas.search.candidates(replicas.questions[first])
        cell = int(replicas.candidate[row, first])
        evaluation = candidates.evaluations[candidates.evaluation[cell]]
        watts = float(replicas.power_watts[row])
        yield ServedBy(
            replicas=int(solution.counts[column.numbers[at]]),
            machine=pool_label(program.market.pools[int(column.pool[at])]),
            spot=program.market.pools[int(column.pool[at])].spot,
            replica=on_its_part(
                replica_of(replicas.search, replicas.questions[first], candidates, cell), _part_of(program, column, at)
            ),
            memory=memory_at(evaluation.memory, int(candidates.row[cell]), int(candidates.batch[cell])),
            sizes=tuple(_sizes(column, row, shares)),
            power_watts=watts if np.isfinite(watts) else None,
        )


UTILIZATION = "--gpu-memory-utilization"


def on_its_part(replica: Replica, part: GpuPart | None) -> Replica:
    """The replica as it is started on a part of a GPU: beside other engines with its share of the card's memory."""
    if part is None or not part.is_fraction or replica.gpu_memory_utilization is None:
        return replica
    share = math.floor(replica.gpu_memory_utilization * part.share * UTILIZATION_STEPS) / UTILIZATION_STEPS
    command = list(replica.command)
    command[command.index(UTILIZATION) + 1] = f"{share:g}"
    return replica.model_copy(update={"gpu_memory_utilization": share, "command": tuple(command)})


UTILIZATION_STEPS = 10_000


def _size_shares(program: Program, column: Column, at: int, solution: FleetSolution) -> list[float]:
    """Share of each size's demand on one column."""
    sizes = program.fleet.services[column.service].sizes
    if len(sizes) == 1:
        return [1.0]
    matrix, number = program.problem.column_covers, int(column.numbers[at])
    entries = slice(int(matrix.start[number]), int(matrix.start[number + 1]))
    run = dict(zip(matrix.index[entries].tolist(), solution.shares[entries].tolist(), strict=True))
    covers = program.size_covers[column.service]
    demand = program.problem.cover_demand
    return [
        sum(run.get(cover, 0) / SHARES * int(demand[cover]) for cover in parts)
        / max(sum(int(demand[cover]) for cover in parts), 1)
        for parts in covers
    ]


def _sizes(column: Column, row: int, shares: Sequence[float]) -> Iterator[SizeServed]:
    replicas = column.replicas
    for size, share in enumerate(shares):
        if share > 0:
            question = replicas.questions[size]
            candidates = replicas.search.candidates(question)
            cell = int(replicas.candidate[row, size])
            evaluation = candidates.evaluations[candidates.evaluation[cell]]
            yield SizeServed(
                input_tokens=question.workload.input_tokens,
                output_tokens=question.workload.output_tokens,
                share=share,
                estimate=estimate_of(
                    question,
                    evaluation.estimate,
                    evaluation.rows,
                    int(candidates.row[cell]),
                    int(candidates.batch[cell]),
                ),
            )


def _warnings(
    machines: Sequence[MachineLine], services: Sequence[ServiceAnswer], solution: FleetSolution
) -> Iterator[str]:
    if solution.status not in NO_PLAN:
        yield from solution.cautions()
    unknown = sorted(
        {
            one.replica.gpu
            for service in services
            for one in service.serving
            for size in one.sizes
            if size.estimate.calibration in NOT_MEASURED
        }
    )
    if unknown:
        yield f"Speed on {', '.join(unknown)} is uncalibrated: from the datasheet, no measured run."
    if any(line.cuts for line in machines):
        yield (
            "Several replicas share a GPU, which nobody measured: each is planned with its share of the card's speed. "
            "Cut slices before engines start (nvidia-smi mig); start engines that share memory one after the other."
        )
    for line in machines:
        for restriction in line.offer.restrictions:
            yield f"{line.offer.offer_id} is a {restriction} offer: {line.offer.notes or 'see its source'}."
