"""Options that the main job and the calculators share: what is served besides the model, and what requests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from gpuplan.cli import words
from gpuplan.cli.options import Asked, flag, option, several
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from pydantic import ValidationError

    from optimizer.requirements import EngineOptions, Frozen, LoraAdapters, SpeculativeDecoding, Workload

_Noun = TypeVar("_Noun", bound="Frozen")

ADDED = "What is served besides the model"
REQUEST = "What a request is"
LAYOUT = "How it is laid out"

Speculative = Annotated[
    object | None,
    option(
        "--speculative",
        "Guess tokens: mtp, ngram, draft, eagle, eagle3; how many per step (default 1); the draft's name or folder",
        words.speculative,
        "METHOD[:TOKENS[:DRAFT]]",
        ADDED,
    ),
]
Acceptance = Annotated[
    float | None,
    option(
        "--acceptance-rate",
        "Of the guessed tokens, which share is right given that those before are",
        words.hit_rate,
        "SHARE",
        ADDED,
    ),
]
LoraRank = Annotated[
    int | None,
    option("--max-lora-rank --lora-rank", "LoRA: the largest rank (default 16)", words.count, "RANK", ADDED),
]
Loras = Annotated[
    int | None, option("--max-loras", "LoRA: adapters in one batch (default 1)", words.count, "COUNT", ADDED)
]
LoraTargets = Annotated[
    list[str] | None,
    several("--lora-target-modules --lora-targets", "LoRA: layers that adapters change (default all)", "NAME", ADDED),
]
LanguageModelOnly = Annotated[bool, flag("--language-model-only", "Leave out the vision tower", ADDED)]
ContextParallel = Annotated[
    int,
    option(
        "--decode-context-parallel",
        "Ranks of TP that divide a request's tokens among them",
        words.count,
        "COUNT",
        LAYOUT,
    ),
]
SharedPrefix = Annotated[
    int | None,
    option(
        "--shared-prefix-tokens",
        "Input tokens that all requests begin with, cached once",
        words.tokens,
        "TOKENS",
        REQUEST,
    ),
]
PrefixHitRate = Annotated[
    float | None,
    option("--prefix-hit-rate", "The same as a share of --isl", words.hit_rate, "SHARE", REQUEST),
]
Lengths = Annotated[
    object | None,
    option(
        "--lengths",
        "Lengths of whole requests and how often: 1k:3,8k:1, or a CSV with the columns tokens and weight",
        words.lengths,
        "TOKENS:WEIGHT,...",
        REQUEST,
    ),
]

_OPTIONS = {
    "shared_prefix_tokens": "--shared-prefix-tokens",
    "lengths": "--lengths",
    "input_tokens": "--isl",
    "output_tokens": "--osl",
    "speculation": "--speculative",
    "rank": "--max-lora-rank",
    "loaded": "--max-loras",
    "targets": "--lora-target-modules",
    "tokens": "--speculative",
    "draft": "--speculative",
    "acceptance_rate": "--acceptance-rate",
    "decode_context_parallel": "--decode-context-parallel",
}
"""A field of the nouns -> the option that fills it."""


def workload_of(asked: Asked) -> Workload:
    """The requests that were typed.

    Raises:
        BadWord: the values contradict each other.
    """
    from optimizer.requirements import LengthShare, Workload

    if asked.shared_prefix_tokens is not None and asked.prefix_hit_rate is not None:
        raise BadWord("--shared-prefix-tokens and --prefix-hit-rate say the same; give one.")
    shared = asked.shared_prefix_tokens or round((asked.prefix_hit_rate or 0.0) * asked.isl)
    lengths = tuple(LengthShare(tokens=tokens, weight=weight) for tokens, weight in asked.lengths or ())
    return checked(
        Workload, input_tokens=asked.isl, output_tokens=asked.osl, shared_prefix_tokens=shared, lengths=lengths
    )


def engine_options_of(asked: Asked) -> EngineOptions:
    """What every replica is started with besides its layout.

    Raises:
        BadWord: a value is out of range.
    """
    from optimizer.requirements import EngineOptions

    return checked(
        EngineOptions,
        speculation=_speculation(asked),
        adapters=_adapters(asked),
        decode_context_parallel=asked.decode_context_parallel,
        language_model_only=asked.language_model_only,
    )


def _speculation(asked: Asked) -> SpeculativeDecoding | None:
    from optimizer.memory.speculation import NEEDS_DRAFT
    from optimizer.requirements import SpeculativeDecoding

    rate = getattr(asked, "acceptance_rate", None)
    if asked.speculative is None:
        if rate is not None:
            raise BadWord("--acceptance-rate is of guessed tokens: it needs --speculative.")
        return None
    method, tokens, draft = asked.speculative
    if (draft is not None) != (method in NEEDS_DRAFT):
        word = method.removesuffix("_model")
        raise BadWord(
            f"--speculative: {word} takes no draft; write {word}:{tokens}"
            if draft
            else f"--speculative: {word} needs its draft: {word}:{tokens}:NAME, a bundled model or a folder"
        )
    return checked(SpeculativeDecoding, method=method, tokens=tokens, draft=draft, acceptance_rate=rate)


def _adapters(asked: Asked) -> LoraAdapters | None:
    from optimizer.requirements import LoraAdapters

    fields = {"rank": asked.max_lora_rank, "loaded": asked.max_loras, "targets": asked.lora_target_modules}
    given = {name: value for name, value in fields.items() if value is not None}
    return checked(LoraAdapters, **given) if given else None


def checked(noun: type[_Noun], **fields: Any) -> _Noun:
    """A noun of these fields, or BadWord with the option of the first that is wrong."""
    from pydantic import ValidationError

    try:
        return noun(**fields)
    except ValidationError as wrong:
        raise BadWord(complaint(wrong)) from None


def complaint(wrong: ValidationError) -> str:
    """The first thing that pydantic found, said with the option's name."""
    first = wrong.errors(include_url=False)[0]
    names = [_OPTIONS[part] for part in first["loc"] if part in _OPTIONS]
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{names[-1]}: {message}" if names else message
