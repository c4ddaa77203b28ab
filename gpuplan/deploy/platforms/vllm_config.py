"""vLLM's own YAML: `vllm serve --config FILE`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from gpuplan.deploy.command import Command
from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.text import yaml_text

SUMMARY = "vLLM: a YAML file for `vllm serve --config`"


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One file for each kind of replica.

    Raises:
        CannotDeploy: an engine is another, or a replica stands on several machines.
    """
    several = len(deployment.servings) > 1
    return tuple(
        DeployFile(
            f"vllm-{number}.yaml" if several else "vllm.yaml",
            yaml_text(settings(serving), comments=(*deployment.about, "Start: vllm serve --config FILE")),
        )
        for number, serving in enumerate(deployment.servings, start=1)
    )


def settings(serving: Serving) -> dict[str, Any]:
    """Every option by its long name.

    Source: vLLM 0.33.0 `vllm/utils/argparse_utils.py`, load_config_file.
    """
    refuse_others(serving)
    command = serving.command.serving_on(FIRST_PORT)
    return {"model": command.model, **{name.removeprefix("--"): typed(command, name) for name, _ in command.options}}


def refuse_others(serving: Serving) -> None:
    """Refuse what is not one vLLM on one machine.

    Raises:
        CannotDeploy: the engine is another, or it needs a command of its own on each machine.
    """
    if serving.engine != "vllm":
        raise CannotDeploy(f"This format is of vLLM, and the plan starts {serving.engine}.")
    if serving.nodes > 1:
        raise CannotDeploy(
            f"A replica on {serving.nodes} machines needs a command of its own on each; use the format shell or "
            "kubernetes."
        )


def typed(command: Command, option: str) -> Any:
    """The value of an option as YAML and Python write it."""
    values = next(values for name, values in command.options if name == option)
    kind = command.kind(option)
    if kind == "flag":
        return True
    if kind == "list":
        return list(values)
    readers: dict[str, Callable[[str], Any]] = {"int": int, "rank": int, "float": float, "json": json.loads}
    return readers.get(kind, str)(values[0])
