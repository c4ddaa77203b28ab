"""Docker Compose: one file per kind of machine, nginx in front of several replicas on it."""

from __future__ import annotations

from typing import Any

from gpuplan.deploy.balancer import CONTAINER_PORT, balancer_image, nginx
from gpuplan.deploy.deployment import MOUNTED, DeployFile, Deployment
from gpuplan.deploy.facts import facts
from gpuplan.deploy.placement import FIRST_PORT, Machine, Seat, patterns, place
from gpuplan.deploy.platforms.docker import API_KEY, amd_visible, answering, container_name, mountable
from gpuplan.deploy.platforms.kubernetes import refuse_mpi
from gpuplan.deploy.platforms.shell import RANK, heading
from gpuplan.deploy.pods import CACHE, mounted
from gpuplan.deploy.ranks import ranked_words
from gpuplan.deploy.text import dollars_doubled, yaml_text
from optimizer.engines.launch import HEAD_ADDRESS
from optimizer.engines.tensorrt_llm import OPTIONS_FILE

SUMMARY = "Docker Compose: one file for each kind of machine"
LEADER = "${HEAD_ADDRESS:?the IP address of the first machine of this replica}"
MY_RANK = "${NODE_RANK:?the number of this machine in its replica, 1, 2, ...}"
HEALTH = "import urllib.request; urllib.request.urlopen('http://localhost:{port}/health', timeout=5)"
Node = dict[str, Any]


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """`compose.yaml`, or one file for each kind of machine."""
    kinds = patterns(place(deployment))
    return tuple(
        DeployFile(
            "compose.yaml" if len(kinds) == 1 else f"compose-{number}.yaml",
            yaml_text(_project(deployment, alike[0]), comments=_notes(deployment, alike)),
        )
        for number, alike in enumerate(kinds.values(), start=1)
    )


def _notes(deployment: Deployment, alike: tuple[Machine, ...]) -> list[str]:
    token = "A gated model needs its token in the environment: HF_TOKEN."
    return [*(line.removeprefix("# ") for line in heading(deployment, alike)[1:]), *deployment.image_notes, token]


def _project(deployment: Deployment, machine: Machine) -> Node:
    seats = machine.seats
    services = {container_name(seat): _service(seat, len(answering(machine)) > 1) for seat in seats}
    configs: Node = {}
    if any(seat.serving.options_file for seat in seats):
        configs["options"] = {"content": dollars_doubled(seats[0].serving.options_file)}
    if _needs_balancer(machine):
        servers = [(seat.serving, f"{container_name(seat)}:{FIRST_PORT}") for seat in answering(machine)]
        configs["balancer"] = {"content": nginx(deployment, servers, CONTAINER_PORT)}
        services["balancer"] = _balancer(machine)
    return {"name": deployment.name, "services": services, **({"configs": configs} if configs else {})}


def _needs_balancer(machine: Machine) -> bool:
    return len(answering(machine)) > 1 and all(seat.serving.nodes == 1 for seat in machine.seats)


def _balancer(machine: Machine) -> Node:
    return {
        "image": balancer_image(),
        "restart": "unless-stopped",
        "ports": [f"{FIRST_PORT}:{CONTAINER_PORT}"],
        "configs": [{"source": "balancer", "target": "/etc/nginx/nginx.conf"}],
        "depends_on": [container_name(seat) for seat in answering(machine)],
    }


def _service(seat: Seat, behind_balancer: bool) -> Node:
    """One container. A replica on several machines shares the host's network, for its GPUs to be reached."""
    serving = seat.serving
    refuse_mpi(serving)
    spans = serving.nodes > 1
    port = seat.port if spans else FIRST_PORT
    words = _words(seat, port)
    network = {"network_mode": "host"} if spans else {} if behind_balancer else {"ports": [f"{port}:{port}"]}
    options = (
        {"configs": [{"source": "options", "target": f"{MOUNTED}/{OPTIONS_FILE}"}]} if serving.options_file else {}
    )
    return {
        "image": serving.image,
        "entrypoint": words[:1],
        "command": words[1:],
        "restart": "unless-stopped",
        "environment": [
            "HF_TOKEN",
            *([API_KEY] if serving.engine == "vllm" else []),
            *([f"{RANK}={MY_RANK}"] if seat.node else []),
            *_hidden(seat),
        ],
        "shm_size": f"{serving.shared_memory_gib}g",
        **network,
        **_devices(seat),
        **options,
        "volumes": [_bind("${HOME}/.cache/huggingface", CACHE), *_folders(seat)],
        **({} if seat.node else {"healthcheck": _health(port)}),
    }


def _words(seat: Seat, port: int) -> list[str]:
    """The argv, with nothing in it that Compose would put something else for but our own variables."""
    serving = seat.serving
    is_worker = seat.node > 0 and serving.worker is not None
    script = ranked_words(serving.ranks, RANK) if is_worker else ()
    command = serving.worker if is_worker and serving.worker else serving.command.serving_on(port)
    words = [
        LEADER + dollars_doubled(word.removeprefix(HEAD_ADDRESS)) if is_address else dollars_doubled(word)
        for word, is_address in mounted(command)
    ]
    return [*map(dollars_doubled, script), *words]


def _hidden(seat: Seat) -> list[str]:
    return [amd_visible(seat)] if seat.serving.vendor == "AMD" else []


def _devices(seat: Seat) -> Node:
    if seat.serving.vendor == "AMD":
        return {"devices": ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"], "group_add": ["video"]}
    numbers = [str(number) for number in seat.gpu_numbers]
    wanted = {"driver": "nvidia", "device_ids": numbers, "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [wanted]}}}}


def _bind(source: str, target: str, *, read_only: bool = False) -> Node:
    return {"type": "bind", "source": source, "target": target, **({"read_only": True} if read_only else {})}


def _folders(seat: Seat) -> list[Node]:
    return [_bind(dollars_doubled(each), dollars_doubled(each), read_only=True) for each in mountable(seat.serving)]


def _health(port: int) -> Node:
    return {
        "test": ["CMD", "python3", "-c", HEALTH.format(port=port)],
        "interval": "10s",
        "timeout": "10s",
        "retries": 6,
        "start_period": f"{facts()['start_up_seconds']['value']}s",
    }
