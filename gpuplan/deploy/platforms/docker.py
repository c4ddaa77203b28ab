"""`docker run`: one script per kind of machine, one container per replica on it."""

from __future__ import annotations

import shlex

from gpuplan.deploy.balancer import balancer_image, endpoints, nginx
from gpuplan.deploy.command import Command
from gpuplan.deploy.deployment import MOUNTED, DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.placement import Machine, Seat, patterns, place
from gpuplan.deploy.platforms.kubernetes import refuse_mpi
from gpuplan.deploy.platforms.shell import RANK, heading, options_files, script_name, unknowns
from gpuplan.deploy.pods import CACHE, mounted
from gpuplan.deploy.ranks import ranked_words
from gpuplan.deploy.text import comment, shell_address
from optimizer.engines.tensorrt_llm import OPTIONS_FILE

API_KEY = "VLLM_API_KEY"
"""When it is set, vLLM answers only who knows it. Source: vLLM documentation, OpenAI-Compatible Server."""
SUMMARY = "docker run: one script for each kind of machine"


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """`start.sh`, or one script for each kind of machine; nginx.conf when a machine holds several replicas."""
    kinds = patterns(place(deployment))
    files = []
    for number, alike in enumerate(kinds.values(), start=1):
        balancer = f"nginx-{number}.conf" if len(kinds) > 1 else "nginx.conf"
        several = len(answering(alike[0])) > 1
        text = _script(deployment, alike, balancer if several else "")
        files.append(DeployFile(script_name(number, len(kinds)), text, executable=True))
        if several:
            files.append(DeployFile(balancer, nginx(deployment, endpoints([alike[0]], "127.0.0.1"))))
    return (*files, *options_files(deployment))


def answering(machine: Machine) -> list[Seat]:
    """Seats of a machine that requests are sent to."""
    return [seat for seat in machine.seats if seat.node == 0]


def _script(deployment: Deployment, alike: tuple[Machine, ...], balancer: str) -> str:
    token = comment("A gated model needs its token in the environment: HF_TOKEN.")
    images = map(comment, deployment.image_notes)
    lines = [*heading(deployment, alike), *images, token, "set -euo pipefail", 'cd "$(dirname "$0")"']
    lines += [*unknowns(alike[0].seats), *map(_start, alike[0].seats)]
    if balancer:
        mount = f'"$PWD"/{balancer}:/etc/nginx/nginx.conf:ro'
        name = f"{deployment.name}-balancer"
        lines.append(f"docker run --detach --name {name} --network host --volume {mount} {balancer_image()}")
    return "\n".join([*lines, ""])


def _start(seat: Seat) -> str:
    serving = seat.serving
    refuse_mpi(serving)
    if serving.worker is None or seat.node == 0:
        return f"{_run(seat)} {_argv(serving, serving.command.serving_on(seat.port), ())}"
    return f"{_run(seat)} {_argv(serving, serving.worker, serving.ranks)}"


def _run(seat: Seat) -> str:
    """Everything of `docker run` up to the entry point; host networking lets GPUs of other machines be reached."""
    serving = seat.serving
    words = ["docker", "run", "--detach", "--restart", "unless-stopped"]
    words += ["--name", container_name(seat), "--network", "host"]
    words += [*devices(seat), "--shm-size", f"{serving.shared_memory_gib}g", "--env", "HF_TOKEN"]
    words += ["--env", API_KEY] if serving.engine == "vllm" else []
    lines = [shlex.join(words), f'--volume "$HOME"/.cache/huggingface:{CACHE}']
    lines += [f"--env {RANK}"] if seat.node > 0 else []
    lines += [f'--volume "$PWD"/{OPTIONS_FILE}:{MOUNTED}/{OPTIONS_FILE}:ro'] if serving.options_file else []
    lines += [shlex.join(("--volume", f"{folder}:{folder}:ro")) for folder in mountable(serving)]
    return " ".join(lines)


def container_name(seat: Seat) -> str:
    """The container's name, once on its machine."""
    return f"{seat.serving.name}-{seat.port}"


def devices(seat: Seat) -> list[str]:
    """Options that give a container its GPUs.

    Sources: Docker documentation, Access an NVIDIA GPU (device lists need quotes of their own); ROCm documentation,
    Running ROCm Docker containers.
    """
    if seat.serving.vendor == "AMD":
        return ["--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video", "--env", amd_visible(seat)]
    return ["--gpus", f'"device={",".join(map(str, seat.gpu_numbers))}"']


def amd_visible(seat: Seat) -> str:
    """The variable that hides other replicas' GPUs where a container sees all."""
    return f"HIP_VISIBLE_DEVICES={','.join(map(str, seat.gpu_numbers))}"


def mountable(serving: Serving) -> tuple[str, ...]:
    """Folders that containers must be given.

    Raises:
        CannotDeploy: a name has a colon, which separates in a volume.
    """
    for folder in serving.folders:
        if ":" in folder or folder == "/":
            raise CannotDeploy(f"The folder {folder!r} cannot be given to a container; move or rename it.")
    return serving.folders


def _argv(serving: Serving, command: Command, ranks: tuple[tuple[str, int], ...]) -> str:
    """The entry point, the image, and the words after it."""
    argv = [shell_address(word) if is_address else shlex.quote(word) for word, is_address in mounted(command)]
    words = [*map(shlex.quote, ranked_words(ranks, RANK)), *argv]
    return f"--entrypoint {words[0]} {shlex.quote(serving.image)} {' '.join(words[1:])}"
