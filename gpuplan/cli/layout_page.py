"""How one configuration is named on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplan.cli.console import Ink, Line, Styled, wrapped
from optimizer.plan import counted

if TYPE_CHECKING:
    from gpuplan.calculators.answers import Layout
    from optimizer.plan import Rejection, Replica
    from optimizer.requirements import EngineOptions


def heading(layout: Layout, ink: Ink) -> list[Line]:
    """The model, then where and how it runs."""
    machines = f" in {layout.nodes} machines" if layout.nodes > 1 else ""
    where = (
        f"{layout.gpus} x {layout.gpu}{machines}: {degrees(layout)}, {layout.weight_format} weights, "
        f"{layout.kv_cache_format} KV cache, {layout.engine} {layout.engine_version}"
    )
    utilization = layout.gpu_memory_utilization
    limits = (
        f"max_model_len {layout.max_model_len:,}, max_num_seqs {layout.max_num_seqs:,}, "
        f"max_num_batched_tokens {layout.max_num_batched_tokens:,}"
        + (f", gpu_memory_utilization {utilization:g}" if utilization is not None else "")
    )
    added = additions(layout.options)
    return [
        named(layout.model, layout.model_revision),
        *((f"! {note}",) for note in layout.model_notes),
        *wrapped(where, ink.width, 0),
        *([(Styled(f"with {added}", "dim"),)] if added else []),
        *wrapped(limits, ink.width, 0, "dim"),
        (),
    ]


def degrees(one: Layout | Replica | Rejection) -> str:
    """In how many parts a replica is divided, and along what: TP, and what else is not 1; "" where nothing runs."""
    kinds = [
        ("TP", one.tensor_parallel),
        ("PP", one.pipeline_parallel),
        ("DP", one.data_parallel),
        ("EP", one.expert_parallel),
    ]
    return " ".join(f"{name} {degree}" for name, degree in kinds if degree and (degree > 1 or name == "TP"))


def named(model: str, revision: str | None) -> Line:
    """The model's name, and the commit of the Hub that it was read at."""
    commit = [Styled(f"  commit {revision[:12]} on the Hub", "dim")] if revision else []
    return (Styled(model, "bold"), *commit)


def additions(options: EngineOptions) -> str:
    """What is served besides the model, in words; "" when nothing is."""
    guessing, adapters, context = options.speculation, options.adapters, options.decode_context_parallel
    said = []
    if guessing is not None:
        by = f" by {guessing.draft}" if guessing.draft else ""
        said += [f"{counted(guessing.tokens, 'token')} guessed per step ({guessing.method}{by})"]
    if adapters is not None:
        of = f" on {', '.join(adapters.targets)}" if adapters.targets else ""
        said += [f"{counted(adapters.loaded, 'LoRA adapter')} of rank {adapters.rank}{of}"]
    said += [f"decode context parallel {context}"] if context > 1 else []
    said += ["no vision tower"] if options.language_model_only else []
    return ", ".join(said)
