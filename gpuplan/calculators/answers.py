"""What calculators answer: the JSON of `plan memory` and `plan estimate`."""

from __future__ import annotations

from typing import Literal

from gpuplan.calculators.configuration import WhatIf
from gpuplan.calculators.loads import LoadPoint
from gpuplan.calculators.step_times import StepTime
from optimizer.energy import Energy
from optimizer.plan import Estimate, Memory, Risk
from optimizer.requirements import EngineOptions, Frozen, Workload


class Layout(Frozen):
    """The configuration with every default filled in.

    Attributes:
        model_revision: commit of the Hub repository that the model was read at; None for a bundled one or a folder.
        model_notes: what is odd about how the model was read, one sentence each.
    """

    model: str
    model_revision: str | None = None
    model_notes: tuple[str, ...] = ()
    gpu: str
    gpus: int
    nodes: int
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    weight_format: str
    kv_cache_format: str
    engine: str
    engine_version: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float | None
    enforce_eager: bool
    options: EngineOptions


class ContextCapacity(Frozen):
    """How many requests of so many tokens fit at once, per attention-DP rank."""

    tokens: int
    requests: int


class MemoryAnswer(Frozen):
    """Memory of one GPU of one replica, on its poorest rank; the JSON of `plan memory`.

    Attributes:
        memory: bytes part by part; `kv_cache_bytes` is negative by what is missing when the weights do not fit.
        longest_context: tokens of the longest single request that the KV cache holds; 0 when none.
        starts: whether the engine starts: one request of `max_model_len` fits.
        state_bytes_per_request: recurrent state of one request; 0 for plain attention.
        requests_by_context: for several lengths up to `max_model_len`, how many requests of that length fit at once.
        tokens_per_request: length of the mean request.
        command: what starts it.
    """

    schema_version: Literal["1"] = "1"
    layout: Layout
    memory: Memory
    workload: Workload
    requests_by_context: tuple[ContextCapacity, ...]
    tokens_per_request: int
    longest_context: int
    state_bytes_per_request: int
    starts: bool
    command: tuple[str, ...]


class EstimateAnswer(Frozen):
    """Speed of one replica at one concurrency; the JSON of `plan estimate`.

    Attributes:
        decode_step_seconds: one step with the whole batch decoding.
        prefill_seconds: one prompt beside a running batch, once it starts.
        fits: whether memory holds so many requests of the workload's length at once.
        longest_context: tokens of the longest single request that the KV cache holds; the engine does not start when
            that is less than `max_model_len`.
        decode: where the time of that decode step goes.
        prompt: where the time of a step goes that fills in a lone prompt, or the first chunk of a long one.
        energy: None when the power limit of the GPU is not known.
        usd_per_million_output_tokens: at the price that was given; None without one.
        loads: the same configuration at other concurrencies, up to the most that memory holds.
        largest_concurrency: the most that memory, max_num_seqs and the service level allow; None when none does.
        risks: the chance of missing each limit of the service level at the concurrency that was asked for.
        arrivals: what requests meet that come at random at the rate that was asked for; None without one.
        warnings: what memory counts and speed does not, and what speed rests on that nobody measured.
    """

    schema_version: Literal["1"] = "1"
    layout: Layout
    workload: Workload
    asked: WhatIf
    estimate: Estimate
    decode_step_seconds: float
    prefill_seconds: float
    fits: bool
    longest_context: int
    decode: StepTime
    prompt: StepTime
    energy: Energy | None
    usd_per_million_output_tokens: float | None
    loads: tuple[LoadPoint, ...]
    largest_concurrency: int | None
    risks: tuple[Risk, ...] = ()
    arrivals: Estimate | None = None
    warnings: tuple[str, ...] = ()
