"""Ray Serve LLM: a config for `serve run`, one LLM for each kind of replica behind one OpenAI-compatible app."""

from __future__ import annotations

from typing import Any

from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.facts import facts, unseen
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.platforms.vllm_config import typed
from gpuplan.deploy.text import yaml_text

SUMMARY = "Ray Serve LLM: a config for `serve run` (vLLM only)"
BY_RAY = (
    "--nnodes",
    "--node-rank",
    "--master-addr",
    "--headless",
    "--data-parallel-address",
    "--data-parallel-rpc-port",
    "--data-parallel-size-local",
    "--data-parallel-start-rank",
)
"""Ray places the ranks on machines itself."""
Node = dict[str, Any]


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """`ray-serve.yaml`."""
    application = {
        "name": deployment.name,
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [llm(deployment, serving) for serving in deployment.servings]},
    }
    config = {"http_options": {"host": "0.0.0.0", "port": FIRST_PORT}, "applications": [application]}
    ray = facts()["ray"]
    notes = (
        *deployment.about,
        f"Start: serve run ray-serve.yaml, with ray[llm]=={ray['version']} (image {ray['image']}), which brings vLLM "
        f"{ray['vllm']}; the plan was made for the version above.",
        *filter(None, [unseen(ray["image"])]),
    )
    return (DeployFile("ray-serve.yaml", yaml_text(config, comments=notes)),)


def llm(deployment: Deployment, serving: Serving) -> Node:
    """One LLMConfig; kinds of replica of one model need names of their own.

    Source: Ray 2.60.0 `ray/serve/llm`, LLMConfig.
    """
    if serving.engine != "vllm":
        raise CannotDeploy(f"Ray Serve LLM runs vLLM, and the plan starts {serving.engine}.")
    if serving.command.value("--lora-modules"):
        raise CannotDeploy("Ray Serve LLM loads adapters from a bucket of its own, not by name; use another format.")
    if serving.command.value("--data-parallel-size"):
        raise CannotDeploy("Ray Serve LLM places one GPU for each replica with attention-DP; use another format.")
    command = serving.command.without(*BY_RAY)
    alone = len(deployment.servings) == 1
    number = deployment.servings.index(serving) + 1
    slots = deployment.plan.lines[number - 1].estimate.concurrency
    return {
        "model_loading_config": {
            "model_id": command.model if alone else f"{command.model}:{number}",
            "model_source": command.model,
        },
        "engine_kwargs": {_keyword(name): typed(command, name) for name, _ in command.options if name != "--revision"}
        | ({"revision": command.value("--revision")} if command.value("--revision") else {}),
        "deployment_config": {"num_replicas": serving.count, "max_ongoing_requests": max(1, slots)},
    }


def _keyword(option: str) -> str:
    """An option's name as the engine's Python argument.

    >>> _keyword("--max-model-len")
    'max_model_len'
    """
    return option.removeprefix("--").replace("-", "_")
