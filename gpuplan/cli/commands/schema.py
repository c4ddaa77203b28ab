"""`plan schema`: the JSON schema of what `plan --json` prints."""

from __future__ import annotations

import typer

SUMMARY = "The JSON schema of what `plan --json` prints."
EXAMPLES = ("plan schema > plan.schema.json",)


def command(context: typer.Context) -> int:
    """The JSON schema of what `plan --json` prints.

    JSON Schema 2020-12. Its `schema_version` changes when a field changes its meaning or goes away.
    """
    import json

    from gpuplan.cli import console
    from optimizer.plan import Plan

    console.show_json(json.dumps(Plan.model_json_schema(), indent=2))
    return 0
