"""The fitted factors and their errors as the tables of docs/method/latency.md.

    python -m gpuplan.fitting.report docs/method/latency.md

rewrites what stands between the markers, from the bundled certificate; a test says when it is old.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizer.performance.certainty import LEVELS, METRICS
from optimizer.performance.factors import Factors, load_factors

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
METRIC_WORDS = {
    "tpot": "TPOT, closed loop",
    "ttft": "TTFT, closed loop",
    "closed throughput": "throughput, closed loop",
    "throughput": "throughput, offline",
    "request": "one request at a time, end to end",
    "static": "a static batch, end to end",
    "step": "gap between tokens at a batch size (ML.ENERGY)",
    "watts": "watts of the GPUs (ML.ENERGY)",
    "energy": "energy per output token (ML.ENERGY)",
}


def tables(factors: Factors) -> str:
    """All tables, as Markdown."""
    birth = factors.birth
    parts = [
        f"Fitted on {birth['date']} on {birth['runs']:,} runs of {len(birth['models'])} models, "
        f"and on {birth['kernel_laws']} laws of kernels.",
        _errors(birth["errors"]),
        _bounds(factors),
        _coverage(birth["coverage"]),
        _halves(halves()),
        _vendors(birth["vendors_left_out"]),
        _counts("Runs by source", birth["runs_by_source"]),
        _counts("Runs by GPU", birth["runs_by_gpu"]),
        _counts("Rows left out, and why", birth["rows_left_out"]),
        _values("Shared factors", factors.shared),
        _grid("Engine factors", factors.engines),
        _grid("GPU multipliers", factors.gpus),
        _values("How much slower than InferenceX a source's runs are on equal terms", birth["source_slowness"]),
        _power(factors.power),
    ]
    return "\n\n".join(parts)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _errors(errors: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rows = [
        [
            split,
            METRIC_WORDS[metric],
            f"{cell['runs']:,}",
            *(f"{cell[f'{k}_percent']}%" for k in ("median", "mean", "bias")),
        ]
        for split, metrics in errors.items()
        for metric, cell in sorted(metrics.items(), key=lambda item: list(METRIC_WORDS).index(item[0]))
    ]
    return "**Errors, |predicted / measured - 1|**\n\n" + _table(
        ["factors fitted on", "metric", "runs", "median", "mean", "bias (median)"], rows
    )


def _bounds(factors: Factors) -> str:
    low, high = 0.05, 0.95
    rows = [
        [
            level,
            *(f"{factors.errors[level][m].at(low):.2f} to {factors.errors[level][m].at(high):.2f}" for m in METRICS),
        ]
        for level in LEVELS
    ]
    title = "**Where 90% of left-out measurements lie, measured / predicted**\n\n"
    return title + _table(["calibration", *METRICS], rows)


NOT_KNOWN = "not known"


def _coverage(coverage: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """How well the error bars hold, and how wide they are."""
    rows = [
        [
            level,
            metric,
            f"{cell['runs']:,}",
            f"{cell['groups']}",
            f"{cell['factor']:.2f}",
            f"{cell['held_percent']}%",
            f"{cell['held_left_out_percent']}%" if "held_left_out_percent" in cell else NOT_KNOWN,
        ]
        for level, metrics in coverage.items()
        for metric, cell in metrics.items()
        if cell["runs"]
    ]
    title = "**Error bars for 90%: how many left-out runs they hold**\n\n"
    head = [
        "calibration",
        "metric",
        "runs",
        "groups",
        "up to a factor of",
        "held",
        "held by bars that did not see the group",
    ]
    return title + _table(head, rows)


def halves() -> Any:
    """What `gpuplan.fitting.halves` wrote."""
    return json.loads((Path(__file__).parent / "halves.json").read_text(encoding="utf-8"))


def _halves(found: Mapping[str, Any]) -> str:
    """Errors of runs whose half nothing was learnt from, and how many its bars held."""
    rows = [
        [
            way,
            METRIC_WORDS[metric],
            f"{cell['runs']:,}",
            *(f"{cell[f'{k}_percent']}%" for k in ("median", "mean", "bias")),
        ]
        for way, each in found["ways"].items()
        for metric, cell in sorted(each["errors"].items(), key=lambda item: list(METRIC_WORDS).index(item[0]))
    ]
    bars = [
        [way, metric, f"{cell['figures']:,}", f"{cell['held_percent']}%", f"{cell['least_percent']}%"]
        for way, each in found["ways"].items()
        for metric, cell in each["held"].items()
    ]
    title = f"**Half judges the other half, {found['seeds']} times both ways: errors**\n\n"
    errors = _table(["halves of", "metric", "runs", "median", "mean", "bias (median)"], rows)
    held = _table(["halves of", "metric", "figures", "held by bars of 90%", "in the half that held least"], bars)
    return f"{title}{errors}\n\n**and bars**\n\n{held}"


def _vendors(vendors: Mapping[str, Mapping[str, float]]) -> str:
    """How far off vendors were that nothing was fitted on."""
    rows = [
        [name, f"{cell['runs']:,}", *(f"{cell[word]:.2f}" for word in ("low", "median", "high"))]
        for name, cell in vendors.items()
    ]
    title = "**Vendors left out whole: measured / predicted time of single requests and static batches**\n\n"
    return title + _table(["vendor", "runs", "5%", "median", "95%"], rows)


def _counts(title: str, counts: Mapping[str, int]) -> str:
    return f"**{title}**\n\n" + _table(["", "runs"], [[name, f"{count:,}"] for name, count in counts.items()])


def _values(title: str, values: Mapping[str, float]) -> str:
    return f"**{title}**\n\n" + _table(["factor", "value"], [[f"`{n}`", f"{v:.4g}"] for n, v in values.items()])


def _grid(title: str, grid: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(grid.values())))
    rows = [[name, *(f"{values[n]:.3g}" for n in names)] for name, values in grid.items()]
    return f"**{title}**\n\n" + _table(["", *(f"`{n}`" for n in names)], rows)


def _power(power: Mapping[str, Any]) -> str:
    terms = {name: power[name] for name in ("idle_share", "busy", "exponent")}
    if not power["samples"]:
        return _values("Power", terms)
    where, (low, high), (least, most) = " and ".join(power["gpus"]), power["bounds"], power["energy_bounds"]
    note = (
        f"On {power['samples']} runs on {where}. 90% of left-out measurements lay between {low:.2f} and {high:.2f} of "
        f"the predicted watts, and between {least:.2f} and {most:.2f} of the predicted joules per token."
    )
    return _values("Power", terms) + "\n\n" + note


def rewritten(text: str, factors: Factors) -> str:
    """The document with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(factors)}\n\n{END}{after}"


def main() -> None:
    """Rewrite the tables of a document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("document", type=Path)
    document = parser.parse_args().document
    document.write_text(rewritten(document.read_text(encoding="utf-8"), load_factors()), encoding="utf-8")


if __name__ == "__main__":
    main()
