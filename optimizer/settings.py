"""From what is asked to how an engine is started: names become shapes, and what contradicts the model is refused."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine
from optimizer.engines.launch import Launch
from optimizer.errors import BadRequirements
from optimizer.memory.adapters import Adapters, target_names
from optimizer.memory.lengths import Lengths
from optimizer.memory.speculation import BadSpeculation, Method, Speculation, with_drafts
from optimizer.memory.vram import MemorySettings
from optimizer.performance.shortcuts import Shortcuts, published_acceptance
from optimizer.requirements import EngineOptions, LoraAdapters, SpeculativeDecoding, Workload


def memory_settings(
    spec: ModelSpec,
    workload: Workload,
    options: EngineOptions,
    max_model_len: int,
    draft: ModelSpec | None = None,
) -> MemorySettings:
    """What memory depends on besides the replica's shape.

    Args:
        spec: the model.
        workload: the requests.
        options: what every replica is started with.
        max_model_len: longest request in tokens.
        draft: the shape of the draft that `options.speculation` names.

    Raises:
        BadRequirements: an option does not suit the model, or a length is longer than max_model_len.
    """
    if workload.longest_request > max_model_len:
        raise BadRequirements(
            f"A request of {workload.longest_request} tokens is longer than max_model_len {max_model_len}; "
            "shorten it, or raise --max-model-len."
        )
    return MemorySettings(
        max_model_len=max_model_len,
        tokens_per_request=min(workload.tokens_per_request, max_model_len),
        language_model_only=options.language_model_only,
        speculation=_speculation(spec, options.speculation, draft),
        adapters=_adapters(spec, options.adapters),
        decode_context_parallel=options.decode_context_parallel,
        shared_prefix_tokens=workload.shared_prefix_tokens,
        lengths=_lengths(workload),
    )


def shortcuts_of(workload: Workload, options: EngineOptions, settings: MemorySettings) -> Shortcuts:
    """What speed is spared: cached prefixes, and guesses with the acceptance rate that was stated.

    Raises:
        BadRequirements: tokens are guessed, and nobody said how many guesses are right.
    """
    asked = options.speculation
    if asked is None:
        return Shortcuts(workload.prefix_hit_rate)
    if asked.acceptance_rate is None:
        known = "; ".join(_published(fact) for fact in published_acceptance(asked.method))
        raise BadRequirements(
            "Say which share of the guessed tokens is right: --acceptance-rate 0.7. It depends on your requests; "
            + (f"published: {known}." if known else f"none is known here for {asked.method}.")
        )
    return Shortcuts(workload.prefix_hit_rate, settings.speculation, asked.acceptance_rate)


def _published(fact: Mapping[str, object]) -> str:
    ends = f"{fact['low']:g}" if fact["low"] == fact["high"] else f"{fact['low']:g} to {fact['high']:g}"
    return f"{ends} for {fact['what']} ({fact['source']})"


def _lengths(workload: Workload) -> Lengths | None:
    if not workload.lengths:
        return None
    return Lengths(tuple(each.tokens for each in workload.lengths), tuple(each.weight for each in workload.lengths))


def _speculation(spec: ModelSpec, asked: SpeculativeDecoding | None, draft: ModelSpec | None) -> Speculation | None:
    if asked is None:
        return None
    try:
        speculation = Speculation(asked.method, asked.tokens, draft)
        with_drafts(spec, speculation)
    except BadSpeculation as wrong:
        raise BadRequirements(str(wrong)) from None
    misfit = None if draft is None else _misfit(spec, asked.method, draft)
    if misfit:
        raise BadRequirements(f"{misfit}.")
    return speculation


MOST_OF_MODEL = 4
"""A head has one or two layers; what has more than this part of the model's is no head."""


def _misfit(spec: ModelSpec, method: Method, draft: ModelSpec) -> str | None:
    """Why a draft cannot guess for a model; None = it can."""
    from catalog.architectures.eagle import METHODS  # no bundled model needs the families' files

    suits = METHODS.get(draft.architecture, method)
    if suits != method:
        return f"{draft.repo_id} is a head for {suits}, not for {method.removesuffix('_model')}"
    if method == "draft_model":
        differ = draft.vocabulary != spec.vocabulary
        return (
            f"{draft.repo_id} has a vocabulary of {draft.vocabulary} and {spec.repo_id} one of {spec.vocabulary}: a "
            "draft model must guess in the model's own tokens"
            if differ
            else None
        )
    if draft.hidden_size != spec.hidden_size:
        return (
            f"{draft.repo_id} reads hidden states of {draft.hidden_size} values, and {spec.repo_id} has "
            f"{spec.hidden_size}: it is the head of another model"
        )
    if draft.layer_count * MOST_OF_MODEL > spec.layer_count:
        return f"{draft.repo_id} has {draft.layer_count} layers: it is a model and no head; write draft instead"
    return None


def _adapters(spec: ModelSpec, asked: LoraAdapters | None) -> Adapters | None:
    if asked is None:
        return None
    known = target_names(spec)
    fused = {"qkv_proj": {"q_proj"}, "gate_up_proj": {"gate_proj"}}
    strange = [name for name in asked.targets if name not in known and not fused.get(name, set()) & set(known)]
    if strange:
        raise BadRequirements(
            f"{spec.repo_id} has no linear layer {strange[0]!r} to adapt; --lora-target-modules takes "
            f"{', '.join(known)}."
        )
    return Adapters(rank=asked.rank, loaded=asked.loaded, targets=asked.targets)


def launch_of(
    published: ModelSpec,
    engine: Engine,
    settings: MemorySettings,
    *,
    weight_format: str,
    kv_format: str,
    max_num_seqs: int = 1,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    data_parallel: int = 1,
    expert_parallel: bool = False,
    nodes: int = 1,
) -> Launch:
    """A replica as it is started, with the settings that its memory was measured with.

    Args:
        published: the checkpoint.
        engine: which is started; its own default holds where the settings name no utilization.
        settings: see MemorySettings.
        weight_format, kv_format, max_num_seqs, tensor_parallel, pipeline_parallel, data_parallel, expert_parallel,
        nodes: see Launch.
    """
    return Launch(
        spec=published,
        model=_named(published, engine, weight_format),
        weight_format=weight_format,
        kv_format=kv_format,
        max_model_len=settings.max_model_len,
        max_num_seqs=max_num_seqs,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        data_parallel=data_parallel,
        expert_parallel=expert_parallel,
        nodes=nodes,
        decode_context_parallel=settings.decode_context_parallel,
        max_num_batched_tokens=settings.max_batched_tokens,
        memory_utilization=settings.memory_utilization or engine.memory_utilization,
        speculation=settings.speculation,
        adapters=settings.adapters,
        offload_bytes=settings.offload_bytes,
        prefix_caching=True if settings.shared_prefix_tokens else None,
        language_model_only=settings.language_model_only,
        enforce_eager=settings.enforce_eager,
    )


def _named(published: ModelSpec, engine: Engine, weight_format: str) -> str:
    made = engine.makes_weights(published.weight_format, weight_format)
    return published.repo_id if made else to_be_named(published.repo_id, weight_format)


def to_be_named(published: str, weight_format: str) -> str:
    """What stands in a command for a checkpoint that nobody named: no engine takes it for the published one.

    >>> to_be_named("Qwen/Qwen3-8B", "int4")
    '<int4 weights of Qwen/Qwen3-8B>'
    """
    return f"<{weight_format} weights of {published}>"
