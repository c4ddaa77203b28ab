"""Where a step's time goes: its parts, what binds each of them, and how far each is from what physics allows.

The parts are not a second model. Each is the one step model with the work of all other parts taken away, and because
the model adds them up, they add up to the step.

    weights       products with matrices that every token uses, and the logits
    experts       products with routed experts
    attention     cache and state reads of running requests, attention inside a prompt
    activations   vectors between the products, through memory
    collectives   all-reduces of a TP group, exchanges between attention-DP ranks
    pipeline      hand-over between pipeline stages
    host          scheduling, launches, work per running request
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from optimizer.performance.operations import ACTIVATION_BYTES, Work
from optimizer.performance.rates import Datasheet, Rates
from optimizer.performance.step import log_miss, step_costs, step_seconds
from optimizer.replica_columns import Floats

Bound = Literal["compute", "memory", "communication", "host"]

_OWN: Mapping[str, tuple[str, ...]] = {
    "weights": ("dense_flop", "dense_bytes", "head_flop", "head_bytes"),
    "experts": ("expert_flop", "expert_bytes"),
    "attention": ("decode_kv_bytes", "decode_attention_flop", "prefill_attention_flop", "prefill_state_flop"),
    "activations": ("dense_values", "expert_values"),
    "collectives": ("all_reduces", "norm_reductions", "expert_exchanges"),
    "pipeline": ("pipeline_parallel",),
    "host": ("layers", "expert_layers", "latent_layers", "recurrent_layers", "products", "expert_products"),
}
"""Counts of `Work` that are one part's alone; what no part owns (a message's size, how many experts) all see."""

PARTS = tuple(_OWN)
COMMUNICATION = ("collectives", "pipeline")
NECESSARY = ("weights", "experts", "attention")
"""Parts whose bytes and flop nothing can avoid; activations could stay on the chip, messages and launches hide."""


@dataclass(frozen=True)
class Load:
    """Tokens of one step per attention-DP rank and micro-batch, each (rows, batches) or broadcastable to it.

    Attributes:
        decoded: requests that each get one token.
        prefilled: prompt tokens.
        input_tokens: length of the prompts that they belong to.
        checked: tokens of each decoding request, its guesses included.
    """

    decoded: Floats
    prefilled: Floats
    input_tokens: float
    checked: int = 1

    @property
    def tokens(self) -> Floats:
        """All tokens that pass the matrices."""
        return self.decoded * self.checked + self.prefilled


@dataclass(frozen=True)
class Part:
    """One part of the step; arrays are (rows, batches).

    Attributes:
        seconds: its time.
        compute_seconds, memory_seconds: what its flop and its bytes take at fitted rates; the larger binds it. Both 0
            for communication and host.
        limit_seconds: flop / peak or bytes / bandwidth of the datasheet, the larger; 0 where neither is needed.
    """

    seconds: Floats
    compute_seconds: Floats
    memory_seconds: Floats
    limit_seconds: Floats


def step_parts(
    work: Work,
    sheet: Datasheet,
    rates: Rates,
    engine: Mapping[str, float],
    shared: Mapping[str, float],
    load: Load,
) -> dict[str, Part]:
    """One step, part by part.

    Args:
        work, sheet, rates: of the same rows.
        engine, shared: fitted factors, as `step_costs` takes them.
        load: what the step carries.

    Returns:
        By the names in `PARTS`; their seconds add up to `step_seconds` of the same load.
    """
    fitted, peak = binding_seconds(work, rates, load), binding_seconds(work, peak_rates(sheet, rates), load)
    nothing = np.zeros_like(load.tokens)
    parts = {}
    for name in PARTS:
        compute, memory = fitted.get(name, (nothing, nothing))
        parts[name] = Part(
            seconds=_seconds_of(name, work, rates, engine, shared, load),
            compute_seconds=compute,
            memory_seconds=memory,
            limit_seconds=np.maximum(*peak.get(name, (nothing, nothing))),
        )
    return parts


def limit_seconds(work: Work, sheet: Datasheet, rates: Rates, load: Load) -> Floats:
    """The least that the whole step can take: all its flop at the peak or all its bytes at the bandwidth.

    Only of the parts in `NECESSARY`. Source: Williams et al. 2009, the roofline model.
    """
    peak = binding_seconds(work, peak_rates(sheet, rates), load)
    compute = sum((peak[name][0] for name in NECESSARY), start=np.zeros_like(load.tokens))
    memory = sum((peak[name][1] for name in NECESSARY), start=np.zeros_like(load.tokens))
    return np.maximum(compute, memory)


def bound_of(name: str, part: Part, row: int, batch: int) -> Bound:
    """What binds a part at one batch size."""
    if name in COMMUNICATION:
        return "communication"
    if name == "host":
        return "host"
    return "compute" if part.compute_seconds[row, batch] > part.memory_seconds[row, batch] else "memory"


def _seconds_of(
    name: str, work: Work, rates: Rates, engine: Mapping[str, float], shared: Mapping[str, float], load: Load
) -> Floats:
    """The step model with only one part's work in it."""
    alone = {field: _nothing(work, field) for part, fields in _OWN.items() if part != name for field in fields}
    overheads = engine if name == "host" else dict.fromkeys(engine, 0.0)
    costs = step_costs(replace(work, **alone), rates, overheads, shared, load.input_tokens)
    return step_seconds(costs, load.decoded, load.prefilled, load.checked)


def _nothing(work: Work, field: str) -> Floats:
    """No work of a kind; a pipeline of one stage hands nothing over."""
    values: Floats = getattr(work, field)
    return np.ones_like(values) if field == "pipeline_parallel" else np.zeros_like(values)


def peak_rates(sheet: Datasheet, rates: Rates) -> Rates:
    """The datasheet itself as rates: every efficiency 1."""
    per_byte, per_flop = 1 / sheet.bytes_per_second, 1 / sheet.sixteen_bit_flop_per_second
    every_byte, every_flop = np.broadcast_to(per_byte[:, None], rates.seconds_per_byte.shape), 1 / sheet.flop_per_second
    return replace(
        rates,
        seconds_per_flop=every_flop,
        seconds_per_byte=every_byte,
        expert_seconds_per_flop=every_flop,
        expert_seconds_per_byte=every_byte,
        values_seconds_per_byte=per_byte,
        expert_values_seconds_per_byte=per_byte,
        kv_seconds_per_byte=per_byte,
        decode_seconds_per_flop=per_flop,
        prefill_seconds_per_flop=per_flop,
        state_seconds_per_flop=per_flop,
    )


def binding_seconds(work: Work, rates: Rates, load: Load) -> dict[str, tuple[Floats, Floats]]:
    """(flop seconds, byte seconds) at these rates of every part that has such work, each (rows, batches)."""
    touched = -np.expm1(load.tokens * work.data_parallel[:, None] * log_miss(work, rates)[:, None])
    head_flop = work.head_flop * rates.seconds_per_flop[:, 0]
    head_read = work.head_bytes * rates.seconds_per_byte[:, 0]
    values = work.dense_values * rates.values_seconds_per_byte
    values = ACTIVATION_BYTES * (values + work.expert_values * rates.expert_values_seconds_per_byte)
    sampled = load.decoded * load.checked
    attended = work.decode_attention_flop * rates.decode_seconds_per_flop
    prompt = work.prefill_attention_flop * rates.prefill_seconds_per_flop / load.input_tokens
    prompt = prompt + work.prefill_state_flop * rates.state_seconds_per_flop / load.input_tokens
    reads = work.decode_kv_bytes * rates.kv_seconds_per_byte
    return {
        "weights": (
            _per(work.dense_flop * rates.seconds_per_flop) * load.tokens + head_flop[:, None] * sampled,
            _per(work.dense_bytes * rates.seconds_per_byte) + np.where(load.decoded > 0, head_read[:, None], 0.0),
        ),
        "experts": (
            _per(work.expert_flop * rates.expert_seconds_per_flop) * load.tokens,
            _per(work.expert_bytes * rates.expert_seconds_per_byte) * touched,
        ),
        "attention": (
            attended[:, None] * load.decoded + prompt[:, None] * load.prefilled,
            reads[:, None] * load.decoded,
        ),
        "activations": (np.zeros_like(load.tokens), values[:, None] * load.tokens),
    }


def _per(by_kernel: Floats) -> Floats:
    """Summed over kernels, (rows, 1)."""
    total: Floats = by_kernel.sum(axis=1)
    return total[:, None]
