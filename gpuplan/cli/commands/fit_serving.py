"""`plan fit serving`: factors in which one's own hardware counts as it was measured."""

from __future__ import annotations

from datetime import date as calendar
from pathlib import Path
from typing import Annotated

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import Asked, arguments, asked_in, config_folder, option
from gpuplan.errors import GpuplanError

SUMMARY = "Fit the performance model to your own serving runs; your factors win for your hardware."
EXAMPLES = (
    "plan fit serving runs.csv --out ./factors",
    "plan fit serving spring.csv autumn.csv --out ./factors --date 2026-11-22",
)
FITTING = "The fit"

Files = Annotated[
    list[str], arguments("CSVs with one measured run per row; docs/measuring.md lists the columns", words.name, "FILE")
]
Out = Annotated[str, option("--out", "The folder to write the factors to", words.name, "DIR", FITTING)]
Configs = Annotated[str | None, config_folder(FITTING)]
Date = Annotated[
    str | None,
    option("--date", "Written into the factors' certificate; today when not given", words.name, "DATE", FITTING),
]


def command(context: typer.Context, file: Files, out: Out, configs: Configs = None, date: Date = None) -> int:
    """Fit the performance model to your own serving runs; your factors win for your hardware.

    Reads the rows that `plan check serving` reads: closed loops, single requests, static batches and offline runs.
    What many GPUs share stays as bundled; the measured GPUs get their own multipliers of memory and compute. The same
    files and date give the same factors. Needs scipy: pip install 'gpuplan[fit]'.

    Exit status: 0 written, 2 bad input, no usable run, or scipy is missing.
    """
    return run(asked_in(context))


class CannotFit(GpuplanError):
    """Why there are no factors; its text is one sentence."""


def run(asked: Asked) -> int:
    """Fit, write, and say what was fitted and what was not used."""
    from gpuplan.fitting.bench import NothingToFit

    try:
        from gpuplan.fitting.own import adapted, read_own, write_own
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] != "scipy":
            raise
        raise CannotFit("Fitting needs scipy, which is not installed: pip install 'gpuplan[fit]'.") from None

    own = read_own([Path(name) for name in asked.file], asked.configs and Path(asked.configs))
    try:
        fitted, curves = adapted(own, asked.date or calendar.today().isoformat())
        write_own(fitted, curves, Path(asked.out))
    except NothingToFit as wrong:
        raise CannotFit(str(wrong)) from wrong
    except OSError as wrong:
        raise CannotFit(f"{asked.out} cannot be written: {wrong}.") from wrong
    console.show(page(fitted, asked.out))
    return 0


def page(fitted: dict[str, object], out: str) -> list[console.Line]:
    """What was fitted, how well it meets the runs, and what was left out."""
    birth, gpus = fitted["birth"], fitted["gpus"]
    assert isinstance(birth, dict)
    assert isinstance(gpus, dict)
    head = (console.Styled(f"Factors of {birth['own_runs']:,} runs written to {out}", "bold"),)
    rows = [console.header(["GPU", "runs", "memory", "compute"])]
    for name, count in birth["own_runs_by_gpu"].items():
        rows.append([name, f"{count:,}", f"x {gpus[name]['memory']:.3g}", f"x {gpus[name]['compute']:.3g}"])
    errors = [console.header(["error of these runs", "runs", "median", "bias"])]
    for metric, cell in birth["own_errors"].items():
        errors.append([metric, f"{cell['runs']:,}", f"{cell['median_percent']} %", f"{cell['bias_percent']} %"])
    unused = [(f"  not used: {count} rows: {reason}",) for reason, count in birth["own_rows_left_out"].items()]
    right = (1, 2, 3)
    return [head, (), *console.aligned(rows, right=right), (), *console.aligned(errors, right=right), *unused]
