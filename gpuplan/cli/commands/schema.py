"""`plan schema`: the JSON schema of what `--json` prints, and of files."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, cast

import typer

from gpuplan.cli import words
from gpuplan.cli.options import argument
from gpuplan.errors import BadWord, nearest

SUMMARY = "The JSON schema of what `--json` prints, and of the files that are read and written."
EXAMPLES = (
    "plan schema > plan.schema.json",
    "plan schema memory > memory.schema.json",
    "plan schema fleet-file > fleet.schema.json",
)
SCHEMAS = {
    "plan": "optimizer.plan.Plan",
    "plan-file": "gpuplan.saving.plan_file.PlanFile",
    "memory": "gpuplan.calculators.remedies.AdvisedMemory",
    "estimate": "gpuplan.calculators.answers.EstimateAnswer",
    "fleet": "optimizer.fleet.plan.FleetPlan",
    "calendar": "optimizer.fleet.calendar.Calendar",
    "fleet-file": "gpuplan.fleets.schema.fleet_file_schema",
    "pareto": "optimizer.frontier.Frontier",
    "compare": "gpuplan.compare.Comparison",
    "check-memory": "gpuplan.measuring.report.MemoryReport",
    "check-serving": "gpuplan.measuring.serving_report.ServingReport",
    "check-promise": "gpuplan.deploy.promise.PromiseAnswer",
    "models": "catalog.find.ModelRecord",
    "models-search": "gpuplan.cli.commands.models_search.FoundModel",
    "gpus": "gpuplan.cli.commands.gpus.PricedGpu",
    "prices-diff": "gpuplan.cli.commands.prices_diff.PricesDiff",
    "read-log": "gpuplan.measuring.logs.rows_schema",
    "batch": "gpuplan.batch.answers.row_schema",
}
"""What each command prints (a noun, or the noun of each row of a list) or reads (a function that writes its schema)."""
LISTS = {"models", "models-search", "gpus"}

Answer = Annotated[str, argument(f"Whose: {', '.join(SCHEMAS)} (default plan)", words.name, "NAME")]


def command(context: typer.Context, answer: Answer = "plan") -> int:
    """The JSON schema of what `plan --json`, or another command with `--json`, prints, or of a file.

    `plan-file` is what `--save` writes, `fleet` and `calendar` what `plan fleet --json` prints (`calendar` with demand
    by month), `fleet-file` what `plan fleet` reads, `batch` one line of what `plan batch` writes as .jsonl; the others
    are named as their commands are. JSON Schema 2020-12. A `schema_version` in it changes when a field
    changes its meaning or goes away.
    """
    import json

    from gpuplan.cli import console

    console.show_json(json.dumps(schema_of(answer), indent=2))
    return 0


def schema_of(answer: str) -> dict[str, Any]:
    """The schema of what a command prints or reads."""
    if answer not in SCHEMAS:
        raise BadWord(f"No schema of {answer!r}; there are {', '.join(SCHEMAS)}.{nearest(answer, SCHEMAS)}")
    module, _, name = SCHEMAS[answer].rpartition(".")
    noun = getattr(import_module(module), name)
    if not isinstance(noun, type):
        return cast("dict[str, Any]", noun())
    from pydantic import TypeAdapter

    return TypeAdapter[Any](list[noun] if answer in LISTS else noun).json_schema(mode="serialization")  # type: ignore[valid-type]
