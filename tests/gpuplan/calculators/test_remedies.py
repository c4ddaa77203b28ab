"""Advice about memory: what is said to start does start, and what is said to contradict itself does."""

import pytest

from gpuplan.calculators.configuration import Configuration
from gpuplan.calculators.memory import memory_of
from gpuplan.calculators.remedies import advised_memory_of
from optimizer.requirements import EngineOptions

GIB = 1 << 30
LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
FIELDS = {
    "--max-num-seqs": ("max_num_seqs", int),
    "--max-model-len": ("max_model_len", int),
    "--kv-cache-dtype": ("kv_cache_format", str),
    "--quantization": ("weight_format", str),
    "--tensor-parallel": ("tensor_parallel", int),
    "--pipeline-parallel": ("pipeline_parallel", int),
    "--gpu-memory-utilization": ("gpu_memory_utilization", float),
    "--cpu-offload-gb": ("cpu_offload_bytes", lambda gib: int(gib) * GIB),
    "--enforce-eager": ("enforce_eager", lambda _: True),
    "--language-model-only": ("options", lambda _: EngineOptions(language_model_only=True)),
}


@pytest.mark.parametrize(
    "asked",
    [
        Configuration(model=LLAMA, gpu="H100 SXM 80GB"),
        Configuration(model=LLAMA, gpu="H100 SXM 80GB", tensor_parallel=2),
        Configuration(model="deepseek-ai/DeepSeek-R1", gpu="H200 SXM 141GB", tensor_parallel=4),
        Configuration(model="Qwen/Qwen3-32B", gpu="L40S 48GB", tensor_parallel=2, max_num_seqs=1024),
        Configuration(model="meta-llama/Llama-3.1-8B-Instruct", gpu="H100 SXM 80GB", shares=(0.4,), max_model_len=8192),
    ],
)
def test_every_remedy_makes_the_engine_start(asked: Configuration) -> None:
    answer = advised_memory_of(asked)
    assert answer.starts or answer.remedies
    for remedy in answer.remedies:
        field, read = FIELDS[remedy.option]
        mended = memory_of(asked.model_copy(update={field: read(remedy.value)}))
        assert mended.starts
        assert mended.longest_context == remedy.longest_context


def test_a_configuration_that_starts_needs_no_remedy() -> None:
    assert advised_memory_of(Configuration(model=LLAMA, gpu="H200 SXM 141GB", tensor_parallel=4)).remedies == ()


def test_longer_requests_fit_less_often() -> None:
    answer = memory_of(Configuration(model=LLAMA, gpu="H200 SXM 141GB", tensor_parallel=4))
    tokens = [one.tokens for one in answer.requests_by_context]
    requests = [one.requests for one in answer.requests_by_context]
    assert tokens == [2048, 8192, 32768, 131072]
    assert requests == sorted(requests, reverse=True)
    assert requests[-1] >= 1


def test_settings_that_do_not_go_together_are_named() -> None:
    short = Configuration(model="meta-llama/Llama-3.1-8B-Instruct", gpu="H100 SXM 80GB", max_model_len=2048)
    assert any("max_num_batched_tokens" in sentence for sentence in advised_memory_of(short).warnings)
    huge = Configuration(model="deepseek-ai/DeepSeek-R1", gpu="RTX 4090 24GB")
    assert any("times the memory" in sentence for sentence in advised_memory_of(huge).warnings)
    many = Configuration(model=LLAMA, gpu="H100 SXM 80GB", tensor_parallel=4, max_num_seqs=1024)
    assert any("requests" in sentence for sentence in advised_memory_of(many).warnings)
