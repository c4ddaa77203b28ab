"""The longest context of one model on each GPU, alone and in pairs."""

from gpuplan.calculators.configuration import Configuration
from gpuplan.calculators.memory import memory_of
from optimizer.errors import BadRequirements

MODEL = "Qwen/Qwen3-32B"
GPUS = ("L40S", "A100", "H100", "H200", "B200", "MI300X")


def longest_context(gpu: str, tensor_parallel: int) -> str:
    """Tokens of the longest single request, or why there is none."""
    try:
        answer = memory_of(Configuration(model=MODEL, gpu=gpu, tensor_parallel=tensor_parallel))
    except BadRequirements as reason:
        return str(reason)
    return f"{answer.longest_context:,} tokens" if answer.longest_context else "does not fit"


for name in GPUS:
    print(f"{name:8} alone: {longest_context(name, 1):16} two: {longest_context(name, 2)}")
