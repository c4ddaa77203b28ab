"""What a row's memory is does not depend on the rows beside it."""

from dataclasses import fields

import numpy as np
import pytest

from catalog.find import find_model
from gpu_db.load import load_gpus
from gpuplan.fitting.bench import replicas
from optimizer.engines.find import find_engine
from optimizer.memory.vram import MemoryColumns, MemorySettings, load_model, measure_memory


class Staged:
    """A replica of so many stages of one GPU each."""

    def __init__(self, gpu: str, stages: int) -> None:
        self.gpu, self.gpus, self.pipeline_parallel = gpu, stages, stages
        self.tensor_parallel = self.data_parallel = self.expert_parallel = 1


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
@pytest.mark.parametrize("model", ["openai/gpt-oss-20b", "google/gemma-3-270m-it", "Qwen/Qwen3-8B"])
def test_a_row_alone_holds_as_many_requests_as_beside_others(engine: str, model: str) -> None:
    """Engines keep more tokens in flight over more stages, which is nobody else's business."""
    made, settings = [("RTX 3090 24GB", 1), ("RTX 3090 24GB", 4), ("H200 SXM 141GB", 2)], MemorySettings(4096, 1200)
    batches = np.array([1, 64, 256], dtype=np.int64)

    def capacity(replicas_: list[tuple[str, int]]) -> np.ndarray:
        rows = replicas([Staged(*one) for one in replicas_], load_gpus())
        memory = measure_memory(find_model(model), find_engine(engine), rows, "bf16", settings, batches)
        return memory.requests_capacity

    together = capacity(made)
    for row, one in enumerate(made):
        np.testing.assert_array_equal(capacity([one])[0], together[row])


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize(
    "model", ["google/gemma-3-27b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct", "deepseek-ai/DeepSeek-V3.2"]
)
def test_what_was_loaded_once_serves_every_format_of_the_cache(engine: str, model: str) -> None:
    """Some of the rows that were loaded, in any order, hold what they hold when measured on their own."""
    made = [("H200 SXM 141GB", 8), ("B200 SXM 180GB", 5), ("H200 SXM 141GB", 1), ("L4 24GB", 4)]
    kinds = [Staged(*one) for one in made]
    places, settings = np.array([3, 0, 1]), MemorySettings(8192, 2000, max_batched_tokens=4096)
    spec, server, batches = find_model(model), find_engine(engine), np.array([1, 64, 256], dtype=np.int64)
    loaded = load_model(spec, server, replicas(kinds, load_gpus()), settings, batches)
    some = replicas([kinds[place] for place in places], load_gpus())
    for kv_format in ("bf16", "fp8"):
        shared = measure_memory(spec, server, some, kv_format, settings, batches, loaded, places)
        alone = measure_memory(spec, server, some, kv_format, settings, batches)
        for column in fields(MemoryColumns):
            if column.name != "pages":
                np.testing.assert_array_equal(getattr(shared, column.name), getattr(alone, column.name), column.name)
