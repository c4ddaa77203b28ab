"""An environment file: what was planned, as variables for scripts of one's own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from gpuplan.deploy.deployment import DeployFile, Deployment, Serving
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.text import comment, shell_words

SUMMARY = "An environment file for a shell: `set -a; . ./gpuplan.env`"


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """One file for each kind of replica; values are quoted for a shell."""
    several = len(deployment.servings) > 1
    return tuple(
        DeployFile(f"gpuplan-{number}.env" if several else "gpuplan.env", _text(deployment, serving))
        for number, serving in enumerate(deployment.servings, start=1)
    )


def _text(deployment: Deployment, serving: Serving) -> str:
    lines = [*map(comment, deployment.about)]
    lines += [f"{name}={shlex.quote(value)}" for name, value in _variables(deployment, serving)]
    return "\n".join([*lines, ""])


def _variables(deployment: Deployment, serving: Serving) -> Iterator[tuple[str, str]]:
    line = deployment.plan.lines[deployment.servings.index(serving)]
    replica = line.replica
    yield "GPUPLAN_NAME", deployment.name
    yield "GPUPLAN_MODEL", serving.command.model
    yield "GPUPLAN_ENGINE", serving.engine
    yield "GPUPLAN_ENGINE_VERSION", serving.version
    yield "GPUPLAN_IMAGE", serving.image
    yield "GPUPLAN_PORT", str(FIRST_PORT)
    yield "GPUPLAN_REPLICAS", str(serving.count)
    yield "GPUPLAN_GPU", serving.gpu
    yield "GPUPLAN_GPUS", str(serving.gpus)
    yield "GPUPLAN_NODES", str(serving.nodes)
    yield "GPUPLAN_TENSOR_PARALLEL", str(replica.tensor_parallel)
    yield "GPUPLAN_PIPELINE_PARALLEL", str(replica.pipeline_parallel)
    yield "GPUPLAN_DATA_PARALLEL", str(replica.data_parallel)
    yield "GPUPLAN_EXPERT_PARALLEL", str(replica.expert_parallel)
    yield "GPUPLAN_WEIGHT_FORMAT", replica.weight_format
    yield "GPUPLAN_KV_CACHE_FORMAT", replica.kv_cache_format
    yield "GPUPLAN_MAX_MODEL_LEN", str(replica.max_model_len)
    yield "GPUPLAN_MAX_NUM_SEQS", str(replica.max_num_seqs)
    yield "GPUPLAN_COMMAND", shell_words(serving.command.serving_on(FIRST_PORT))
