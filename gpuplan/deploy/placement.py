"""Which replica stands on which machine's GPUs and answers on which port."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from gpuplan.deploy.deployment import Deployment, Serving
from gpuplan.deploy.errors import BadPlan

FIRST_PORT = 8000


@dataclass(frozen=True, slots=True)
class Seat:
    """One replica's place on one machine.

    Attributes:
        serving: what runs.
        node: which of the replica's machines this is, from 0.
        replica: which of its replicas, from 0.
        first_gpu: the lowest of the machine's GPUs that it takes.
        port: where it answers; the later machines of a replica answer nowhere.
    """

    serving: Serving
    node: int
    replica: int
    first_gpu: int
    port: int

    @property
    def gpu_numbers(self) -> tuple[int, ...]:
        """The machine's GPUs that it takes."""
        return tuple(range(self.first_gpu, self.first_gpu + self.serving.gpus_per_machine))


@dataclass(frozen=True, slots=True)
class Machine:
    """One bought machine and what stands on it."""

    gpu_count: int
    seats: tuple[Seat, ...]

    @property
    def free_from(self) -> int:
        """The lowest of its GPUs that nothing takes."""
        return max((each.first_gpu + each.serving.gpus_per_machine for each in self.seats), default=0)

    @property
    def pattern(self) -> tuple[tuple[str, int, int], ...]:
        """What machines have in common that are started by the same file."""
        return tuple((each.serving.name, min(each.node, 1), each.first_gpu) for each in self.seats)


def place(deployment: Deployment) -> tuple[Machine, ...]:
    """Every machine of the plan with its replicas.

    Replicas of one kind are dealt out evenly over the machines bought for them, the larger kinds first.

    Raises:
        BadPlan: there is not room for all of them.
    """
    machines: list[Machine] = []
    for number, owner in enumerate(deployment.servings):
        if owner.beside is None:
            guests = [each for each in deployment.servings if each.beside == number]
            machines += _fill(owner, sorted([owner, *guests], key=lambda each: -each.gpus_per_machine))
    return tuple(machines)


def _fill(owner: Serving, servings: list[Serving]) -> list[Machine]:
    """The owner's machines, each seat on the first of those with the most room."""
    machines = [Machine(owner.offer.gpu_count, ()) for _ in range(owner.machines)]
    room = [(-owner.offer.gpu_count, number) for number in range(owner.machines)]
    for serving in servings:
        for replica in range(serving.count):
            taken = [heappop(room) for _ in range(min(serving.nodes, len(room)))]
            if len(taken) < serving.nodes or -taken[-1][0] < serving.gpus_per_machine:
                raise BadPlan(
                    f"The plan's {owner.machines} machines of {owner.offer.gpu_count} GPUs have no room for "
                    f"{serving.count} replicas of {serving.gpus} GPUs."
                )
            for node, (_, number) in enumerate(taken):
                machines[number] = _seated(machines[number], serving, replica, node)
                heappush(room, (machines[number].free_from - machines[number].gpu_count, number))
    return machines


def _seated(machine: Machine, serving: Serving, replica: int, node: int) -> Machine:
    port = FIRST_PORT + len(machine.seats)
    return Machine(machine.gpu_count, (*machine.seats, Seat(serving, node, replica, machine.free_from, port)))


def patterns(machines: tuple[Machine, ...]) -> dict[tuple[tuple[str, int, int], ...], tuple[Machine, ...]]:
    """Machines that are started alike, together."""
    alike: dict[tuple[tuple[str, int, int], ...], tuple[Machine, ...]] = {}
    for machine in machines:
        alike[machine.pattern] = (*alike.get(machine.pattern, ()), machine)
    return alike
