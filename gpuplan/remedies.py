"""What would make a configuration start that does not fit, and what in one contradicts itself: each change is tried."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.errors import CatalogError
from gpuplan.calculators import Configuration, MemoryAnswer, memory_of
from optimizer.errors import OptimizerError
from optimizer.requirements import Frozen

FEWER_SEQUENCES = (256, 64, 16, 1)


class Remedy(Frozen):
    """One change that makes the configuration start: `option` and the `value` to type, tried."""

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
    return AdvisedMemory(**fields, remedies=remedies_for(asked, answer), warnings=contradictions(answer))


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
    for sequences in FEWER_SEQUENCES:
        if sequences < answer.layout.max_num_seqs:
            yield "--max-num-seqs", str(sequences), "max_num_seqs", sequences
    if answer.longest_context >= asked.workload.tokens_per_request:
        yield "--max-model-len", str(answer.longest_context), "max_model_len", answer.longest_context
    yield "--kv-cache-dtype", "fp8", "kv_cache_format", "fp8"
    for weights in ("fp8", "int4"):
        yield "--quantization", weights, "weight_format", weights
    for degree in (2, 4, 8, 16):
        if degree > asked.tensor_parallel:
            yield "--tensor-parallel", str(degree), "tensor_parallel", degree
        if degree > asked.pipeline_parallel:
            yield "--pipeline-parallel", str(degree), "pipeline_parallel", degree


def _tried(asked: Configuration, option: str, value: str, field: str, changed: object) -> Remedy | None:
    try:
        answer = memory_of(asked.model_copy(update={field: changed}))
    except (CatalogError, OptimizerError):
        return None  # the engine or the checkpoint cannot be had so: no remedy
    return Remedy(option=option, value=value, longest_context=answer.longest_context) if answer.starts else None


def contradictions(answer: MemoryAnswer) -> tuple[str, ...]:
    """Settings of one configuration that do not go together, one sentence each."""
    layout, memory = answer.layout, answer.memory
    found = []
    if layout.max_num_batched_tokens > layout.max_model_len:
        found.append(
            f"max_num_batched_tokens {layout.max_num_batched_tokens:,} is above max_model_len "
            f"{layout.max_model_len:,}: no single prompt fills a step, and its activations are still reserved."
        )
    if answer.starts and memory.requests_that_fit < layout.max_num_seqs:
        found.append(
            f"Only {memory.requests_that_fit:,} of max_num_seqs {layout.max_num_seqs:,} requests of "
            f"{answer.tokens_per_request:,} tokens fit at once: the others wait or are preempted."
        )
    if memory.weight_bytes > memory.total_bytes:
        found.append(
            f"The weights alone are {memory.weight_bytes / memory.total_bytes:.1f} times the memory of {layout.gpu}: "
            "more GPUs or a lower weight format, not settings, can mend that."
        )
    return tuple(found)
