"""Write what in the docs is generated: the command-line reference, the architectures, the answer that pages show.

Run `python docs/refresh.py` after changing an option, a price or a factor; `tests/test_docs.py` says when it is due.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
QUICKSTART = DOCS / "quickstart.md"
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import architectures_page  # noqa: E402 - it lies beside this file

from gpuplan.cli import app, console, plan_page  # noqa: E402 - a bare checkout has no installed package

ANSWER = re.compile(r"(<!-- answer -->\n```text\n).*?(```\n<!-- /answer -->)", re.DOTALL)
QUESTION = ("--model", "meta-llama/Llama-3.3-70B-Instruct", "--min-tps", "500", "--budget", "10")


def cli_reference() -> str:
    """docs/cli.md: every command with its options, from typer's own objects."""
    parts = ["# Command line\n\nGenerated from the commands by `python docs/refresh.py`; do not edit.\n"]
    for name in [app.MAIN_JOB, *app.command_names()]:
        command = app.program() if name == app.MAIN_JOB else app.command_of(name)
        parts += [_section("plan" if name == app.MAIN_JOB else f"plan {name}", command, app.load(name).EXAMPLES)]
    return "\n".join(parts)


def _section(title: str, command: Any, examples: Sequence[str]) -> str:
    panels: dict[str, list[str]] = {}
    for option in command.params:
        if option.name != "help":
            panels.setdefault(option.rich_help_panel or "Word", []).append(_row(option))
    tables = [
        f"### {panel}\n\n| option | meaning | default |\n|---|---|---|\n" + "".join(rows)
        for panel, rows in panels.items()
    ]
    shown = "```bash\n" + "\n".join(examples) + "\n```\n"
    return "\n".join([f"## {title}\n\n{command.help}\n", *tables, shown])


def _row(option: Any) -> str:
    spelling = (
        " ".join([", ".join(option.opts), option.metavar or ""]) if option.opts[0].startswith("-") else option.metavar
    )
    default = f"`{option.default}`" if option.default not in (None, False) else ""
    return f"| `{spelling.strip()}` | {option.help} | {default} |\n"


def answer() -> str:
    """What `plan` prints for README's question, but for what changes by the day or the run: ages and solver seconds."""
    from gpuplan.cli.question import requirements_of
    from gpuplan.planning import plan

    _, asked = app.understand(QUESTION)
    wanted = requirements_of(asked)
    read_on = max(line.offer.as_of for line in plan(wanted).lines)
    found = plan(wanted, today=read_on)
    ink = console.Ink(width=110)
    text = console.render(plan_page.full(found, ink, shown=3), ink)
    return re.sub(r" in \d+\.\d+ s;", ";", text)


def head(whole: str) -> str:
    """An answer's first paragraphs: what to rent, how to serve, how fast."""
    return whole[: whole.index("\n\nMemory of each")] + "\n"


def showing(page: Path, text: str) -> str:
    """A page whose sample is this text."""
    return ANSWER.sub(lambda found: found[1] + text + found[2], page.read_text(encoding="utf-8"))


def pages() -> dict[Path, str]:
    """Every page of which something is generated, as it should be today."""
    whole = answer()
    return {
        DOCS / "cli.md": cli_reference(),
        DOCS / "architectures.md": architectures_page.page(),
        QUICKSTART: showing(QUICKSTART, whole),
        README: showing(README, head(whole)),
    }


def main() -> None:
    """Write them."""
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
