"""Measured serving runs as the model needs them: one clean `Run` per usable row, and a reason for each other row.

What a figure means differs by source; this file is where that is written down, once.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gpu_db.load import load_gpus
from gpuplan.fitting.eras import era_of, planned_steps
from gpuplan.fitting.held import Served, held_steps

Kind = Literal["closed", "step", "single", "static", "offline"]
"""closed: TTFT and TPOT at a concurrency. step: the median gap between tokens at a batch size. single: one request at a
time, end to end. static: a batch that starts and ends together, end to end. offline: all requests at once, output
tokens per second."""
Row = Mapping[str, str]
GPU_NAMES = {
    "H100-SXM-80GB": "H100 SXM 80GB",
    "H100": "H100 SXM 80GB",
    "H100-NVL": "H100 NVL 94GB",
    "H100-PCIe": "H100 PCIe 80GB",
    "H200-SXM": "H200 SXM 141GB",
    "H200": "H200 SXM 141GB",
    "H20-96GB": "H20 96GB",
    "B200-SXM": "B200 SXM 180GB",
    "GB200": "GB200 NVL72 (per GPU)",
    "A100": "A100 SXM 80GB",
    "A100-80GB": "A100 SXM 80GB",
    "A100-SXM-80GB": "A100 SXM 80GB",
    "A100-40GB": "A100 SXM 40GB",
    "L40S": "L40S 48GB",
    "L4": "L4 24GB",
    "MI300X": "MI300X 192GB",
    "MI250": "MI250 128GB (2 GCD)",
    "Intel-Max-1550": "Data Center GPU Max 1550 128GB",
    "RTX-A5000": "RTX A5000 24GB",
    "RTX-3090": "RTX 3090 24GB",
    "RTX-4090": "RTX 4090 24GB",
    "RTX-PRO-6000-Blackwell-SE": "RTX PRO 6000 Blackwell Server 96GB",
    "RTX-PRO-6000-Blackwell": "RTX PRO 6000 Blackwell Workstation 96GB",
    "Radeon-AI-PRO-R9700": "Radeon AI PRO R9700 32GB",
}
"""Names of that file -> names of gpu_db. A source that does not say which A100 or H100 is read as SXM 80 GB."""
JUDGED_ONLY = {
    "MI250 128GB (2 GCD)": "two devices described as one card",
    "Data Center GPU Max 1550 128GB": "its vendor's one GPU, with vLLM 0.5.2 alone",
}
"""GPUs whose runs move no factor and tell how far off an estimate is for a vendor that was not measured."""
WEIGHTS = {
    "bf16": "bf16",
    "fp16": "bf16",
    "fp8": "fp8",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    "int4-awq": "int4",
    "int4-gptq": "int4",
    "int4-w4a16": "int4",
    "int8-w8a8": "int8",
}


class Unusable(Exception):
    """Why a row cannot be used; the text is the key under which such rows are counted."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement.

    Attributes:
        run, source, engine, model, weights, gpu: who measured what; `engine` has its era ("vllm", "vllm V0").
        kind: see Kind.
        tensor_parallel, pipeline_parallel, data_parallel, expert_parallel: as in ReplicaColumns.
        kv_format: of the cache; assumed where the source does not say (see `_kv_format`).
        batch: requests in flight per attention-DP rank; NaN for offline runs, where memory decides.
        input_tokens, output_tokens: means.
        measured: by metric: "tpot", "ttft" (seconds), "throughput" (output tokens per second), "step", "request",
            "energy" (joules of all GPUs per output token).
        watts: of all GPUs; None if not measured.
        held_steps: decode steps for which the benchmark's own flags hold a request back (`gpuplan.fitting.held`).
        planned_steps: decode steps that the host plans at once; see `planned_steps`.
    """

    run: str
    source: str
    engine: str
    model: str
    weights: str
    gpu: str
    kind: Kind
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    kv_format: str
    batch: float
    input_tokens: float
    output_tokens: float
    measured: Mapping[str, float]
    watts: float | None = None
    held_steps: float = 0.0
    planned_steps: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of the replica."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel


def read_runs(path: Path) -> tuple[list[Run], Counter[str]]:
    """Usable runs of a file in the columns of the measured-serving format, and how many rows were left out and why."""
    runs, left_out = [], Counter[str]()
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                runs.append(read_run(row))
            except Unusable as reason:
                left_out[str(reason)] += 1
    return runs, left_out


def to_fit(runs: Sequence[Run]) -> list[Run]:
    """Those that factors may be fitted on."""
    return [run for run in runs if run.gpu not in JUDGED_ONLY]


def read_run(row: Row) -> Run:
    """One row, by its source.

    Raises:
        Unusable: with the reason.
    """
    note = row.get("note") or ""
    for mark in ("SPEC-DECODING", "SUSPECT", "EXCLUDED"):
        if mark in note:
            raise Unusable(f"marked {mark}")
    source = (row.get("run") or "own").split("/")[0]
    if source in _NOT_READ:
        raise Unusable(f"{source}: {_NOT_READ[source]}")
    return _READERS.get(source, _closed)(row, source)


def _number(row: Row, column: str, default: float | None = None) -> float:
    text = row.get(column) or ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    if default is None:
        raise Unusable(f"no {column}")
    return default


def _common(row: Row, source: str, kind: Kind, measured: Mapping[str, float], **more: object) -> Run:
    if row["gpu"] not in GPU_NAMES:
        raise Unusable(f"GPU {row['gpu']} is not mapped")
    weights = WEIGHTS.get(row.get("weights_quant") or "")
    if weights is None:
        raise Unusable(f"weights {row.get('weights_quant') or 'not stated'}")
    if any(not (math.isfinite(v) and v > 0) for v in measured.values()) or not measured:
        raise Unusable("no measured value")
    gpu = GPU_NAMES[row["gpu"]]
    fields: dict[str, object] = {
        "run": row["run"],
        "source": source,
        "engine": _engine(row, gpu),
        "model": row["model"],
        "weights": weights,
        "gpu": gpu,
        "kind": kind,
        "tensor_parallel": int(_number(row, "tp", _number(row, "num_gpus", 1))),
        "pipeline_parallel": int(_number(row, "pp", 1)),
        "data_parallel": int(_number(row, "dp", 1)),
        "expert_parallel": int(_number(row, "ep", 1)),
        "kv_format": _kv_format(row, weights, gpu),
        "input_tokens": _number(row, "isl", math.nan),
        "output_tokens": _number(row, "osl"),
        "measured": measured,
    }
    return Run(**(fields | more))  # type: ignore[arg-type]


def _engine(row: Row, gpu: str) -> str:
    if row["engine"] not in ENGINES:
        raise Unusable(f"engine {row['engine']}")
    vendor = load_gpus()[gpu].vendor
    return era_of(row["engine"], row.get("engine_version") or "", row.get("source_date") or "", vendor)


ENGINES = frozenset({"vllm", "sglang", "tensorrt-llm"})


def _kv_format(row: Row, weights: str, gpu: str) -> str:
    """As stated; else fp8 with fp8 or fp4 weights, as these benchmarks' scripts set it, and bf16 otherwise."""
    stated = row.get("kv_dtype") or ""
    if stated:
        return "fp8" if "8" in stated else "bf16"
    if weights == "mxfp4":
        return "fp8" if gpu.startswith(("B200", "GB200")) else "bf16"
    return "fp8" if weights in {"fp8", "nvfp4"} else "bf16"


def _concurrency(row: Row) -> float:
    match = re.fullmatch(r"concurrency=([\d.]+)", row.get("load") or "")
    if not match:
        raise Unusable(f"load {re.sub(r'[0-9.]+', 'N', row.get('load') or 'not stated')}")
    return float(match[1])


LENGTH_JITTER = 0.9
"""InferenceX draws lengths evenly from 0.8 to 1.0 of the nominal ones."""
LONGEST_WAIT = 0.4
"""TTFT over decoding time beyond which a closed loop is no longer limited by speed."""
_PARALLEL = re.compile(r"attention tp(\d+) dp(\d+), moe tp(\d+) ep(\d+)")


def _inferencex(row: Row, source: str) -> Run:
    match = _PARALLEL.search(row.get("note") or "")
    if not match:
        raise Unusable("parallelism not stated")
    tp, dp, expert_tp, ep = map(int, match.groups())
    if tp * dp != expert_tp * ep:
        raise Unusable("attention and experts on different numbers of GPUs")
    if tp * dp > 8 or (tp > 1 and dp > 1):
        # One 8-GPU server: TP was multiplied by EP or by DP when the table was made.
        tp, dp, ep = _divided(tp, dp, expert_tp, ep)
    ttft, tpot, output_tokens = _number(row, "ttft_ms"), _number(row, "tpot_ms"), _number(row, "osl") * LENGTH_JITTER
    _check_loop(ttft, tpot, output_tokens)
    run = _common(
        row,
        source,
        "closed",
        {"ttft": ttft * 1e-3, "tpot": tpot * 1e-3},
        tensor_parallel=tp,
        pipeline_parallel=1,
        data_parallel=dp,
        expert_parallel=tp * dp if ep > 1 else 1,
        batch=max(_concurrency(row) / dp, 1.0),
        input_tokens=_number(row, "isl") * LENGTH_JITTER,
        output_tokens=output_tokens,
    )
    return replace(run, held_steps=held_steps(_served(run)))


def _served(run: Run) -> Served:
    return Served(
        run.source,
        run.engine.split()[0],
        run.model.rsplit("/", maxsplit=1)[-1],
        run.weights,
        run.gpu,
        run.gpus,
        run.data_parallel,
        run.batch * run.data_parallel,
        run.input_tokens / LENGTH_JITTER,
        run.output_tokens / LENGTH_JITTER,
    )


def _divided(tp: int, dp: int, expert_tp: int, ep: int) -> tuple[int, int, int]:
    if dp == 1:  # tp16 moe tp4 ep4 -> tp4, experts over 4
        return expert_tp, 1, ep
    if tp == dp:  # tp4 dp4 moe tp1 ep16 -> dp4, experts over 4
        return 1, dp, dp
    raise Unusable("more GPUs than one server has")


def _check_loop(ttft: float, tpot: float, output_tokens: float) -> None:
    """Whether a closed loop was limited by speed, and not by the slots that the engine had for it."""
    if not (ttft > 0 and tpot > 0):
        raise Unusable("no measured value")
    if ttft > LONGEST_WAIT * tpot * output_tokens:
        raise Unusable("requests queue for a slot: memory or max_num_seqs holds fewer than the concurrency")


def _closed(row: Row, source: str) -> Run:
    """Any other source, a user's own runs among them: a concurrency, the lengths as stated, TTFT and TPOT."""
    measured = {metric: _first(row, metric) * 1e-3 for metric in ("ttft", "tpot")}
    dp = int(_number(row, "dp", 1))
    output_tokens = _number(row, "osl")
    _check_loop(measured["ttft"], measured["tpot"], output_tokens)
    return _common(
        row,
        source,
        "closed",
        measured,
        batch=max(_concurrency(row) / dp, 1.0),
        input_tokens=_number(row, "isl"),
        output_tokens=output_tokens,
    )


def _first(row: Row, metric: str) -> float:
    """Milliseconds: the mean where it is given, else the median, else whatever statistic the source means."""
    for column in (f"{metric}_ms_mean", f"{metric}_ms_median", f"{metric}_ms"):
        if row.get(column):
            return _number(row, column)
    raise Unusable(f"no {metric}")


def _mlenergy(row: Row, source: str) -> Run:
    if re.search(r"task=(image|video|omni|audio)", row.get("note") or ""):
        raise Unusable("encoder work in the step")
    if "task=gpqa" in (row.get("note") or "") and row["gpu"] == "B200-SXM":
        raise Unusable("host-bound series: the same 33 ms at every batch size")
    if row["model"].startswith("Qwen/Qwen3-Coder-480B") and row["weights_quant"] == "fp8":
        raise Unusable("kernels not tuned for the GPU: FP8 up to 20 times slower than the same model in 16 bit")
    dp, ep = int(_number(row, "dp", 1)), int(_number(row, "ep", 1))
    tp = int(_number(row, "num_gpus")) // dp  # the tp column counts the ranks of an expert there
    batch = _number(row, "avg_batch_size") / dp
    osl = _number(row, "osl")
    return _common(
        row,
        source,
        "step",
        {"step": _number(row, "itl_ms_median") * 1e-3} | _energy(row),
        tensor_parallel=tp,
        expert_parallel=ep if ep > 1 else 1,
        batch=max(batch, 1.0),
        input_tokens=ASSUMED_PROMPT_TOKENS,
        output_tokens=osl,
        watts=_number(row, "avg_power_w", math.nan),
    )


def _energy(row: Row) -> dict[str, float]:
    """Joules of all GPUs per output token, where they are measured and do not hang on prompts of unknown length.

    Code completion (task=sourcegraph-fim) has answers so short that its prompts, of unstated length, are a large part
    of the work: at 300 tokens its throughput would be 19% more than measured, at 1,500 its gaps 9% longer.
    """
    if not row.get("energy_j_per_token") or "fim" in (row.get("note") or ""):
        return {}
    return {"energy": _number(row, "energy_j_per_token")}


ASSUMED_PROMPT_TOKENS = 300.0
"""ML.ENERGY does not publish prompt lengths; a few hundred for chat and exams. Only the cache reads feel it."""


def _single(row: Row, source: str) -> Run:
    if _concurrency(row) != 1:
        raise Unusable("static batch of several requests")
    isl, osl = _number(row, "isl"), _number(row, "osl")
    seconds = _number(row, "e2e_ms", _number(row, "e2e_ms_mean", math.nan)) * 1e-3
    if math.isnan(seconds):
        seconds = osl / _number(row, "output_tps_total")
    if source == "redhat_hf" and seconds < 2:
        raise Unusable("rounded to 0.1 s")
    return _common(row, source, "single", {"request": seconds}, batch=1.0, input_tokens=isl, output_tokens=osl)


def _offline(row: Row, source: str) -> Run:
    if (row.get("load") or "") != "offline/max":
        raise Unusable(f"load {re.sub(r'[0-9.]+', 'N', row.get('load') or 'not stated')}")
    gpus = int(_number(row, "num_gpus"))
    tp, pp, ep = int(_number(row, "tp", 1)), int(_number(row, "pp", 1)), int(_number(row, "ep", 1))
    dp = int(_number(row, "dp", 1))
    if dp > 1:
        tp, ep = 1, dp
    if tp * pp * dp != gpus:
        raise Unusable("parallelism not stated")
    return _common(
        row,
        source,
        "offline",
        {"throughput": _number(row, "output_tps_total")},
        tensor_parallel=tp,
        pipeline_parallel=pp,
        data_parallel=dp,
        expert_parallel=ep,
        batch=math.nan,
        input_tokens=_number(row, "isl"),
        output_tokens=_number(row, "osl"),
    )


def _captured(row: Row, source: str) -> Run:
    """Of vLLM 0.4, whose graphs end at 8,192 tokens (max_seq_len_to_capture): beyond, kernels start one by one."""
    if _number(row, "isl") + _number(row, "osl") > LONGEST_CAPTURED:
        raise Unusable("contexts beyond the captured graphs of vLLM 0.4")
    return _single(row, source)


LONGEST_CAPTURED = 8192


def _rocm(row: Row, source: str) -> Run:
    """AMD's README: static batches, and all prompts at once with as many slots as the note says."""
    slots = _SLOTS.search(row.get("note") or "")
    if row.get("load") != "offline/max" or not slots:
        return _static(row, source)
    run = _common(
        row,
        source,
        "offline",
        {"throughput": _number(row, "output_tps_total")},
        batch=float(slots[1]),
        input_tokens=_number(row, "isl"),
        output_tokens=_number(row, "osl"),
    )
    return replace(run, planned_steps=planned_steps(source, run.engine, "offline", row.get("note") or ""))


_SLOTS = re.compile(r"max_num_seqs=(\d{1,6})")


def _static(row: Row, source: str) -> Run:
    """A batch that starts and ends together: its time is all prompts and then as many steps as answers are long."""
    isl, osl = _number(row, "isl"), _number(row, "osl")
    seconds = _number(row, "e2e_ms") * 1e-3
    batch = _concurrency(row)
    kind: Kind = "static" if batch > 1 else "single"
    if kind == "static" and _number(row, "pp", 1) > 1:
        raise Unusable("a static batch in a pipeline: not said how it is dealt out to the stages")
    more = {"gpu": POLARIS} if source == "argonne" and row["gpu"] == "A100" else {}
    return _common(row, source, kind, {"request": seconds}, batch=batch, input_tokens=isl, output_tokens=osl, **more)


POLARIS = "A100 SXM 40GB"
"""What Argonne's A100 are: its scripts ran on ALCF Polaris."""
_READERS: dict[str, Callable[[Row, str], Run]] = {
    "inferencex_aic": _inferencex,
    "mlenergy3": _mlenergy,
    "qwen2speed": _captured,
    "qwen25speed": _single,
    "qwen3speed": _single,
    "redhat_hf": _single,
    "rocmvllm": _rocm,
    "argonne": _static,
    "trtllm_0.13.0": _offline,
    "trtllm_0.17.0": _offline,
    "trtllm_0.20.0": _offline,
    "trtllm_1.0": _offline,
    "trtllm_devguide": _offline,
}
_NOT_READ = {
    "dstack": "static batches and request rates",
    "lmdeploy": "another engine",
    "mlperf41": "tensor parallelism not recorded",
    "qserve": "in-flight batching off",
    "trtllm_docs_v0.5_0.9": "static batches of engines of 2023",
    "trtllm_online_0.14": "request rates",
    "ree2raz": "prompt lengths not stated",
    "kubeai": "prefix cache on",
    "cloudrift": "replicas and parallelism not recorded",
    "tpu_recipes": "another kind of accelerator",
}
"""Sources that this model does not fit to yet, and why."""
