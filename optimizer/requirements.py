"""What is asked: the model, the work, the promises, the limits and what may be considered."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gpu_db.offer import Billing
from optimizer.memory.speculation import Method

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Tokens = Annotated[int, Field(ge=1, le=1 << 30)]

DEFAULT_INPUT_TOKENS = 1024
DEFAULT_OUTPUT_TOKENS = 512
DEFAULT_TIME_LIMIT_SECONDS = 10.0
DEFAULT_PERCENTILE = 95.0

# Far above anything that was ever served; they keep products of hostile numbers small.
MOST_LENGTHS = 1000
MOST_GUESSES = 1024
MOST_RANK = 65536
MOST_ADAPTERS = 65536
MOST_RANKS = 4096

MOST_CONFIDENCE = 0.99
"""Nothing rarer was seen often enough to learn from."""

MEAN_MAY_DIFFER = 0.1
"""Lengths whose mean is further from the mean request than this share contradict it."""


class Frozen(BaseModel):
    """A fact that enters or leaves the program: immutable, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Objective(StrEnum):
    """What makes one plan better than another that keeps the same promises."""

    COST = "cost"
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    ENERGY = "energy"


class LengthShare(Frozen):
    """How often requests of one length come: `tokens` of prompt and answer together, `weight` on any scale."""

    tokens: Tokens
    weight: Positive


class Workload(Frozen):
    """One mean request: its input and output lengths in tokens.

    Attributes:
        shared_prefix_tokens: of the input that all requests begin with; prefix caching keeps and computes them once.
        lengths: how long whole requests are when that differs; empty = all as long as the mean. Memory counts them;
            speed is that of the mean request.
    """

    input_tokens: Tokens = DEFAULT_INPUT_TOKENS
    output_tokens: Tokens = DEFAULT_OUTPUT_TOKENS
    shared_prefix_tokens: Annotated[int, Field(ge=0)] = 0
    lengths: Annotated[tuple[LengthShare, ...], Field(max_length=MOST_LENGTHS)] = ()

    @property
    def tokens_per_request(self) -> int:
        """Tokens that one request holds in the KV cache when it ends."""
        return self.input_tokens + self.output_tokens

    @property
    def prefix_hit_rate(self) -> float:
        """Share of the input tokens that prefix caching need not compute again.

        >>> Workload(input_tokens=1000, shared_prefix_tokens=250).prefix_hit_rate
        0.25
        """
        return self.shared_prefix_tokens / self.input_tokens

    @property
    def longest_request(self) -> int:
        """Tokens of the longest request that is expected."""
        return max((each.tokens for each in self.lengths), default=self.tokens_per_request)

    @property
    def mean_length(self) -> float:
        """Tokens of the mean request, by its lengths where they are given.

        >>> Workload(lengths=(LengthShare(tokens=1000, weight=3), LengthShare(tokens=9000, weight=1))).mean_length
        3000.0
        """
        weights = sum(each.weight for each in self.lengths)
        total = sum(each.tokens * each.weight for each in self.lengths)
        return total / weights if self.lengths else float(self.tokens_per_request)

    @model_validator(mode="after")
    def _a_prefix_is_part_of_the_input(self) -> Workload:
        if self.shared_prefix_tokens > self.input_tokens:
            raise ValueError(
                f"a shared prefix of {self.shared_prefix_tokens} tokens is longer than the input of "
                f"{self.input_tokens}; raise --isl or lower --shared-prefix-tokens"
            )
        return self


class SpeculativeDecoding(Frozen):
    """How tokens are guessed before the model checks them.

    Attributes:
        method: see `optimizer.memory.speculation.Speculation`, which is the same with the draft's shape.
        tokens: guessed per step.
        draft: name of the draft model or EAGLE head, or a folder with its config.json; None for methods without one.
        acceptance_rate: share of guesses that are right, given that those before them are. Speed needs it, memory does
            not; nobody but who knows the requests can tell it.
    """

    method: Method
    tokens: Annotated[int, Field(ge=1, le=MOST_GUESSES)] = 1
    draft: str | None = None
    acceptance_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class LoraAdapters(Frozen):
    """LoRA adapters that are loaded at once.

    Attributes:
        rank: the largest rank.
        loaded: adapters in one batch.
        targets: names of the linear layers that they change, such as "q_proj"; empty = all that the engine can adapt.
    """

    rank: Annotated[int, Field(ge=1, le=MOST_RANK)] = 16
    loaded: Annotated[int, Field(ge=1, le=MOST_ADAPTERS)] = 1
    targets: tuple[str, ...] = ()


class EngineOptions(Frozen):
    """What every replica is started with besides its layout, its formats and its limits.

    Attributes:
        speculation: None = no tokens are guessed.
        adapters: None = the model alone.
        decode_context_parallel: ranks that divide the tokens of a request among them.
        language_model_only: a vision tower is not loaded.
    """

    speculation: SpeculativeDecoding | None = None
    adapters: LoraAdapters | None = None
    decode_context_parallel: Annotated[int, Field(ge=1, le=MOST_RANKS)] = 1
    language_model_only: bool = False


class Demand(Frozen):
    """How much must be served, all users and all replicas together; None = not asked."""

    output_tokens_per_second: Positive | None = None
    requests_per_second: Positive | None = None
    concurrency: Count | None = None


class ServiceLevel(Frozen):
    """How fast every request must be answered, as the mean of one replica; None = not asked.

    Attributes:
        ttft_seconds, tpot_seconds: at most.
        confidence: the chance with which each of TTFT, TPOT and throughput is kept, by the estimates' error bars; 0.5
            plans with the estimates themselves.
        percentile: of the requests that come at random at a rate, in which TTFT and TPOT are kept; None = the 95th.
            Without a rate of requests it is the mean that is kept.
    """

    ttft_seconds: Positive | None = None
    tpot_seconds: Positive | None = None
    confidence: Annotated[float, Field(ge=0.5, le=MOST_CONFIDENCE, allow_inf_nan=False)] = 0.5
    percentile: Annotated[float, Field(ge=50, le=99.9, allow_inf_nan=False)] | None = None

    @property
    def held_percentile(self) -> float:
        """The percentile in which limits are kept under random arrivals."""
        return DEFAULT_PERCENTILE if self.percentile is None else self.percentile


class Limits(Frozen):
    """What the purchase may not exceed; None = no limit.

    Attributes:
        power_watts: of all GPUs under the planned load, those that idle included; hosts and cooling not counted.
    """

    budget_usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    power_watts: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Choices(Frozen):
    """What may be considered; None = everything that is considered by default.

    `prices_since` leaves out offers whose price was read before that day.
    """

    gpus: tuple[str, ...] | None = None
    gpus_excluded: tuple[str, ...] = ()
    providers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    billings: tuple[Billing, ...] = ("on-demand",)
    allowed_restrictions: tuple[str, ...] = ()
    prices_since: date | None = None
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

    `revision` is the branch, tag or commit of the model's repository on the Hub; None = the bundled model, or main.
    """

    model: str
    revision: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    workload: Workload = Workload()
    demand: Demand = Demand()
    service_level: ServiceLevel = ServiceLevel()
    limits: Limits = Limits()
    choices: Choices = Choices()
    options: EngineOptions = EngineOptions()
    objective: Objective = Objective.COST
    alternatives: Annotated[int, Field(ge=0, le=1000)] = 5
    time_limit_seconds: Positive = DEFAULT_TIME_LIMIT_SECONDS

    @property
    def wanted_output_tokens_per_second(self) -> float:
        """What throughput and request rate together ask for; 0 when neither is asked."""
        by_requests = (self.demand.requests_per_second or 0.0) * self.workload.output_tokens
        return max(self.demand.output_tokens_per_second or 0.0, by_requests)

    @model_validator(mode="after")
    def _lengths_agree_with_the_mean_request(self) -> Requirements:
        said, mean = self.workload.tokens_per_request, self.workload.mean_length
        if abs(mean - said) > MEAN_MAY_DIFFER * said:
            raise ValueError(
                f"--lengths average {mean:.0f} tokens, --isl and --osl together {said}: give the mean request of "
                "these lengths, so that speed is estimated for the same work"
            )
        return self

    @model_validator(mode="after")
    def _percentiles_are_of_arrivals(self) -> Requirements:
        if self.demand.requests_per_second is None:
            if self.service_level.percentile is not None:
                raise ValueError(
                    "--percentile is of requests that come at random: it needs --requests-per-second; --min-tps and "
                    "--concurrency keep TTFT and TPOT as means"
                )
        elif self.objective is Objective.LATENCY:
            raise ValueError(
                "objective 'latency' has no least at a rate of arrivals: fewer are always faster; give --concurrency "
                "or --min-tps instead of --requests-per-second"
            )
        return self

    @model_validator(mode="after")
    def _throughput_needs_an_end(self) -> Requirements:
        if self.objective is Objective.THROUGHPUT and (
            self.limits.budget_usd_per_hour is None and self.limits.gpus is None
        ):
            raise ValueError("objective 'throughput' needs --budget or --max-gpus: without one there is no most")
        return self
