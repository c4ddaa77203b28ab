"""What engines allocate while they load: weights that logs state to four digits, and tables by hand."""

from dataclasses import replace

import numpy as np
import pytest

from catalog.find import find_model
from optimizer.engines.find import find_engine
from optimizer.memory.buffers import position_table_bytes, sparse_latent
from optimizer.memory.vram import MemorySettings, measure_memory

GIB = 2**30

# model, vLLM, card, compute capability, TP, PP, max_model_len, GiB that the log says loading took (of public logs; the
# last is of vLLM's recipe of GLM-5.3, whose 1,048,576 tokens did not fit beside it), tolerance in GiB
LOADED = [
    ("meta-llama/Llama-3.1-8B", "0.7.3", "A10", "8.6", 1, 1, 131072, 14.9888, 0.0001),
    ("Qwen/Qwen3-8B", "0.13.0", "RTX 4090", "8.9", 1, 1, 4096, 15.27, 0.005),
    ("Qwen/Qwen3-8B-FP8", "0.10.2", "RTX 3090", "8.6", 1, 1, 1024, 8.80, 0.005),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.11.0", "H200", "9.0", 2, 1, 262144, 74.2812, 0.001),
    ("deepseek-ai/DeepSeek-V2.5", "0.8.5", "A100 SXM 80GB", "8.0", 8, 2, 8192, 28.48, 0.03),
    ("zai-org/GLM-5.3-FP8", "0.28.0", "H200", "9.0", 8, 1, 1048576, 94.46, 0.015),
]


@pytest.mark.parametrize("log", LOADED, ids=lambda log: log[0])
def test_loading_takes_what_the_log_says_to_its_last_digit(log, make_gpu, make_rows):
    repo, version, name, capability, tp, pp, length, loaded, tolerance = log
    rows = make_rows([make_gpu(name, capability, 1 << 18)], [tp])
    rows = replace(rows, pipeline_parallel=np.array([pp]))
    engine, settings = find_engine("vllm", version), MemorySettings(length, 512)
    memory = measure_memory(find_model(repo), engine, rows, "bf16", settings, np.array([256]))
    assert memory.weight_bytes[0] / GIB == pytest.approx(loaded, abs=tolerance)


def test_a_table_of_positions_is_as_long_as_the_model_and_as_wide_as_what_turns():
    # 10,485,760 positions of Llama 4 Scout: 2.5 GiB on every rank, whatever max_model_len is.
    assert position_table_bytes(find_model("meta-llama/Llama-4-Scout-17B-16E-Instruct")) == 10_485_760 * 128 * 2
    assert position_table_bytes(find_model("deepseek-ai/DeepSeek-V3")) == 163_840 * 64 * 4  # rotary part, fp32
    assert position_table_bytes(find_model("Qwen/Qwen3.5-27B")) == 4 * 262_144 * 64 * 2  # a quarter turns; video
    assert position_table_bytes(find_model("nvidia/Nemotron-H-56B-Base-8K")) == 0  # no rotary positions
    assert position_table_bytes(find_model("bigscience/bloom-7b1")) == 0  # ALiBi
    assert position_table_bytes(find_model("zai-org/glm-4-9b-chat")) == 131_072 * 64 * 2  # half of a head turns
    assert position_table_bytes(find_model("EleutherAI/gpt-j-6b")) == 2048 * 64 * 2  # rotary_dim


def test_windows_with_a_base_of_their_own_have_a_table_of_their_own():
    gemma, gpt = find_model("google/gemma-3-27b-it"), find_model("openai/gpt-oss-20b")
    scaled = 8  # rope_scaling of the layers that see everything: Gemma 3 27B loads 51.45 GiB, 51.16 of parameters
    assert position_table_bytes(gemma) == (1 + scaled) * gemma.max_context_tokens * 128 * 2
    assert position_table_bytes(gpt) == gpt.max_context_tokens * 64 * 4  # both kinds of layers share it, in fp32


def test_tensor_parallelism_does_not_divide_the_table(llama_70b, make_gpu, make_rows):
    engine, settings = find_engine("vllm"), MemorySettings(8192, 512)
    loaded = [
        measure_memory(llama_70b, engine, make_rows([make_gpu()], [tp]), "bf16", settings, np.array([8])).weight_bytes[
            0
        ]
        for tp in (1, 2)
    ]
    norms = (2 * 80 + 1) * 8192 * 2
    assert 2 * loaded[1] - loaded[0] == position_table_bytes(llama_70b) + norms


def test_only_an_indexer_over_single_tokens_keeps_room_for_context():
    assert sparse_latent(find_model("deepseek-ai/DeepSeek-V3.2")) is not None
    assert sparse_latent(find_model("deepseek-ai/DeepSeek-V3")) is None
    assert sparse_latent(find_model("deepseek-ai/DeepSeek-V4-Flash")) is None  # its entries are of several tokens
