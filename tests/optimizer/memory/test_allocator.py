"""What PyTorch's allocator adds to weights: public starts of vLLM 0.19 on H100, "Model loading took" in GiB per GPU."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.find import find_model
from optimizer.engines.find import find_engine
from optimizer.memory.allocator import OWN_SEGMENT, SPLIT_BEYOND, STEP, spare_bytes
from optimizer.memory.factors import GIB, MIB
from optimizer.memory.vram import MemorySettings, measure_memory

LOADED = [
    ("Qwen/Qwen2.5-7B-Instruct", 1, 14.25),
    ("Qwen/Qwen2.5-7B-Instruct", 2, 7.12),
    ("Qwen/Qwen2.5-7B-Instruct", 4, 3.55),
    ("Qwen/Qwen2.5-72B-Instruct", 2, 67.80),
    ("microsoft/phi-4", 1, 27.39),
    ("google/gemma-2-2b-it", 1, 4.90),
    ("google/gemma-3-4b-it", 1, 8.58),
    ("google/gemma-3-12b-it", 1, 23.31),
    ("google/gemma-3-27b-it", 1, 51.45),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, 14.99),
    ("Qwen/Qwen3-30B-A3B", 1, 56.88),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", 2, 43.51),
]


@pytest.mark.parametrize(("repo", "tp", "loaded"), LOADED)
def test_a_model_loads_what_the_engine_logged(repo, tp, loaded, make_gpu, make_rows):
    rows, settings = make_rows([make_gpu()], [tp]), MemorySettings(8192, 8192)
    memory = measure_memory(find_model(repo), find_engine("vllm", "0.19.0"), rows, "bf16", settings, np.array([8]))
    assert memory.weight_bytes[0] / GIB == pytest.approx(loaded, abs=0.012)


@pytest.mark.parametrize(
    ("mib", "spare"), [(9.5, 0), (10, 0), (11, 1), (10.99, 0), (175, 1), (174.5, 0), (259, 1), (176, 0)]
)
def test_a_rest_of_up_to_one_mib_is_not_handed_on(mib, spare):
    assert spare_bytes(np.array(round(mib * MIB))) == pytest.approx(spare * MIB, abs=0.02 * MIB)


@given(st.integers(0, 2**40))
def test_what_is_spare_fills_a_segment_and_is_never_much(size):
    spare = int(spare_bytes(np.array(size)))
    assert 0 <= spare <= SPLIT_BEYOND
    assert spare == 0 or ((size + spare) % STEP == 0 and size >= OWN_SEGMENT)


@pytest.mark.parametrize(
    ("repo", "version", "gpu", "loaded"),
    [
        ("openai/gpt-oss-120b", "0.11.2", ("H100 SXM 80GB", "9.0"), 65.9651),  # 36 layers with 69 MiB of scales
        ("openai/gpt-oss-20b", "0.19.0", ("A100 SXM 80GB", "8.0"), 13.72),  # 24 with 17.25 MiB
    ],
)
def test_mxfp4_repacked_by_marlin_loads_what_public_logs_show(repo, version, gpu, loaded, make_gpu, make_rows):
    rows, settings = make_rows([make_gpu(*gpu)], [1]), MemorySettings(8192, 8192)
    memory = measure_memory(find_model(repo), find_engine("vllm", version), rows, "bf16", settings, np.array([8]))
    assert memory.weight_bytes[0] / GIB == pytest.approx(loaded, abs=0.0015)


def test_quantized_weights_are_repacked_into_what_is_left_over(make_gpu, make_rows):
    rows, settings = make_rows([make_gpu()], [1]), MemorySettings(8192, 8192)
    engine = find_engine("vllm", "0.19.0")
    sixteen, eight = (
        measure_memory(find_model(name), engine, rows, "bf16", settings, np.array([8])).weight_bytes[0] / GIB
        for name in ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B-FP8")
    )
    assert eight < sixteen
