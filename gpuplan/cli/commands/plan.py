"""The main job: one question, the proven-cheapest deployment or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpu_db.offer import BILLINGS, RESTRICTIONS
from gpuplan.cli import additions as added
from gpuplan.cli import place as stands
from gpuplan.cli import saved, words
from gpuplan.cli.options import (
    MODEL_HELP,
    OFFLINE_HELP,
    PRINTING,
    REVISION_HELP,
    Asked,
    asked_in,
    factor_folder,
    flag,
    given_in,
    option,
    several,
)

if TYPE_CHECKING:
    from optimizer.plan import Plan

SERVED = "What is served"
DEMAND = "How much, all users and replicas together (at least one)"
SPEED = "How fast and how surely (means at full concurrency, or of a percentile at a rate of requests)"
LIMITS = "What it may cost"
CHOICES = "What may be considered (default: everything sensible)"
GOAL = "What is best, and how long to look for it"

DEPLOYED = "Files that start it"

SUMMARY = "The cheapest deployment of a language model that keeps its promises, proven optimal, offline."
OBJECTIVES = ("cost", "throughput", "latency", "energy")
EXAMPLES = (
    "plan --model meta-llama/Llama-3.3-70B-Instruct --min-tps 500 --budget 10",
    "plan --model qwen3-30b-a3b --requests-per-second 4 --isl 2k --osl 300 --max-tpot 25ms --gpu H100,H200",
    "plan --model ./my-model --concurrency 64 --offers machines.csv --billing owned --json",
)

Model = Annotated[
    str | None,
    option("--model", MODEL_HELP, words.name, "NAME", SERVED),
]
Revision = Annotated[str | None, option("--revision", REVISION_HELP, words.name, "NAME", SERVED)]
Offline = Annotated[bool, flag("--offline", OFFLINE_HELP, SERVED)]
InputTokens = Annotated[int, option("--isl", "Input tokens of the mean request", words.tokens, "TOKENS", SERVED)]
OutputTokens = Annotated[int, option("--osl", "Output tokens of the mean request", words.tokens, "TOKENS", SERVED)]
MaxModelLen = Annotated[
    int | None,
    option("--max-model-len", "Longest request to accept, input and output", words.tokens, "TOKENS", SERVED),
]
MinTps = Annotated[float | None, option("--min-tps", "Output tokens per second", words.rate, "RATE", DEMAND)]
Requests = Annotated[float | None, option("--requests-per-second", "Requests per second", words.rate, "RATE", DEMAND)]
Concurrency = Annotated[int | None, option("--concurrency", "Requests in flight at once", words.count, "COUNT", DEMAND)]
MaxTtft = Annotated[
    float | None, option("--max-ttft", "Time to first token: 0.5, 500ms", words.seconds, "SECONDS", SPEED)
]
MaxTpot = Annotated[
    float | None,
    option("--max-tpot", "Time per output token after the first: 0.025, 25ms", words.seconds, "SECONDS", SPEED),
]
Confidence = Annotated[
    float,
    option(
        "--confidence",
        "Chance that each of throughput, TTFT and TPOT is kept; 0.5 plans with the estimates themselves",
        words.confidence,
        "SHARE",
        SPEED,
    ),
]
Percentile = Annotated[
    float | None,
    option(
        "--percentile",
        "With --requests-per-second: TTFT and TPOT are kept for so many of 100 requests (default 95)",
        words.percentile,
        "PERCENT",
        SPEED,
    ),
]
Budget = Annotated[float | None, option("--budget", "USD per hour for everything", words.price, "USD", LIMITS)]
MaxGpus = Annotated[int | None, option("--max-gpus", "GPUs in all", words.count_or_none, "COUNT", LIMITS)]
MaxPower = Annotated[
    float | None,
    option(
        "--max-power", "Watts of all GPUs under the planned load (no hosts): 5000, 5kW", words.watts, "WATTS", LIMITS
    ),
]
Gpus = Annotated[list[str] | None, several("--gpu", "Only these GPUs, by any of their names", "NAME", CHOICES)]
NotGpus = Annotated[list[str] | None, several("--exclude-gpu", "Not these GPUs", "NAME", CHOICES)]
Providers = Annotated[list[str] | None, several("--provider", "Only these providers", "NAME", CHOICES)]
Regions = Annotated[
    list[str] | None,
    several("--region", "Only these regions: us, eu, asia, or the provider's own word", "NAME", CHOICES),
]
Billings = Annotated[
    list[str] | None, several("--billing", "Ways of paying (default on-demand)", "KIND", CHOICES, BILLINGS)
]
Allowed = Annotated[
    list[str] | None,
    several("--allow", "Offers that are planned with only when asked for", "KIND", CHOICES, RESTRICTIONS),
]
Offers = Annotated[
    str | None,
    option(
        "--offers", "A CSV of your own machines and prices: they add to or override ours", words.name, "FILE", CHOICES
    ),
]
PricesAsOf = Annotated[
    object | None,
    option("--prices-as-of", "Plan with the prices that were known on this day", words.day, "YYYY-MM-DD", CHOICES),
]
PricesSince = Annotated[
    object | None,
    option("--prices-since", "Leave out prices that were read before this day", words.day, "YYYY-MM-DD", CHOICES),
]
Fitted = Annotated[str | None, factor_folder(CHOICES)]
WeightFormats = Annotated[
    list[str] | None,
    several(
        "--quantization",
        "Weight formats: bf16, fp8, int8, int4, nvfp4, ... (default the checkpoint's own and fp8)",
        "NAME",
        CHOICES,
    ),
]
CacheFormats = Annotated[
    list[str] | None,
    several(
        "--kv-cache-dtype",
        "KV-cache formats: auto, bf16, fp8, ... (default auto: the checkpoint's own, else bf16)",
        "NAME",
        CHOICES,
    ),
]
Engines = Annotated[
    list[str] | None,
    several(
        "--engine", "Serving engines: vllm, sglang, tensorrt-llm, vllm==0.32.0, ... (default vllm)", "NAME", CHOICES
    ),
]
TensorParallel = Annotated[int | None, option("--tensor-parallel", "Exactly this TP", words.count, "COUNT", CHOICES)]
PipelineParallel = Annotated[
    int | None, option("--pipeline-parallel", "Exactly this PP", words.count, "COUNT", CHOICES)
]
NoMix = Annotated[bool, flag("--no-mix", "One kind of machine and one kind of replica only", CHOICES)]
Goal = Annotated[
    str,
    option("--objective", "What to make best while every promise is kept", words.name, "GOAL", GOAL, OBJECTIVES),
]
Alternatives = Annotated[
    int, option("--alternatives", "How many next-best plans to find", words.count_or_none, "COUNT", GOAL)
]
TimeLimit = Annotated[float, option("--time-limit", "Time that the solver may take", words.seconds, "SECONDS", GOAL)]
Json = Annotated[bool, flag("--json", "One JSON object on stdout (its schema: `plan schema`)", PRINTING)]
Quiet = Annotated[bool, flag("--quiet -q", "The plan in one line, and the command that serves it", PRINTING)]
Verbose = Annotated[bool, flag("--verbose -v", "All alternatives and rejections", PRINTING)]
Deploy = Annotated[
    str | None, option("--deploy", "Write the files that start the plan into this folder", words.name, "DIR", DEPLOYED)
]
Formats = Annotated[
    list[str] | None,
    several("--format", "Only these; `plan deploy --list` names them (default all that can run it)", "NAME", DEPLOYED),
]
Force = Annotated[bool, flag("--force", "Replace files that exist", DEPLOYED)]
Version = Annotated[bool, flag("--version", "Show the version and leave", PRINTING)]


def command(
    context: typer.Context,
    model: Model = None,
    revision: Revision = None,
    offline: Offline = False,
    isl: InputTokens = 1024,
    osl: OutputTokens = 512,
    lengths: added.Lengths = None,
    shared_prefix_tokens: added.SharedPrefix = None,
    prefix_hit_rate: added.PrefixHitRate = None,
    max_model_len: MaxModelLen = None,
    speculative: added.Speculative = None,
    acceptance_rate: added.Acceptance = None,
    max_lora_rank: added.LoraRank = None,
    max_loras: added.Loras = None,
    lora_target_modules: added.LoraTargets = None,
    language_model_only: added.LanguageModelOnly = False,
    min_tps: MinTps = None,
    requests_per_second: Requests = None,
    concurrency: Concurrency = None,
    max_ttft: MaxTtft = None,
    max_tpot: MaxTpot = None,
    confidence: Confidence = 0.5,
    percentile: Percentile = None,
    budget: Budget = None,
    max_gpus: MaxGpus = None,
    max_power: MaxPower = None,
    gpu: Gpus = None,
    exclude_gpu: NotGpus = None,
    provider: Providers = None,
    region: Regions = None,
    billing: Billings = None,
    allow: Allowed = None,
    offers: Offers = None,
    prices_as_of: PricesAsOf = None,
    prices_since: PricesSince = None,
    factors: Fitted = None,
    quantization: WeightFormats = None,
    kv_cache_dtype: CacheFormats = None,
    engine: Engines = None,
    tensor_parallel: TensorParallel = None,
    pipeline_parallel: PipelineParallel = None,
    decode_context_parallel: added.ContextParallel = 1,
    no_mix: NoMix = False,
    grid: stands.Grid = None,
    electricity: stands.Electricity = None,
    pue: stands.Pue = None,
    objective: Goal = "cost",
    alternatives: Alternatives = 5,
    time_limit: TimeLimit = 10.0,
    save: saved.Save = None,
    from_: saved.From = None,
    url: saved.Url = False,
    from_url: saved.FromUrl = None,
    deploy: Deploy = None,
    format: Formats = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    version: Version = False,
) -> int | None:
    """The cheapest deployment of a language model that keeps its promises, proven optimal, offline.

    Prints what to rent and how to serve on it, memory per GPU part by part, expected speed with its error bars, the
    proof that nothing cheaper keeps the promises, the best alternative on each other GPU, and the command to run. When
    nothing fits, prints which rules conflict and the cheapest change of each that gives a plan.

    Numbers of tokens take k, m (thousands, millions) and K, M (1024, 1024 squared). Times take ms and s; a bare number
    is in seconds.

    Exit status: 0 a plan, 2 bad input or an unknown name, 3 nothing fits.
    """
    if context.invoked_subcommand is None:
        return run(saved.taken_up(asked_in(context), given_in(context)))
    stray = given_in(context)
    if stray:
        option_name = stray[0].rstrip("_").replace("_", "-")
        raise typer.BadParameter(f"--{option_name} belongs to the main job; options of a command stand after its name")
    return None


def run(asked: Asked) -> int:
    """Answer the question that was typed."""
    if asked.version:
        return _show_version()
    if asked.url:
        return _show_link(asked)
    if asked.deploy is None and (asked.format or asked.force):
        raise typer.BadParameter("--format and --force are about the files of --deploy DIR, which was not given")
    from gpuplan.cli.question import requirements_of
    from gpuplan.planning import plan

    files = {"offers_file": asked.offers, "factors_dir": asked.factors, "prices_as_of": asked.prices_as_of}
    answer = plan(requirements_of(asked), **files, place=stands.place_of(asked), offline=asked.offline)
    if asked.save is not None:
        saved.save(answer, asked)
    _show(answer, asked)
    if asked.deploy is not None and answer.status != "infeasible":
        _deploy(answer, asked)
    return 3 if answer.status == "infeasible" else 0


def _deploy(answer: Plan, asked: Asked) -> None:
    """Write the files that start the plan; what was written is said where nothing else is read from stdout."""
    from pathlib import Path

    from gpuplan.cli.commands.deploy import write_files
    from gpuplan.deploy.deployment import deployment_of

    deployment = deployment_of(answer, folder=Path.cwd())
    write_files(deployment, asked.format or (), Path(asked.deploy), overwrite=asked.force, silent=asked.json)


def _show_version() -> int:
    from gpuplan import __version__
    from gpuplan.cli import console

    console.show([(f"gpuplan {__version__}",)])
    return 0


def _show_link(asked: Asked) -> int:
    import json

    from gpuplan.cli import console

    link = saved.fragment(asked)
    if asked.json:
        console.show_json(json.dumps({"fragment": link}))
    else:
        console.show([(link,)])
    return 0


def _show(answer: Plan, asked: Asked) -> None:
    from gpuplan.cli import console

    def page(ink: console.Ink) -> list[console.Line]:
        from gpuplan.cli import plan_page

        return plan_page.short(answer) if asked.quiet else plan_page.full(answer, ink, verbose=asked.verbose)

    console.show_answer(answer, page, as_json=asked.json)
