"""How well memory is predicted for a family whose own start-up logs gave no factor.

    python benchmarks/memory_left_out.py MEASURED.csv

Reads the columns that `plan check memory` reads. The sampler's bytes per logit and what lies outside PyTorch are taken
as medians over the logs of all *other* families (same engine era, same number of ranks); everything else is as it is.
CUDA graphs: the era's law, scaled by the median of measured to predicted of all other families.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.predict import Start, predict, read_start
from optimizer.engines.facts import parse_version

GIB = 2**30
SORTING_UNTIL = (0, 17, 0)
ERAS = ((0, 12, 0), (0, 21, 0), (0, 27, 0))
DEFAULT_SEQUENCES = (256, 1024)
AVAILABLE, ACTIVATION, NON_TORCH = "available_kv_gib_per_gpu", "activation_peak_gib", "non_torch_gib"
GRAPHS = "cudagraph_gib"
GRAPH_ERAS = ((0, 8, 0), (0, 17, 0), (0, 21, 0))
KEPT_SHARE = 0.05
"""What may lie beside the logits where the sampler decides: hidden states and workspaces."""


@dataclass(frozen=True)
class Log:
    """One start: what was predicted and what was measured, GiB; None = not said.

    Attributes:
        group: logs that share a factor for what lies outside PyTorch.
        sampled_bytes: logits that decide its activation peak, times one byte; 0 when the sampler does not decide.
    """

    family: str
    group: tuple[int, int]
    graph_era: int
    known: bool
    sampled_bytes: float
    predicted: dict[str, float]
    measured: dict[str, float | None]


def read_logs(path: str) -> list[Log]:
    """All vLLM rows whose model is known."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["engine"] == "vllm"]
    return [log for row in rows if (log := _log(row)) is not None]


def _log(row: dict[str, str]) -> Log | None:
    try:
        start = read_start(row, None)
    except Unpredictable:
        return None
    said = predict(row)
    version = parse_version(start.engine.version)
    group = sum(version >= era for era in ERAS), start.tensor_parallel * start.data_parallel
    measured = {
        part: float(row[part]) if row.get(part) else None for part in (AVAILABLE, ACTIVATION, NON_TORCH, GRAPHS)
    }
    known = said.settings_known and bool(row["gpu_memory_utilization"])
    era = sum(version >= since for since in GRAPH_ERAS)
    return Log(said.family, group, era, known, _sampled(start, said.values.get(ACTIVATION)), said.values, measured)


def _sampled(start: Start, activation: float | None) -> float:
    """Logits of the default number of sequences, when just they are what the prediction consists of."""
    if activation is None or parse_version(start.engine.version) >= SORTING_UNTIL:
        return 0
    sequences = activation * GIB / start.engine.sampler_bytes_per_logit(start.spec) / start.spec.vocabulary
    return next((n * start.spec.vocabulary for n in DEFAULT_SEQUENCES if abs(sequences / n - 1) < KEPT_SHARE), 0)


def left_out(log: Log, logs: list[Log]) -> float:
    """GiB left for KV with factors from other families."""
    others = [other for other in logs if other.family != log.family]
    change = 0.0
    per_logit = [a * GIB / o.sampled_bytes for o in others if o.sampled_bytes and (a := o.measured[ACTIVATION])]
    if log.sampled_bytes and per_logit:
        change += log.predicted[ACTIVATION] - float(np.median(per_logit)) * log.sampled_bytes / GIB
    beside = [n for o in others if o.group == log.group and (n := o.measured[NON_TORCH]) is not None]
    if beside and NON_TORCH in log.predicted:
        change += log.predicted[NON_TORCH] - float(np.median(beside))
    return log.predicted[AVAILABLE] + change


def graph_errors(logs: list[Log]) -> list[tuple[float, float]]:
    """|error| of captured graphs where any were measured, with all logs and without the family's own."""
    graphs = [log for log in logs if GRAPHS in log.predicted and (log.measured[GRAPHS] or 0) > 0]
    ratio = {id(log): (log.measured[GRAPHS] or 0) / log.predicted[GRAPHS] for log in graphs if log.predicted[GRAPHS]}
    pairs = []
    for log in graphs:
        same_era = [other for other in graphs if other.graph_era == log.graph_era and other.family != log.family]
        scale = float(np.median([ratio[id(other)] for other in same_era])) if same_era else 1.0
        pairs.append((abs(1 / ratio[id(log)] - 1), abs(scale / ratio[id(log)] - 1)))
    return pairs


def main() -> None:
    """Print median errors by family, with all factors and without the family's own logs."""
    logs = read_logs(sys.argv[1])
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for log in logs:
        pool = log.measured[AVAILABLE]
        if log.known and pool and AVAILABLE in log.predicted:
            pair = abs(log.predicted[AVAILABLE] / pool - 1), abs(left_out(log, logs) / pool - 1)
            errors[log.family].append(pair)
    for family in sorted(errors):
        _show(family, errors[family])
    _show("all known", [pair for pairs in errors.values() for pair in pairs])
    _show("CUDA graphs", graph_errors(logs))


def _show(name: str, pairs: list[tuple[float, float]]) -> None:
    every, without = np.median(np.array(pairs), axis=0)
    print(f"{name:14} {len(pairs):3} rows  {every:7.1%} with all logs  {without:7.1%} without its own")


if __name__ == "__main__":
    main()
