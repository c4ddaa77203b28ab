"""Shell scripts: one per kind of machine, which starts everything that stands on it."""

from __future__ import annotations

from collections.abc import Iterator

from gpuplan.deploy.balancer import endpoints, nginx
from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.placement import Machine, Seat, patterns, place
from gpuplan.deploy.ranks import rank_options
from gpuplan.deploy.text import comment, shell_words
from optimizer.engines.tensorrt_llm import OPTIONS_FILE

SUMMARY = "Shell scripts, and nginx in front of several replicas"
VISIBLE = {"NVIDIA": "CUDA_VISIBLE_DEVICES", "AMD": "HIP_VISIBLE_DEVICES"}
RANK = "NODE_RANK"


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """`start.sh`, or one script for each kind of machine; nginx.conf when several replicas answer."""
    machines = place(deployment)
    kinds = patterns(machines)
    files = [
        DeployFile(script_name(number, len(kinds)), script(deployment, alike), executable=True)
        for number, alike in enumerate(kinds.values(), start=1)
    ]
    answering = endpoints(machines)
    if len(answering) > 1:
        files.append(DeployFile("nginx.conf", _balancer(deployment, machines)))
    return (*files, *options_files(deployment))


def script_name(number: int, kinds: int) -> str:
    """The name of the script of one kind of machine.

    >>> script_name(1, 1), script_name(2, 3)
    ('start.sh', 'start-machine-kind-2.sh')
    """
    return "start.sh" if kinds == 1 else f"start-machine-kind-{number}.sh"


def options_files(deployment: Deployment) -> Iterator[DeployFile]:
    """The engine's options file, where a command names it."""
    texts = dict.fromkeys(each.options_file for each in deployment.servings if each.options_file)
    if texts:
        yield DeployFile(OPTIONS_FILE, next(iter(texts)))


def script(deployment: Deployment, alike: tuple[Machine, ...]) -> str:
    """What machines of one kind run: every replica in the background, all stopped when one of them ends."""
    seats = alike[0].seats
    folder = ['cd "$(dirname "$0")"'] if any(seat.serving.options_file for seat in seats) else []
    lines = [*heading(deployment, alike), "set -euo pipefail", *folder, *unknowns(seats)]
    return "\n".join([*lines, *_starts(seats), ""])


def heading(deployment: Deployment, alike: tuple[Machine, ...]) -> list[str]:
    """The first lines of a script: what it is of, and where to run it."""
    where = [comment(f"Run this on each of {len(alike)} machines.")] if len(alike) > 1 else []
    parts = {seat.node for machine in alike for seat in machine.seats if seat.serving.nodes > 1}
    if parts:
        what = "the first machine" if parts == {0} else "each of the other machines"
        where.append(comment(f"It is for {what} of a replica."))
    return ["#!/usr/bin/env bash", *map(comment, deployment.about), *where]


def unknowns(seats: tuple[Seat, ...]) -> Iterator[str]:
    """What a replica on several machines must be told when it is started."""
    if any(seat.serving.nodes > 1 for seat in seats):
        yield ': "${HEAD_ADDRESS:?set it to the IP address of the first machine of this replica}"'
    if any(seat.node > 0 for seat in seats):
        yield f': "${{{RANK}:?set it to the number of this machine in its replica: 1, 2, ...}}"'


def _starts(seats: tuple[Seat, ...]) -> Iterator[str]:
    if len(seats) == 1:
        yield f"exec env {_start(seats[0])}"
        return
    yield "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"
    yield from (f"env {_start(seat)} &" for seat in seats)
    yield "wait -n"


def _start(seat: Seat) -> str:
    """The variable that shows a replica its GPUs, and its command."""
    serving = seat.serving
    if serving.vendor not in VISIBLE:
        raise CannotDeploy(f"Nothing is known here of how {serving.vendor} accelerators are shared among replicas.")
    shown = f"{VISIBLE[serving.vendor]}={','.join(map(str, seat.gpu_numbers))}"
    if serving.worker is None or seat.node == 0:
        return f"{shown} {_by_mpi(serving)}{shell_words(serving.command.serving_on(seat.port))}"
    return f"{shown} {shell_words(serving.worker)} {rank_options(serving.ranks, RANK)}".rstrip()


def _by_mpi(serving: Serving) -> str:
    """MPI starts a TensorRT-LLM replica on all of its machines from the first one."""
    if not (serving.command.launcher and serving.nodes > 1):
        return ""
    return f'mpirun -n {serving.gpus} --host "${{HOSTS:?host:{serving.gpus_per_machine} of each machine}}" '


def _balancer(deployment: Deployment, machines: tuple[Machine, ...]) -> str:
    """nginx.conf with the machines by number, each line of the head saying which script it runs."""
    kinds = list(patterns(machines))
    runs = [
        comment(f"machine-{number} runs {script_name(kinds.index(machine.pattern) + 1, len(kinds))}")
        for number, machine in enumerate(machines, start=1)
    ]
    asks = comment("Put the addresses of the machines for machine-1, machine-2, ... here or into /etc/hosts.")
    return "\n".join([asks, *runs, nginx(deployment, endpoints(machines))])
