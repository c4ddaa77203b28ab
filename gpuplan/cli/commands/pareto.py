"""`plan pareto`: what each saving costs in latency, throughput, energy or quality."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from gpuplan.cli import words
from gpuplan.cli.commands import plan as main_job
from gpuplan.cli.options import PRINTING, Asked, asked_in, flag, option, several

SUMMARY = "The front of one model: cost against latency, throughput, energy and quality."
EXAMPLES = (
    "plan pareto --model llama-3.3-70b --min-tps 2000",
    "plan pareto --model qwen3-30b-a3b --min-tps 5000 --axis cost,tpot,quality --gpu H100,H200,L40S",
    "plan pareto --model llama-3.1-8b --concurrency 64 --axis cost,energy --json",
)
AXES = ("cost", "latency", "ttft", "tpot", "throughput", "energy", "quality")
COMPARED = "What is compared"

Axes = Annotated[
    list[str] | None, several("--axis", "What plans are compared in (default cost,latency)", "NAME", COMPARED, AXES)
]
Points = Annotated[
    int, option("--points", "How many plans to print; all are in --json", words.count, "COUNT", PRINTING)
]
Json = Annotated[bool, flag("--json", "One JSON object on stdout (its schema: `plan schema pareto`)", PRINTING)]


def command(
    context: typer.Context,
    model: main_job.Model = None,
    revision: main_job.Revision = None,
    offline: main_job.Offline = False,
    isl: main_job.InputTokens = 1024,
    osl: main_job.OutputTokens = 512,
    max_model_len: main_job.MaxModelLen = None,
    min_tps: main_job.MinTps = None,
    requests_per_second: main_job.Requests = None,
    concurrency: main_job.Concurrency = None,
    max_ttft: main_job.MaxTtft = None,
    max_tpot: main_job.MaxTpot = None,
    confidence: main_job.Confidence = 0.5,
    budget: main_job.Budget = None,
    max_gpus: main_job.MaxGpus = None,
    max_power: main_job.MaxPower = None,
    axis: Axes = None,
    gpu: main_job.Gpus = None,
    exclude_gpu: main_job.NotGpus = None,
    provider: main_job.Providers = None,
    region: main_job.Regions = None,
    billing: main_job.Billings = None,
    allow: main_job.Allowed = None,
    offers: main_job.Offers = None,
    prices_since: main_job.PricesSince = None,
    factors: main_job.Fitted = None,
    quantization: main_job.WeightFormats = None,
    kv_cache_dtype: main_job.CacheFormats = None,
    engine: main_job.Engines = None,
    points: Points = 30,
    json: Json = False,
) -> int:
    """Every plan that no other beats: what a lower cost means for latency, throughput, energy or quality.

    A plan here is as many replicas of one kind as the demand needs (one replica without a demand), each full: all of
    them are compared, so each point is the cheapest that is no worse in the other axes. Where several kinds together
    cost less, that cost stands beside it, proven by the solver. Latency is a whole request's: TTFT and the time of all
    its tokens. Quality is the order of the weights' precision, no measure of answers.

    Exit status: 0 a front, 2 bad input or an unknown name, 3 nothing fits.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Answer what was typed."""
    from gpuplan.cli import console, pareto_page
    from gpuplan.cli.question import requirements_of
    from gpuplan.pareto import front_of

    parameters = inspect.signature(main_job.command).parameters
    defaults = {name: one.default for name, one in parameters.items() if name != "context"}
    question = requirements_of(Asked(**(defaults | vars(asked))))
    axes = tuple(dict.fromkeys(asked.axis or ("cost", "latency")))
    found = front_of(question, axes, offers_file=asked.offers, factors_dir=asked.factors, offline=asked.offline)
    console.show_answer(found, lambda ink: pareto_page.full(found, ink, most=asked.points), as_json=asked.json)
    return 0 if found.points else 3
