"""How long one step of the engine takes: some tokens are decoded, some of a prompt are filled in, all at once.

Every product of weights and tokens is bound by flop or by bytes; the smaller of the two hides behind the larger except
for a fitted share:

    time = max(flop, bytes) + exposed * min(flop, bytes)

so that no step is ever faster than bytes / bandwidth or flop / peak (Williams et al. 2009, the roofline model).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from optimizer.performance.operations import ACTIVATION_BYTES, Work
from optimizer.performance.rates import Rates
from optimizer.replica_columns import Floats, Ints


@dataclass(frozen=True)
class Product:
    """One bound of the step, each (rows, 1): seconds per token, and seconds to read the weights."""

    per_token: Floats
    read: Floats


@dataclass(frozen=True)
class StepCosts:
    """A step's time as few numbers per row, each (rows, 1).

    Attributes:
        dense: one per kernel in use. experts: likewise, `read` being all experts of the GPU.
        head: the logits of sampled tokens.
        fixed: launches and scheduling.
        blocks: layers, and again those with latent or recurrent attention: what launches one by one scale with.
        per_token: activations through memory, and messages' bytes.
        per_root_token: messages' protocols.
        per_decoded: cache reads and host work per running request.
        per_prefilled: attention inside the prompt.
        exposed, expert_exposed: share of the smaller bound that is not hidden.
        half_tokens: tokens at which a product reaches half its rate when nothing else binds it.
        log_miss: of a token to miss an expert; see `log_miss`.
        ranks: attention-DP ranks whose tokens meet in the experts.
        imbalance: time of the busiest expert rank over the mean.
    """

    dense: tuple[Product, ...]
    experts: tuple[Product, ...]
    head: Product
    fixed: Floats
    blocks: Floats
    per_token: Floats
    per_root_token: Floats
    per_decoded: Floats
    per_prefilled: Floats
    exposed: Floats
    expert_exposed: Floats
    half_tokens: Floats
    expert_half_tokens: Floats
    log_miss: Floats
    expert_ratio: Floats
    ranks: Floats
    imbalance: Floats

    def take(self, rows: Ints) -> StepCosts:
        """Of some rows."""
        return StepCosts(**{field.name: _taken(getattr(self, field.name), rows) for field in fields(self)})


def _taken(costs: Any, rows: Ints) -> Any:
    """A column of some rows; what is the same for all rows has one."""
    if isinstance(costs, tuple):
        return tuple(_taken(product, rows) for product in costs)
    if isinstance(costs, Product):
        return Product(_taken(costs.per_token, rows), _taken(costs.read, rows))
    return costs if len(costs) == 1 else costs.take(rows, axis=0)


def step_costs(
    work: Work,
    rates: Rates,
    engine: Mapping[str, float] | Mapping[str, Floats],
    shared: Mapping[str, float],
    input_tokens: Floats | float,
) -> StepCosts:
    """Work times rates.

    Args:
        work, rates: of the same rows.
        engine: overheads by name, scalars or (rows,).
        shared: factors by name.
        input_tokens: prompt length, scalar or (rows,), over which `work.prefill_attention_flop` is spread.
    """
    collective = shared["collective"]
    decode_flop = work.decode_attention_flop * rates.decode_seconds_per_flop
    decode_read = work.decode_kv_bytes * rates.kv_seconds_per_byte
    dense_flop = work.dense_flop * rates.seconds_per_flop
    expert_flop = work.expert_flop * rates.expert_seconds_per_flop
    return StepCosts(
        dense=_products(dense_flop, work.dense_bytes * rates.seconds_per_byte),
        experts=_products(expert_flop, work.expert_bytes * rates.expert_seconds_per_byte),
        head=Product(
            _columns(work.head_flop * rates.seconds_per_flop[:, 0]),
            _columns(work.head_bytes * rates.seconds_per_byte[:, 0]),
        ),
        fixed=_columns(_fixed_seconds(work, rates, engine, collective)),
        blocks=_columns(work.layers + np.minimum(work.latent_layers, work.layers) + work.recurrent_layers),
        per_token=_columns(_token_seconds(work, rates, collective)),
        per_root_token=_columns(_protocol_seconds(work, rates, collective)),
        per_decoded=decoding_seconds(decode_flop, decode_read, engine, shared),
        per_prefilled=_columns(_prompt_seconds(work, rates) / input_tokens),
        exposed=_columns(shared["exposed"]),
        expert_exposed=_columns(shared["expert_exposed"]),
        half_tokens=_columns(shared["half_tokens"]),
        expert_half_tokens=_columns(shared["expert_half_tokens"]),
        log_miss=_columns(log_miss(work, rates)),
        expert_ratio=_columns(work.experts / work.experts_per_token),
        ranks=_columns(work.data_parallel),
        imbalance=_columns(1 + shared["imbalance"] * (1 - 1 / work.expert_ranks)),
    )


def _fixed_seconds(
    work: Work, rates: Rates, engine: Mapping[str, float] | Mapping[str, Floats], collective: float
) -> Floats:
    """(rows,): what the host does once per step and layer, each product's launch, and messages of no bytes."""
    return np.asarray(
        engine["step_seconds"]
        + engine["layer_seconds"] * work.layers
        + engine["expert_layer_seconds"] * work.expert_layers
        + engine["latent_layer_seconds"] * work.latent_layers
        + engine["recurrent_layer_seconds"] * work.recurrent_layers
        + (work.products * rates.launch_seconds).sum(axis=1)
        + (work.expert_products * rates.expert_launch_seconds).sum(axis=1)
        + collective * (work.all_reduces + work.norm_reductions) * rates.links.latency_seconds
        + collective * work.expert_exchanges * rates.exchange.latency_seconds / 2
        + (work.pipeline_parallel - 1) * rates.links.hop_latency_seconds
    )


def _token_seconds(work: Work, rates: Rates, collective: float) -> Floats:
    """(rows,): one token's values through memory, and its messages' bytes over the links."""
    gathered = work.message_bytes * work.data_parallel
    reduced = (
        work.all_reduces * rates.links.seconds_per_byte * work.message_bytes
        + work.expert_exchanges * rates.exchange.seconds_per_byte * gathered / 2
    )
    return (
        ACTIVATION_BYTES * work.dense_values * rates.values_seconds_per_byte
        + ACTIVATION_BYTES * work.expert_values * rates.expert_values_seconds_per_byte
        + collective * reduced
        + (work.pipeline_parallel - 1) * rates.links.hop_seconds_per_byte * work.message_bytes
    )


def _protocol_seconds(work: Work, rates: Rates, collective: float) -> Floats:
    """(rows,): what messages take per root of their tokens."""
    gathered = work.message_bytes * work.data_parallel
    return collective * (
        work.all_reduces * rates.links.protocol_seconds * np.sqrt(work.message_bytes)
        + work.expert_exchanges * rates.exchange.protocol_seconds * np.sqrt(gathered) / 2
    )


def _prompt_seconds(work: Work, rates: Rates) -> Floats:
    """(rows,): what a whole prompt takes beyond its matrix products."""
    return (
        work.prefill_attention_flop * rates.prefill_seconds_per_flop
        + work.prefill_state_flop * rates.state_seconds_per_flop
    )


def decoding_seconds(
    flop: Floats, read: Floats, engine: Mapping[str, float] | Mapping[str, Floats], shared: Mapping[str, float]
) -> Floats:
    """What one running request adds to a step: its attention's flop or cache reads, and the host's work, (rows, 1).

    Args:
        flop, read: seconds of either, (rows,).
        engine, shared: as `step_costs` takes them.
    """
    return _columns(_bound(flop, read, shared["exposed"]) + engine["sequence_seconds"])


def log_miss(work: Work, rates: Rates) -> Floats:
    """(rows,) log(1 - k / E) x routing: of a token to choose no expert that was not chosen already.

    Of models without experts anything; their experts have no bytes.
    """
    experts = np.maximum(work.experts, work.experts_per_token + 1)
    return np.asarray(rates.routing * np.log1p(-work.experts_per_token / experts))


def step_seconds(costs: StepCosts, decoded: Floats, prefilled: Floats | float, checked: int = 1) -> Floats:
    """Time of one step through all pipeline stages.

    Args:
        costs: of (rows, 1).
        decoded: (rows, batches) requests that each get one token, per attention-DP rank and micro-batch.
        prefilled: prompt tokens in the same step, (rows, batches) or 0.
        checked: tokens of each decoding request, its guesses included; their cache is read once for all.

    Returns:
        Seconds, (rows, batches).
    """
    sampled = decoded if checked == 1 else decoded * checked
    idle = isinstance(prefilled, float) and prefilled == 0
    tokens = sampled if idle else sampled + prefilled
    seconds = costs.per_token * tokens
    seconds += costs.fixed
    seconds += costs.per_root_token * np.sqrt(tokens)
    seconds += costs.per_decoded * decoded if idle else costs.per_decoded * decoded + costs.per_prefilled * prefilled
    seconds += _bound(costs.head.per_token * sampled, costs.head.read, costs.exposed)
    padded = tokens + costs.half_tokens
    for product in costs.dense:
        seconds += _bound(product.per_token * padded, product.read, costs.exposed)
    if costs.experts:
        seconds += costs.imbalance * _expert_seconds(costs, tokens * costs.ranks)
    return seconds


def _expert_seconds(costs: StepCosts, tokens: Floats) -> Floats:
    """Experts that at least one of the tokens chose are read: E (1 - (1 - k/E)^tokens) of them.

    Each of them multiplies its own few tokens, and pays its own padding.
    """
    touched = -np.expm1(tokens * costs.log_miss)
    padded = tokens + costs.expert_half_tokens * costs.expert_ratio * touched
    seconds = np.zeros_like(touched)
    for product in costs.experts:
        seconds += _bound(product.per_token * padded, product.read * touched, costs.expert_exposed)
    return seconds


def _bound(flop: Floats, read: Floats, exposed: Floats | float) -> Floats:
    """`flop` is of its own and has the shape of the result: it is written over."""
    hidden = np.minimum(flop, read)
    hidden *= exposed
    np.maximum(flop, read, out=flop)
    flop += hidden
    return flop


def _products(flop: Floats, read: Floats) -> tuple[Product, ...]:
    used = [k for k in range(flop.shape[1]) if (read[:, k] > 0).any()]
    return tuple(Product(flop[:, k : k + 1], read[:, k : k + 1]) for k in used)


def _columns(values: Floats | float) -> Floats:
    """Shape (rows, 1), so that batches can be the other axis."""
    return np.atleast_1d(np.asarray(values, dtype=np.float64))[:, None]
