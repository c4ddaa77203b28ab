"""From steps to what a user sees: a replica that always has the same number of requests in flight, prompts in chunks.

While some requests decode, others fill in their prompts in the same steps. A request that joins delays every running
one by the time its prompt adds to the steps, and over one answer each slot is filled anew once. Those prompts that a
request waits for before its first token do not delay its later ones:

    tpot = decode_step(batch) + (batch - 1 - prompts_ahead) / (output_tokens - 1) * prompt_seconds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optimizer.performance.step import StepCosts, step_seconds
from optimizer.replica_columns import Floats


@dataclass(frozen=True)
class Serving:
    """Speed of a closed loop; every array (rows, batches).

    `cycle_seconds` is from one request's start to the next one's in the same slot, TTFT + TPOT x (output - 1): all its
    decode steps, and once the prompt of every slot, for which it waits either before its first token or between two
    later ones. So Little's law holds: requests in flight = requests per second x cycle. `prompt_seconds` is what one
    prompt adds to the steps of the others, `host_seconds` what a request waits before its prompt starts although
    nothing else runs.
    """

    ttft_seconds: Floats
    tpot_seconds: Floats
    decode_step_seconds: Floats
    prefill_seconds: Floats
    cycle_seconds: Floats
    prompt_seconds: Floats
    host_seconds: Floats


CAPTURED_TOKENS = 512.0
"""Steps of as many tokens run as captured graphs (vLLM's largest captured size); larger ones are launched one kernel at
a time, which the host may not do as fast as the GPU works them off."""


@dataclass(frozen=True)
class Guessing:
    """What guesses tokens: `guesses` per step and request, of which `kept` tokens come out, its own included.

    `costs` are of one step of what guesses; None where no GPU does it.
    """

    guesses: int
    kept: float
    costs: StepCosts | None

    def seconds(self, decoded: Floats, prefilled: Floats | float) -> Floats | float:
        """All guesses of one step, one after the other; what guesses reads prompts too."""
        if self.costs is None:
            return 0.0
        once = step_seconds(self.costs, decoded, 0.0)
        return step_seconds(self.costs, decoded, prefilled) + (self.guesses - 1) * once


NO_GUESSING = Guessing(0, 1.0, None)


def closed_loop(
    costs: StepCosts,
    engine: Mapping[str, float] | Mapping[str, Floats],
    pipeline_parallel: Floats,
    batches: Floats,
    input_tokens: Floats | float,
    output_tokens: Floats | float,
    guessing: Guessing = NO_GUESSING,
    whole_prompt: float | None = None,
) -> Serving:
    """Serve `batches` requests per attention-DP rank, each replaced by the next when it ends.

    Args:
        costs: per row.
        engine: chunk_tokens, request_seconds and token_seconds (host work before the first token, per request and per
            prompt token), wait_steps (decode steps until a new request is noticed and its first token is sent),
            eager_block_seconds (launching one block of a step with prompts, kernel by kernel), `spread` and `burst`
            (how unevenly requests of a closed loop arrive), each scalar or (rows, 1).
        pipeline_parallel: (rows, 1); a batch is dealt out to that many micro-batches, of at least one request.
        batches: (batches,) or (rows, batches).
        input_tokens, output_tokens: scalars or (rows, 1); the input that has to be computed.
        guessing: what guesses tokens; a step then gives several.
        whole_prompt: tokens of the prompt, those of a cached prefix included; None = all are computed.
    """
    steps = output_tokens / guessing.kept
    filling = _fill(costs, engine, micro_batch(batches, pipeline_parallel), input_tokens, steps, guessing)
    decode, base = filling.decode, filling.base
    added = filling.mixed - base
    added *= filling.chunks
    added /= pipeline_parallel
    sharing = np.maximum(filling.chunk / input_tokens - 1, 0.0)
    ahead = prompts_ahead(engine, batches, input_tokens, steps * pipeline_parallel, added / decode, sharing)
    prefill, prompt = _prompt_seconds(costs, engine, filling)
    # Nobody waits for more steps than half of what the others have to run.
    host = np.minimum(engine["wait_steps"], (batches - 1) * steps / 2) * decode
    host += engine["request_seconds"] + engine["token_seconds"] * (whole_prompt or input_tokens)
    ttft = host + prompt
    prompt -= prefill
    host += prompt
    later = batches - 1 - ahead
    later *= added
    later /= np.maximum(output_tokens - 1, 1.0)
    ahead -= sharing
    ahead *= added + input_tokens / engine["chunk_tokens"] * base / pipeline_parallel
    ttft += ahead
    # An answer of one token has no next one; its TPOT is what a second one would take.
    tpot = later + np.where(np.asarray(output_tokens) > 1, base, decode) / guessing.kept
    cycle = tpot * (output_tokens - 1)
    cycle += ttft
    return Serving(
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        decode_step_seconds=decode,
        prefill_seconds=prefill,
        cycle_seconds=cycle,
        prompt_seconds=added,
        host_seconds=host,
    )


def micro_batch(batches: Floats, pipeline_parallel: Floats) -> Floats:
    """Requests in each stage: a batch dealt out to all of them; with fewer requests than stages, some stages wait.

    >>> micro_batch(np.array([1.0, 8.0]), np.array([[4.0]])).tolist()
    [[1.0, 2.0]]
    """
    dealt = np.divide(batches, pipeline_parallel, order="F")
    return np.maximum(dealt, 1.0, out=dealt)


@dataclass(frozen=True)
class _Filling:
    """How prompts fill the steps, each (rows, batches).

    Attributes:
        chunk: prompt tokens in a step that has any, those of several prompts together. chunks: of one prompt.
        decode: a step in which all requests decode and no prompt is.
        base: the same where prompts need more steps than answers do: only a share of the requests decodes in each.
        mixed: such a step with a chunk. beside: a step in which all decode, with a chunk.
    """

    chunk: Floats
    chunks: Floats
    decode: Floats
    base: Floats
    mixed: Floats
    beside: Floats


def _fill(
    costs: StepCosts,
    engine: Mapping[str, float] | Mapping[str, Floats],
    decoded: Floats,
    input_tokens: Floats | float,
    steps: Floats | float,
    guessing: Guessing,
) -> _Filling:
    """Steps with and without prompts, where `decoded` requests are in each micro-batch.

    `decoded` lies along rows, which are many, not along batches: numpy works along what lies together.
    """

    def step(decoding: Floats, prefilled: Floats | float) -> Floats:
        seconds = step_seconds(costs, decoding, prefilled, guessing.guesses + 1)
        return seconds if guessing.costs is None else seconds + guessing.seconds(decoding, prefilled)

    # When more than one prompt joins per step, they share it.
    arriving = decoded * input_tokens
    arriving /= steps
    chunk = np.minimum(np.maximum(input_tokens, arriving), engine["chunk_tokens"])
    decode = step(decoded, 0.0)
    share = np.minimum(chunk / arriving, 1.0)
    mixed = step(decoded * share, chunk)
    beside = mixed if np.all(share >= 1) else step(decoded, chunk)
    return _Filling(chunk, input_tokens / chunk, decode, share * decode, mixed, beside)


def _prompt_seconds(
    costs: StepCosts, engine: Mapping[str, float] | Mapping[str, Floats], filling: _Filling
) -> tuple[Floats, Floats]:
    """A prompt's steps as the GPU works them off, and as the host launches them where that takes longer.

    As one maximum, so that two replicas whose hosts alone decide tie to the last digit.
    """
    steps = np.maximum(filling.chunks, 1.0)
    captured = np.minimum(filling.chunk / CAPTURED_TOKENS, 1.0)
    launched = engine["eager_block_seconds"] * costs.blocks * captured
    return steps * filling.beside, steps * np.maximum(launched, filling.beside)


def prompts_ahead(
    engine: Mapping[str, float] | Mapping[str, Floats],
    requests: Floats,
    input_tokens: Floats | float,
    steps: Floats,
    added_steps: Floats,
    sharing: Floats,
) -> Floats:
    """How many prompts of others run before a request's first token, of the n - 1 that run during one of its cycles.

    Steps advance every running request by one token however long they take, so n requests send n / steps prompts per
    step, whatever a prompt costs, and most find room in the next one. What is left is

        sharing  prompts that are in the same step because they came together
        queue    for room in a step's budget of prompt tokens, of which one prompt takes up `room`: mean value analysis
        met      the rest of a step with another's prompt, in which a request arrives
        burst    the share of all requests that a benchmark sends at once, n of them: each waits for half of the others,
                 min(n, 1 / room) sharing a step and ending together

    Args:
        engine: chunk_tokens, spread, burst.
        requests: in flight, n.
        input_tokens: of a prompt.
        steps: of one answer, through all pipeline stages.
        added_steps: what a prompt adds to the steps of others, in decode steps.
        sharing: see above.

    Returns:
        Between `sharing` and n - 1, rising with n.
    """
    room = input_tokens / engine["chunk_tokens"]
    queue = queue_seconds(room, engine["spread"] * np.maximum(steps - 1, 0.0), requests) / room
    met = (requests - 1 - queue) * added_steps / (steps + (requests - 1) * added_steps) / 2
    steady = np.maximum(queue + met, sharing)
    first = (requests + np.minimum(requests, 1 / room)) / 2 - 1
    return np.asarray(steady + engine["burst"] * np.maximum(first - steady, 0.0))


def queue_seconds(prompt: Floats | float, away: Floats, requests: Floats) -> Floats:
    """How long a prompt waits for the prompts of other requests, in a closed loop of `requests`.

    Each request is away for `away` seconds (it decodes), then needs `prompt` seconds of the one server. Mean value
    analysis with Schweitzer's approximation, W = S + S (n - 1) W / (W + Z), has the positive root

        W = ((n S - Z) + sqrt((n S - Z)^2 + 4 S Z)) / 2

    Returns:
        W - S: 0 for one request, towards (n - 1) S when nobody is ever away.

    Source: Schweitzer 1979; Bard 1979.

    >>> float(queue_seconds(np.array(1.0), np.array(5.0), np.array(1.0)))
    0.0
    >>> float(queue_seconds(np.array(1.0), np.array(0.0), np.array(8.0)))
    7.0
    """
    excess: Floats = np.subtract(requests * prompt, away, order="F")
    root: Floats = excess * excess
    root += 4 * prompt * away
    root = np.asarray(np.sqrt(root))
    root += excess
    root /= 2
    root -= prompt
    return root
