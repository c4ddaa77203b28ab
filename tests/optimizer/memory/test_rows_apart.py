"""What a row's memory is does not depend on the rows beside it."""

import numpy as np
import pytest

from catalog.find import find_model
from gpu_db.load import load_gpus
from gpuplan.fitting.bench import replicas
from optimizer.engines.find import find_engine
from optimizer.memory.vram import MemorySettings, measure_memory


class One:
    """One GPU."""

    def __init__(self, gpu: str) -> None:
        self.gpu, self.gpus = gpu, 1
        self.tensor_parallel = self.pipeline_parallel = self.data_parallel = self.expert_parallel = 1


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
@pytest.mark.parametrize("model", ["openai/gpt-oss-20b", "google/gemma-3-270m-it", "Qwen/Qwen3-8B"])
def test_a_row_alone_holds_as_many_requests_as_beside_others(engine: str, model: str) -> None:
    """Engines keep more tokens in flight on large GPUs, which is nobody else's business."""
    names, settings = ("RTX 3090 24GB", "H200 SXM 141GB", "B200 SXM 180GB"), MemorySettings(4096, 1200)
    batches = np.array([1, 64, 256], dtype=np.int64)

    def capacity(gpus: tuple[str, ...]) -> np.ndarray:
        rows = replicas([One(gpu) for gpu in gpus], load_gpus())
        made = measure_memory(find_model(model), find_engine(engine), rows, "bf16", settings, batches)
        return made.requests_capacity

    together = capacity(names)
    for row, name in enumerate(names):
        np.testing.assert_array_equal(capacity((name,))[0], together[row])
