"""A benchmark of what was promised: `vllm bench serve` and guidellm, at the planned load and lengths."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from gpuplan.deploy.deployment import DeployFile, Deployment
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.text import comment

SUMMARY = "A benchmark of what was promised: vllm bench serve, guidellm"
ROUNDS = 5
"""Requests per slot: the first round fills the slots, and the ends of the run count little among five."""
SECONDS = 300
"""With a rate of arrivals: long enough for a percentile to settle."""
MOST_REQUESTS = 20_000
BASE_URL = "$BASE_URL"
"""Where the deployment answers: a shell variable."""
GUIDELLM_BACKEND = f"kind=openai_http,target={BASE_URL},request_format=/v1/completions"
"""Completions need no chat template, and are what `vllm bench serve` asks for too."""


def render(deployment: Deployment) -> tuple[DeployFile, ...]:
    """Two scripts, either of which is enough."""
    vllm = _script(deployment, vllm_words(deployment), "vllm-result.json")
    guidellm = _script(deployment, guidellm_words(deployment), "guidellm-result.json")
    return (
        DeployFile("vllm-bench.sh", vllm, executable=True),
        DeployFile("guidellm.sh", guidellm, executable=True),
    )


def _script(deployment: Deployment, words: list[str], result: str) -> str:
    lines = ["#!/usr/bin/env bash", *map(comment, deployment.about)]
    lines += [comment(f"Afterwards: plan check promise PLAN.json {result}"), "set -euo pipefail"]
    return "\n".join([*lines, ': "${BASE_URL:=http://localhost:8000}"', _line(words), ""])


def _line(words: list[str]) -> str:
    """The command; BASE_URL is left to a variable of that name."""
    ours = {word: f'"{word}"' for word in (BASE_URL, GUIDELLM_BACKEND)}
    return " ".join(
        ours.get(word, shlex.quote(word)) if before in {"--base-url", "--backend"} else shlex.quote(word)
        for before, word in zip(["", *words], words, strict=False)
    )


def requests(deployment: Deployment) -> int:
    """How many requests are sent."""
    rate = deployment.plan.question.demand.requests_per_second
    wanted = ROUNDS * _concurrency(deployment) if rate is None else round(rate * SECONDS)
    return max(10, min(MOST_REQUESTS, wanted))


def _concurrency(deployment: Deployment) -> int:
    if deployment.plan.totals is None:
        raise CannotDeploy("The plan promises nothing that could be measured.")
    return deployment.plan.totals.concurrency


def _served(deployment: Deployment) -> str:
    return deployment.servings[0].command.model


def vllm_words(deployment: Deployment) -> list[str]:
    """The argv of `vllm bench serve`; answers have exactly the planned length.

    Source: vLLM 0.33.0 `vllm/benchmarks/serve.py`, `vllm/benchmarks/datasets/datasets.py`.
    """
    work, rate = deployment.plan.question.workload, deployment.plan.question.demand.requests_per_second
    words = ["vllm", "bench", "serve", "--backend", "openai", "--base-url", BASE_URL]
    words += ["--model", _served(deployment), "--dataset-name", "random", "--ignore-eos"]
    words += ["--random-input-len", str(work.input_tokens - work.shared_prefix_tokens)]
    words += ["--random-prefix-len", str(work.shared_prefix_tokens)] if work.shared_prefix_tokens else []
    words += ["--random-output-len", str(work.output_tokens), "--num-prompts", str(requests(deployment))]
    words += ["--max-concurrency", str(_concurrency(deployment))] if rate is None else ["--request-rate", f"{rate:g}"]
    words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", ",".join(_percentiles(deployment))]
    return [*words, "--seed", "0", "--save-result", "--result-filename", "vllm-result.json"]


def _percentiles(deployment: Deployment) -> Iterator[str]:
    held = deployment.plan.question.service_level.held_percentile
    yield from (f"{each:g}" for each in sorted({50.0, 95.0, 99.0, held}))


def guidellm_words(deployment: Deployment) -> list[str]:
    """The argv of guidellm.

    Source: guidellm 0.8.1, `guidellm run --help`.
    """
    work, rate = deployment.plan.question.workload, deployment.plan.question.demand.requests_per_second
    profile = f"kind=concurrent,streams={_concurrency(deployment)}" if rate is None else f"kind=poisson,rate={rate:g}"
    data = f"kind=synthetic_text,prompt_tokens={work.input_tokens},output_tokens={work.output_tokens}"
    backend = GUIDELLM_BACKEND
    words = ["guidellm", "run", "--backend", backend, "--profile", profile, "--data", data]
    tokenizer = json.dumps({"kind": "huggingface_auto", "model": _served(deployment)})
    words += ["--tokenizer", tokenizer, "--constraint", f"kind=max_requests,count={requests(deployment)}"]
    return [*words, "--output", "kind=json,path=guidellm-result.json", "--disable-console-interactive"]
