"""Settings of one configuration that do not go together: each rule is one function, each finding one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from catalog.sizes import total_parameters
from gpu_db.query import find_gpu
from gpuplan.calculators.replica import model_of
from gpuplan.planning import draft_of
from optimizer.engines.find import find_engine
from optimizer.settings import to_be_named

if TYPE_CHECKING:
    from catalog.model import ModelSpec
    from gpuplan.calculators.answers import MemoryAnswer
    from gpuplan.calculators.configuration import Configuration

GIB = 1 << 30
DRAFT_SHARE = 4
"""A draft larger than this part of its model guesses slowly: published drafts are a tenth or less."""


def contradictions(asked: Configuration, answer: MemoryAnswer) -> tuple[str, ...]:
    """What contradicts itself, or asks for what cannot have an effect, one sentence each.

    Args:
        asked: the configuration.
        answer: what `memory_of` said about it.
    """
    return tuple(sentence for rule in RULES for sentence in rule(asked, answer))


def _more_batched_than_long(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    layout = answer.layout
    if layout.max_num_batched_tokens > layout.max_model_len:
        yield (
            f"max_num_batched_tokens {layout.max_num_batched_tokens:,} is above max_model_len "
            f"{layout.max_model_len:,}: no single prompt fills a step, and its activations are still reserved."
        )


def _fewer_batched_than_sequences(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    """Source: vLLM 0.33.0 `vllm/config/scheduler.py`, which refuses the first."""
    layout, guessing = answer.layout, asked.options.speculation
    if layout.max_num_batched_tokens < layout.max_num_seqs:
        yield (
            f"max_num_batched_tokens {layout.max_num_batched_tokens:,} is below max_num_seqs "
            f"{layout.max_num_seqs:,}: a step cannot give every sequence a token, and vLLM refuses to start."
        )
    elif guessing is not None and layout.max_num_batched_tokens < layout.max_num_seqs * (guessing.tokens + 1):
        yield (
            f"Checking {guessing.tokens} guesses of {layout.max_num_seqs:,} sequences takes "
            f"{layout.max_num_seqs * (guessing.tokens + 1):,} tokens a step; max_num_batched_tokens "
            f"{layout.max_num_batched_tokens:,} is below."
        )


def _not_all_at_once(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    layout, fit = answer.layout, answer.memory.requests_that_fit
    if answer.starts and fit < layout.max_num_seqs:
        yield (
            f"Only {fit:,} of max_num_seqs {layout.max_num_seqs:,} requests of {answer.tokens_per_request:,} tokens "
            "fit at once: the others wait or are preempted."
        )


def _beyond_the_card(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    memory = answer.memory
    if memory.weight_bytes > memory.total_bytes:
        yield (
            f"The weights alone are {memory.weight_bytes / memory.total_bytes:.1f} times the memory of "
            f"{answer.layout.gpu}: more GPUs or a lower weight format, not settings, can mend that."
        )


def _another_checkpoint(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    layout, published = answer.layout, model_of(asked).weight_format
    engine = find_engine(layout.engine, layout.engine_version)
    if not engine.makes_weights(published, layout.weight_format):
        yield (
            f"{layout.weight_format} weights need a checkpoint that somebody has quantized: put its name where the "
            f"command says {to_be_named(layout.model, layout.weight_format)}; {layout.model} is {published}."
        )


def _beyond_the_models_context(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    most = model_of(asked).max_context_tokens
    if answer.layout.max_model_len > most:
        yield (
            f"max_model_len {answer.layout.max_model_len:,} is above the {most:,} tokens that {answer.layout.model} "
            "was made for: engines refuse it unless its rope scaling is overridden."
        )


def _no_tower_to_leave_out(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    if asked.options.language_model_only and model_of(asked).vision is None:
        yield f"{answer.layout.model} has no vision tower: --language-model-only changes nothing."


def _drafts(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    draft = draft_of(asked.options, offline=asked.offline)
    if draft is not None:
        yield from _large_draft(draft, model_of(asked))
        if draft.max_context_tokens < answer.layout.max_model_len:
            yield (
                f"{draft.repo_id} guesses up to {draft.max_context_tokens:,} tokens of context, and max_model_len is "
                f"{answer.layout.max_model_len:,}: longer requests are served without guesses."
            )


def _large_draft(draft: ModelSpec, model: ModelSpec) -> Iterator[str]:
    share = total_parameters(draft) / total_parameters(model)
    if share * DRAFT_SHARE > 1:
        yield (
            f"{draft.repo_id} has {share:.0%} of the parameters of {model.repo_id}: guessing costs almost what it "
            "saves."
        )


def _adapters(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    adapters, layout, memory = asked.options.adapters, answer.layout, answer.memory
    if adapters is None:
        return
    if adapters.loaded > layout.max_num_seqs:
        yield (
            f"--max-loras {adapters.loaded:,} is above max_num_seqs {layout.max_num_seqs:,}: no batch holds so many "
            "adapters, and their buffers are still reserved."
        )
    if memory.adapter_bytes > memory.weight_bytes:
        yield (
            f"LoRA buffers of {memory.adapter_bytes / GIB:.1f} GiB exceed the weights' "
            f"{memory.weight_bytes / GIB:.1f}: lower --max-loras or --max-lora-rank, or name --lora-target-modules."
        )


def _offload(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    moved, wanted = answer.memory.offloaded_weight_bytes, asked.cpu_offload_bytes
    if not wanted:
        return
    if moved < wanted:
        yield (
            f"--cpu-offload-gb {wanted / GIB:g} is more than the {moved / GIB:.1f} GiB of weights on each GPU: all "
            "are offloaded."
        )
    bus = find_gpu(asked.gpu).pcie_bytes_per_second
    if bus:
        yield f"Every step reads {moved / GIB:.1f} GiB of weights over PCIe: at least {moved / bus:.2f} s a step."


def _prefix(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    work = asked.workload
    shortest = min((each.tokens for each in work.lengths), default=work.tokens_per_request)
    if shortest <= work.shared_prefix_tokens:
        yield (
            f"The shared prefix of {work.shared_prefix_tokens:,} tokens is not shorter than the shortest request, "
            f"{shortest:,}: all but its last token are counted as shared."
        )


def _shares(asked: Configuration, answer: MemoryAnswer) -> Iterator[str]:
    if asked.mig is not None and asked.shares:
        yield "--share is counted of the MIG slice, not of the card: engines on other slices take nothing from it."


RULES: tuple[Callable[[Configuration, MemoryAnswer], Iterator[str]], ...] = (
    _more_batched_than_long,
    _fewer_batched_than_sequences,
    _not_all_at_once,
    _beyond_the_card,
    _another_checkpoint,
    _beyond_the_models_context,
    _no_tower_to_leave_out,
    _drafts,
    _adapters,
    _offload,
    _prefix,
    _shares,
)
