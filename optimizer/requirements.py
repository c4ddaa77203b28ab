"""What is asked: the model, the work, the promises, the limits and what may be considered."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gpu_db.offer import Billing

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Tokens = Annotated[int, Field(ge=1, le=1 << 30)]

DEFAULT_INPUT_TOKENS = 1024
DEFAULT_OUTPUT_TOKENS = 512
DEFAULT_TIME_LIMIT_SECONDS = 10.0


class Frozen(BaseModel):
    """A fact that enters or leaves the program: immutable, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Objective(StrEnum):
    """What makes one plan better than another that keeps the same promises."""

    COST = "cost"
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    ENERGY = "energy"


class Workload(Frozen):
    """One mean request: its input and output lengths in tokens."""

    input_tokens: Tokens = DEFAULT_INPUT_TOKENS
    output_tokens: Tokens = DEFAULT_OUTPUT_TOKENS

    @property
    def tokens_per_request(self) -> int:
        """Tokens that one request holds in the KV cache when it ends."""
        return self.input_tokens + self.output_tokens


class Demand(Frozen):
    """How much must be served, all users and all replicas together; None = not asked."""

    output_tokens_per_second: Positive | None = None
    requests_per_second: Positive | None = None
    concurrency: Count | None = None


class ServiceLevel(Frozen):
    """How fast every request must be answered, as the mean of one replica; None = not asked."""

    ttft_seconds: Positive | None = None
    tpot_seconds: Positive | None = None


class Limits(Frozen):
    """What the purchase may not exceed; None = no limit."""

    budget_usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None


class Choices(Frozen):
    """What may be considered; None = everything that is considered by default."""

    gpus: tuple[str, ...] | None = None
    gpus_excluded: tuple[str, ...] = ()
    providers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    billings: tuple[Billing, ...] = ("on-demand",)
    allowed_restrictions: tuple[str, ...] = ()
    weight_formats: tuple[str, ...] | None = None
    kv_cache_formats: tuple[str, ...] | None = None
    engines: tuple[str, ...] = ("vllm",)
    max_model_len: Tokens | None = None
    tensor_parallel: Count | None = None
    pipeline_parallel: Count | None = None
    mix: bool = True


class Requirements(Frozen):
    """The whole question.

    At least one of the three demands is needed, except for the objectives `throughput` (which needs a budget or a
    number of GPUs instead) and `latency` and `energy` (where one replica serving one request is the least demand).
    """

    model: str
    workload: Workload = Workload()
    demand: Demand = Demand()
    service_level: ServiceLevel = ServiceLevel()
    limits: Limits = Limits()
    choices: Choices = Choices()
    objective: Objective = Objective.COST
    alternatives: Annotated[int, Field(ge=0, le=1000)] = 5
    time_limit_seconds: Positive = DEFAULT_TIME_LIMIT_SECONDS

    @property
    def wanted_output_tokens_per_second(self) -> float:
        """What throughput and request rate together ask for; 0 when neither is asked."""
        by_requests = (self.demand.requests_per_second or 0.0) * self.workload.output_tokens
        return max(self.demand.output_tokens_per_second or 0.0, by_requests)

    @model_validator(mode="after")
    def _throughput_needs_an_end(self) -> Requirements:
        if self.objective is Objective.THROUGHPUT and (
            self.limits.budget_usd_per_hour is None and self.limits.gpus is None
        ):
            raise ValueError("objective 'throughput' needs --budget or --max-gpus: without one there is no most")
        return self
