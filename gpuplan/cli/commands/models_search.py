"""`plan models search`: models by words, the bundled ones and those on the Hub."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import OFFLINE_HELP, PRINTING, Asked, arguments, asked_in, flag, option

if TYPE_CHECKING:
    from catalog.find import ModelRecord
    from catalog.huggingface import Found

SUMMARY = "Models by words of their names: the bundled ones, then those on the Hub."
EXAMPLES = (
    "plan models search qwen3 coder",
    "plan models search llama 8b gguf --limit 50 --json",
    "plan models search gemma --offline",
)
WHICH = "Which"
MOST = 1000


@dataclass(frozen=True)
class FoundModel:
    """One object of `plan models search --json`.

    Attributes:
        repo_id: what `--model` takes.
        parameters: in all; None = the Hub has not counted them.
        where: "bundled" (planned without network) or "hub".
        downloads, gated: as the Hub says; None for a bundled one.
        task: as the Hub says.
    """

    repo_id: str
    parameters: int | None
    where: Literal["bundled", "hub"]
    downloads: int | None
    task: str
    gated: bool | None


Words = Annotated[list[str], arguments("Words that the name must hold", words.name, "WORD")]
Limit = Annotated[int, option("--limit", "How many of the Hub, most downloaded first", words.count, "COUNT", WHICH)]
Offline = Annotated[bool, flag("--offline", OFFLINE_HELP, WHICH)]
Json = Annotated[bool, flag("--json", "A list of objects", PRINTING)]


def command(
    context: typer.Context,
    words: Words,
    limit: Limit = 20,
    offline: Offline = False,
    json: Json = False,
) -> int:
    """Models by words of their names: the bundled ones, then those on the Hub, the most downloaded first.

    Whatever is listed can be given to `--model`. Parameters of models on the Hub are as the Hub has counted them in
    their safetensors files; what is not a language model is listed too.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the models whose names hold all the words."""
    from catalog.errors import HubAway
    from catalog.find import bundled_models
    from catalog.hub import search_hub

    known = [record for record in bundled_models() if holds(record, asked.words)]
    try:
        found = [] if asked.offline else search_hub(" ".join(asked.words), min(asked.limit, MOST))
    except HubAway as away:
        raise HubAway(f"{away} With --offline the bundled models are searched.") from away
    rows = rows_of(known, [each for each in found if each.repo_id not in {record.repo_id for record in known}])
    console.show_rows(rows, lambda ink: table(rows, ink), as_json=asked.json)
    return 0


def holds(record: ModelRecord, wanted: list[str]) -> bool:
    """Whether each word is in the model's name or one of its short names.

    A word is looked for without case.
    """
    names = " ".join((record.repo_id, *record.short_names)).casefold()
    return all(word.casefold() in names for word in wanted)


def rows_of(known: list[ModelRecord], found: list[Found]) -> list[dict[str, Any]]:
    """One row per model, with what is known of it."""
    bundled = [
        FoundModel(each.repo_id, each.total_parameters, "bundled", None, "text-generation", None) for each in known
    ]
    on_hub = [FoundModel(each.repo_id, each.parameters, "hub", each.downloads, each.task, each.gated) for each in found]
    return [asdict(each) for each in (*bundled, *on_hub)]


def table(rows: list[dict[str, Any]], ink: console.Ink) -> list[console.Line]:
    """The models as aligned columns."""
    lines = [console.header(["model", "parameters", "where", "downloads", "task"])]
    for row in rows:
        gated = " (gated)" if row["gated"] else ""
        lines.append(
            [
                row["repo_id"],
                "" if row["parameters"] is None else console.big(row["parameters"]),
                f"{row['where']}{gated}",
                "" if row["downloads"] is None else f"{row['downloads']:,}",
                console.Styled(row["task"], "dim"),
            ]
        )
    return [*console.fitted(lines, ink, (1, 3), spare=(4,)), (), (f"  {len(rows)} models",)]
