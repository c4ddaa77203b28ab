"""`plan schema`: the JSON schema of what `plan --json` prints."""

from __future__ import annotations

from gpuplan.cli.options import Asked, Command

COMMAND = Command(
    words="schema",
    summary="The JSON schema of what `plan --json` prints.",
    description="""
        Prints the schema of the plan's JSON object (JSON Schema 2020-12). Its `schema_version` changes when a field
        changes its meaning or goes away.
    """,
    groups=(),
    examples=("plan schema > plan.schema.json",),
)


def run(asked: Asked) -> int:
    """Print the schema."""
    import json

    from gpuplan.cli import console
    from optimizer.plan import Plan

    console.show_json(json.dumps(Plan.model_json_schema(), indent=2))
    return 0
