"""`plan schema`: the JSON schema of what `--json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import words
from gpuplan.cli.options import argument
from gpuplan.errors import BadWord, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel

SUMMARY = "The JSON schema of what `plan --json` prints."
EXAMPLES = ("plan schema > plan.schema.json", "plan schema memory > memory.schema.json")
ANSWERS = ("plan", "memory", "estimate")

Answer = Annotated[str, argument(f"Whose JSON: {', '.join(ANSWERS)} (default {ANSWERS[0]})", words.name, "COMMAND")]


def command(context: typer.Context, answer: Answer = "plan") -> int:
    """The JSON schema of what `plan --json`, `plan memory --json` or `plan estimate --json` prints.

    JSON Schema 2020-12. Its `schema_version` changes when a field changes its meaning or goes away.
    """
    import json

    from gpuplan.cli import console

    console.show_json(json.dumps(_noun(answer).model_json_schema(mode="serialization"), indent=2))
    return 0


def _noun(answer: str) -> type[BaseModel]:
    """What a command prints."""
    if answer not in ANSWERS:
        raise BadWord(f"No schema of {answer!r}; there are {', '.join(ANSWERS)}.{nearest(answer, ANSWERS)}")
    if answer == "plan":
        from optimizer.plan import Plan

        return Plan
    if answer == "memory":
        from gpuplan.remedies import AdvisedMemory

        return AdvisedMemory
    from gpuplan.calculators import EstimateAnswer

    return EstimateAnswer
