"""KServe: an InferenceService for each kind of replica, an LLMInferenceService where one stands on several machines."""

from __future__ import annotations

from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.platforms.kubernetes import refuse_mpi
from gpuplan.deploy.pods import Node, labels, notes, options_map, pod
from gpuplan.deploy.text import yaml_text

SUMMARY = "KServe: InferenceService, or LLMInferenceService on several machines"


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One file for `kubectl apply -f`."""
    objects = []
    for serving in deployment.servings:
        objects += [options_map(serving)] if serving.options_file else []
        objects.append(_service(deployment, serving) if serving.nodes == 1 else _several_machines(deployment, serving))
    return (DeployFile("kserve.yaml", yaml_text(*objects, comments=notes(deployment))),)


def _service(deployment: Deployment, serving: Serving) -> Node:
    """A predictor with our container; standard deployment, since servers of hours are not scaled to zero."""
    spec = pod(serving)
    spec["containers"][0]["name"] = "kserve-container"
    replicas = {"minReplicas": serving.count, "maxReplicas": serving.count}
    metadata = {
        "name": serving.name,
        "labels": labels(deployment, serving),
        "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": {**replicas, **spec}},
    }


def _several_machines(deployment: Deployment, serving: Serving) -> Node:
    """KServe makes a LeaderWorkerSet of template and worker; `main` is the container that it knows.

    Source: KServe, LLMInferenceService CRD v1alpha2.
    """
    refuse_mpi(serving)
    replica = deployment.plan.lines[deployment.servings.index(serving)].replica
    template, worker = pod(serving), pod(serving, worker=True)
    template["containers"][0]["name"] = worker["containers"][0]["name"] = "main"
    dealt = (
        {"data": replica.data_parallel, "dataLocal": max(1, replica.data_parallel // serving.nodes)}
        if replica.data_parallel > 1
        else {"pipeline": max(replica.pipeline_parallel, serving.nodes)}
    )
    parallelism = {"tensor": replica.tensor_parallel, **dealt}
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": serving.name, "labels": labels(deployment, serving)},
        "spec": {
            "model": {"uri": f"hf://{serving.command.model}", "name": serving.command.model},
            "replicas": serving.count,
            "parallelism": parallelism,
            "router": {"route": {}, "gateway": {}, "scheduler": {}},
            "template": template,
            "worker": worker,
        },
    }
