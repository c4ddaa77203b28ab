"""`plan memory`: the VRAM calculator of one configuration."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import additions as added
from gpuplan.cli import configuration as given
from gpuplan.cli import console
from gpuplan.cli.options import PRINTING, Asked, asked_in, flag

if TYPE_CHECKING:
    from gpuplan.calculators.answers import MemoryAnswer
    from gpuplan.calculators.remedies import AdvisedMemory

SUMMARY = "What one configuration needs of each GPU's memory, part by part."
EXAMPLES = (
    "plan memory llama-3.3-70b --gpu H100 --tensor-parallel 4 --max-model-len 32K",
    "plan memory deepseek-v3 --gpu H200 --tensor-parallel 8 --kv-cache-dtype fp8 --json",
)

Json = Annotated[bool, flag("--json", "One JSON object, in bytes", PRINTING)]


def command(
    context: typer.Context,
    name: given.Name = None,
    model: given.Model = None,
    revision: given.Revision = None,
    offline: given.Offline = False,
    gpu: given.Gpu = None,
    mig: given.Mig = None,
    share: given.Shares = None,
    tensor_parallel: given.TensorParallel = 1,
    pipeline_parallel: given.PipelineParallel = 1,
    data_parallel: given.DataParallel = 1,
    expert_parallel: given.ExpertParallel = False,
    decode_context_parallel: added.ContextParallel = 1,
    nodes: given.Nodes = None,
    engine: given.Engine = "vllm",
    engine_version: given.EngineVersion = None,
    quantization: given.WeightFormat = None,
    kv_cache_dtype: given.CacheFormat = None,
    gpu_memory_utilization: given.Utilization = None,
    max_model_len: given.MaxModelLen = None,
    max_num_seqs: given.MaxNumSeqs = None,
    max_num_batched_tokens: given.MaxBatchedTokens = None,
    enforce_eager: given.EnforceEager = False,
    cpu_offload_gb: given.CpuOffload = None,
    speculative: added.Speculative = None,
    max_lora_rank: added.LoraRank = None,
    max_loras: added.Loras = None,
    lora_target_modules: added.LoraTargets = None,
    language_model_only: added.LanguageModelOnly = False,
    isl: given.InputTokens = 1024,
    osl: given.OutputTokens = 512,
    lengths: added.Lengths = None,
    shared_prefix_tokens: added.SharedPrefix = None,
    prefix_hit_rate: added.PrefixHitRate = None,
    json: Json = False,
) -> int:
    """What one configuration needs of each GPU's memory, part by part.

    Prints the bytes of the fullest GPU, the tokens that its KV cache holds, and how many requests of a given length
    fit.

    Exit status: 0 the engine starts, 2 bad input, 3 it does not fit.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the memory of the configuration that was asked for."""
    configured = given.configuration_of(asked)
    from gpuplan.calculators.remedies import advised_memory_of

    answer = advised_memory_of(configured)
    console.show_answer(answer, lambda ink: page(answer, ink), as_json=asked.json)
    return 0 if answer.starts else 3


def page(answer: AdvisedMemory, ink: console.Ink) -> list[console.Line]:
    """The calculator's page."""
    from gpuplan.cli.layout_page import heading
    from gpuplan.cli.plan_page import memory_rows

    memory, layout = answer.memory, answer.layout
    title = console.Styled(f"Memory of each {layout.gpu}", "bold")
    return [
        *heading(layout, ink),
        (title,),
        *memory_rows(memory, ink),
        (),
        *_capacity(answer),
        *_verdict(answer),
        *(
            line
            for sentence in answer.warnings
            for line in console.wrapped(sentence, ink.width, 2, "yellow", mark="! ")
        ),
        *_command(answer),
    ]


def _capacity(answer: MemoryAnswer) -> list[console.Line]:
    from gpuplan.cli.plan_page import lengths_of

    memory = answer.memory
    rows: list[list[console.Part]] = [
        ["one token of context", f"{memory.kv_bytes_per_token:,.0f}", "bytes per GPU"],
        ["KV cache holds", f"{memory.kv_tokens:,}", "tokens"],
        [f"requests of {lengths_of(answer.workload)} tokens", f"{memory.requests_that_fit:,}", "at once"],
        ["longest single request", f"{answer.longest_context:,}", "tokens"],
    ]
    for one in answer.requests_by_context:
        rows.append([f"requests of {one.tokens:,} tokens", f"{one.requests:,}", "at once"])
    if answer.state_bytes_per_request:
        rows.insert(1, ["recurrent state of one request", f"{answer.state_bytes_per_request:,}", "bytes per GPU"])
    return console.aligned(rows, right=(1,))


def _command(answer: AdvisedMemory) -> list[console.Line]:
    """What starts it, quoted for a POSIX shell."""
    return [(), (console.Styled("Run", "bold"),), (f"  {shlex.join(answer.command)}",)] if answer.starts else []


def _verdict(answer: AdvisedMemory) -> list[console.Line]:
    if answer.starts:
        return []
    works = [(f"  {one.option} {one.value}",) for one in answer.remedies]
    title = "What would make it start (each alone, tried):" if works else "No single change makes it start."
    return [(), (console.Styled(_why_not(answer), "red"),), *_missing(answer), (title,), *works]


def _why_not(answer: MemoryAnswer) -> str:
    layout, memory = answer.layout, answer.memory
    if answer.longest_context < layout.max_model_len:
        return f"It does not fit: one request of max_model_len {layout.max_model_len:,} has no room."
    free = console.gib(memory.total_bytes - memory.occupied_bytes)
    return f"It does not start: its share of {console.gib(memory.budget_bytes)} GiB is not free; {free} GiB are."


def _missing(answer: MemoryAnswer) -> list[console.Line]:
    size = console.gib(-min(answer.memory.kv_cache_bytes, 0))
    return [(f"  {size} GiB are missing on each GPU",)] if answer.memory.kv_cache_bytes < 0 else []
