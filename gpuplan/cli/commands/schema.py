"""`plan schema`: the JSON schema of what `--json` prints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, cast

import typer

from gpuplan.cli import words
from gpuplan.cli.options import argument
from gpuplan.errors import BadWord, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel

SUMMARY = "The JSON schema of what `plan --json` prints."
EXAMPLES = ("plan schema > plan.schema.json", "plan schema memory > memory.schema.json")
ANSWERS = {
    "plan": "optimizer.plan.Plan",
    "memory": "gpuplan.remedies.AdvisedMemory",
    "estimate": "gpuplan.calculators.EstimateAnswer",
    "fleet": "optimizer.fleet.plan.FleetPlan",
    "pareto": "optimizer.frontier.Frontier",
}
"""What each command prints, loaded when it is asked for."""

Answer = Annotated[str, argument(f"Whose JSON: {', '.join(ANSWERS)} (default plan)", words.name, "COMMAND")]


def command(context: typer.Context, answer: Answer = "plan") -> int:
    """The JSON schema of what `plan --json`, or another command with `--json`, prints.

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
    module, _, name = ANSWERS[answer].rpartition(".")
    return cast("type[BaseModel]", getattr(import_module(module), name))
