"""From steps to what a user sees: a replica that always has the same number of requests in flight, prompts in chunks.

While some requests decode, others fill in their prompts in the same steps. A request that joins delays every running
one by the time its prompt adds to the steps, and over one answer each slot is filled anew once:

    tpot = decode_step(batch) + batch / output_tokens * prompt_seconds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optimizer.performance.step import StepCosts, step_seconds
from optimizer.replica_columns import Floats


@dataclass(frozen=True)
class Serving:
    """Speed of a closed loop; every array (rows, batches)."""

    ttft_seconds: Floats
    tpot_seconds: Floats
    decode_step_seconds: Floats
    prefill_seconds: Floats
    request_seconds: Floats


def closed_loop(
    costs: StepCosts,
    engine: Mapping[str, float] | Mapping[str, Floats],
    pipeline_parallel: Floats,
    batches: Floats,
    input_tokens: Floats | float,
    output_tokens: Floats | float,
) -> Serving:
    """Serve `batches` requests per attention-DP rank, each replaced by the next when it ends.

    Args:
        costs: per row.
        engine: chunk_tokens, request_seconds (host work before the first token), wait (steps that a new request
            waits), queue (how much waiting behind other prompts costs), each scalar or (rows, 1).
        pipeline_parallel: (rows, 1); a batch is dealt out to that many micro-batches.
        batches: (batches,) or (rows, batches).
        input_tokens, output_tokens: scalars or (rows, 1).
    """
    decoded = batches / pipeline_parallel
    chunk = np.minimum(input_tokens, engine["chunk_tokens"])
    chunks = input_tokens / chunk
    decode = step_seconds(costs, decoded, 0.0)
    mixed = step_seconds(costs, decoded, chunk)
    added = chunks * (mixed - decode)
    joining = batches / output_tokens
    stolen = joining * added / pipeline_parallel
    tpot = decode + stolen
    prefill = chunks * mixed
    busy = stolen / tpot
    ttft = (
        engine["request_seconds"]
        + engine["wait"] * decode
        + prefill * (1 + engine["queue"] * busy * np.log2(batches + 1))
    )
    return Serving(
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        decode_step_seconds=decode,
        prefill_seconds=prefill,
        request_seconds=ttft + tpot * (output_tokens - 1),
    )


def static_batch_seconds(
    costs: StepCosts, batch: Floats, input_tokens: Floats, output_tokens: Floats
) -> tuple[Floats, Floats]:
    """A batch that is prefilled together and decoded to its end, nothing joins: (prefill, whole batch), in seconds."""
    prefill = step_seconds(costs, np.ones_like(batch), batch * input_tokens)
    decode = step_seconds(costs, batch, 0.0)
    return prefill, prefill + decode * (output_tokens - 1)
