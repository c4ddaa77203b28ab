"""Options of one configuration, shared by the commands that calculate for it -> Configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplan.cli import words
from gpuplan.cli.options import Asked, Group, Option
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.calculators import Configuration

SERVED = Group(
    "What is served, on what",
    (
        Option("--model", "A bundled model's name or alias, or a folder with its config.json", words.name, "NAME"),
        Option("--gpu", "The GPU, by any of its names", words.name, "NAME"),
    ),
)
PARALLELISM = Group(
    "How it is laid out",
    (
        Option("--tensor-parallel", "TP", words.count, "COUNT", 1),
        Option("--pipeline-parallel", "PP", words.count, "COUNT", 1),
        Option("--data-parallel", "Attention-DP ranks inside the replica", words.count, "COUNT", 1),
        Option("--expert-parallel", "Deal whole experts out over all TP x DP ranks"),
        Option("--nodes", "Machines; default as few as hold the GPUs", words.count, "COUNT"),
    ),
)
ENGINE = Group(
    "How the engine is started (default: as the engine itself would)",
    (
        Option("--engine", "vllm, sglang, tensorrt-llm", words.name, "NAME", "vllm"),
        Option("--engine-version", "Its version; default the newest that is described", words.name, "VERSION"),
        Option("--quantization", "Weight format; default the checkpoint's own", words.name, "NAME"),
        Option("--kv-cache-dtype", "KV-cache format; default the checkpoint's own, else bf16", words.name, "NAME"),
        Option("--gpu-memory-utilization", "Share of memory that the engine may take", words.share, "SHARE"),
        Option("--max-model-len", "Longest request; default the model's context", words.tokens, "TOKENS"),
        Option("--max-num-seqs", "Requests at once, per attention-DP rank", words.count, "COUNT"),
        Option("--max-num-batched-tokens", "Tokens per step", words.tokens, "TOKENS"),
        Option("--enforce-eager", "No CUDA graphs"),
    ),
)
REQUEST = Group(
    "What a request is",
    (
        Option("--isl", "Input tokens of the mean request", words.tokens, "TOKENS", 1024),
        Option("--osl", "Output tokens of the mean request", words.tokens, "TOKENS", 512),
    ),
)


def configuration_of(asked: Asked, internode_bytes_per_second: float | None = None) -> Configuration:
    """What was typed, as a Configuration.

    Raises:
        BadWord: no model or no GPU was named.
    """
    if asked.model is None or asked.gpu is None:
        raise BadWord(
            "Say which model on which GPU: llama-3.3-70b --gpu H100; `plan models` and `plan gpus` list them."
        )
    from gpuplan.calculators import Configuration
    from optimizer.requirements import Workload

    return Configuration(
        model=asked.model,
        gpu=asked.gpu,
        tensor_parallel=asked.tensor_parallel,
        pipeline_parallel=asked.pipeline_parallel,
        data_parallel=asked.data_parallel,
        expert_parallel=asked.expert_parallel,
        nodes=asked.nodes,
        internode_bytes_per_second=internode_bytes_per_second,
        weight_format=asked.quantization,
        kv_cache_format=asked.kv_cache_dtype,
        engine=asked.engine,
        engine_version=asked.engine_version,
        gpu_memory_utilization=asked.gpu_memory_utilization,
        max_model_len=asked.max_model_len,
        max_num_seqs=asked.max_num_seqs,
        max_num_batched_tokens=asked.max_num_batched_tokens,
        enforce_eager=asked.enforce_eager,
        workload=Workload(input_tokens=asked.isl, output_tokens=asked.osl),
    )
