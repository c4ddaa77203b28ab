"""`plan estimate`: how fast one configuration is at a concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import additions as added
from gpuplan.cli import configuration as given
from gpuplan.cli import console, words
from gpuplan.cli import place as stands
from gpuplan.cli.options import PRINTING, Asked, asked_in, factor_folder, flag, option
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.calculators.configuration import WhatIf

SUMMARY = "How fast one configuration is: TTFT, TPOT and tokens per second at a concurrency."
EXAMPLES = (
    "plan estimate llama-3.3-70b --gpu H100 --tensor-parallel 4 --concurrency 64 --isl 2k --osl 300",
    "plan estimate gpt-oss-120b --gpu H200 --max-tpot 20ms --max-ttft 1s --price 2.50 --region eu-north-1 --json",
)
LOAD = "At what load"
WHAT_IF = "What if"

Concurrency = Annotated[int, option("--concurrency", "Requests always in flight", words.count, "COUNT", LOAD)]
Network = Annotated[
    float | None,
    option("--network", "GB/s per GPU in one direction between machines", words.rate, "RATE", given.LAYOUT),
]
MaxTtft = Annotated[
    float | None,
    option("--max-ttft", "Time to first token that the largest load keeps", words.seconds, "SECONDS", WHAT_IF),
]
MaxTpot = Annotated[
    float | None,
    option("--max-tpot", "Time per output token that the largest load keeps", words.seconds, "SECONDS", WHAT_IF),
]
Confidence = Annotated[
    float,
    option("--confidence", "Chance that each limit is kept; 0.5 is the estimates", words.confidence, "SHARE", WHAT_IF),
]
Rate = Annotated[
    float | None,
    option("--requests-per-second", "Requests that come at random, besides", words.rate, "RATE", LOAD),
]
Percentile = Annotated[
    float | None,
    option(
        "--percentile",
        "With --requests-per-second: what is asked of so many of 100 requests (default 95)",
        words.percentile,
        "PERCENT",
        WHAT_IF,
    ),
]
Price = Annotated[float | None, option("--price", "USD per hour of one GPU", words.price, "USD", WHAT_IF)]
Fitted = Annotated[str | None, factor_folder(WHAT_IF)]
Region = Annotated[
    str | None,
    option("--region", "A provider's region (eu-north-1) or a grid (country:SWE)", words.name, "NAME", stands.PLACE),
]
Json = Annotated[bool, flag("--json", "One JSON object, in seconds", PRINTING)]
GIGA = 1e9


def command(
    context: typer.Context,
    name: given.Name = None,
    model: given.Model = None,
    revision: given.Revision = None,
    offline: given.Offline = False,
    gpu: given.Gpu = None,
    concurrency: Concurrency = 32,
    requests_per_second: Rate = None,
    isl: given.InputTokens = 1024,
    osl: given.OutputTokens = 512,
    tensor_parallel: given.TensorParallel = 1,
    pipeline_parallel: given.PipelineParallel = 1,
    data_parallel: given.DataParallel = 1,
    expert_parallel: given.ExpertParallel = False,
    nodes: given.Nodes = None,
    network: Network = None,
    engine: given.Engine = "vllm",
    engine_version: given.EngineVersion = None,
    quantization: given.WeightFormat = None,
    kv_cache_dtype: given.CacheFormat = None,
    gpu_memory_utilization: given.Utilization = None,
    max_model_len: given.MaxModelLen = None,
    max_num_seqs: given.MaxNumSeqs = None,
    max_num_batched_tokens: given.MaxBatchedTokens = None,
    enforce_eager: given.EnforceEager = False,
    speculative: added.Speculative = None,
    acceptance_rate: added.Acceptance = None,
    max_lora_rank: added.LoraRank = None,
    max_loras: added.Loras = None,
    lora_target_modules: added.LoraTargets = None,
    language_model_only: added.LanguageModelOnly = False,
    lengths: added.Lengths = None,
    shared_prefix_tokens: added.SharedPrefix = None,
    prefix_hit_rate: added.PrefixHitRate = None,
    max_ttft: MaxTtft = None,
    max_tpot: MaxTpot = None,
    confidence: Confidence = 0.5,
    percentile: Percentile = None,
    price: Price = None,
    factors: Fitted = None,
    region: Region = None,
    grid: stands.Grid = None,
    electricity: stands.Electricity = None,
    pue: stands.Pue = None,
    json: Json = False,
) -> int:
    """How fast one configuration is: TTFT, TPOT and tokens per second at a concurrency.

    Estimates one replica with so many requests always in flight (a closed loop), with the interval in which 9 of 10
    measured cases lie and what the estimate was fitted on; with --requests-per-second also what requests meet that come
    at random. Shows where a step's time goes and how near it is to what
    the datasheet allows, what other loads would give, the largest load that a service level allows, and energy.

    Exit status: 0 an estimate, 2 bad input, 3 memory does not hold so many requests.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the speed of the configuration that was asked for."""
    configured = given.configuration_of(asked, asked.network and asked.network * GIGA)
    from gpuplan.calculators.speed import estimate_of
    from gpuplan.cli.estimate_page import page

    answer = estimate_of(configured, asked.concurrency, what_if_of(asked))
    console.show_answer(answer, lambda ink: page(answer, ink), as_json=asked.json)
    return 0 if answer.fits else 3


def what_if_of(asked: Asked) -> WhatIf:
    """What was typed beside the configuration."""
    from gpuplan.calculators.configuration import WhatIf
    from optimizer.requirements import ServiceLevel

    if asked.percentile is not None and asked.requests_per_second is None:
        raise BadWord("--percentile is of requests that come at random: it needs --requests-per-second.")
    return WhatIf(
        service_level=ServiceLevel(
            ttft_seconds=asked.max_ttft,
            tpot_seconds=asked.max_tpot,
            confidence=asked.confidence,
            percentile=asked.percentile,
        ),
        requests_per_second=asked.requests_per_second,
        usd_per_gpu_hour=asked.price,
        place=stands.place_of(asked, asked.region),
        factors_dir=asked.factors,
    )
