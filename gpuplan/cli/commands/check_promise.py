"""`plan check promise`: what a benchmark measured beside what the plan promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, flag

if TYPE_CHECKING:
    from gpuplan.deploy.promise import Comparison, Measured, PromiseCheck

SUMMARY = "What a benchmark measured beside what the plan promised."
EXAMPLES = (
    "plan check promise plan.json vllm-result.json",
    "plan check promise plan.json guidellm-result.json --json",
)
BROKEN = 3
"""The exit status when a promise is not kept."""

PlanFile = Annotated[str, argument("What `plan ... --save` wrote or `--json` printed", words.name, "PLAN.json")]
Result = Annotated[
    str, argument("What `vllm bench serve --save-result` or `guidellm run` wrote", words.name, "RESULT.json")
]
Json = Annotated[bool, flag("--json", "One JSON object: numbers in base units", PRINTING)]


def command(context: typer.Context, plan: PlanFile, result: Result, json: Json = False) -> int:
    """What a benchmark measured beside what the plan promised, and whether the estimate's error bar held it.

    `plan deploy PLAN.json --format benchmark` writes benchmarks at the planned load and lengths. What was measured
    otherwise than planned is said.

    Exit status: 0 every promise is kept, 2 bad input, 3 a promise is broken.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Compare the two files that were named."""
    from pathlib import Path

    from gpuplan.deploy.promise import check_promise, read_result
    from gpuplan.deploy.read import read_plan

    measured = read_result(Path(asked.result))
    check = check_promise(read_plan(Path(asked.plan)), measured)
    if asked.json:
        console.show_json(_as_json(check, measured))
    else:
        console.show(page(check, measured))
    return 0 if check.kept else BROKEN


def page(check: PromiseCheck, measured: Measured) -> list[console.Line]:
    """The comparison as a table."""
    rows = [console.header(["", "promised", "expected", "error bar", "measured", ""]), *map(_row, check.comparisons)]
    lines = [(f"{measured.tool}, {measured.completed} requests",), *console.aligned(rows, right=(1, 2, 3, 4))]
    lines += [line for text in check.warnings for line in console.wrapped(text, 100, 2, "yellow")]
    return [*lines, (_verdict(check),)]


def _verdict(check: PromiseCheck) -> console.Styled:
    if not check.asked:
        return console.Styled("nothing of this was asked for, so no promise is kept or broken", "dim")
    return (
        console.Styled("every promise is kept", "green") if check.kept else console.Styled("a promise is broken", "red")
    )


def _row(each: Comparison) -> list[console.Part]:
    expected = each.expected
    show = console.duration if each.unit == "s" else console.quantity
    ends = "" if expected is None or expected.low is None else f"{show(expected.low)} to {show(expected.high or 0)}"
    within = {None: "", True: "as expected", False: "outside the error bar"}[each.as_expected]
    style = {"kept": "green", "broken": "red", "not asked": "dim"}[each.verdict]
    return [
        f"{each.name} ({each.unit})" if each.unit != "s" else each.name,
        "" if each.asked is None else show(each.asked),
        "" if expected is None else show(expected.value),
        ends,
        show(each.measured),
        console.Styled(", ".join(word for word in (each.verdict, within) if word), style),
    ]


def _as_json(check: PromiseCheck, measured: Measured) -> str:
    from pydantic import TypeAdapter

    from gpuplan.deploy.promise import PromiseAnswer

    answer = PromiseAnswer(check.kept, check.comparisons, check.warnings, measured)
    return TypeAdapter(PromiseAnswer).dump_json(answer, indent=2).decode()
