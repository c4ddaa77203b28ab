"""What is asked of a calculator: one replica as one would start it, and what else its speed is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gpuplan.electricity import Place
from optimizer.energy import NotNegative
from optimizer.requirements import Count, EngineOptions, Frozen, Positive, ServiceLevel, Tokens, Workload

MOST_BYTES = 1 << 50
MOST_NEIGHBOURS = 64

Share = Annotated[float, Field(gt=0, le=1)]


class Configuration(Frozen):
    """One replica as one would start it; None = what the checkpoint, the GPU or the engine has by default.

    Attributes:
        nodes: machines; None = as few as hold the GPUs.
        expert_parallel: whether whole experts are dealt out instead of dividing each.
        internode_bytes_per_second: one direction per GPU; needed for speed over several machines, not for memory.
        cpu_offload_bytes: of weights per GPU that lie in the host's memory.
        mig: the profile of a MIG slice that stands for the GPU, such as "3g.40gb".
        shares: of the card that other engines on it take, each as its gpu_memory_utilization.
        occupied_bytes: that other processes hold on every GPU.
        workload: the requests whose lengths are counted.
        options: speculation, LoRA adapters, decode context parallelism, language model only.
        revision: branch, tag or commit of the model's repository on the Hub.
        offline: whether the Hub may not be asked.
    """

    model: str
    revision: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    offline: bool = False
    gpu: str
    tensor_parallel: Count = 1
    pipeline_parallel: Count = 1
    data_parallel: Count = 1
    expert_parallel: bool = False
    nodes: Count | None = None
    internode_bytes_per_second: Positive | None = None
    weight_format: str | None = None
    kv_cache_format: str | None = None
    engine: str = "vllm"
    engine_version: str | None = None
    gpu_memory_utilization: Share | None = None
    max_model_len: Tokens | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Tokens | None = None
    enforce_eager: bool = False
    cpu_offload_bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)] = 0
    mig: str | None = None
    shares: Annotated[tuple[Share, ...], Field(max_length=MOST_NEIGHBOURS)] = ()
    occupied_bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)] = 0
    workload: Workload = Workload()
    options: EngineOptions = EngineOptions()


class WhatIf(Frozen):
    """What an estimate is asked beside its speed.

    Attributes:
        service_level: what the largest concurrency must keep, and with which confidence.
        requests_per_second: random arrivals on the replica; None = only a closed loop is looked at.
        usd_per_gpu_hour: what one GPU costs; None = no cost is shown.
        place: where the machines stand.
        factors_dir: a folder that `plan fit serving` wrote; None = the bundled factors.
    """

    service_level: ServiceLevel = ServiceLevel()
    requests_per_second: Positive | None = None
    usd_per_gpu_hour: NotNegative | None = None
    place: Place = Place()
    factors_dir: str | None = None
