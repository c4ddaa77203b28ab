"""How fast the main job starts and answers, against importing CP-SAT alone; its memory; candidates per second.

Run `python benchmarks/startup.py`; it reports in one run:

* seconds of the whole process of README's question, and of `python -c "from ortools.sat.python import cp_model"`,
  alternating, as medians, and their ratio (goal: at most 1.6);
* the peak memory of both;
* candidates (replica x batch size: memory and speed) evaluated per second of one core's time (goal: a million), as
  the median and the best of the rounds, and as a multiple of the time that numpy takes for as many exponentials in
  between: a busy machine slows both. Every round starts with nothing remembered but data files.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpuplan.__main__ import COLLECT_AFTER_OBJECTS  # noqa: E402

QUESTION = ("--model", "meta-llama/Llama-3.3-70B-Instruct", "--min-tps", "500", "--budget", "10")
PLAN = (sys.executable, "-m", "gpuplan", *QUESTION)
IMPORT_ONLY = (sys.executable, "-c", "from ortools.sat.python import cp_model")
MODELS = ("meta-llama/Llama-3.3-70B-Instruct", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-Next-80B-A3B-Instruct")
PIECE = 1 << 12
MIB = 1 << 20
KIB = 1 << 10


def run(command: Sequence[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of one process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code
    devnull = os.open(os.devnull, os.O_WRONLY)
    began = time.perf_counter()
    child = os.posix_spawn(command[0], command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, devnull, 1)])
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    os.close(devnull)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss * KIB


def compare(rounds: int) -> None:
    """Both processes in turn; one round before warms the disk cache and writes byte code."""
    runs = [(run(PLAN), run(IMPORT_ONLY)) for _ in range(rounds + 1)][1:]
    plan_seconds = statistics.median(plan[0] for plan, _ in runs)
    import_seconds = statistics.median(alone[0] for _, alone in runs)
    ratio = statistics.median(plan[0] / alone[0] for plan, alone in runs)
    print(f"plan, whole process       {plan_seconds:.3f} s   peak {max(plan[1] for plan, _ in runs) / MIB:.0f} MiB")
    print(f"import of CP-SAT alone    {import_seconds:.3f} s   peak {max(one[1] for _, one in runs) / MIB:.0f} MiB")
    print(f"ratio, median of {rounds}        {ratio:.2f}      goal at most 1.60")


def evaluate(model: str, rounds: int) -> None:
    """Candidates evaluated per second of processor time: every weight and cache format on every machine there is."""
    from catalog.find import find_model
    from catalog.quantization import available_formats
    from gpu_db.load import load_gpus, load_offers
    from optimizer.engines.find import find_engine
    from optimizer.performance.factors import load_factors
    from optimizer.requirements import Choices, Requirements
    from optimizer.search import Knowledge, Search

    spec = find_model(model)
    choices = Choices(weight_formats=available_formats(spec), kv_cache_formats=("bf16", "fp8"))
    question = Requirements(model=model, choices=choices)
    rates, multiples = [], []
    for _ in range(rounds + 1):
        forget()
        search = Search(Knowledge(spec, load_offers(), load_gpus(), {"vllm": find_engine("vllm")}, load_factors()))
        began = time.process_time()
        candidates = search.candidates(question)
        took = time.process_time() - began
        rates.append(candidates.evaluated / took)
        multiples.append(took / exponentials(candidates.evaluated))
    print(
        f"{model:36} {candidates.evaluated:9,} candidates   {statistics.median(rates[1:]) / 1e6:.2f} million/s, best "
        f"{max(rates[1:]) / 1e6:.2f}   goal 1.00   {statistics.median(multiples[1:]):.0f} x as many exp()"
    )


def forget() -> None:
    """Empty what functions of the optimizer remember of their arguments; what was read from files stays."""
    for name, module in tuple(sys.modules.items()):
        if name.startswith("optimizer."):
            for function in vars(module).values():
                if hasattr(function, "cache_clear") and inspect.signature(function).parameters:
                    function.cache_clear()


def exponentials(count: int) -> float:
    """Seconds of processor time of so many exponentials, in pieces that stay in the cache as tables do."""
    import numpy as np

    numbers = np.linspace(-1.0, 1.0, PIECE)
    began = time.process_time()
    for _ in range(count // PIECE):
        np.exp(numbers)
    return time.process_time() - began


def main() -> None:
    """Report everything in one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    gc.set_threshold(COLLECT_AFTER_OBJECTS)  # as the program does
    compare(rounds)
    for model in MODELS:
        evaluate(model, rounds)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
