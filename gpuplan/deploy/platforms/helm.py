"""Helm: values for the chart of vLLM's production stack, with its router in front."""

from __future__ import annotations

from typing import Any

from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.platforms.llm_d import no_templates
from gpuplan.deploy.platforms.vllm_config import refuse_others
from gpuplan.deploy.pods import SECRET, SECRET_KEY, gpu_resource, node_labels, notes
from gpuplan.deploy.text import yaml_text

SUMMARY = "Helm: values for the chart vllm-stack (vLLM only)"
OWN_KEYS = {
    "--max-model-len": "maxModelLen",
    "--tensor-parallel-size": "tensorParallelSize",
    "--max-num-seqs": "maxNumSeqs",
    "--gpu-memory-utilization": "gpuMemoryUtilization",
}
"""Options that the chart has keys for. Source: vLLM production stack, helm/values.yaml, vllmConfig."""


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """`helm-values.yaml`."""
    values = {
        "servingEngineSpec": {
            "runtimeClassName": "",
            "modelSpec": [_model(number, serving) for number, serving in enumerate(deployment.servings, start=1)],
        },
        "routerSpec": {"replicaCount": 1, "routingLogic": "roundrobin"},
    }
    start = f"Start: helm install {deployment.name} vllm/vllm-stack -f helm-values.yaml"
    return (DeployFile("helm-values.yaml", yaml_text(values, comments=(*notes(deployment), start))),)


def _model(number: int, serving: Serving) -> dict[str, Any]:
    refuse_others(serving)
    no_templates(serving)
    repository, _, tag = serving.image.rpartition(":")
    label, names = node_labels(serving)
    terms = [{"matchExpressions": [{"key": label, "operator": "In", "values": list(names)}]}]
    return {
        "name": f"model-{number}",
        "repository": repository,
        "tag": tag,
        "modelURL": serving.command.model,
        "replicaCount": serving.count,
        "requestCPU": serving.processors,
        "requestMemory": f"{serving.host_memory_gib}Gi",
        "requestGPU": serving.gpus,
        "requestGPUType": gpu_resource(serving),
        "shmSize": f"{serving.shared_memory_gib}Gi",
        "hf_token": {"secretName": SECRET, "secretKey": SECRET_KEY},
        **({"nodeSelectorTerms": terms} if names else {}),
        "vllmConfig": _settings(serving),
    }


def _settings(serving: Serving) -> dict[str, Any]:
    readers: dict[str, Any] = {"int": int, "float": float}
    own = {
        key: readers[serving.command.kind(option)](serving.command.value(option))
        for option, key in OWN_KEYS.items()
        if serving.command.value(option) is not None
    }
    others = serving.command.without(*OWN_KEYS)
    return {**own, "extraArgs": [word for name, values in others.options for word in (name, *values)]}
