"""llm-d: values for the Helm chart llm-d-modelservice, one release for each kind of replica."""

from __future__ import annotations

from typing import Any

from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.platforms.kubernetes import refuse_mpi
from gpuplan.deploy.pods import SECRET, container, node_labels, notes, volumes
from gpuplan.deploy.text import yaml_text

SUMMARY = "llm-d: values for the Helm chart llm-d-modelservice"


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One file of values for each kind of replica."""
    several = len(deployment.servings) > 1
    files = []
    for number, serving in enumerate(deployment.servings, start=1):
        name = f"llm-d-{number}.yaml" if several else "llm-d.yaml"
        start = f"Start: helm install {serving.name} llm-d-modelservice/llm-d-modelservice -f {name}"
        files.append(DeployFile(name, yaml_text(values(deployment, serving), comments=(*notes(deployment), start))))
    return tuple(files)


def values(deployment: Deployment, serving: Serving) -> dict[str, Any]:
    """Values of one release: decode pods only, with the planned command, and no routing sidecar.

    Source: llm-d-modelservice, values.schema.json.
    """
    refuse_mpi(serving)
    no_templates(serving)
    if serving.nodes > 1:
        raise CannotDeploy(
            f"llm-d-modelservice gives all {serving.nodes} machines of a replica one command, and this engine needs "
            "one for each; use the format kubernetes."
        )
    if serving.options_file:
        raise CannotDeploy("llm-d-modelservice has no place for the engine's options file; use the format kubernetes.")
    replica = deployment.plan.lines[deployment.servings.index(serving)].replica
    label, names = node_labels(serving)
    where = {"acceleratorTypes": {"labelKey": label, "labelValues": list(names)}} if names else {}
    return {
        "fullnameOverride": serving.name,
        "multinode": False,
        "modelArtifacts": {
            "name": serving.command.model,
            "uri": f"hf://{serving.command.model}",
            "authSecretName": SECRET,
        },
        "accelerator": {"type": serving.vendor.lower()},
        "routing": {"servicePort": 8000, "proxy": {"enabled": False, "targetPort": 8000}},
        "decode": {
            "create": True,
            "replicas": serving.count,
            "parallelism": {"tensor": replica.tensor_parallel, "data": replica.data_parallel},
            **where,
            "containers": [_container(serving)],
            "volumes": volumes(serving),
        },
        "prefill": {"create": False},
    }


def _container(serving: Serving) -> dict[str, Any]:
    """Our container; `modelCommand: custom` lets its own command stand."""
    own = container(serving)
    words = own.pop("command")
    return {**own, "modelCommand": "custom", "command": words[:1], "args": words[1:], "mountModelVolume": False}


def no_templates(serving: Serving) -> None:
    """Refuse names that Helm would take for a template.

    Raises:
        CannotDeploy: a word holds two opening braces.
    """
    stray = next((word for word in serving.command.words() if "{{" in word), None)
    if stray is not None:
        raise CannotDeploy(f"Helm would read {stray[:80]!r} as a template; rename it, or use the format kubernetes.")
