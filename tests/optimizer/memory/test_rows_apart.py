"""What a row's memory is does not depend on the rows beside it."""

import numpy as np
import pytest

from catalog.find import find_model
from gpu_db.load import load_gpus
from gpuplan.fitting.bench import replicas
from optimizer.engines.find import find_engine
from optimizer.memory.vram import MemorySettings, measure_memory


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
