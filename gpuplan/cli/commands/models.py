"""`plan models`: every model that is bundled, as a table one can filter and sort."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, asked_in, flag, option, several

if TYPE_CHECKING:
    from catalog.find import ModelRecord

SUMMARY = "Every model that is known by name: family, parameters, format, context."
SORTS = ("name", "family", "architecture", "parameters", "active", "context")
EXAMPLES = (
    "plan models --name llama --max-parameters 10b",
    "plan models --moe --sort active",
    "plan models --json",
)
WHICH = "Which"

Name = Annotated[
    str | None, option("--name", "Only models whose name or short name contains this", words.name, "NAME", WHICH)
]
Families = Annotated[list[str] | None, several("--family", "Only families that contain this", "NAME", WHICH)]
Architectures = Annotated[list[str] | None, several("--architecture", "Only these architectures", "NAME", WHICH)]
Formats = Annotated[list[str] | None, several("--weight-format", "Only checkpoints stored so", "NAME", WHICH)]
Least = Annotated[
    int | None, option("--min-parameters", "At least so many: 500m, 8b", words.parameters, "COUNT", WHICH)
]
Most = Annotated[int | None, option("--max-parameters", "At most so many", words.parameters, "COUNT", WHICH)]
MinContext = Annotated[int | None, option("--min-context", "At least this context", words.tokens, "TOKENS", WHICH)]
Moe = Annotated[bool, flag("--moe", "Only mixtures of experts: less than half of the parameters active", WHICH)]
Sort = Annotated[str, option("--sort", "The column to sort by", words.name, "COLUMN", PRINTING, SORTS)]
Json = Annotated[bool, flag("--json", "A list of objects", PRINTING)]

# Vision towers and next-token heads leave dense models above this share, every known mixture of experts is below it.
MOE_SHARE = 0.5


def command(
    context: typer.Context,
    name: Name = None,
    family: Families = None,
    architecture: Architectures = None,
    weight_format: Formats = None,
    min_parameters: Least = None,
    max_parameters: Most = None,
    min_context: MinContext = None,
    moe: Moe = False,
    sort: Sort = "name",
    json: Json = False,
) -> int:
    """Every model that is known by name: family, parameters, format, context.

    Parameter counts are computed from each model's shape; "active" are those that one token is multiplied with. A model
    that is not here can be given to `--model` as owner/name on the Hub, or as a folder with its config.json.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the models that were asked for."""
    from catalog.find import bundled_models

    found = sorted((each for each in bundled_models() if wanted(each, asked)), key=lambda each: key(each, asked.sort))
    console.show_rows([asdict(record) for record in found], lambda ink: table(found, ink), as_json=asked.json)
    return 0


def wanted(record: ModelRecord, asked: Asked) -> bool:
    """Whether a model passes every filter."""
    return (
        (asked.name is None or any(_in(asked.name, name) for name in (record.repo_id, *record.short_names)))
        and (asked.family is None or any(_in(family, record.family) for family in asked.family))
        and (asked.architecture is None or any(_in(each, record.architecture) for each in asked.architecture))
        and (asked.weight_format is None or record.weight_format in asked.weight_format)
        and (asked.min_parameters is None or record.total_parameters >= asked.min_parameters)
        and (asked.max_parameters is None or record.total_parameters <= asked.max_parameters)
        and (asked.min_context is None or record.max_context_tokens >= asked.min_context)
        and (not asked.moe or record.active_parameters < MOE_SHARE * record.total_parameters)
    )


def _in(part: str, text: str) -> bool:
    return part.casefold() in text.casefold()


def key(record: ModelRecord, sort: str) -> tuple[object, ...]:
    """Names from A to Z, numbers from large to small."""
    keys: dict[str, object] = {
        "name": record.repo_id.casefold(),
        "family": record.family,
        "architecture": record.architecture,
        "parameters": -record.total_parameters,
        "active": -record.active_parameters,
        "context": -record.max_context_tokens,
    }
    return (keys[sort], record.repo_id.casefold())


def table(records: list[ModelRecord], ink: console.Ink) -> list[console.Line]:
    """The models as aligned columns."""
    names = ["model", "family", "parameters", "active", "stored as", "context", "also"]
    rows = [console.header(names)]
    for record in records:
        rows.append(
            [
                record.repo_id,
                console.Styled(record.family, "dim"),
                console.big(record.total_parameters),
                console.big(record.active_parameters),
                record.weight_format,
                f"{record.max_context_tokens:,}",
                console.Styled(", ".join(record.short_names), "dim"),
            ]
        )
    spare = [names.index(name) for name in ("family", "also")]
    return [*console.fitted(rows, ink, (2, 3, 5), spare), (), (f"  {len(records)} models",)]
