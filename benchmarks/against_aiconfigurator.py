"""NVIDIA's aiconfigurator and this program on the same measured runs, side by side.

    python benchmarks/against_aiconfigurator.py measured.csv [--python /path/to/its/bin/python] [--rows OUT.csv]

aiconfigurator (`pip install aiconfigurator`, Apache-2.0) may live in an environment of its own: `--python` names its
interpreter. Runs are closed loops that both can predict. Ours are predicted twice: by factors that were fitted without
the run's model (any checkpoint or format of its shape), and by the bundled ones. aiconfigurator gets the same layout,
its newest database, its measured kernels (SILICON) and, where a kernel was not measured, its HYBRID mode. It is asked
in the `WAYS`, and of each model that one counts which gives it the smallest median error of TPOT.

Throughput was not recorded by these benchmarks; by Little's law it is the requests in flight over the time of one.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

METRICS = ("tpot", "ttft", "throughput")
SYSTEMS = {
    "H100 SXM 80GB": "h100_sxm",
    "H200 SXM 141GB": "h200_sxm",
    "B200 SXM 180GB": "b200_sxm",
    "GB200 NVL72 (per GPU)": "gb200",
    "A100 SXM 80GB": "a100_sxm",
    "L40S 48GB": "l40s",
}
BACKENDS = {"vllm": "vllm", "sglang": "sglang", "tensorrt-llm": "trtllm"}
Asked = tuple[str, str, str]
"""A model that aiconfigurator ships, and the formats of its GEMMs and experts; "" = as its config says."""

CHECKPOINTS: dict[tuple[str, str], Asked] = {
    ("meta-llama/Llama-3.1-70B", "fp8"): ("meta-llama/Meta-Llama-3.1-70B", "fp8", "fp8"),
    ("meta-llama/Llama-3.1-70B", "nvfp4"): ("meta-llama/Meta-Llama-3.1-70B", "nvfp4", "nvfp4"),
    ("deepseek-ai/DeepSeek-R1", "fp8"): ("deepseek-ai/DeepSeek-R1", "", ""),
    ("deepseek-ai/DeepSeek-R1", "nvfp4"): ("nvidia/DeepSeek-V3.1-NVFP4", "", ""),
    ("openai/gpt-oss-120b", "mxfp4"): ("openai/gpt-oss-120b", "", ""),
    ("MiniMaxAI/MiniMax-M2.5", "fp8"): ("MiniMaxAI/MiniMax-M2.5", "", ""),
    ("MiniMaxAI/MiniMax-M2.5", "nvfp4"): ("nvidia/MiniMax-M2.5-NVFP4", "", ""),
    ("zai-org/GLM-5", "fp8"): ("zai-org/GLM-5-FP8", "", ""),
    ("zai-org/GLM-5", "nvfp4"): ("nvidia/GLM-5-NVFP4", "", ""),
    ("Qwen/Qwen3.5-397B-A17B", "bf16"): ("Qwen/Qwen3.5-397B-A17B", "", ""),
    ("Qwen/Qwen3.5-397B-A17B", "fp8"): ("Qwen/Qwen3.5-397B-A17B", "fp8", "fp8_block"),
}
"""Model and format of a run -> the checkpoint that was served."""

LABELS: dict[tuple[str, str], Asked] = CHECKPOINTS | {
    ("deepseek-ai/DeepSeek-R1", "fp8"): ("deepseek-ai/DeepSeek-R1", "fp8", "fp8_block"),
    ("deepseek-ai/DeepSeek-R1", "nvfp4"): ("deepseek-ai/DeepSeek-R1", "nvfp4", "nvfp4"),
    ("openai/gpt-oss-120b", "mxfp4"): ("openai/gpt-oss-120b", "nvfp4", "nvfp4"),
    ("MiniMaxAI/MiniMax-M2.5", "fp8"): ("MiniMaxAI/MiniMax-M2.5", "fp8", "fp8"),
    ("MiniMaxAI/MiniMax-M2.5", "nvfp4"): ("MiniMaxAI/MiniMax-M2.5", "nvfp4", "nvfp4"),
    ("zai-org/GLM-5", "fp8"): ("zai-org/GLM-5-FP8", "fp8", "fp8_block"),
}
"""The formats by which NVIDIA's own accuracy script asks."""

WAYS = {"checkpoint, nominal lengths": (CHECKPOINTS, True), "checkpoint, lengths as drawn": (CHECKPOINTS, False),
        "as NVIDIA's own script": (LABELS, True)}  # fmt: skip
"""How aiconfigurator is asked: which formats, and whether the nominal lengths or the mean of those that were drawn."""

NOT_THERE = "aiconfigurator is not installed; `pip install aiconfigurator`, or name its interpreter with --python."


# ── aiconfigurator's side, in its own interpreter ────────────────────────────────────────────────────────────────────


def work() -> None:
    """Read cases as JSON lines from stdin; write [ttft ms, tpot ms, output tokens per second, mode] or a reason."""
    import contextlib
    import functools
    import logging

    from aiconfigurator.cli import api  # type: ignore[import-not-found]
    from aiconfigurator_core.sdk import perf_database  # type: ignore[import-not-found]

    logging.disable(logging.CRITICAL)
    # It reads hundreds of YAML files anew for each question; the answer is the same for all of them.
    perf_database.get_latest_database_version = functools.cache(perf_database.get_latest_database_version)
    for line in sys.stdin:
        case = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            answer = _ask(api.cli_estimate, case)
        print(json.dumps(answer), flush=True)


def _ask(estimate: Any, case: dict[str, Any]) -> list[Any] | str:
    reason = ""
    for mode in ("SILICON", "HYBRID"):
        try:
            made = estimate(**case, database_mode=mode)
        except Exception as wrong:  # whatever it cannot do is counted with its reason
            reason = f"{type(wrong).__name__}: {wrong}"[:120]
        else:
            return [made.ttft, made.tpot, made.tokens_per_second, mode]
    return reason


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ours(path: Path) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The bench of all runs that can be fitted, and measured / predicted by factors ("left out", "bundled")."""
    from gpu_db.load import load_gpus
    from gpuplan.fitting.bench import build
    from gpuplan.fitting.fit import Solution, curves_only, fit
    from gpuplan.fitting.intervals import by_group
    from gpuplan.fitting.left_out import left_out_ratios, model_groups, ratios
    from gpuplan.fitting.runs import read_runs, to_fit
    from gpuplan.fitting.shapes import find_measured_model
    from optimizer.performance.factors import load_factors

    runs, _ = read_runs(path)
    bench, _ = build(to_fit(runs), find_measured_model, load_gpus(), curves_only())
    _, start = fit(bench)
    bundled = load_factors()
    as_shipped = Solution(dict(bundled.shared), dict(bundled.engines), dict(bundled.gpus), {})  # type: ignore[arg-type]
    left_out = left_out_ratios(bench, start, by_group(model_groups(bench.runs)), keep_gpus=True)
    return bench, {"left out": left_out, "bundled": ratios(bench, as_shipped)}


def errors_of_ours(ratios: Mapping[str, Any], at: int) -> dict[str, float]:
    """Predicted / measured - 1 of one run."""
    names = {"tpot": "tpot", "ttft": "ttft", "throughput": "closed throughput"}
    return {metric: float(1 / ratios[name][at] - 1) for metric, name in names.items()}


# ── the same runs ────────────────────────────────────────────────────────────────────────────────────────────────────


def case_of(run: Any, known: Mapping[tuple[str, str], Asked], *, nominal: bool) -> dict[str, Any] | None:
    """What aiconfigurator is asked about a run; None when it has no such GPU, engine or model."""
    from gpuplan.fitting.runs import LENGTH_JITTER

    asked = known.get((run.model, run.weights))
    backend = BACKENDS.get(run.engine.split()[0])  # whatever the era: its database is of one
    if run.kind != "closed" or run.gpu not in SYSTEMS or backend is None or asked is None:
        return None
    path, gemm, experts = asked
    drawn = run.source == "inferencex_aic"
    longer = 1 / LENGTH_JITTER if nominal and drawn else 1.0
    ranks = run.tensor_parallel * run.data_parallel
    dealt = ranks if run.expert_parallel > 1 else 1
    return {
        "model_path": path,
        "system_name": SYSTEMS[run.gpu],
        "backend_name": backend,
        "isl": round(run.input_tokens * longer),
        "osl": round(run.output_tokens * longer),
        "batch_size": max(round(run.batch), 1),
        "tp_size": run.tensor_parallel,
        "pp_size": run.pipeline_parallel,
        "attention_dp_size": run.data_parallel,
        "moe_tp_size": ranks // dealt,
        "moe_ep_size": dealt,
        "gemm_quant_mode": gemm or None,
        "moe_quant_mode": experts or None,
    }


def theirs(cases: list[dict[str, Any] | None], python: str) -> list[Any]:
    """What aiconfigurator answers, in order."""
    asked = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(
        [python, __file__, "--work"],
        input=asked,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def measured_of(run: Any) -> dict[str, float]:
    """Seconds and output tokens per second; the last by Little's law."""
    ttft, tpot = run.measured["ttft"], run.measured["tpot"]
    took = ttft + tpot * (run.output_tokens - 1)
    return {"tpot": tpot, "ttft": ttft, "throughput": run.batch * run.data_parallel * run.output_tokens / took}


def errors_of_theirs(answer: list[Any], run: Any) -> dict[str, float]:
    """Predicted / measured - 1 of one run."""
    ttft, tpot, rate, _ = answer
    predicted = {"tpot": tpot / 1e3, "ttft": ttft / 1e3, "throughput": rate}
    return {metric: predicted[metric] / value - 1 for metric, value in measured_of(run).items()}


def table(named: Mapping[str, list[dict[str, float]]]) -> str:
    """Median, mean and bias by metric as Markdown."""
    lines = ["| metric | predicted by | median | mean | bias (median) |", "| --- | --- | --- | --- | --- |"]
    for metric in METRICS:
        for name, errors in named.items():
            values = [error[metric] for error in errors]
            size = sorted(abs(value) for value in values)
            cells = (_median(size), math.fsum(size) / len(size), _median(sorted(values)))
            lines.append(f"| {metric} | {name} | " + " | ".join(f"{100 * cell:.1f}%" for cell in cells) + " |")
    return "\n".join(lines)


def _median(rising: list[float]) -> float:
    half = len(rising) // 2
    return rising[half] if len(rising) % 2 else (rising[half - 1] + rising[half]) / 2


def kindest(runs: list[Any], ways: Mapping[str, list[Any]]) -> list[dict[str, float] | None]:
    """Aiconfigurator's errors of each run in the way that suits the run's model best; None where that way fails."""
    errors = {
        way: [None if isinstance(answer, str) else errors_of_theirs(answer, run)
              for answer, run in zip(answers, runs, strict=True)]
        for way, answers in ways.items()
    }  # fmt: skip
    chosen: list[dict[str, float] | None] = [None] * len(runs)
    for model in {(run.model, run.weights) for run in runs}:
        mine = [at for at, run in enumerate(runs) if (run.model, run.weights) == model]
        best = min(errors, key=lambda way: _typical([errors[way][at] for at in mine]))
        for at in mine:
            chosen[at] = errors[best][at]
    return chosen


def _typical(errors: list[dict[str, float] | None]) -> float:
    """Median error of TPOT of those that were predicted; infinite when fewer than half were."""
    known = sorted(abs(error["tpot"]) for error in errors if error is not None)
    return _median(known) if 2 * len(known) >= len(errors) else math.inf


def compare(path: Path, python: str, rows: Path | None) -> str:
    """Both on the same runs: the table, and the rows where wanted."""
    bench, ratios = ours(path)
    places = [at for at, run in enumerate(bench.runs) if case_of(run, CHECKPOINTS, nominal=True)]
    asked = [bench.runs[at] for at in places]
    ways = {
        way: theirs([case_of(run, known, nominal=nominal) for run in asked], python)
        for way, (known, nominal) in WAYS.items()
    }
    errors = kindest(asked, ways)
    both = [n for n, error in enumerate(errors) if error is not None]
    named = {"aiconfigurator": [error for error in errors if error is not None]}
    for name, ratio in ratios.items():
        named[f"gpuplan ({name})"] = [errors_of_ours(ratio, places[n]) for n in both]
    kept = [asked[n] for n in both]
    if rows is not None:
        write_rows(rows, kept, named)
    reasons = [answer for answer, error in zip(ways[next(iter(WAYS))], errors, strict=True) if error is None]
    return "\n\n".join(
        [
            f"{len(both)} of {len(places)} closed-loop runs are predicted by both.",
            table(named),
            *by_model(kept, named),
            f"Not predicted by aiconfigurator: {len(reasons)}" + (f", such as {reasons[0]}" if reasons else "."),
        ]
    )


def by_model(runs: list[Any], named: Mapping[str, list[dict[str, float]]]) -> Iterable[str]:
    """Median error of TPOT of each model."""
    lines = ["| model | runs | " + " | ".join(named) + " |", "| --- " * (2 + len(named)) + "|"]
    for model in sorted({run.model for run in runs}):
        mine = [at for at, run in enumerate(runs) if run.model == model]
        cells = [_median(sorted(abs(errors[at]["tpot"]) for at in mine)) for errors in named.values()]
        lines.append(f"| {model} | {len(mine)} | " + " | ".join(f"{100 * cell:.1f}%" for cell in cells) + " |")
    yield "Median error of TPOT by model:"
    yield "\n".join(lines)


def write_rows(path: Path, runs: list[Any], named: Mapping[str, list[dict[str, float]]]) -> None:
    """One line per run with every error."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["run", "model", "gpu", "engine", *(f"{name}: {metric}" for name in named for metric in METRICS)]
        )
        for at, run in enumerate(runs):
            errors = [named[name][at][metric] for name in named for metric in METRICS]
            writer.writerow([run.run, run.model, run.gpu, run.engine, *(f"{error:.4f}" for error in errors)])


def main() -> None:
    """Compare, or work for a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="?", help="measured runs")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has aiconfigurator")
    parser.add_argument("--rows", type=Path, help="write every run's errors there")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work()
    elif asked.csv is None:
        parser.error("name a CSV of measured runs")
    elif not installed(asked.python):
        print(NOT_THERE)
    else:
        print(compare(asked.csv, asked.python, asked.rows))


def installed(python: str) -> bool:
    """Whether that interpreter has aiconfigurator."""
    if python == sys.executable:
        return importlib.util.find_spec("aiconfigurator") is not None
    looked = subprocess.run([python, "-c", "import aiconfigurator.cli"], stderr=subprocess.DEVNULL, check=False)
    return looked.returncode == 0


if __name__ == "__main__":
    main()
