"""The whole answer: what to buy, what runs on it, what it promises, how it was proven, and why not otherwise.

These pydantic models are the JSON schema of `plan --json` (`plan schema` prints it); `schema_version` changes when a
field changes its meaning or goes away.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from optimizer.energy import PurchaseEnergy
from optimizer.requirements import EngineOptions, Frozen, Objective, Requirements

SCHEMA_VERSION: Literal["1"] = "1"

Status = Literal["optimal", "feasible", "infeasible"]


class OfferedMachine(Frozen):
    """The machine that is bought, as its provider offers it."""

    offer_id: str
    provider: str
    instance_type: str
    gpu: str
    gpu_count: int
    region: str
    billing: str
    price_usd_per_hour: float
    as_of: date
    source: str
    confidence: str
    restrictions: tuple[str, ...] = ()
    notes: str = ""


class Replica(Frozen):
    """One running server: how the model is laid over GPUs and how the engine is started.

    Attributes:
        command: starts it; on several machines, what the first of them runs, with HEAD_ADDRESS for its own address.
        worker_command: of its second machine; later ones differ in their ranks alone. Empty = it has one machine.
        options_file: what the file that `command` names must hold; "" = it names none.
    """

    model: str
    checkpoint: str
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
    weights_from: Literal["checkpoint", "online quantization", "a quantized checkpoint to be named"]
    max_num_seqs: int
    max_model_len: int
    max_num_batched_tokens: int | None
    gpu_memory_utilization: float | None
    options: EngineOptions = EngineOptions()
    command: tuple[str, ...]
    worker_command: tuple[str, ...] = ()
    options_file: str = ""


class Memory(Frozen):
    """Bytes per GPU on the poorest rank, part by part; parts + free = total.

    Attributes:
        total_bytes: what the engine sees of the GPU; `budget_bytes` of it, it may take.
        draft_weight_bytes: of the weights, those of what guesses tokens; `weight_bytes` counts them too.
        adapter_bytes: LoRA buffers.
        offloaded_weight_bytes: of the weights, in the host's memory; no part counts them.
        occupied_bytes: held by other processes.
    """

    total_bytes: int
    budget_bytes: int
    weight_bytes: int
    kv_cache_bytes: int
    activation_bytes: int
    graph_bytes: int
    non_torch_bytes: int
    draft_weight_bytes: int = 0
    adapter_bytes: int = 0
    offloaded_weight_bytes: int = 0
    occupied_bytes: int = 0
    kv_bytes_per_token: float
    kv_tokens: int
    requests_that_fit: int


class Interval(Frozen):
    """An estimate with its error bar: 9 of 10 measured cases of its calibration level lie within.

    `low` and `high` are None where nothing was measured to learn them from: the estimate is uncalibrated. `planned` is
    what the plan counts on: the end of the error bar that is reached with the question's confidence.
    """

    value: float
    low: float | None
    high: float | None
    planned: float


class Percentiles(Frozen):
    """How a time scatters over requests."""

    mean: float
    p50: float
    p95: float
    p99: float


class Arrivals(Frozen):
    """What requests meet that come at random (Poisson) at the highest rate that one replica may take.

    Attributes:
        requests_per_second: that rate.
        percentile: the one in which the limits of TTFT and TPOT are kept, and for which the estimate gives them.
        busy_share: the rate over the highest that its slots can take.
        slot_wait_share: of the requests, how many find all slots taken.
        ttft_seconds, tpot_seconds: over requests.
        within_limits_share: of the requests, how many meet every limit; None without limits.
        goodput_requests_per_second: those per second.
    """

    requests_per_second: float
    percentile: float
    busy_share: float
    slot_wait_share: float
    ttft_seconds: Percentiles
    tpot_seconds: Percentiles
    within_limits_share: float | None
    goodput_requests_per_second: float | None


class Estimate(Frozen):
    """What one replica is expected to do at the planned concurrency, or at the planned rate of arrivals.

    `arrivals` is there when a rate of requests was asked for: then TTFT and TPOT are those of its percentile, and
    `concurrency` is the mean number in flight. Without, requests are always in flight and TTFT and TPOT are means.
    """

    concurrency: int
    output_tokens_per_second: Interval
    requests_per_second: float
    ttft_seconds: Interval
    tpot_seconds: Interval
    power_watts: float | None
    calibration: str
    arrivals: Arrivals | None = None


class Line(Frozen):
    """One kind of machine and one kind of replica on it.

    `count` machines are bought for this line and `replicas` replicas run on them in all. Where several kinds of replica
    share machines, the first line carries the machines and their cost; the others have `count` 0 and name it in
    `shares_machines_of_line` (its place in `lines`, from 0).
    """

    count: int
    replicas: int
    shares_machines_of_line: int | None = None
    offer: OfferedMachine
    replica: Replica
    memory: Memory
    estimate: Estimate
    cost_usd_per_hour: float


class Rejection(Frozen):
    """The best that another GPU could do, and what decided against it.

    Attributes:
        replicas, machines, gpus: in all; GPUs are those that are paid for. None = nothing on it could do it.
        tensor_parallel, pipeline_parallel, data_parallel, expert_parallel: of each replica.
        power_watts: of all its GPUs, rounded up to whole watts; None = the power of one is not known.
    """

    gpu: str
    reason: str
    cost_usd_per_hour: float | None = None
    output_tokens_per_second: float | None = None
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    data_parallel: int | None = None
    expert_parallel: int | None = None
    replicas: int | None = None
    machines: int | None = None
    gpus: int | None = None
    offer_id: str | None = None
    power_watts: float | None = None


class Change(Frozen):
    """One rule and the value it would need: `option` as one types it, `value` what to type instead ("" = leave out)."""

    rule: str
    option: str
    asked: str
    value: str


class Relaxation(Frozen):
    """The cheapest change of one rule (or, when one is not enough, several together) that gives a plan."""

    changes: tuple[Change, ...]
    sentence: str
    cost_usd_per_hour: float


class Risk(Frozen):
    """The chance of missing a target of speed, by the error bars; None where nothing was measured to learn it from.

    Chances below 1% are given as 1%: the error bars tell no more.
    """

    option: str
    asked: float
    chance: float | None


class Proof(Frozen):
    """How the solver ended: the certificate behind the word "optimal"."""

    solver: str
    solver_version: str
    status: Status
    bound_usd_per_hour: float | None
    gap: float | None
    seconds: float
    candidates: int
    candidates_after_pruning: int
    audited: bool


class Totals(Frozen):
    """What the whole purchase is expected to do and costs."""

    gpus: int
    machines: int
    replicas: int
    output_tokens_per_second: Interval
    requests_per_second: float
    concurrency: int
    ttft_seconds: float
    tpot_seconds: float
    power_watts: float | None
    usd_per_month: float
    usd_per_million_output_tokens: float


class Plan(Frozen):
    """The answer to one question.

    `model_revision` is the commit of the Hub repository that the model was read at; None for a bundled one or a folder.
    `energy` is None when nothing is bought, or the power limit of a GPU is not known.
    """

    schema_version: Literal["1"] = SCHEMA_VERSION
    gpuplan_version: str
    status: Status
    question: Requirements
    model: str
    model_revision: str | None = None
    cost_usd_per_hour: float | None
    bound_usd_per_hour: float | None
    lines: tuple[Line, ...]
    totals: Totals | None
    energy: PurchaseEnergy | None = None
    risks: tuple[Risk, ...] = ()
    proof: Proof
    conflicts: tuple[str, ...]
    relaxations: tuple[Relaxation, ...]
    rejections: tuple[Rejection, ...]
    alternatives: tuple[Rejection, ...]
    prices_as_of: date | None
    data_fingerprint: str
    warnings: tuple[str, ...]

    @property
    def proven(self) -> str:
        """What the bound says, in a clause, of the objective that was asked for; "" where nothing is proven."""
        bound, objective = self.bound_usd_per_hour, self.question.objective
        dearer = "" if bound is None else f"nothing costs less than {bound:,.2f} USD/h"
        if objective is Objective.COST or self.status != "optimal":
            return dearer if objective is Objective.COST else ""
        return {
            Objective.THROUGHPUT: "nothing within the limits gives more output tokens per second",
            Objective.LATENCY: f"nothing answers sooner; of what answers as soon, {dearer}",
            Objective.ENERGY: "no other GPUs would draw fewer watts",
        }[objective]


def counted(count: float, thing: str) -> str:
    """A number of things.

    >>> counted(1, "GPU"), counted(2000, "GPU")
    ('1 GPU', '2,000 GPUs')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
