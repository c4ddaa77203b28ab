"""Plans of every kind that is deployed: dense, experts, several machines, quantized, LoRA, guessed tokens, engines."""

from __future__ import annotations

import os
import signal
from datetime import date
from pathlib import Path
from subprocess import Popen

import pytest

from catalog.find import find_model
from gpuplan.deploy.deployment import deployment_of
from optimizer.engines.find import find_engine
from optimizer.engines.launch import Launch
from optimizer.memory.adapters import Adapters
from optimizer.memory.speculation import Speculation
from optimizer.plan import Estimate, Interval, Line, Memory, OfferedMachine, Plan, Proof, Replica, Totals
from optimizer.requirements import Demand, Requirements
from tests.gpuplan.deploy.environments import make_in_background

GIB = 1 << 30
DENSE, EXPERTS, QUANTIZED = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b"


TOOLS = pytest.StashKey[Popen[bytes]]()
"""The process that makes the validators' environments, while other tests run."""


def needs_tools(item):
    return item.get_closest_marker("validators") is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Validators run last: the environments that they need are made meanwhile, once for all workers."""
    items.sort(key=needs_tools)
    is_first = getattr(config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"
    if is_first and any(map(needs_tools, items)) and not config.option.collectonly:
        config.stash[TOOLS] = make_in_background()


def pytest_unconfigure(config):
    """Nothing is left running by tests that ended early; what was half made is made again."""
    tools = config.stash.get(TOOLS, None)
    if tools is not None and tools.poll() is None:
        os.killpg(tools.pid, signal.SIGTERM)


def offer(gpu="H100 SXM 80GB", count=8, provider="aws", region="us-east-1", instance="p5.48xlarge"):
    return OfferedMachine(
        offer_id=f"{provider}/{instance}",
        provider=provider,
        instance_type=instance,
        gpu=gpu,
        gpu_count=count,
        region=region,
        billing="on-demand",
        price_usd_per_hour=31.5,
        as_of=date(2026, 11, 22),
        source="a test",
        confidence="high",
    )


def launch(repo=DENSE, **asked):
    spec = find_model(repo)
    settings = {"max_model_len": 8192, "max_num_seqs": 64, "tensor_parallel": 1, "memory_utilization": 0.92}
    formats = {"weight_format": spec.weight_format, "kv_format": spec.kv_cache_format or "bf16"}
    return Launch(spec=spec, model=repo, **{**formats, **settings, **asked})


def replica(wanted, engine="vllm", gpu="H100 SXM 80GB"):
    made = find_engine(engine)
    return Replica(
        model=wanted.model,
        checkpoint=wanted.model,
        gpu=gpu,
        gpus=wanted.gpus,
        nodes=wanted.nodes,
        tensor_parallel=wanted.tensor_parallel,
        pipeline_parallel=wanted.pipeline_parallel,
        data_parallel=wanted.data_parallel,
        expert_parallel=1,
        weight_format=wanted.weight_format,
        kv_cache_format=wanted.kv_format,
        engine=engine,
        engine_version=made.version,
        weights_from="checkpoint" if wanted.weight_format == wanted.spec.weight_format else "online quantization",
        max_num_seqs=wanted.max_num_seqs,
        max_model_len=wanted.max_model_len,
        max_num_batched_tokens=wanted.max_num_batched_tokens,
        gpu_memory_utilization=wanted.memory_utilization,
        command=made.command(wanted),
        worker_command=made.command(wanted, node_rank=1) if wanted.nodes > 1 else (),
        options_file=made.options_file(wanted),
    )


def interval(value):
    return Interval(value=value, low=value * 0.7, high=value * 1.3, planned=value)


def line(made, machines=1, replicas=1, bought=None, beside=None, speed=1000.0):
    estimate = Estimate(
        concurrency=64,
        output_tokens_per_second=interval(speed),
        requests_per_second=speed / 512,
        ttft_seconds=interval(0.5),
        tpot_seconds=interval(0.02),
        power_watts=None,
        calibration="a test",
    )
    memory = Memory(
        total_bytes=80 * GIB,
        budget_bytes=73 * GIB,
        weight_bytes=16 * GIB,
        kv_cache_bytes=40 * GIB,
        activation_bytes=GIB,
        graph_bytes=GIB,
        non_torch_bytes=GIB,
        kv_bytes_per_token=131072,
        kv_tokens=300_000,
        requests_that_fit=64,
    )
    return Line(
        count=0 if beside is not None else machines,
        replicas=replicas,
        shares_machines_of_line=beside,
        offer=bought or offer(),
        replica=made,
        memory=memory,
        estimate=estimate,
        cost_usd_per_hour=31.5 * machines,
    )


def plan_of(*lines, model=DENSE, question=None, **demand):
    asked = question or Requirements(model=model, demand=Demand(**(demand or {"output_tokens_per_second": 500})))
    output = sum(each.replicas * each.estimate.output_tokens_per_second.planned for each in lines)
    totals = Totals(
        gpus=8,
        machines=sum(each.count for each in lines),
        replicas=sum(each.replicas for each in lines),
        output_tokens_per_second=interval(output),
        requests_per_second=output / 512,
        concurrency=sum(each.replicas * each.estimate.concurrency for each in lines),
        ttft_seconds=0.5,
        tpot_seconds=0.02,
        power_watts=None,
        usd_per_month=1.0,
        usd_per_million_output_tokens=1.0,
    )
    proof = Proof(
        solver="a test",
        solver_version="0",
        status="optimal",
        bound_usd_per_hour=31.5,
        gap=0,
        seconds=0,
        candidates=1,
        candidates_after_pruning=1,
        audited=True,
    )
    return Plan(
        gpuplan_version="0.1.0",
        status="optimal",
        question=asked,
        model=model,
        cost_usd_per_hour=31.5,
        bound_usd_per_hour=31.5,
        lines=lines,
        totals=totals,
        proof=proof,
        conflicts=(),
        relaxations=(),
        rejections=(),
        alternatives=(),
        prices_as_of=date(2026, 11, 22),
        data_fingerprint="0",
        warnings=(),
    )


def single(repo=DENSE, engine="vllm", replicas=1, bought=None, **asked):
    made = replica(launch(repo, **asked), engine)
    return plan_of(line(made, replicas=replicas, machines=made.nodes, bought=bought), model=repo)


MATRIX = {
    "dense": lambda: single(tensor_parallel=4),
    "eight-replicas": lambda: single(replicas=8),
    "experts": lambda: single(EXPERTS, data_parallel=8, expert_parallel=True),
    "two-machines": lambda: single(tensor_parallel=8, pipeline_parallel=2, nodes=2),
    "experts-on-two-machines": lambda: single(EXPERTS, data_parallel=16, expert_parallel=True, nodes=2),
    "quantized-checkpoint": lambda: single(QUANTIZED),
    "online-fp8": lambda: single(weight_format="fp8", kv_format="fp8", tensor_parallel=2),
    "lora": lambda: single(adapters=Adapters(rank=16, loaded=4, targets=("q_proj", "v_proj"))),
    "ngram": lambda: single(speculation=Speculation("ngram", 4)),
    "draft": lambda: single(EXPERTS, speculation=Speculation("draft_model", 3, find_model("Qwen/Qwen3-0.6B"))),
    "offload": lambda: single(offload_bytes=10 * GIB),
    "sglang": lambda: single(engine="sglang", tensor_parallel=2, kv_format="fp8"),
    "sglang-two-machines": lambda: single(engine="sglang", tensor_parallel=16, nodes=2),
    "sglang-lora": lambda: single(engine="sglang", adapters=Adapters(rank=16, targets=("q_proj", "v_proj"))),
    "tensorrt-llm": lambda: single(EXPERTS, engine="tensorrt-llm", data_parallel=8, kv_format="fp8"),
    "tensorrt-llm-two-machines": lambda: single(engine="tensorrt-llm", tensor_parallel=16, nodes=2),
    "amd": lambda: plan_of(
        line(
            replica(launch(tensor_parallel=1), gpu="MI300X 192GB"),
            bought=offer("MI300X 192GB", 8, "hotaisle", "us-michigan-1", "MI300X"),
            replicas=8,
        )
    ),
    "google-cloud": lambda: single(bought=offer(provider="gcp", region="us-central1", instance="a3-highgpu-8g")),
    "two-kinds-on-one-machine": lambda: plan_of(
        line(replica(launch(tensor_parallel=4)), replicas=1),
        line(replica(launch(tensor_parallel=1)), replicas=4, beside=0, speed=300.0),
    ),
    "three-machines": lambda: plan_of(line(replica(launch(tensor_parallel=4)), machines=3, replicas=6)),
}


@pytest.fixture(scope="session", params=MATRIX)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def plan(kind):
    return MATRIX[kind]()


@pytest.fixture(scope="session")
def deployment(plan):
    return deployment_of(plan)


@pytest.fixture(scope="session")
def make():
    """Makers of plans, for tests that need one of their own."""
    return single


@pytest.fixture(scope="session")
def matrix():
    return MATRIX


@pytest.fixture
def golden():
    return Path(__file__).parent / "golden"
