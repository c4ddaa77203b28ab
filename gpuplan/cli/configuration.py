"""Options of one configuration, shared by the commands that calculate for it -> Configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from gpuplan.cli import words
from gpuplan.cli.options import Asked, argument, flag, option
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.calculators import Configuration

SERVED = "What is served, on what"
LAYOUT = "How it is laid out"
ENGINE = "How the engine is started (default: as the engine itself would)"
REQUEST = "What a request is"

Model = Annotated[
    str | None,
    option("--model", "A bundled model's name or alias, or a folder with its config.json", words.name, "NAME", SERVED),
]
Name = Annotated[str | None, argument("The same as --model", words.name, "MODEL")]
Gpu = Annotated[str | None, option("--gpu", "The GPU, by any of its names", words.name, "NAME", SERVED)]
TensorParallel = Annotated[int, option("--tensor-parallel", "TP", words.count, "COUNT", LAYOUT)]
PipelineParallel = Annotated[int, option("--pipeline-parallel", "PP", words.count, "COUNT", LAYOUT)]
DataParallel = Annotated[
    int, option("--data-parallel", "Attention-DP ranks inside the replica", words.count, "COUNT", LAYOUT)
]
ExpertParallel = Annotated[bool, flag("--expert-parallel", "Deal whole experts out over all TP x DP ranks", LAYOUT)]
Nodes = Annotated[
    int | None, option("--nodes", "Machines (default as few as hold the GPUs)", words.count, "COUNT", LAYOUT)
]
Engine = Annotated[str, option("--engine", "vllm, sglang, tensorrt-llm", words.name, "NAME", ENGINE)]
EngineVersion = Annotated[
    str | None,
    option("--engine-version", "Its version (default the newest that is described)", words.name, "VERSION", ENGINE),
]
WeightFormat = Annotated[
    str | None,
    option("--quantization", "Weight format (default the checkpoint's own)", words.name, "NAME", ENGINE),
]
CacheFormat = Annotated[
    str | None,
    option(
        "--kv-cache-dtype",
        "KV-cache format (default auto: the checkpoint's own, else bf16)",
        words.name,
        "NAME",
        ENGINE,
    ),
]
Utilization = Annotated[
    float | None,
    option("--gpu-memory-utilization", "Share of memory that the engine may take", words.share, "SHARE", ENGINE),
]
MaxModelLen = Annotated[
    int | None,
    option("--max-model-len", "Longest request (default the model's context)", words.tokens, "TOKENS", ENGINE),
]
MaxNumSeqs = Annotated[
    int | None, option("--max-num-seqs", "Requests at once, per attention-DP rank", words.count, "COUNT", ENGINE)
]
MaxBatchedTokens = Annotated[
    int | None, option("--max-num-batched-tokens", "Tokens per step", words.tokens, "TOKENS", ENGINE)
]
EnforceEager = Annotated[bool, flag("--enforce-eager", "No CUDA graphs", ENGINE)]
InputTokens = Annotated[int, option("--isl", "Input tokens of the mean request", words.tokens, "TOKENS", REQUEST)]
OutputTokens = Annotated[int, option("--osl", "Output tokens of the mean request", words.tokens, "TOKENS", REQUEST)]


def configuration_of(asked: Asked, internode_bytes_per_second: float | None = None) -> Configuration:
    """What was typed, as a Configuration.

    Raises:
        BadWord: no model or no GPU was named.
    """
    if asked.model is not None and asked.name is not None:
        raise BadWord(f"--model was given, and {asked.name!r} beside it; give one.")
    model = asked.model or asked.name
    if model is None or asked.gpu is None:
        raise BadWord(
            "Say which model on which GPU: llama-3.3-70b --gpu H100; `plan models` and `plan gpus` list them."
        )
    from gpuplan.calculators import Configuration
    from optimizer.requirements import Workload

    return Configuration(
        model=model,
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
