"""Options of one configuration, shared by the commands that calculate for it -> Configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from gpuplan.cli import words
from gpuplan.cli.additions import checked, engine_options_of, workload_of
from gpuplan.cli.options import MODEL_HELP, OFFLINE_HELP, REVISION_HELP, Asked, argument, flag, option
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpuplan.calculators.configuration import Configuration

SERVED = "What is served, on what"
LAYOUT = "How it is laid out"
ENGINE = "How the engine is started (default: as the engine itself would)"
REQUEST = "What a request is"

Model = Annotated[
    str | None,
    option("--model", MODEL_HELP, words.name, "NAME", SERVED),
]
Revision = Annotated[str | None, option("--revision", REVISION_HELP, words.name, "NAME", SERVED)]
Offline = Annotated[bool, flag("--offline", OFFLINE_HELP, SERVED)]
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
CpuOffload = Annotated[
    int | None,
    option("--cpu-offload-gb", "GiB of weights per GPU that stay in the host's memory", words.gibibytes, "GIB", ENGINE),
]
Mig = Annotated[str | None, option("--mig", "A MIG slice of the GPU, such as 3g.40gb", words.name, "PROFILE", SERVED)]
Shares = Annotated[
    object | None,
    option(
        "--share",
        "Others on the same GPU: engines by their gpu_memory_utilization, processes by size: 0.4,2GiB",
        words.neighbours,
        "SHARE,...",
        SERVED,
    ),
]
InputTokens = Annotated[int, option("--isl", "Input tokens of the mean request", words.tokens, "TOKENS", REQUEST)]
OutputTokens = Annotated[int, option("--osl", "Output tokens of the mean request", words.tokens, "TOKENS", REQUEST)]

_SAME = (
    "gpu",
    "tensor_parallel",
    "pipeline_parallel",
    "data_parallel",
    "expert_parallel",
    "nodes",
    "engine",
    "engine_version",
    "gpu_memory_utilization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enforce_eager",
    "mig",
)
"""Options whose values stand in a Configuration by the same name."""

_NOT_EVERYWHERE: dict[str, Any] = {
    "speculative": None,
    "max_lora_rank": None,
    "max_loras": None,
    "lora_target_modules": None,
    "language_model_only": False,
    "decode_context_parallel": 1,
    "shared_prefix_tokens": None,
    "prefix_hit_rate": None,
    "lengths": None,
    "cpu_offload_gb": None,
    "mig": None,
    "share": None,
}
"""Options that only some commands take, with what stands for them in the others."""


def configuration_of(asked: Asked, internode_bytes_per_second: float | None = None) -> Configuration:
    """What was typed, as a Configuration.

    Raises:
        BadWord: no model or no GPU was named, or values contradict each other.
    """
    asked = Asked(**{**_NOT_EVERYWHERE, **vars(asked)})
    if asked.model is not None and asked.name is not None:
        raise BadWord(f"--model was given, and {asked.name!r} beside it; give one.")
    model = asked.model or asked.name
    if model is None or asked.gpu is None:
        raise BadWord(
            "Say which model on which GPU: llama-3.3-70b --gpu H100; `plan models` and `plan gpus` list them."
        )
    from gpuplan.calculators.configuration import Configuration

    shares, occupied_bytes = asked.share or ((), 0)
    fields: dict[str, Any] = {name: getattr(asked, name) for name in _SAME}
    return checked(
        Configuration,
        **fields,
        model=model,
        revision=asked.revision,
        offline=asked.offline,
        internode_bytes_per_second=internode_bytes_per_second,
        weight_format=asked.quantization,
        kv_cache_format=asked.kv_cache_dtype,
        cpu_offload_bytes=asked.cpu_offload_gb or 0,
        shares=shares,
        occupied_bytes=occupied_bytes,
        workload=workload_of(asked),
        options=engine_options_of(asked),
    )
