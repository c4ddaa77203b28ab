"""Kubernetes' words for one server: container, pod and where it may stand; what several platforms are built of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpuplan.deploy.command import Command
from gpuplan.deploy.deployment import MOUNTED, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.facts import facts
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.ranks import ranked_words
from gpuplan.deploy.text import dollars_doubled
from optimizer.engines.launch import HEAD_ADDRESS
from optimizer.engines.tensorrt_llm import OPTIONS_FILE

Node = dict[str, Any]

SECRET, SECRET_KEY = "hf-token", "token"
"""The Secret that must hold the Hub's token when the model needs one; no file holds the token."""
CACHE = "/root/.cache/huggingface"
RESOURCES = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu"}
"""Names by which device plugins offer GPUs. Sources: NVIDIA k8s-device-plugin, ROCm k8s-device-plugin."""
PROBE_EVERY_SECONDS = 10
LWS_LEADER, LWS_RANK = "$(LWS_LEADER_ADDRESS)", "LWS_WORKER_INDEX"
"""What LeaderWorkerSet tells each pod. Source: its documentation, Labels, Annotations and Environment Variables."""


def gpu_resource(serving: Serving) -> str:
    """The resource by which GPUs are asked for.

    Raises:
        CannotDeploy: no device plugin for this vendor is known here.
    """
    if serving.vendor not in RESOURCES:
        raise CannotDeploy(f"No Kubernetes resource is known for {serving.vendor} accelerators.")
    return RESOURCES[serving.vendor]


def container(serving: Serving, *, worker: bool = False, leader: str = LWS_LEADER) -> Node:
    """The container that serves, or that works for the first machine of its replica.

    Args:
        serving: what runs.
        worker: whether it is for the later machines.
        leader: what stands for the first machine's address.
    """
    answers = {} if worker else {"ports": [{"name": "http", "containerPort": FIRST_PORT}], **probes()}
    return {
        "name": "server",
        "image": serving.image,
        "command": words_of(serving, worker=worker, leader=leader),
        "env": [hub_token()],
        "resources": resources(serving),
        **answers,
        "volumeMounts": [{"name": name, **where} for name, where, _ in _volumes(serving)],
    }


def words_of(serving: Serving, *, worker: bool = False, leader: str = LWS_LEADER) -> list[str]:
    """The argv, with nothing in it that Kubernetes would put something else for but the leader's address."""
    command = serving.worker if worker else serving.command
    if command is None:
        raise ValueError(f"{serving.name} has one machine, so no worker.")
    served = command if worker else command.serving_on(FIRST_PORT)
    words = [
        leader + dollars_doubled(word.removeprefix(HEAD_ADDRESS)) if is_address else dollars_doubled(word)
        for word, is_address in mounted(served)
    ]
    script = ranked_words(serving.ranks, LWS_RANK) if worker else ()
    return [*map(dollars_doubled, script), *words]


def mounted(command: Command) -> list[tuple[str, bool]]:
    """The argv's words, and which are addresses, with the options file where containers find it."""
    words = list(command.tagged())
    at = next((number for number, (word, _) in enumerate(words) if word == "--config"), None)
    if at is not None:
        words[at + 1] = (f"{MOUNTED}/{OPTIONS_FILE}", False)
    return words


def hub_token() -> Node:
    """The Hub's token, by reference."""
    reference = {"name": SECRET, "key": SECRET_KEY, "optional": True}
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}


def resources(serving: Serving) -> Node:
    """What the scheduler must find free on one machine."""
    gpus = {gpu_resource(serving): str(serving.gpus_per_machine)}
    host = {"cpu": str(serving.processors), "memory": f"{serving.host_memory_gib}Gi"}
    return {"requests": {**host, **gpus}, "limits": gpus}


def probes() -> Node:
    """Loading weights may take long; then it must answer."""
    check = {"httpGet": {"path": "/health", "port": FIRST_PORT}, "periodSeconds": PROBE_EVERY_SECONDS}
    tries = int(facts()["start_up_seconds"]["value"]) // PROBE_EVERY_SECONDS
    return {
        "startupProbe": {**check, "failureThreshold": tries},
        "readinessProbe": {**check, "timeoutSeconds": 5},
        "livenessProbe": {**check, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def pod(serving: Serving, *, worker: bool = False, leader: str = LWS_LEADER) -> Node:
    """A pod's spec: its container, its volumes, the nodes that it may stand on."""
    return {
        "containers": [container(serving, worker=worker, leader=leader)],
        "volumes": volumes(serving),
        "tolerations": [{"key": gpu_resource(serving), "operator": "Exists", "effect": "NoSchedule"}],
        **affinity(serving),
    }


def volumes(serving: Serving) -> list[Node]:
    """Shared memory, the cache of weights, the options file, folders of the machine."""
    return [{"name": name, **what} for name, _, what in _volumes(serving)]


def _volumes(serving: Serving) -> list[tuple[str, Node, Node]]:
    shared = {"emptyDir": {"medium": "Memory", "sizeLimit": f"{serving.shared_memory_gib}Gi"}}
    found: list[tuple[str, Node, Node]] = [
        ("shared-memory", {"mountPath": "/dev/shm"}, shared),
        ("model-cache", {"mountPath": CACHE}, {"emptyDir": {}}),
    ]
    if serving.options_file:
        found.append(("options", {"mountPath": MOUNTED}, {"configMap": {"name": f"{serving.name}-options"}}))
    for number, folder in enumerate(serving.folders):
        if ":" in folder or folder == "/":
            raise CannotDeploy(f"The folder {folder!r} cannot be given to a container; move or rename it.")
        host = {"hostPath": {"path": folder, "type": "Directory"}}
        found.append((f"folder-{number}", {"mountPath": folder, "readOnly": True}, host))
    return found


def node_labels(serving: Serving) -> tuple[str, tuple[str, ...]]:
    """The label of nodes that says which GPU they have, and the values that mean this one; none when unknown."""
    if serving.offer.provider == "gcp" and serving.labels("gke"):
        return "cloud.google.com/gke-accelerator", serving.labels("gke")
    return "nvidia.com/gpu.product", serving.labels("gpu-feature-discovery")


def affinity(serving: Serving) -> Node:
    """Only nodes with the planned GPU, when it is known what labels call it."""
    label, values = node_labels(serving)
    if not values:
        return {}
    wanted = {"key": label, "operator": "In", "values": list(values)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def labels(deployment: Deployment, serving: Serving | None = None) -> dict[str, str]:
    """Labels of everything that belongs to a deployment, or to one of its servings."""
    own = {} if serving is None else {"app.kubernetes.io/component": serving.name}
    managed = {"app.kubernetes.io/managed-by": "gpuplan"}
    return {"app.kubernetes.io/name": "gpuplan", "app.kubernetes.io/instance": deployment.name, **own, **managed}


def options_map(serving: Serving) -> Node:
    """The ConfigMap with the engine's options file."""
    metadata = {"name": f"{serving.name}-options"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {OPTIONS_FILE: serving.options_file}}


def _unlabelled(serving: Serving) -> Iterator[str]:
    """What is said where no label keeps a pod on the planned GPU."""
    if not affinity(serving):
        yield f"No label of nodes with {serving.gpu} is known here: see that pods stand on those."


def notes(deployment: Deployment) -> tuple[str, ...]:
    """What every Kubernetes file says above its objects."""
    return (
        *deployment.about,
        *deployment.image_notes,
        *dict.fromkeys(note for each in deployment.servings for note in _unlabelled(each)),
        f"A gated model needs its token: kubectl create secret generic {SECRET} --from-literal={SECRET_KEY}=...",
    )
