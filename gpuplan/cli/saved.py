"""Options that save a question or a plan and take one up again; what is typed beside them changes the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from gpuplan.cli import words
from gpuplan.cli.options import Asked, flag, option
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from collections.abc import Collection

    from gpuplan.saving.plan_file import PlanFile, Sources
    from optimizer.plan import Plan

SAVING = "Save, share and take up again"

Save = Annotated[
    str | None,
    option("--save", "Write question and plan to this file: `plan show` reads it", words.name, "FILE", SAVING),
]
From = Annotated[
    str | None,
    option("--from", "Ask the question of this plan again, changed by what else is typed", words.name, "FILE", SAVING),
]
Url = Annotated[bool, flag("--url", "Print the question as the fragment of a link, and plan nothing", SAVING)]
FromUrl = Annotated[
    str | None,
    option("--from-url", "Ask the question of this link, changed by what else is typed", words.name, "LINK", SAVING),
]


def taken_up(asked: Asked, typed: Collection[str]) -> Asked:
    """What was typed over the question of the plan or link that was named; without one, what was typed.

    Raises:
        BadWord: a plan and a link are named.
        BadPlanFile, BadLink: what is named cannot be read.
    """
    if asked.from_ is None and asked.from_url is None:
        return asked
    if asked.from_ is not None and asked.from_url is not None:
        raise BadWord("--from and --from-url name two questions; give one.")
    base = vars(_asked_in_file(asked.from_) if asked.from_ is not None else _asked_in_link(asked.from_url))
    changed = {name: vars(asked)[name] for name in typed}
    return Asked(**(without_contrary(base, typed) | changed))


def without_contrary(base: dict[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """A question without what says the same as a typed option in other words."""
    same = {"prefix_hit_rate": "shared_prefix_tokens", "shared_prefix_tokens": "prefix_hit_rate"}
    return base | {same[name]: None for name in typed if name in same}


def _asked_in_link(link: str) -> Asked:
    from gpuplan.cli.question_words import QUESTION_OPTIONS
    from gpuplan.saving.link import words_in

    return _understood(words_in(link, QUESTION_OPTIONS))


def _asked_in_file(path: str) -> Asked:
    from gpuplan.saving.plan_file import read_plan_file

    return asked_of(read_plan_file(path))


def asked_of(file: PlanFile) -> Asked:
    """What one types to ask the question of a saved plan, of the same own files."""
    from gpuplan.cli.question_words import words_of

    known = file.sources
    own = {"offers": known.offers_file, "factors": known.factors_dir, "prices-as-of": known.prices_as_of}
    named = [(option, path) for option, path in own.items() if path is not None]
    return _understood([*words_of(file.plan.question, file.sources.place), *named])


def _understood(saved: list[tuple[str, str]]) -> Asked:
    import typer

    from gpuplan.cli.app import sentence, understand
    from gpuplan.cli.question_words import typed

    try:
        return understand(typed(saved))[1]
    except typer.TyperException as wrong:
        raise BadWord(f"What was saved cannot be asked: {sentence(wrong)}") from None


def fragment(asked: Asked) -> str:
    """The question that was typed as the fragment of a link.

    Raises:
        BadWord: own files are part of it, which stay on the asker's disk.
    """
    from gpuplan.cli.place import place_of
    from gpuplan.cli.question import requirements_of
    from gpuplan.cli.question_words import words_of
    from gpuplan.saving.link import fragment_of

    if asked.offers is not None or asked.factors is not None:
        raise BadWord(
            "A link holds no files of yours: leave out --offers and --factors, or send the file that --save writes."
        )
    return fragment_of(words_of(requirements_of(asked), place_of(asked)))


def sources_of(asked: Asked) -> Sources:
    """What was given beside the question."""
    from gpuplan.cli.place import place_of
    from gpuplan.saving.fingerprints import digest_of
    from gpuplan.saving.plan_file import Sources

    return Sources(
        offers_file=asked.offers,
        offers_digest=digest_of(asked.offers),
        factors_dir=asked.factors,
        factors_digest=digest_of(asked.factors),
        place=place_of(asked),
        prices_as_of=asked.prices_as_of.isoformat() if asked.prices_as_of else None,
    )


def planned(asked: Asked) -> PlanFile:
    """What was asked for, planned now and not written anywhere."""
    from gpuplan.cli.place import place_of
    from gpuplan.cli.question import requirements_of
    from gpuplan.planning import plan
    from gpuplan.saving.plan_file import saved

    answer = plan(
        requirements_of(asked),
        offers_file=asked.offers,
        factors_dir=asked.factors,
        offline=asked.offline,
        place=place_of(asked),
        prices_as_of=asked.prices_as_of,
    )
    return saved(answer, sources_of(asked))


def save(plan: Plan, asked: Asked) -> None:
    """Write the plan where it was asked to be."""
    from gpuplan.saving.plan_file import saved, write_plan_file

    write_plan_file(asked.save, saved(plan, sources_of(asked)))
