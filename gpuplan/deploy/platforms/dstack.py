"""dstack: a service for each kind of replica, its gateway in front."""

from __future__ import annotations

from typing import Any

from gpuplan.deploy.clouds import cloud
from gpuplan.deploy.deployment import MOUNTED, DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.platforms.docker import mountable
from gpuplan.deploy.text import shell_words, yaml_text
from optimizer.engines.tensorrt_llm import OPTIONS_FILE

SUMMARY = "dstack: a service for `dstack apply`"
LONGEST_NAME = 41
"""Source: dstack 0.22.5, run names match ^[a-z][a-z0-9-]{1,40}$."""
Node = dict[str, Any]


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One file for each kind of replica."""
    several = len(deployment.servings) > 1
    return tuple(
        DeployFile(
            f"service-{number}.dstack.yml" if several else "service.dstack.yml",
            yaml_text(_service(serving), comments=_notes(deployment, serving)),
        )
        for number, serving in enumerate(deployment.servings, start=1)
    )


def _notes(deployment: Deployment, serving: Serving) -> tuple[str, ...]:
    token = "dstack asks for HF_TOKEN: set it in the environment, or empty for an open model."
    shared = (f"Replicas that share a machine of {serving.offer.gpu_count} GPUs need a fleet with `blocks: auto`.",)
    missing = f"dstack does not rent from {serving.offer.provider}: this takes any backend that you have."
    unknown = () if cloud("dstack", serving.offer)[0] else (missing,)
    return (
        *deployment.about,
        *deployment.image_notes,
        token,
        *(shared if serving.gpus < serving.offer.gpu_count else ()),
        *unknown,
    )


def _service(serving: Serving) -> Node:
    if serving.nodes > 1:
        raise CannotDeploy(f"A dstack service has one machine, and a replica of this plan has {serving.nodes}.")
    backend, region = cloud("dstack", serving.offer)
    command = serving.command.serving_on(FIRST_PORT)
    where = {} if backend is None else {"backends": [backend], **({"regions": [region]} if region else {})}
    spot = {"spot_policy": "spot" if serving.offer.billing == "spot" else "on-demand"}
    files = {"files": [f"{OPTIONS_FILE}:{MOUNTED}/{OPTIONS_FILE}"]} if serving.options_file else {}
    folders = {"volumes": [f"{_inert(folder)}:{folder}" for folder in mountable(serving)]} if serving.folders else {}
    return {
        "type": "service",
        "name": serving.name[-LONGEST_NAME:].strip("-0123456789") if len(serving.name) > LONGEST_NAME else serving.name,
        "image": serving.image,
        "env": ["HF_TOKEN"],
        "commands": [shell_words(command)],
        "port": FIRST_PORT,
        "model": command.model,
        "replicas": serving.count,
        "probes": [{"type": "http", "url": "/health"}],
        "resources": _resources(serving),
        **where,
        **spot,
        **files,
        **folders,
    }


def _resources(serving: Serving) -> Node:
    names = [name.partition(":")[0] for name in serving.labels("gpuhunt")]
    if not names:
        raise CannotDeploy(f"dstack's name of {serving.gpu} is not known here.")
    memory = serving.labels("gpuhunt")[0].partition(":")[2]
    gpu = {"name": names[0], "count": serving.gpus, **({"memory": f"{memory}GB"} if memory else {})}
    return {"gpu": gpu, "cpu": f"{serving.processors}..", "shm_size": f"{serving.shared_memory_gib}GB"}


def _inert(folder: str) -> str:
    """A folder in whose name dstack finds nothing to put something else for."""
    if "${{" in folder:
        raise CannotDeploy(f"dstack would read {folder[:80]!r} as a variable of its own; rename the folder.")
    return folder
