"""NVIDIA Dynamo: a DynamoGraphDeployment, one frontend and one kind of worker for each kind of replica."""

from __future__ import annotations

from gpuplan.deploy.command import Command
from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.facts import facts, unseen
from gpuplan.deploy.pods import SECRET, Node, affinity, volumes
from gpuplan.deploy.text import dollars_doubled, yaml_text

SUMMARY = "NVIDIA Dynamo: DynamoGraphDeployment"
MODULES = {"vllm": "dynamo.vllm", "sglang": "dynamo.sglang"}
"""Source: ai-dynamo 1.6.1, Dynamo documentation, examples/backends/*/deploy/agg.yaml."""
BY_OPERATOR = (
    "--nnodes",
    "--master-addr",
    "--data-parallel-size-local",
    "--data-parallel-address",
    "--data-parallel-rpc-port",
    "--dist-init-addr",
    "--node-rank",
    "--headless",
)
"""Options that the operator adds itself. Source: Dynamo documentation, Multinode Deployments."""


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One file for `kubectl apply -f`."""
    image = _image(deployment.servings[0])
    frontend = {
        "componentType": "frontend",
        "replicas": 1,
        "envFromSecret": SECRET,
        "extraPodSpec": {"mainContainer": {"image": image}},
    }
    services: Node = {"Frontend": frontend}
    for number, serving in enumerate(deployment.servings, start=1):
        services[f"Worker{number}"] = _worker(serving)
    graph = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": deployment.name},
        "spec": {"backendFramework": deployment.servings[0].engine, "services": services},
    }
    return (DeployFile("dynamo.yaml", yaml_text(graph, comments=_notes(deployment))),)


def _notes(deployment: Deployment) -> tuple[str, ...]:
    token = f"A gated model needs its token: kubectl create secret generic {SECRET} --from-literal=HF_TOKEN=..."
    engine = "Dynamo's image holds an engine version of its own; the plan was made for those above."
    image = unseen(_image(deployment.servings[0]))
    return (*deployment.about, *([image] if image else []), token, engine)


def _image(serving: Serving) -> str:
    if serving.engine not in MODULES:
        raise CannotDeploy(f"Dynamo's worker of {serving.engine} takes other options than the planned command.")
    if serving.vendor != "NVIDIA":
        raise CannotDeploy(f"NVIDIA Dynamo has no image for {serving.vendor} GPUs.")
    return str(facts()["dynamo"][serving.engine])


def _worker(serving: Serving) -> Node:
    several = {"multinode": {"nodeCount": serving.nodes}} if serving.nodes > 1 else {}
    command = serving.command.without(*BY_OPERATOR)
    main = {"image": _image(serving), "command": ["python3", "-m", MODULES[serving.engine]], "args": _args(command)}
    return {
        "componentType": "worker",
        "replicas": serving.count,
        "envFromSecret": SECRET,
        "sharedMemory": {"size": f"{serving.shared_memory_gib}Gi"},
        **several,
        "resources": {
            "limits": {"gpu": str(serving.gpus_per_machine)},
            "requests": {"cpu": str(serving.processors), "memory": f"{serving.host_memory_gib}Gi"},
        },
        "extraPodSpec": {**affinity(serving), **_folders(serving, main)},
    }


def _folders(serving: Serving, main: Node) -> Node:
    """The main container, given the folders of the machine that it names."""
    mounts = [each for each in volumes(serving) if "hostPath" in each]
    if not mounts:
        return {"mainContainer": main}
    mounted = [{"name": each["name"], "mountPath": each["hostPath"]["path"], "readOnly": True} for each in mounts]
    return {"volumes": mounts, "mainContainer": {**main, "volumeMounts": mounted}}


def _args(command: Command) -> list[str]:
    """The options behind the program, the model named by `--model` or `--model-path`."""
    words = list(command.words())
    options = words[2:] if command.engine == "sglang" else ["--model", *words[2:]]
    return [str(dollars_doubled(each)) for each in options]
