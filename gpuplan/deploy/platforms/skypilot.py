"""SkyPilot: a task for each kind of machine; a service where each machine holds one replica."""

from __future__ import annotations

import shlex
from typing import Any

from gpuplan.deploy.balancer import endpoints, nginx
from gpuplan.deploy.clouds import cloud
from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.facts import engine_package, facts
from gpuplan.deploy.placement import Machine, patterns, place
from gpuplan.deploy.platforms.kubernetes import refuse_mpi
from gpuplan.deploy.platforms.shell import VISIBLE, options_files
from gpuplan.deploy.ranks import rank_options
from gpuplan.deploy.text import shell_words, yaml_text

SUMMARY = "SkyPilot: a task or service for `sky launch`, `sky serve up`"
HEAD = 'export HEAD_ADDRESS="$(printf "%s\\n" "$SKYPILOT_NODE_IPS" | head -n 1)"'
"""Source: SkyPilot documentation, Distributed Multi-Node Jobs."""
Node = dict[str, Any]


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One task for each kind of machine; replicas on several machines are one task."""
    kinds = [alike for alike in patterns(place(deployment)).values() if alike[0].seats]
    leading = [alike for alike in kinds if any(seat.node == 0 for seat in alike[0].seats)]
    files = []
    for number, alike in enumerate(leading, start=1):
        name = "skypilot.yaml" if len(leading) == 1 else f"skypilot-{number}.yaml"
        task = _task(deployment, alike, number)
        verb = "sky serve up" if "service" in task else "sky launch"
        notes = (*deployment.about, *_missing(alike[0].seats[0].serving), f"Start: {verb} {name}")
        files.append(DeployFile(name, yaml_text(task, comments=notes)))
    several = sum(1 for machine in place(deployment) for seat in machine.seats if seat.node == 0) > 1
    if several and any(len(alike[0].seats) > 1 or len(leading) > 1 for alike in leading):
        files.append(DeployFile("nginx.conf", nginx(deployment, endpoints(place(deployment)))))
    return (*files, *options_files(deployment))


def _missing(serving: Serving) -> tuple[str, ...]:
    if cloud("skypilot", serving.offer)[0] is not None:
        return ()
    return (f"SkyPilot does not rent from {serving.offer.provider}: this takes any cloud that you have enabled.",)


def _task(deployment: Deployment, alike: tuple[Machine, ...], number: int) -> Node:
    machine = alike[0]
    serving = machine.seats[0].serving
    for seat in machine.seats:
        refuse_mpi(seat.serving)
    replicas = len(alike)
    several = {"num_nodes": serving.nodes} if serving.nodes > 1 else {}
    service = {"service": _service(replicas)} if len(machine.seats) == 1 and replicas > 1 else {}
    return {
        "name": f"{deployment.name}-{number}",
        "resources": _resources(machine),
        **several,
        **({"workdir": "."} if serving.options_file else {}),
        "secrets": {"HF_TOKEN": ""},
        **service,
        "setup": f"pip install {shlex.quote(engine_package(serving.engine, serving.version))}",
        "run": _run(machine),
    }


def _resources(machine: Machine) -> Node:
    serving = machine.seats[0].serving
    names = serving.labels("skypilot")
    if not names:
        raise CannotDeploy(f"SkyPilot's name of {serving.gpu} is not known here.")
    name, region = cloud("skypilot", serving.offer)
    where = {} if name is None else {"infra": name if region is None else f"{name}/{region}"}
    return {
        **where,
        "accelerators": f"{names[0]}:{machine.gpu_count}",
        "ports": [seat.port for seat in machine.seats if seat.node == 0],
        **({"use_spot": True} if serving.offer.billing == "spot" else {}),
    }


def _service(replicas: int) -> Node:
    start = int(facts()["start_up_seconds"]["value"])
    return {"readiness_probe": {"path": "/health", "initial_delay_seconds": start}, "replicas": replicas}


def _run(machine: Machine) -> str:
    """What each machine runs; the last line waits for all."""
    lines = ["set -e"]
    for seat in machine.seats:
        serving = seat.serving
        shown = (
            f"env {VISIBLE[serving.vendor]}={','.join(map(str, seat.gpu_numbers))} "
            if serving.vendor in VISIBLE
            else ""
        )
        head = f"{shown}{shell_words(serving.command.serving_on(seat.port))}"
        if serving.worker is None:
            lines.append(f"{head} &" if len(machine.seats) > 1 else f"exec {head}")
            continue
        worker = f"{shown}{shell_words(serving.worker)} {rank_options(serving.ranks, 'SKYPILOT_NODE_RANK')}".rstrip()
        lines += [HEAD, 'if [ "$SKYPILOT_NODE_RANK" -eq 0 ]; then', f"  exec {head}", "else", f"  exec {worker}", "fi"]
    return "\n".join([*lines, *(["wait -n"] if len(machine.seats) > 1 else []), ""])
