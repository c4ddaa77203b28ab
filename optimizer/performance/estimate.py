"""How fast and how hot a table of replicas serves one model: the door to this room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from catalog.model import ModelSpec
from catalog.quantization import find_scheme
from gpu_db.gpu import Gpu
from optimizer.performance.certainty import (
    FOREIGN,
    LEVELS,
    UNCALIBRATED,
    Spread,
    cell_name,
    names_of,
    parts_in_use,
    shape_name,
)
from optimizer.performance.factors import Factors, load_factors
from optimizer.performance.operations import Work, decode_kv_bytes, mean_context, measure_work
from optimizer.performance.power import busy_share, flop_seconds, flop_share_of, replica_watts
from optimizer.performance.rates import Datasheet, Hardware, Rates, fitted_rates, read_datasheet
from optimizer.performance.serving import NO_GUESSING, Guessing, Serving, closed_loop
from optimizer.performance.shortcuts import NONE, Shortcuts, guesser_of
from optimizer.performance.step import StepCosts, decoding_seconds, step_costs
from optimizer.replica_columns import Floats, Ints, ReplicaColumns, take_rows

__all__ = ["EstimateColumns", "Factors", "estimate", "kv_bytes_per_value", "load_factors"]


@dataclass(frozen=True)
class EstimateColumns:
    """Speed of each row at each batch size; arrays are (rows, batches) unless said otherwise.

    Attributes:
        ttft_seconds: from a request's arrival to its first token.
        tpot_seconds: between its tokens.
        output_tokens_per_second, requests_per_second: of the whole replica.
        decode_step_seconds: one step with the whole batch decoding and no prompt.
        prefill_seconds: one prompt, once it starts, beside a running batch.
        prompt_seconds: what one prompt adds to the steps of the others.
        prompt_chunks: steps that a prompt needs when it has them for itself; below 1 several share a step.
        tokens_per_step: output tokens of each request; 1 unless they are guessed.
        host_seconds: from a request's arrival to the start of its prompt when nothing else waits.
        power_watts: all GPUs of the replica.
        nearness: (rows,) how near each row is to what was measured, as a place in LEVELS.
        errors: how measured / predicted scatters, by level and metric.
    """

    ttft_seconds: Floats
    tpot_seconds: Floats
    output_tokens_per_second: Floats
    requests_per_second: Floats
    decode_step_seconds: Floats
    prefill_seconds: Floats
    prompt_seconds: Floats
    host_seconds: Floats
    prompt_chunks: float
    tokens_per_step: float
    power_watts: Floats
    nearness: Ints
    errors: Mapping[str, Mapping[str, Spread]]

    @property
    def calibration(self) -> tuple[str, ...]:
        """The level of each row."""
        return tuple(LEVELS[place] for place in self.nearness.tolist())

    def error_at(self, metric: str, probability: float) -> Floats:
        """(rows,): measured / predicted stays below this with that probability; NaN where nothing was left out.

        Args:
            metric: "tpot", "ttft" or "throughput".
            probability: such as 0.95 for the upper end of the interval that 90% of measurements lie in.
        """
        ends = [self.errors[level][metric].at(probability) for level in LEVELS]
        return np.array(ends)[self.nearness]


@dataclass(frozen=True)
class Prepared:
    """What an estimate knows before it knows the format of the KV cache; arrays are (rows,).

    Attributes:
        costs: of a step; those of a running request are of a cache that takes no time to read.
        computed_tokens: of a prompt, those that are not cached already.
        decode_flop_seconds: attention of one token, if nothing had to be read.
        kv_seconds_per_byte: of reading the cache.
        flop_seconds: see `optimizer.performance.power.flop_seconds`.
        nearness: see EstimateColumns.
        hardware: of the rows.
    """

    costs: StepCosts
    computed_tokens: float
    decode_flop_seconds: Floats
    kv_seconds_per_byte: Floats
    flop_seconds: Floats
    nearness: Ints
    hardware: Hardware


def prepare(
    spec: ModelSpec,
    engine_name: str,
    rows: ReplicaColumns,
    input_tokens: float,
    output_tokens: float,
    factors: Factors,
    hardware: Hardware | None = None,
    shortcuts: Shortcuts = NONE,
) -> Prepared:
    """What is the same for every format of the KV cache; see `estimate`.

    Args:
        spec, engine_name, rows, input_tokens, output_tokens, factors, shortcuts: as `estimate` takes them.
        hardware: of these rows, from `read_hardware`, where it is known already.
    """
    known = hardware or read_hardware(rows, engine_name, factors)
    work = measure_work(spec, rows, 0.0, input_tokens, output_tokens)
    checked = replace(work, decode_attention_flop=work.decode_attention_flop * (shortcuts.guesses + 1))
    costs = step_costs(checked, known.rates, factors.engine(engine_name), factors.shared, input_tokens)
    nearness = nearness_of(spec, engine_name, rows, work, known.sheet, factors)
    if shortcuts.guesses:
        nearness = np.maximum(nearness, LEVELS.index(UNCALIBRATED))
    return Prepared(
        *after_a_prefix(costs, input_tokens, shortcuts.prefix_hit_rate),
        decode_flop_seconds=checked.decode_attention_flop * known.rates.decode_seconds_per_flop,
        kv_seconds_per_byte=known.rates.kv_seconds_per_byte,
        flop_seconds=flop_seconds(work, known.sheet),
        nearness=nearness,
        hardware=known,
    )


def estimate(
    spec: ModelSpec,
    engine_name: str,
    rows: ReplicaColumns,
    kv_format: str,
    batches: Ints,
    input_tokens: float,
    output_tokens: float,
    factors: Factors,
    shortcuts: Shortcuts = NONE,
    prepared: Prepared | None = None,
    places: Ints | None = None,
) -> EstimateColumns:
    """Estimate every row at every batch size.

    Args:
        spec: the model as stored.
        engine_name: "vllm", "sglang", "tensorrt-llm".
        rows: replicas.
        kv_format: "bf16", "fp8", ...: a scheme's format, whose bits per value the cache has.
        batches: (batches,) requests in flight per attention-DP rank; a replica serves batches x data_parallel.
        input_tokens, output_tokens: mean prompt and answer, at least 1.
        factors: from `load_factors()`.
        shortcuts: cached prefixes and guessed tokens.
        prepared: what `prepare` found of these rows, and of others, with all else alike; None = not asked yet.
        places: each row's place in `prepared`, (rows,); None = they are its rows.

    Returns:
        Columns; NaN in rows whose GPU has no known bandwidth or 16-bit rate, or whose links are needed and unknown.

    Raises:
        ValueError: lengths or batches below 1.
    """
    if not (input_tokens >= 1 and output_tokens >= 1 and np.all(batches >= 1)):
        raise ValueError(
            f"Prompts, answers and batches must be at least 1, not {input_tokens}, {output_tokens} and {batches}."
        )
    lengths = input_tokens, output_tokens
    known = prepared or prepare(spec, engine_name, rows, *lengths, factors, shortcuts=shortcuts)
    places = np.arange(rows.rows) if places is None else places
    engine, slots = factors.engine(engine_name), batches.astype(np.float64)
    guessing = NO_GUESSING
    if shortcuts.speculation is not None:
        rates = take_rows(known.hardware.rates, places)
        guessing = guessing_of(spec, rows, kv_format, lengths, rates, engine, factors, shortcuts)
    costs = costs_with_cache(known, places, spec, rows, kv_format, lengths, engine, factors.shared)
    stages = rows.pipeline_parallel.astype(np.float64)[:, None]
    run = closed_loop(costs, engine, stages, slots, known.computed_tokens, output_tokens, guessing, input_tokens)
    chunks = known.computed_tokens / engine["chunk_tokens"]
    return _columns_of(run, known, places, rows, slots, output_tokens, factors, chunks, shortcuts.tokens_per_step)


def _columns_of(
    run: Serving,
    known: Prepared,
    places: Ints,
    rows: ReplicaColumns,
    slots: Floats,
    output_tokens: float,
    factors: Factors,
    prompt_chunks: float,
    tokens_per_step: float,
) -> EstimateColumns:
    """A closed loop of `slots` requests per rank as whole replicas see it, their watts included.

    Args:
        run: what the loop gives.
        known, places, rows, slots, output_tokens, factors: as in `estimate`.
        prompt_chunks, tokens_per_step: see EstimateColumns.
    """
    stages = rows.pipeline_parallel.astype(np.float64)
    requests = np.multiply(slots, rows.data_parallel.astype(np.float64)[:, None], order="F")
    requests /= run.cycle_seconds
    tokens = slots * (known.computed_tokens + output_tokens)
    share = flop_share_of(known.flop_seconds[places], stages, tokens, run)
    return EstimateColumns(
        ttft_seconds=run.ttft_seconds,
        tpot_seconds=run.tpot_seconds,
        output_tokens_per_second=requests * output_tokens,
        requests_per_second=requests,
        decode_step_seconds=run.decode_step_seconds,
        prefill_seconds=run.prefill_seconds,
        prompt_seconds=run.prompt_seconds,
        host_seconds=run.host_seconds,
        prompt_chunks=prompt_chunks,
        tokens_per_step=tokens_per_step,
        power_watts=replica_watts(rows, busy_share(share, factors.power), factors),
        nearness=known.nearness[places],
        errors=factors.errors,
    )


def costs_with_cache(
    known: Prepared,
    places: Ints,
    spec: ModelSpec,
    rows: ReplicaColumns,
    kv_format: str,
    lengths: tuple[float, float],
    engine: Mapping[str, float],
    shared: Mapping[str, float],
) -> StepCosts:
    """A step's costs of the rows at these places, with reading a KV cache of this format."""
    tp, context = rows.tensor_parallel.astype(np.float64), mean_context(*lengths)
    read = decode_kv_bytes(spec, tp, kv_bytes_per_value(kv_format), context) * known.kv_seconds_per_byte[places]
    decoded = decoding_seconds(known.decode_flop_seconds[places], read, engine, shared)
    return replace(known.costs.take(places), per_decoded=decoded)


_KV_SCHEMES = {
    "fp8": "fp8_tensor",
    "fp8_e4m3": "fp8_tensor",
    "fp8_e5m2": "fp8_tensor",
    "int8_per_token_head": "fp8_tensor",
    "int4_per_token_head": "int4_group128",
}
"""KV formats that weights have under another name."""


def kv_bytes_per_value(kv_format: str) -> float:
    """Bytes of one cached value.

    >>> kv_bytes_per_value("bf16"), kv_bytes_per_value("fp8")
    (2.0, 1.0)
    """
    scheme = _KV_SCHEMES.get(kv_format, kv_format)
    return find_scheme(scheme).bits_per_weight / 8


def after_a_prefix(costs: StepCosts, input_tokens: float, hit_rate: float) -> tuple[StepCosts, float]:
    """Costs and prompt tokens when the first share h of the prompt is cached: the rest attends to all of it.

    n^2 (1 - h^2) / 2 query-key pairs for n (1 - h) tokens: 1 + h times as many for each as without a cache (within a
    window that is more than there are). The last token is always computed.
    """
    if not hit_rate:
        return costs, input_tokens
    computed = max(input_tokens * (1 - hit_rate), 1.0)
    return replace(costs, per_prefilled=costs.per_prefilled * (2 - computed / input_tokens)), computed


def guessing_of(
    spec: ModelSpec,
    rows: ReplicaColumns,
    kv_format: str,
    lengths: tuple[float, float],
    rates: Rates,
    engine: Mapping[str, float],
    factors: Factors,
    shortcuts: Shortcuts,
) -> Guessing:
    """What guesses, as the closed loop takes it: it is launched by the same scheduler, so only its layers cost."""
    draft, costs = guesser_of(spec, shortcuts.speculation), None
    if draft is not None:
        work = measure_work(draft, rows, kv_bytes_per_value(kv_format), *lengths)
        unscheduled = {**engine, "step_seconds": 0.0, "sequence_seconds": 0.0}
        costs = step_costs(work, rates, unscheduled, factors.shared, lengths[0])
    return Guessing(shortcuts.guesses, shortcuts.tokens_per_step, costs)


def read_hardware(rows: ReplicaColumns, engine_name: str, factors: Factors) -> Hardware:
    """What an estimate knows of the rows before it knows the model; `take_rows` gives that of some of them."""
    sheet = read_datasheet(rows, engine_name.split(maxsplit=1)[0], factors)
    return Hardware(sheet, fitted_rates(sheet, multipliers_of(rows, factors), factors.shared))


def multipliers_of(rows: ReplicaColumns, factors: Factors) -> Floats:
    """(rows, 2): memory and compute of each row's GPU against the shared efficiency; 1 for one never measured."""
    known = [factors.gpus.get(gpu.name, {"memory": 1, "compute": 1}) for gpu in rows.gpus]
    return np.array([[gpu["memory"], gpu["compute"]] for gpu in known]).reshape(-1, 2)[rows.gpu]


def nearness_of(
    spec: ModelSpec, engine_name: str, rows: ReplicaColumns, work: Work, sheet: Datasheet, factors: Factors
) -> Ints:
    """(rows,) how near each row is to what was measured, as a place in LEVELS."""
    if not rows.rows:
        return np.empty(0, dtype=np.int64)
    one_of_each = np.zeros(len(rows.gpus), dtype=np.int64)
    one_of_each[rows.gpu] = np.arange(rows.rows)
    used, shape = parts_in_use(work, sheet, one_of_each), shape_name(spec)
    levels = [
        _level(gpu, cell_name(engine_name, shape, parts), parts, engine_name, factors)
        for gpu, parts in zip(rows.gpus, map(names_of, used), strict=True)
    ]
    return np.array([LEVELS.index(level) for level in levels], dtype=np.int64)[rows.gpu]


def _level(gpu: Gpu, cell: str, parts: frozenset[str], engine_name: str, factors: Factors) -> str:
    if gpu.vendor not in factors.vendors:
        return FOREIGN
    if engine_name not in factors.engines or gpu.part_of:
        return UNCALIBRATED
    return factors.measured.level(gpu.name, cell, parts)
