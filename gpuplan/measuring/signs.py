"""The lines by which servers say how they use memory: one sign per number, for each engine and wording.

A sign is a pattern with a group `n` (the number) and, for sizes, a group `u` (its unit). Engines print "GB" for 2^30
bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from re import Pattern

Pick = Callable[[Sequence[float]], float]

GIB_PER_UNIT = {"gib": 1.0, "gb": 1.0, "mib": 2**-10, "mb": 2**-10, "bytes": 2**-30, "": 1.0}
"""GiB in one unit, as engines print them: "GB" and "MB" are binary."""

_NUMBER = r"\d[\d,]{0,24}(?:\.\d{0,12})?"
_SIZE = rf"(?P<n>-?(?<![\d,.]){_NUMBER})\s*(?P<u>GiB|GB|MiB|MB|bytes)?"
_COUNT = r"(?P<n>\d[\d,]{0,24})"
_SHARE = r"(?P<n>0?\.\d+|1\.0+|1)\b"
_REAL = rf"(?P<n>{_NUMBER})"


def first(values: Sequence[float]) -> float:
    """What was said first."""
    return values[0]


def last(values: Sequence[float]) -> float:
    """What was said last."""
    return values[-1]


@dataclass(frozen=True)
class Sign:
    """One number that one wording gives.

    Attributes:
        column: of a measured row.
        pattern: finds it in a line.
        pick: which of several values counts; ranks print one each, and the poorest decides.
    """

    column: str
    pattern: Pattern[str]
    pick: Pick = field(default=first)


def _sign(column: str, before: str, what: str, after: str = "", pick: Pick = first) -> Sign:
    return Sign(column, re.compile(before + what + after, re.IGNORECASE), pick)


WEIGHTS, ACTIVATION, NON_TORCH = "weights_gib_per_gpu", "activation_peak_gib", "non_torch_gib"
AVAILABLE, GRAPHS, TOTAL = "available_kv_gib_per_gpu", "cudagraph_gib", "gpu_mem_gib"
CONSUMED, FREE_BEFORE, FREE_AFTER = "consumed_gib", "free_before_gib", "free_after_gib"
"""Not columns of a row: what others are worked out from."""

NEEDED = "kv_gib_needed_for_len"
"""max_model_len, a colon, and the GiB that a request of that length needs."""

VLLM: tuple[Sign, ...] = (
    _sign(WEIGHTS, r"(?:loading model weights took|model loading took:?)\s+", _SIZE, pick=max),
    _sign(WEIGHTS, r"model weights take:?\s+", _SIZE, pick=max),
    _sign(WEIGHTS, r"actual usage is\s+", _SIZE, r"\s+for weight", max),
    _sign(
        WEIGHTS,
        r"(?<!model )(?<!loading )\bweights (?:take )?",
        r"(?P<n>\d{1,16}\.\d{1,12})\s*(?P<u>GiB)?",
        r"(?=;| )",
        max,
    ),
    _sign(CONSUMED, r"actual usage is\s+", _SIZE, r"\s+(?:for )?consumed", max),
    _sign(
        NON_TORCH,
        r"non[_-]torch(?:[_ ]memory)?(?: takes|=)?\s*",
        r"(?P<n>-?\d{1,16}\.\d{1,12})\s*(?P<u>GiB|MiB)?",
        pick=max,
    ),
    _sign(NON_TORCH, "", _SIZE, r"\s+for non-torch", max),
    _sign(
        ACTIVATION,
        r"activation(?: peak)?(?: memory)?(?: takes)?\s+",
        r"(?P<n>\d{1,16}\.\d{1,12})\s*(?P<u>GiB|MiB)?",
        pick=max,
    ),
    _sign(ACTIVATION, "", _SIZE, r"\s+for peak activation", max),
    _sign(
        AVAILABLE,
        r"(?:reserved for )?KV cache (?:is|size is)\s+(?:only be\s+)?",
        r"(?P<n>-?\d{1,16}\.\d{1,12})\s*(?P<u>GiB)",
        pick=min,
    ),
    _sign(
        AVAILABLE,
        r"available[_ ]kv[_ ]cache(?:[_ ]memory)?:?\s+\(?(?:for \w+ )?",
        r"(?P<n>-?\d{1,16}\.?\d{0,12})\s*(?P<u>GiB)",
        pick=min,
    ),
    _sign(AVAILABLE, r"available\s+\(", r"(?P<n>-?\d{1,16}\.?\d{0,12})\s*(?P<u>GiB)", pick=min),
    _sign(AVAILABLE, r"(?:kv cache memory in use is|KV cache memory is)\s+", _SIZE, pick=min),
    _sign(AVAILABLE, r"kv_cache_size=", _SIZE, pick=min),
    _sign("kv_tokens", r"GPU KV cache size:\s+", _COUNT, r"\s+tokens", min),
    _sign("gpu_blocks", r"#\s*(?:GPU|CUDA) blocks:\s+", _COUNT, pick=min),
    _sign("gpu_blocks", r"num_gpu_blocks is:\s+", _COUNT, pick=min),
    _sign("cpu_blocks", r"#\s*CPU blocks:\s+", _COUNT, pick=min),
    _sign("block_size", r"setting attention block size to\s+", _COUNT, r"\s+tokens", last),
    _sign("block_size", r"setting kv cache block size to\s+", _COUNT, pick=last),
    _sign("max_concurrency", r"maximum concurrency(?: for [\d,]+ tokens per request)?:?\s+", _REAL, "x", min),
    _sign("max_model_len", r"maximum concurrency for\s+", _COUNT, r"\s+tokens per request"),
    _sign("max_model_len", r"max seq len \(", _COUNT, r"\)"),
    _sign("max_model_len", r"max_seq_len=", _COUNT),
    _sign("max_model_len", r"(?:max_model_len['\"]?[=:]\s*|--max-model-len[ =])", _COUNT),
    _sign(NEEDED, r"\(?", _SIZE, r"\s+KV cache is needed", max),
    _sign("est_max_len", r"estimated maximum model length is\s+", _COUNT, pick=min),
    _sign(GRAPHS, r"graph capturing (?:finished in \d{1,9} secs?,?|[.\s]*)\s*took\s+", _SIZE, pick=max),
    _sign(GRAPHS, r"cudagraph took\s+", _SIZE, pick=max),
    _sign(GRAPHS, r"cuda graph pool memory:\s+", _SIZE, r"\s+\(actual\)", max),
    _sign(GRAPHS, r"", _SIZE, r"\s+for CUDAGraph memory", max),
    _sign(GRAPHS, r"estimated CUDA graph memory:\s+", _SIZE, pick=max),
    _sign(TOTAL, r"total_gpu_memory\s*[=(]\s*", r"(?P<n>\d{1,16}\.?\d{0,12})\s*(?P<u>GiB)", pick=min),
    _sign(TOTAL, r"free memory on device[^(\n]{0,200}\([\d.]+/", r"(?P<n>\d{1,16}\.?\d{0,12})\s*(?P<u>GiB)", pick=min),
    _sign("gpu_memory_utilization", r"gpu[_-]memory[_-]utilization['\"]?\s*(?:=|:|\(|\s|at)\s*\(?", _SHARE),
    _sign("gpu_memory_utilization", r"total_gpu_memory \([^)]*\) x \(?", _SHARE),
    _sign("gpu_memory_utilization", r"Desired GPU memory utilization is \(", _SHARE),
    _sign("tp", r"(?:tensor_parallel_size['\"]?[=:]\s*|--tensor-parallel-size[ =]|-tp[ =])", _COUNT),
    _sign("pp", r"(?:pipeline_parallel_size['\"]?[=:]\s*|--pipeline-parallel-size[ =]|-pp[ =])", _COUNT),
    _sign("dp", r"(?:data_parallel_size['\"]?[=:]\s*|--data-parallel-size[ =]|-dp[ =])", _COUNT),
    _sign("max_num_seqs", r"(?:max_num_seqs['\"]?[=:]\s*|--max-num-seqs[ =])", _COUNT),
    _sign("max_num_batched_tokens", r"(?:max_num_batched_tokens['\"]?[=:]\s*|--max-num-batched-tokens[ =])", _COUNT),
)

_GIB = r"(?P<n>-?(?<![\d,.])\d{1,16}(?:\.\d{0,12})?)\s*GiB"
_FOUR = r"(?:^|= ?[\d.]+ ?GiB / )"
_EACH = r"\d{1,16}\.\d{1,12} / "

QUOTED: tuple[Sign, ...] = (
    _sign(WEIGHTS, _FOUR, r"(?P<n>\d{1,16}\.\d{1,12})", r" / \d{1,16}\.\d{1,12} / \d+\.\d+ / \d+\.\d+ ?GiB", max),
    _sign(NON_TORCH, _FOUR + _EACH, r"(?P<n>\d{1,16}\.\d{1,12})", r" / \d{1,16}\.\d{1,12} / \d+\.\d+ ?GiB", max),
    _sign(ACTIVATION, _FOUR + 2 * _EACH, r"(?P<n>\d{1,16}\.\d{1,12})", r" / \d{1,16}\.\d{1,12} ?GiB", max),
    _sign(AVAILABLE, _FOUR + 3 * _EACH, _GIB, pick=min),
    _sign(WEIGHTS, r"weights\s+(?:take\s+)?~?", r"(?P<n>\d{1,16}\.?\d{0,12})\s*(?:GiB|GB)", pick=max),
    _sign(WEIGHTS, "", _GIB, r"\s+(?:of\s+)?weights", max),
    _sign(AVAILABLE, r"(?:the rest|activation peak memory takes [\d.]+ ?GiB;)[ .]+", _GIB, pick=min),
    _sign(AVAILABLE, r"\bKV(?: cache| pool)?(?: budget)?:?\s+", _GIB, pick=min),
    _sign(AVAILABLE, r"(?:only be|available)\s+", _GIB, pick=min),
    _sign(AVAILABLE, r"", _GIB, r"\s+(?:of\s+KV|KV (?:pool|->)|available|pool|remaining)", min),
    _sign(
        "kv_tokens",
        r"(?<!for )(?<!to )(?<![\d,])",
        r"(?P<n>\d{1,3}(?:,\d{3}){1,6})",
        r"[ -]tok(?:ens?)?\b(?! per request)",
        min,
    ),
    _sign("kv_tokens", r"stored in KV cache \(", _COUNT, r"\)", min),
    _sign("max_concurrency", r"(?<![\d.])", r"(?P<n>\d{1,16}\.\d{1,12})", r" ?x\b(?! \d\.)", min),
    _sign("max_model_len", r"x (?:concurrency )?(?:@|at )", r"(?P<n>\d[\d,]{3,})\b(?!K)"),
    _sign("gpu_blocks", r"kv_shape=\(", r"(?P<n>\d+)", pick=min),
    _sign(GRAPHS, r"(?:/ took|cuda graphs use)\s+", _SIZE, pick=max),
    _sign("gpu_memory_utilization", r"(?:\) x \(?|\butil[ =]|budget \(|^)", _SHARE, r"(?=[ ):]|$)"),
)
"""The same numbers as people quote them; they count where no line of an engine gives the number."""

_GB = rf"(?P<n>{_NUMBER})\s*(?P<u>GB|GiB)"

SGLANG: tuple[Sign, ...] = (
    _sign(WEIGHTS, r"load weight end[^\n]{0,400}?mem usage=", _GB, pick=max),
    _sign(FREE_BEFORE, r"load weight begin[^\n]{0,400}?avail mem=", _GB),
    _sign(FREE_AFTER, r"load weight end[^\n]{0,400}?avail mem=", _GB, pick=min),
    _sign("kv_tokens", r"KV Cache is allocated[^\n]{0,400}?#tokens:\s+", _COUNT, pick=min),
    _sign("kv_tokens", r"max_total_num_tokens=", _COUNT, pick=min),
    _sign("kv_tokens", r"#tokens:\s+", _COUNT, pick=min),
    _sign("k_gib", r"KV Cache is allocated[^\n]{0,400}?\bK size:\s+", _GB, pick=min),
    _sign("v_gib", r"KV Cache is allocated[^\n]{0,400}?\bV size:\s+", _GB, pick=min),
    _sign(AVAILABLE, r"KV Cache is allocated[^\n]{0,400}?\bKV size:\s+", _GB, pick=min),
    _sign(GRAPHS, r"capture cuda graph end[^\n]{0,400}?mem usage=", _GB, pick=max),
    _sign(GRAPHS, r"cuda graph mem usage=", _GB, pick=max),
    _sign("gpu_memory_utilization", r"(?:mem_fraction_static['\"]?[=:]\s*|--mem-fraction-static[ =])", _SHARE),
    _sign("tp", r"(?:\btp_size=|--tp(?:-size)?[ =])", _COUNT),
    _sign("pp", r"(?:\bpp_size=|--pp(?:-size)?[ =])", _COUNT),
    _sign("dp", r"(?:\bdp_size=|--dp(?:-size)?[ =])", _COUNT),
    _sign("ep", r"(?:\bep_size=|--ep(?:-size)?[ =])", _COUNT),
    _sign("max_model_len", r"context_len(?:gth)?=", _COUNT),
    _sign("max_num_seqs", r"max_running_requests=", _COUNT),
    _sign("max_num_batched_tokens", r"chunked_prefill_size=", _COUNT),
)

TENSORRT_LLM: tuple[Sign, ...] = (
    _sign(WEIGHTS, r"loaded engine size:\s+", _SIZE, pick=max),
    _sign(WEIGHTS, r"inside torch\)(?: in memory usage profiling:)?\s+", r"(?P<n>\d{1,16}\.\d{1,12})\s*(?P<u>GiB)"),
    _sign(ACTIVATION, r"allocated\s+", _SIZE, r"\s+for execution context memory", max),
    _sign(ACTIVATION, r"dynamically allocated during inference[^\d\n]{0,200}", _SIZE, pick=max),
    _sign(AVAILABLE, r"allocated\s+", _SIZE, r"\s+for (?:max tokens in paged kv cache|k/v cache)", min),
    _sign(AVAILABLE, r"available KV cache memory(?: when calculating max tokens:)?\s+", _SIZE, pick=min),
    _sign("kv_tokens", r"in paged kv cache\s+\(", _COUNT, r"\)", min),
    _sign("kv_tokens", r"allocated [\d.]+ GiB \(", _COUNT, r"\)", min),
    _sign(AVAILABLE, r"allocated ", _GIB, r" \(\d+\)", min),
    _sign("kv_tokens", r"using\s+", _COUNT, r"\s+tokens in paged", min),
    _sign("gpu_blocks", r"(?:primary pool:|primary blocks=|primary pool)\s*", _COUNT, pick=min),
    _sign("block_size", r"(?:number of )?tokens per block(?:=|:)\s*", _COUNT, pick=last),
    _sign(TOTAL, r"(?:total:|device total memory)\s+", r"(?P<n>\d{1,16}\.\d{1,12})\s*(?P<u>GiB)", pick=min),
    _sign(FREE_AFTER, r"total: [\d.]+ GiB, available:\s+", r"(?P<n>\d{1,16}\.\d{1,12})\s*(?P<u>GiB)", pick=min),
    _sign(
        "gpu_memory_utilization", r"(?:free_gpu_memory_fraction['\"]?[=:]\s*|fraction is set\s+|fraction\s+)", _SHARE
    ),
    _sign("tp", r"(?:tp_size['\"]?[=:]\s*|tensor_parallel_size['\"]?[=:]\s*)", _COUNT),
    _sign("pp", r"(?:pp_size['\"]?[=:]\s*|pipeline_parallel_size['\"]?[=:]\s*)", _COUNT),
    _sign("max_num_seqs", r"max_batch_size['\"]?[=:]\s*", _COUNT),
    _sign("max_num_batched_tokens", r"max_num_tokens['\"]?[=:]\s*", _COUNT),
    _sign("max_model_len", r"max_seq_len['\"]?[=:]\s*", _COUNT),
)

SIGNS: dict[str, tuple[Sign, ...]] = {"vllm": (*VLLM, *QUOTED), "sglang": SGLANG, "tensorrt-llm": TENSORRT_LLM}

MARKS: dict[str, Pattern[str]] = {
    "sglang": re.compile(
        r"sglang|server_args=|load weight (?:begin|end)|KV Cache is allocated|max_total_num_tokens=", re.I
    ),
    "tensorrt-llm": re.compile(
        r"tensorrt[-_]?llm|\bTRT-?LLM\b|MemUsageChange|paged kv cache|primary (?:pool|blocks)|memory usage profiling|"
        r"\((?:in|out)side torch\)|for execution context memory",
        re.I,
    ),
    "vllm": re.compile(
        r"vllm|GPU KV cache size|# (?:GPU|CUDA) blocks|KV cache memory|model (?:weights take|loading took)|"
        r"loading model weights took|gpu_memory_utilization|KV cache is needed|reserved for KV cache|actual usage is|"
        r"cudagraph took|CUDA graph (?:pool )?memory:|activation peak memory|attention block size to|total_gpu_memory|"
        r"can be stored in KV cache|\bKV (?:pool|cache)\b",
        re.I,
    ),
}
"""Wordings by which an engine gives itself away."""

WORDS: dict[str, tuple[tuple[str, Pattern[str]], ...]] = {
    "vllm": (
        (
            "engine_version",
            re.compile(r"(?:LLM engine \(v|vLLM API server version |vllm version[ :=]+v?)([\w.+]+)", re.I),
        ),
        ("model", re.compile(r"(?:\bmodel['\"]?[=:]\s*|vllm serve |--model[ =])['\"]?([\w./-]+)")),
        ("quantization", re.compile(r"\bquantization['\"]?[=:]\s*['\"]?([\w-]+)")),
        ("dtype", re.compile(r"\bdtype['\"]?[=:]\s*['\"]?(?:torch\.)?(\w+)")),
        ("kv_dtype", re.compile(r"(?:kv_cache_dtype['\"]?[=:]\s*['\"]?|--kv-cache-dtype[ =])(?:torch\.)?(\w+)")),
        ("enforce_eager", re.compile(r"enforce_eager['\"]?[=:]\s*(True|False)")),
    ),
    "sglang": (
        ("engine_version", re.compile(r"sglang(?: version)?[ =:]+v?(\d[\w.]+)", re.I)),
        ("model", re.compile(r"model_path=['\"]([^'\"]+)")),
        ("quantization", re.compile(r"\bquant(?:ization)?=['\"]?([\w-]+)")),
        ("dtype", re.compile(r"\bdtype=['\"]?(?:torch\.)?(\w+)")),
        ("kv_dtype", re.compile(r"kv_cache_dtype=['\"]?(?:torch\.)?(\w+)")),
        ("enforce_eager", re.compile(r"disable_cuda_graph=(True|False)")),
    ),
    "tensorrt-llm": (
        ("engine_version", re.compile(r"TensorRT-?LLM\]?[^\n]{0,40}?version:?\s+v?(\d[\w.]+)", re.I)),
        ("model", re.compile(r"\bmodel['\"]?[=:]\s*['\"]([^'\"]+)")),
        ("dtype", re.compile(r"\bdtype['\"]?[=:]\s*['\"]?(?:torch\.)?(\w+)")),
    ),
}
"""Facts that are words: column, and a pattern whose first group is the word."""

EAGER_FLAGS = re.compile(r"--enforce-eager\b|--disable-cuda-graph\b")
GPU_NAME = re.compile(r"\b(?:NVIDIA|AMD)[ ](?:Instinct |GeForce |Radeon )?[A-Z][\w -]{1,40}")
BOOT = re.compile(r"Initializing an? (?:V1 )?LLM engine|server_args=ServerArgs|TensorRT-LLM version", re.I)
"""Lines that open another start in the same file."""
