"""Kubernetes: Deployments, LeaderWorkerSets for replicas on several machines, and one Service in front of all."""

from __future__ import annotations

from typing import Any

from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.pods import Node, labels, notes, options_map, pod
from gpuplan.deploy.text import yaml_text

SUMMARY = "Kubernetes: Deployment or LeaderWorkerSet, Service"
ANSWERS = {"gpuplan/answers": "yes"}
"""Label of pods that requests are sent to; workers of a replica on several machines have none."""


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One file for `kubectl apply -f`."""
    objects = [_service(deployment)]
    for serving in deployment.servings:
        objects += [options_map(serving)] if serving.options_file else []
        objects.append(_workload(deployment, serving))
    return (DeployFile("kubernetes.yaml", yaml_text(*objects, comments=notes(deployment))),)


def _service(deployment: Deployment) -> Node:
    """The load balancer: requests are dealt out over every pod that is ready."""
    selector = {"app.kubernetes.io/instance": deployment.name, **ANSWERS}
    ports = [{"name": "http", "port": 80, "targetPort": FIRST_PORT}]
    metadata = {"name": deployment.name, "labels": labels(deployment)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector, "ports": ports}}


def _workload(deployment: Deployment, serving: Serving) -> Node:
    return _deployment(deployment, serving) if serving.nodes == 1 else leader_worker_set(deployment, serving)


def _metadata(deployment: Deployment, serving: Serving) -> Node:
    return {"name": serving.name, "labels": labels(deployment, serving)}


def _deployment(deployment: Deployment, serving: Serving) -> Node:
    selector = {name: value for name, value in labels(deployment, serving).items() if "managed" not in name}
    template = {"metadata": {"labels": {**selector, **ANSWERS}}, "spec": pod(serving)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(deployment, serving),
        "spec": {
            "replicas": serving.count,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": {"matchLabels": selector},
            "template": template,
        },
    }


def leader_worker_set(deployment: Deployment, serving: Serving) -> Node:
    """Replicas of several pods each: the first leads and answers.

    Raises:
        CannotDeploy: the engine's machines are started by MPI.
    """
    refuse_mpi(serving)
    own = labels(deployment, serving)
    templates: dict[str, Any] = {
        "size": serving.nodes,
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": {"metadata": {"labels": {**own, **ANSWERS}}, "spec": pod(serving)},
        "workerTemplate": {"metadata": {"labels": own}, "spec": pod(serving, worker=True)},
    }
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": _metadata(deployment, serving),
        "spec": {"replicas": serving.count, "startupPolicy": "LeaderCreated", "leaderWorkerTemplate": templates},
    }


def refuse_mpi(serving: Serving) -> None:
    """Refuse a replica whose machines must be started together by MPI.

    Raises:
        CannotDeploy: it is one.
    """
    if serving.nodes > 1 and serving.command.launcher:
        raise CannotDeploy(
            f"{serving.engine} on {serving.nodes} machines is started by MPI on all of them at once; use the format "
            "shell."
        )
