"""One measured serving run -> the replica, lengths and load that it describes, or why it has no prediction."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from gpuplan.fitting.eras import planned_steps
from gpuplan.fitting.held import Served, held_steps
from gpuplan.fitting.runs import ASSUMED_PROMPT_TOKENS, LENGTH_JITTER, WEIGHTS
from gpuplan.measuring.cells import count, number
from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.serving_words import Load, engine_of, format_of, gpu_of, load_of, model_of
from gpuplan.measuring.shortcut_words import shortcuts_of
from optimizer.performance.shortcuts import NONE, Shortcuts

MOST_GPUS = 4096
MOST_TOKENS = 1e8

_NOT_DESCRIBED = (
    (re.compile(r"SUSPECT"), "it is marked SUSPECT"),
    (re.compile(r"EXCLUDED"), "it is marked EXCLUDED"),
    (re.compile(r"disaggregat|\bdisagg\b|\bP/D\b|prefill.?decode sep", re.IGNORECASE),
     "prefill and decode ran on separate GPUs, which is not described here"),
    (re.compile(r"task=(?:image|video|omni|audio)"), "its steps hold an encoder's work, which is not described here"),
    (re.compile(r"in-flight batching off|KV4"), "its KV cache is of 4 bits, which is not described here"),
)  # fmt: skip
_ATTENTION = re.compile(r"attention tp(\d+) dp(\d+), moe tp(\d+) ep(\d+)")
_JITTER = re.compile(r"length jitter")
_TUNED = re.compile(r"^MLPerf")
_SHORT_PROMPTS = re.compile(r"task=(?:lm-arena-chat|gpqa)|dataset OpenOrca")
"""Chats and exam questions: a few hundred tokens, of which only the cache reads feel how many."""

_HALF = re.compile(r"\(2 GCD\)")


@dataclass(frozen=True)
class Case:
    """One run, or one way in which it may have been laid out.

    Attributes:
        source: the benchmark that it is of, as the fitted factors call it.
        engine: with its era, as the fitted factors call it.
        replicas: independent copies behind one address.
        load: of all replicas together.
        batch: mean requests in flight per replica that the row states; NaN when it does not.
        max_num_seqs: that the row states; None when it does not.
        assumed: what stands in for what the row does not say.
        shortcuts: cached prefixes and guessed tokens.
        held_steps: decode steps for which the benchmark's flags hold a request back (`gpuplan.fitting.held`).
        planned_steps: decode steps that the host plans at once (`gpuplan.fitting.runs.planned_steps`).
    """

    source: str
    spec: ModelSpec
    engine: str
    card: Gpu
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    replicas: int
    kv_format: str
    input_tokens: float
    output_tokens: float
    load: Load
    batch: float
    max_num_seqs: int | None
    assumed: tuple[str, ...]
    shortcuts: Shortcuts = NONE
    held_steps: float = 0.0
    planned_steps: int = 1

    @property
    def gpu(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel


def read_case(row: Mapping[str, str], configs_dir: Path | None = None) -> tuple[Case, ...]:
    """A row in our words: one case, or several of which the fastest counts where its layout is not recorded.

    Raises:
        Unpredictable: with the reason.
    """
    note = row.get("note", "")
    for pattern, reason in _NOT_DESCRIBED:
        if pattern.search(note):
            raise Unpredictable(reason)
    load = load_of(row.get("load", ""), note)
    card, card_assumed = _half_card(*gpu_of(row.get("gpu", "")))
    version, date = row.get("engine_version", ""), row.get("source_date", "").strip()
    engine = engine_of(row.get("engine", "").strip(), version, date, card.vendor)
    weights, weights_assumed = _weights(row, card)
    spec = model_of(row.get("model", ""), weights, configs_dir)
    kv_format, kv_assumed = _kv_format(row, spec, card)
    isl, osl, lengths_assumed = _lengths(row)
    case = Case(
        source=row.get("run", "").split("/")[0].strip(),
        spec=spec,
        engine=engine,
        card=card,
        tensor_parallel=1,
        pipeline_parallel=1,
        data_parallel=1,
        expert_parallel=1,
        replicas=1,
        kv_format=kv_format,
        input_tokens=isl,
        output_tokens=osl,
        load=load,
        batch=number(row, "avg_batch_size", 0.001, 1e6) or math.nan,
        max_num_seqs=_max_num_seqs(note),
        assumed=tuple(filter(None, (card_assumed, weights_assumed, kv_assumed, lengths_assumed))),
        shortcuts=shortcuts_of(row, spec, configs_dir),
        planned_steps=planned_steps(row.get("run", "").split("/")[0].strip(), engine, load.kind, note),
    )
    return tuple(_held_back(laid_out, row) for laid_out in _laid_out(case, row))


def _held_back(case: Case, row: Mapping[str, str]) -> Case:
    """With what the scripts of its benchmark do to new requests, where they are known."""
    served = Served(
        case.source,
        case.engine.split()[0],
        row.get("model", "").strip().rsplit("/", maxsplit=1)[-1],
        WEIGHTS.get(row.get("weights_quant", "").strip(), ""),
        case.gpu,
        case.gpus,
        case.data_parallel,
        case.load.amount,
        number(row, "isl", 0, MOST_TOKENS) or 0.0,
        number(row, "osl", 1, MOST_TOKENS) or 1.0,
    )
    steps = held_steps(served) if case.load.kind == "closed" else 0.0
    if not steps:
        return case
    return replace(
        case, held_steps=steps, assumed=(*case.assumed, f"new requests held for {steps:.3g} steps, as its scripts do")
    )


def _half_card(card: Gpu, assumed: str) -> tuple[Gpu, str]:
    """Of a card of two dies, the one that a process sees as a GPU and a benchmark counts as one."""
    if not _HALF.search(card.name):
        return card, assumed
    assert card.memory_bandwidth_bytes_per_second
    half = replace(
        card,
        memory_bytes=card.memory_bytes and card.memory_bytes // 2,
        memory_marketed_bytes=card.memory_marketed_bytes // 2,
        memory_bandwidth_bytes_per_second=card.memory_bandwidth_bytes_per_second / 2,
        flop_per_second={name: rate / 2 for name, rate in card.flop_per_second.items()},
        power_watts=card.power_watts and card.power_watts / 2,
        idle_watts=card.idle_watts and card.idle_watts / 2,
    )
    return half, f"a GPU is one of the two dies of a {card.name}"


def _weights(row: Mapping[str, str], card: Gpu) -> tuple[str | None, str]:
    """The weight format: stated, in the model's name, or what tuned submissions use."""
    stated = format_of(row.get("weights_quant", "") or row.get("weights_dtype_or_quant", ""))
    if stated:
        return stated, ""
    if _TUNED.search(row.get("note", "")) and "fp8" in card.flop_per_second:
        return "fp8", "weights in fp8, as tuned submissions on such cards have them"
    tail = re.sub(r".*?[-_.](?=(?:awq|gptq|int[48]|fp[48]|nvfp4|mxfp4|w\d+a\d+|quantized)\b)", "", row.get("model", ""),
                  flags=re.IGNORECASE)  # fmt: skip
    if tail != row.get("model", ""):
        return format_of(tail), ""
    return None, "weights as the checkpoint stores them"


def _kv_format(row: Mapping[str, str], spec: ModelSpec, card: Gpu) -> tuple[str, str]:
    """As stated; else as the benchmarks that the factors were fitted on set it."""
    stated = row.get("kv_dtype", "").strip().lower()
    if stated and stated != "auto":
        return ("fp8" if "8" in stated else "bf16"), ""
    if spec.weight_format == "mxfp4":
        return ("fp8" if "fp4" in card.flop_per_second else "bf16"), "KV cache by the weights' format"
    if spec.weight_format in {"fp8", "nvfp4"}:
        return "fp8", "KV cache in fp8"
    return "bf16", ""


def _lengths(row: Mapping[str, str]) -> tuple[float, float, str]:
    note = row.get("note", "")
    osl = number(row, "osl", 1, MOST_TOKENS)
    isl = number(row, "isl", 0, MOST_TOKENS)
    if osl is None:
        raise Unpredictable("its output length is not stated")
    jitter = LENGTH_JITTER if _JITTER.search(note) else 1.0
    if isl is not None:
        return max(isl * jitter, 1.0), max(osl * jitter, 1.0), ""
    if _SHORT_PROMPTS.search(note):
        return ASSUMED_PROMPT_TOKENS, osl, f"prompts of {ASSUMED_PROMPT_TOKENS:g} tokens"
    raise Unpredictable("its input length is not stated")


def _max_num_seqs(note: str) -> int | None:
    found = re.search(r"max[_-]num[_-]seqs[ =:]+(\d+)", note)
    return int(found[1]) if found else None


def _laid_out(case: Case, row: Mapping[str, str]) -> tuple[Case, ...]:
    """The layouts that the row allows."""
    tp, pp, ep, dp, gpus = (count(row, name, MOST_GPUS) for name in ("tp", "pp", "ep", "dp", "num_gpus"))
    match = _ATTENTION.search(row.get("note", ""))
    if match:
        return (_from_note(case, *map(int, match.groups())),)
    if gpus is None and tp is None:
        raise Unpredictable("neither its GPUs nor its tensor parallelism are stated")
    total = gpus or (tp or 1) * (pp or 1) * (dp or 1)
    if tp is None and total > 1 and not (dp or 1) > 1 and (pp or 1) == 1:
        return _any_layout(case, total)
    pp, dp = pp or 1, dp or 1
    if tp is None:
        tp = max(total // (pp * dp), 1)
    if tp * pp * dp > total:
        # ranks of an expert, or attention ranks counted in
        tp = max(total // (pp * dp), 1)
    if tp * pp * dp > total or total % (tp * pp * dp):
        raise Unpredictable(f"TP {tp} x PP {pp} x DP {dp} does not divide {total} GPUs")
    spread = tp * dp if (ep or 1) > 1 else 1
    return (_placed(case, tp, pp, dp, spread, total // (tp * pp * dp)),)


def _placed(case: Case, tp: int, pp: int, dp: int, ep: int, replicas: int) -> Case:
    if pp > case.spec.layer_count:
        raise Unpredictable(f"it has {pp} pipeline stages for {case.spec.layer_count} layers")
    return replace(
        case, tensor_parallel=tp, pipeline_parallel=pp, data_parallel=dp, expert_parallel=ep, replicas=replicas
    )


def _from_note(case: Case, tp: int, dp: int, expert_tp: int, ep: int) -> Case:
    """As InferenceX writes it: attention and experts each in their own layout, on one 8-GPU server."""
    if tp * dp != expert_tp * ep:
        raise Unpredictable("attention and experts are said to be on different numbers of GPUs")
    if tp * dp > 8 or (tp > 1 and dp > 1):
        if dp == 1:  # tp16 moe tp4 ep4: tp was multiplied by ep
            tp = expert_tp
        elif tp == dp:  # tp4 dp4 moe tp1 ep16 -> dp4, experts over 4
            tp = 1
        else:
            raise Unpredictable("more GPUs than one server has, in a layout that is not clear")
    return _placed(case, tp, 1, dp, tp * dp if ep > 1 else 1, 1)


def _any_layout(case: Case, total: int) -> tuple[Case, ...]:
    """Every TP in powers of two, the rest as copies; which one ran is not recorded, and tuned runs use the fastest."""
    if case.load.kind in ("closed", "static"):
        raise Unpredictable("its tensor parallelism is not stated")
    case = replace(case, assumed=(*case.assumed, "the fastest layout, which is not recorded"))
    sizes = [2**power for power in range(4) if total % 2**power == 0]
    return tuple(_placed(case, size, 1, 1, 1, total // size) for size in sizes)
