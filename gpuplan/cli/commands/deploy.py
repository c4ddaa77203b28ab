"""`plan deploy`: a plan that was printed as JSON -> the files that start it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, flag, option, several

if TYPE_CHECKING:
    from pathlib import Path

    from gpuplan.deploy.deployment import DeployFile, Deployment

SUMMARY = "The files that start a plan: Kubernetes, Compose, shell, SkyPilot, ..."
EXAMPLES = (
    "plan deploy plan.json --out deployment",
    "plan deploy plan.json --format kubernetes,benchmark --out deployment",
    "plan deploy plan.json --format shell",
    "plan deploy --list",
)
WRITING = "What is written, and where"

PlanFile = Annotated[
    str | None,
    argument("What `plan ... --save` wrote or `--json` printed; - reads it from stdin", words.name, "PLAN.json"),
]
Formats = Annotated[
    list[str] | None,
    several("--format", "Only these formats (default all that can run the plan); --list names them", "NAME", WRITING),
]
Out = Annotated[str | None, option("--out", "The folder; without it one format is printed", words.name, "DIR", WRITING)]
Checkpoint = Annotated[
    str | None,
    option("--checkpoint", "A repository or folder with the planned weight format", words.name, "NAME", WRITING),
]
Trust = Annotated[bool, flag("--trust-remote-code", "Let code that comes with the model run", WRITING)]
Force = Annotated[bool, flag("--force", "Replace files that exist", WRITING)]
List = Annotated[bool, flag("--list", "Name the formats and leave", PRINTING)]


def command(
    context: typer.Context,
    file: PlanFile = None,
    format: Formats = None,
    out: Out = None,
    checkpoint: Checkpoint = None,
    trust_remote_code: Trust = False,
    force: Force = False,
    list: List = False,
) -> int:
    """The files that start a plan, for each platform in a folder of its name.

    Images and packages have the planned versions; a token is never written, only where it is taken from. Without --out
    the files of one --format are printed. Files that exist are left alone unless --force is given.

    Exit status: 0 written, 2 bad input, a format that cannot run the plan, or a file that exists.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Write or print the files of the plan that was named."""
    if asked.list:
        return show_formats()
    from pathlib import Path

    from gpuplan.deploy.deployment import deployment_of
    from gpuplan.deploy.formats import render
    from gpuplan.deploy.read import read_plan
    from gpuplan.errors import BadWord

    if not asked.file:
        raise BadWord("Name the plan: `plan deploy PLAN.json`, which `plan ... --json > PLAN.json` writes.")
    deployment = deployment_of(
        read_plan(Path(asked.file)),
        folder=Path.cwd(),
        trust_remote_code=asked.trust_remote_code,
        checkpoint=asked.checkpoint,
    )
    if asked.out is not None:
        return write_files(deployment, asked.format or (), Path(asked.out), overwrite=asked.force)
    if len(asked.format or ()) != 1:
        raise BadWord("Say where to write: --out DIR; or what to print: one --format.")
    show_files(render(deployment, asked.format))
    return 0


def show_formats() -> int:
    """Print every format with what it writes."""
    from gpuplan.deploy.formats import format_names, platform

    console.show(console.aligned([[name, platform(name).SUMMARY] for name in format_names()]))
    return 0


def show_files(files: tuple[DeployFile, ...]) -> None:
    """Print files, each under a line with its name when there are several."""
    for file in files:
        head = f"# ---- {file.name}\n" if len(files) > 1 else ""
        console.show_text(head + file.text)


def write_files(
    deployment: Deployment,
    formats: list[str] | tuple[str, ...],
    folder: Path,
    *,
    overwrite: bool = False,
    silent: bool = False,
) -> int:
    """Write files and, unless silent, say which, and which formats cannot run the plan."""
    from gpuplan.deploy.formats import refusals, render, write
    from optimizer.plan import counted

    files = render(deployment, formats)
    write(files, folder, overwrite=overwrite)
    if silent:
        return 0
    lines: list[console.Line] = [(f"  {folder / file.name}",) for file in files]
    if not formats:
        lines += [(f"  no {name}: {why}",) for name, why in refusals(deployment).items()]
    console.show([(f"{counted(len(files), 'file')} of {deployment.name}",), *lines])
    return 0
