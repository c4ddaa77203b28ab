"""The main job: one question, the proven-cheapest deployment or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_db.offer import BILLINGS, RESTRICTIONS
from gpuplan.cli import words
from gpuplan.cli.options import Asked, Command, Group, Option

if TYPE_CHECKING:
    from optimizer.plan import Plan

_SERVED = Group(
    "What is served",
    (
        Option("--model", "A bundled model's name or alias, or a folder with its config.json", words.name, "NAME"),
        Option("--isl", "Input tokens of the mean request", words.tokens, "TOKENS", 1024),
        Option("--osl", "Output tokens of the mean request", words.tokens, "TOKENS", 512),
        Option("--max-model-len", "Longest request to accept, input and output", words.tokens, "TOKENS"),
    ),
)
_DEMAND = Group(
    "How much (all users and replicas together; at least one)",
    (
        Option("--min-tps", "Output tokens per second", words.rate, "RATE"),
        Option("--requests-per-second", "Requests per second", words.rate, "RATE"),
        Option("--concurrency", "Requests in flight at once", words.count, "COUNT"),
    ),
)
_SPEED = Group(
    "How fast (mean of a replica at its planned concurrency)",
    (
        Option("--max-ttft", "Time to first token: 0.5, 500ms", words.seconds, "SECONDS"),
        Option("--max-tpot", "Time per output token after the first: 0.025, 25ms", words.seconds, "SECONDS"),
    ),
)
_LIMITS = Group(
    "What it may cost",
    (
        Option("--budget", "USD per hour for everything", words.price, "USD"),
        Option("--max-gpus", "GPUs in all", words.count_or_none, "COUNT"),
    ),
)
_CHOICES = Group(
    "What may be considered (default: everything sensible)",
    (
        Option("--gpu", "Only these GPUs, by any of their names", words.name, "NAME", many=True),
        Option("--exclude-gpu", "Not these GPUs", words.name, "NAME", many=True),
        Option("--provider", "Only these providers", words.name, "NAME", many=True),
        Option(
            "--region", "Only these regions: us, eu, asia, or the provider's own word", words.name, "NAME", many=True
        ),
        Option(
            "--billing",
            "Ways of paying; default on-demand",
            words.name,
            "KIND",
            many=True,
            choices=BILLINGS,
        ),
        Option(
            "--allow",
            "Offers that are planned with only when asked for",
            words.name,
            "KIND",
            many=True,
            choices=RESTRICTIONS,
        ),
        Option("--offers", "A CSV of your own machines and prices, which add to or override ours", words.name, "FILE"),
        Option(
            "--quantization",
            "Weight formats: bf16, fp8, int8, int4, nvfp4, ...; default the checkpoint's own and fp8",
            words.name,
            "NAME",
            many=True,
        ),
        Option(
            "--kv-cache-dtype",
            "KV-cache formats: bf16, fp8; default the checkpoint's own, else bf16",
            words.name,
            "NAME",
            many=True,
        ),
        Option("--engine", "Serving engines: vllm, sglang==0.5.9, ...; default vllm", words.name, "NAME", many=True),
        Option("--tensor-parallel", "Exactly this TP", words.count, "COUNT"),
        Option("--pipeline-parallel", "Exactly this PP", words.count, "COUNT"),
        Option("--no-mix", "One kind of machine and one kind of replica only"),
    ),
)
_SOLVING = Group(
    "What is best, and how long to look for it",
    (
        Option(
            "--objective",
            "What to make best among plans that keep every promise",
            words.name,
            "GOAL",
            "cost",
            choices=("cost", "throughput", "latency", "energy"),
        ),
        Option("--alternatives", "How many next-best plans to show", words.count_or_none, "COUNT", 5),
        Option("--time-limit", "Seconds that the solver may take", words.seconds, "SECONDS", 10.0),
    ),
)
_PRINTING = Group(
    "What is printed",
    (
        Option("--json", "One JSON object on stdout (its schema: `plan schema`)"),
        Option("--quiet", "The plan in one line, and the command that serves it", short="-q"),
        Option("--verbose", "All alternatives and rejections", short="-v"),
        Option("--version", "Show the version and leave"),
    ),
)

COMMAND = Command(
    words="",
    summary="The cheapest deployment of a language model that keeps its promises, proven optimal, offline.",
    description="""
        Prints what to rent and how to serve on it, memory per GPU part by part, expected speed with its error bars,
        the proof that nothing cheaper keeps the promises, the best alternative on each other GPU, and the command to
        run. When nothing fits, prints which rules conflict and the cheapest change of each that gives a plan.

        Numbers of tokens take k, m (thousands, millions) and K, M (1024, 1024 squared). Times take ms and s; a bare
        number is in seconds.

        Exit status: 0 a plan, 2 bad input or an unknown name, 3 nothing fits.
    """,
    groups=(_SERVED, _DEMAND, _SPEED, _LIMITS, _CHOICES, _SOLVING, _PRINTING),
    examples=(
        "plan --model meta-llama/Llama-3.3-70B-Instruct --min-tps 500 --budget 10",
        "plan --model qwen3-30b-a3b --requests-per-second 4 --isl 2k --osl 300 --max-tpot 25ms --gpu H100,H200",
        "plan --model ./my-model --concurrency 64 --offers machines.csv --billing owned --json",
    ),
)


def run(asked: Asked) -> int:
    """Answer the question that was typed."""
    if asked.version:
        return _show_version()
    from gpuplan.cli.question import requirements_of
    from gpuplan.planning import plan

    answer = plan(requirements_of(asked), offers_file=asked.offers)
    _show(answer, asked)
    return 3 if answer.status == "infeasible" else 0


def _show_version() -> int:
    from gpuplan import __version__
    from gpuplan.cli import console

    console.show([(f"gpuplan {__version__}",)])
    return 0


def _show(answer: Plan, asked: Asked) -> None:
    from gpuplan.cli import console, plan_page

    if asked.json:
        console.show_json(answer.model_dump_json(indent=2))
    elif asked.quiet:
        console.show(plan_page.short(answer))
    else:
        console.show(plan_page.full(answer, console.screen(), verbose=asked.verbose))
