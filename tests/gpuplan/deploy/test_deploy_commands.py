"""Every word of a command is one that an engine takes; whatever else a plan holds is refused."""

import json
from pathlib import Path

import pytest

from gpuplan.deploy.command import option_table, read_command
from gpuplan.deploy.deployment import deployment_of
from gpuplan.deploy.errors import BadPlan, CannotDeploy

FLAGS = json.loads((Path(__file__).parents[2] / "oracles" / "engine_flags.json").read_text(encoding="utf-8"))
OLDER = {"--no-enable-prefix-caching"}
"""Of vLLM before 0.33."""


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
def test_every_option_that_may_be_written_exists_in_the_pinned_engine(engine):
    assert set(option_table()[engine]["options"]) - OLDER <= set(FLAGS[engine]["flags"])


def test_a_command_taken_apart_and_put_together_is_the_same(plan):
    for line in plan.lines:
        words = line.replica.command
        assert read_command(line.replica.engine, words).words() == words
        if line.replica.worker_command:
            assert read_command(line.replica.engine, line.replica.worker_command).words() == line.replica.worker_command


def test_addresses_are_filled_in_and_a_model_of_that_name_is_not():
    words = ("vllm", "serve", "HEAD_ADDRESS", "--tensor-parallel-size", "1", "--master-addr", "HEAD_ADDRESS")
    assert read_command("vllm", words).words("10.0.0.1") == (*words[:-1], "10.0.0.1")


@pytest.mark.parametrize(
    "words",
    [
        ("rm", "-rf", "/"),
        ("vllm", "bench", "serve"),
        ("vllm", "serve", "m", "--middleware", "evil.module"),
        ("vllm", "serve", "m", "--tensor-parallel-size", "1; rm"),
        ("vllm", "serve", "m", "--tensor-parallel-size"),
        ("vllm", "serve", "m", "--tensor-paral", "2"),
        ("vllm", "serve", "m", "--gpu-memory-utilization", "nan"),
        ("vllm", "serve", "m", "--speculative-config", "[1]"),
        ("vllm", "serve", "m", "stray"),
        (),
    ],
    ids=str,
)
def test_a_plan_from_anywhere_starts_nothing_but_a_server(words):
    with pytest.raises(BadPlan):
        read_command("vllm", words)


@pytest.mark.parametrize(
    "words",
    [("vllm", "serve", "--port"), ("vllm", "serve", "-x"), ("vllm", "serve", "m", "--revision", "--api-key")],
    ids=str,
)
def test_a_name_that_would_be_an_option_is_refused(words):
    with pytest.raises(CannotDeploy, match=r"taken for an option|rename"):
        read_command("vllm", words)


def test_remote_code_runs_only_when_it_was_asked_for(plan):
    quiet = deployment_of(plan)
    asked = deployment_of(plan, trust_remote_code=True)
    for before, after in zip(quiet.servings, asked.servings, strict=True):
        assert not any("trust" in word for word in before.command.words())
        assert sum("trust" in word for word in after.command.words()) == 1
        assert after.worker is None or sum("trust" in word for word in after.worker.words()) == 1


def test_ranks_of_later_machines_are_their_number_times_something(matrix):
    (serving,) = deployment_of(matrix["experts-on-two-machines"]()).servings
    assert serving.ranks == (("--data-parallel-start-rank", 8),)
    (serving,) = deployment_of(matrix["two-machines"]()).servings
    assert serving.ranks == (("--node-rank", 1),)
    assert "--node-rank" not in serving.worker.words()


def test_what_no_plan_knows_is_said_where_it_must_be_seen_to(matrix):
    def told(kind):
        return " ".join(deployment_of(matrix[kind]()).about)

    assert "add --lora-modules NAME=PATH" in told("lora")
    assert "add --lora-paths NAME=PATH" in told("sglang-lora")
    assert "see that NCCL uses it" in told("two-machines")
    assert "see that" not in told("dense")
    assert "NAME=PATH" not in told("dense")


def test_a_pod_asks_for_the_servers_own_memory_too(matrix):
    """As vLLM's own example does: 6 GiB for a server on one GPU, 2 of them shared."""
    (one,) = deployment_of(matrix["eight-replicas"]()).servings
    assert (one.gpus_per_machine, one.shared_memory_gib, one.host_memory_gib) == (1, 2, 6)
