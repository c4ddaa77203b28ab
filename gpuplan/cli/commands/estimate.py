"""`plan estimate`: how fast one configuration is at a concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import configuration as given
from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, asked_in, flag, option

if TYPE_CHECKING:
    from gpuplan.calculators import EstimateAnswer

SUMMARY = "How fast one configuration is: TTFT, TPOT and tokens per second at a concurrency."
EXAMPLES = ("plan estimate llama-3.3-70b --gpu H100 --tensor-parallel 4 --concurrency 64 --isl 2k --osl 300",)
LOAD = "At what load"

Concurrency = Annotated[int, option("--concurrency", "Requests always in flight", words.count, "COUNT", LOAD)]
Network = Annotated[
    float | None,
    option("--network", "GB/s per GPU in one direction between machines", words.rate, "RATE", given.LAYOUT),
]
Json = Annotated[bool, flag("--json", "One JSON object, in seconds", PRINTING)]
GIGA = 1e9


def command(
    context: typer.Context,
    name: given.Name = None,
    model: given.Model = None,
    gpu: given.Gpu = None,
    concurrency: Concurrency = 32,
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
    json: Json = False,
) -> int:
    """How fast one configuration is: TTFT, TPOT and tokens per second at a concurrency.

    Estimates one replica with so many requests always in flight (a closed loop), with the interval in which 9 of 10
    measured cases lie and what the estimate was fitted on.

    Exit status: 0 an estimate, 2 bad input, 3 memory does not hold so many requests.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the speed of the configuration that was asked for."""
    configured = given.configuration_of(asked, asked.network and asked.network * GIGA)
    from gpuplan.calculators import estimate_of

    answer = estimate_of(configured, asked.concurrency)
    if asked.json:
        console.show_json(answer.model_dump_json(indent=2))
    else:
        console.show(page(answer))
    return 0 if answer.fits else 3


def page(answer: EstimateAnswer) -> list[console.Line]:
    """The estimate's page."""
    from gpuplan.cli.layout_page import heading
    from gpuplan.cli.plan_page import between

    made, work = answer.estimate, answer.workload
    load = f"{made.concurrency:,} requests in flight, {work.input_tokens:,} tokens in and {work.output_tokens:,} out"
    rows: list[list[console.Part]] = [
        console.header(["", "expected", "9 of 10 within"]),
        ["output tok/s", *between(made.output_tokens_per_second, console.quantity)],
        ["requests/s", console.quantity(made.requests_per_second)],
        ["TTFT", *between(made.ttft_seconds, console.duration)],
        ["TPOT", *between(made.tpot_seconds, console.duration)],
        ["a decode step", console.duration(answer.decode_step_seconds)],
        ["a prompt", console.duration(answer.prefill_seconds)],
    ]
    if made.power_watts is not None:
        rows.append(["power", f"{made.power_watts:,.0f} W"])
    title = (console.Styled("Speed", "bold"), console.Styled(f"  {load}; {made.calibration}", "dim"))
    return [*heading(answer.layout), title, *console.aligned(rows, right=(1,)), *_verdict(answer)]


def _verdict(answer: EstimateAnswer) -> list[console.Line]:
    if answer.fits:
        return []
    said = (
        f"Memory does not hold {answer.estimate.concurrency:,} such requests at once: they would queue or be preempted."
    )
    return [(), (console.Styled(said, "red"),), ("  `plan memory` shows how many fit.",)]
