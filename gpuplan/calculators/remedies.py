"""What would make a configuration start that does not fit: each change is tried."""

from __future__ import annotations

import math
from collections.abc import Iterator

from catalog.errors import CatalogError
from gpuplan.calculators.answers import MemoryAnswer
from gpuplan.calculators.configuration import Configuration
from gpuplan.calculators.contradictions import contradictions
from gpuplan.calculators.memory import memory_of
from gpuplan.calculators.replica import model_of
from optimizer.errors import OptimizerError
from optimizer.memory.factors import GIB, memory_factors
from optimizer.requirements import Frozen

FEWER_SEQUENCES = (256, 64, 16, 1)
LEAST_SHARE = 0.01


class Remedy(Frozen):
    """One change that makes the configuration start: `option` and the `value` to type ("" for a flag), tried."""

    option: str
    value: str
    longest_context: int


class AdvisedMemory(MemoryAnswer):
    """A memory answer with what would mend it.

    Attributes:
        remedies: single changes after which the engine starts; empty when it already does.
        warnings: settings that do not go together.
    """

    remedies: tuple[Remedy, ...]
    warnings: tuple[str, ...]


def advised_memory_of(asked: Configuration) -> AdvisedMemory:
    """What one configuration needs of each GPU's memory, and advice. Raises as `memory_of`."""
    answer = memory_of(asked)
    fields = {name: getattr(answer, name) for name in MemoryAnswer.model_fields}
    return AdvisedMemory(**fields, remedies=remedies_for(asked, answer), warnings=contradictions(asked, answer))


def remedies_for(asked: Configuration, answer: MemoryAnswer) -> tuple[Remedy, ...]:
    """Single changes after which the engine starts, the gentlest first; empty when it already does.

    Args:
        asked: the configuration.
        answer: what `memory_of` said about it.
    """
    if answer.starts:
        return ()
    tried = (_tried(asked, *change) for change in _changes(asked, answer))
    found: dict[str, Remedy] = {}
    for remedy in tried:
        if remedy is not None:
            found.setdefault(remedy.option, remedy)
    return tuple(found.values())


def _changes(asked: Configuration, answer: MemoryAnswer) -> Iterator[tuple[str, str, str, object]]:
    """(option, value as typed, field, value) of every change worth trying; of one option the gentlest first."""
    share = _largest_share(answer)
    if share is not None:
        yield "--gpu-memory-utilization", f"{share:.2f}", "gpu_memory_utilization", share
    for sequences in FEWER_SEQUENCES:
        if sequences < answer.layout.max_num_seqs:
            yield "--max-num-seqs", str(sequences), "max_num_seqs", sequences
    longest = min(answer.longest_context, model_of(asked).max_context_tokens)
    if longest >= asked.workload.tokens_per_request:
        yield "--max-model-len", str(longest), "max_model_len", longest
    yield "--kv-cache-dtype", "fp8", "kv_cache_format", "fp8"
    for weights in ("fp8", "int4"):
        yield "--quantization", weights, "weight_format", weights
    for degree in (2, 4, 8, 16):
        if degree > asked.tensor_parallel:
            yield "--tensor-parallel", str(degree), "tensor_parallel", degree
        if degree > asked.pipeline_parallel:
            yield "--pipeline-parallel", str(degree), "pipeline_parallel", degree
    yield from _lighter(asked)
    missing = math.ceil(max(-answer.memory.kv_cache_bytes, 0) / GIB) + 1
    offloaded = asked.cpu_offload_bytes // GIB + missing
    yield "--cpu-offload-gb", str(offloaded), "cpu_offload_bytes", offloaded * GIB


def _lighter(asked: Configuration) -> Iterator[tuple[str, str, str, object]]:
    """What is loaded besides the language model, left out; flags have no value."""
    yield "--language-model-only", "", "options", asked.options.model_copy(update={"language_model_only": True})
    yield "--enforce-eager", "", "enforce_eager", True


def _largest_share(answer: MemoryAnswer) -> float | None:
    """Of a card that others use too: the largest utilization that leaves theirs, in hundredths; None when alone."""
    memory, context = answer.memory, max(memory_factors().context_bytes.values())
    if not memory.occupied_bytes:
        return None
    left = (memory.total_bytes - memory.occupied_bytes - context) / memory.total_bytes
    return math.floor(100 * left) / 100 if left >= LEAST_SHARE else None


def _tried(asked: Configuration, option: str, value: str, field: str, changed: object) -> Remedy | None:
    try:
        answer = memory_of(asked.model_copy(update={field: changed}))
    except (CatalogError, OptimizerError):
        return None  # the engine or the checkpoint cannot be had so: no remedy
    return Remedy(option=option, value=value, longest_context=answer.longest_context) if answer.starts else None
