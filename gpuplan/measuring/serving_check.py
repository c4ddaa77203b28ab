"""`check_serving`: a CSV of measured serving runs -> the same rows with predictions and intervals beside them.

See `serving_rows.py` for what a row must say and `serving_predict.py` for what is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpuplan.measuring.cells import number
from gpuplan.measuring.errors import BadTable, Unpredictable
from gpuplan.measuring.memory_check import folder_of, shortened
from gpuplan.measuring.report import Missing, reasons
from gpuplan.measuring.serving_predict import METRICS, STATISTIC, TAILS, Prediction, predict_cases
from gpuplan.measuring.serving_report import ServingDeviation, ServingReport, summaries, worst_of
from gpuplan.measuring.serving_rows import Case, read_case
from gpuplan.measuring.tables import Row, read_table
from optimizer.performance.factors import load_factors

SETTINGS = (
    "run", "source", "source_date", "engine", "engine_version", "model", "weights_quant", "kv_dtype", "gpu", "num_gpus",
    "tp", "pp", "ep", "dp", "isl", "osl", "load", "avg_batch_size", "speculative", "acceptance_rate",
    "prefix_hit_rate", "note",
)  # fmt: skip
NEEDED = ("model", "gpu", "engine", "load", "isl", "osl")
MOST = 1e12


def check_serving(
    path: str | Path, configs_dir: str | Path | None = None, factors_dir: str | Path | None = None
) -> ServingReport:
    """Predict every row of a CSV and compare what it measured.

    Args:
        path: a CSV with the columns of measured serving runs (`docs/measuring.md`).
        configs_dir: a folder of folders `owner--name` with a config.json, for models that are not bundled.
        factors_dir: a folder that `plan fit serving` wrote; None = the bundled factors.

    Raises:
        BadTable: the file cannot be read, or it names no model or holds no metric.
        BadFactors: the factors cannot be read.
    """
    table = read_table(path, {*SETTINGS, *METRICS, *TAILS})
    if "model" not in table.columns or not {*METRICS} & {*table.columns}:
        raise BadTable(
            f"{str(path)[:200]} has no column 'model', or none that was measured ({', '.join(METRICS)}); name the "
            "columns in its first line."
        )
    factors = load_factors(None if factors_dir is None else Path(factors_dir))
    folder = folder_of(configs_dir)
    read = [_read(row, folder) for row in table.rows]
    cases = [each for each in read if not isinstance(each, str)]
    made = iter(predict_cases(cases, factors))
    answers = [each if isinstance(each, str) else next(made) for each in read]
    deviations, missing, problems = _compare(table.rows, table.lines, answers, read)
    absent = [f"Column {name!r} is missing." for name in NEEDED if name not in table.columns]
    columns, rows = _beside(table.columns, table.rows, answers)
    return ServingReport(
        rows=len(table.rows),
        predicted=len({each.line for each in deviations}),
        problems=(*absent, *shortened(table.problems), *shortened(problems)),
        errors=summaries(deviations, STATISTIC),
        unpredicted=reasons(missing),
        worst=worst_of(deviations),
        table_columns=columns,
        table=rows,
    )


def _read(row: Row, folder: Path | None) -> tuple[Case, ...] | str:
    """The row's cases, or why it has none."""
    try:
        return read_case(row, folder)
    except Unpredictable as reason:
        return str(reason)


def _compare(
    rows: Sequence[Row],
    lines: Sequence[int],
    answers: Sequence[Prediction | str],
    read: Sequence[tuple[Case, ...] | str],
) -> tuple[list[ServingDeviation], list[Missing], list[str]]:
    """Every measured number with its prediction, or with the reason why there is none."""
    deviations: list[ServingDeviation] = []
    missing: list[Missing] = []
    problems: list[str] = []
    for row, line, answer, cases in zip(rows, lines, answers, read, strict=True):
        name = row.get("run", "").strip()[:80] or f"line {line}"
        if isinstance(answer, str):
            missing.append(Missing(name, "row", answer))
            continue
        for metric in (*METRICS, *TAILS):
            try:
                measured = _measured(row, metric)
            except Unpredictable as wrong:
                problems.append(f"Row {line}: {wrong}.")
                continue
            if measured is None:
                continue
            if metric not in answer.values:
                missing.append(Missing(name, metric, answer.reasons.get(metric, "not predicted")))
                continue
            kind = "" if isinstance(cases, str) else cases[0].load.kind
            deviations.append(_deviation(row, line, name, metric, measured, answer, kind))
    return deviations, missing, problems


def _measured(row: Row, metric: str) -> float | None:
    """A measured number; None where the row has none.

    Raises:
        Unpredictable: what stands there is no such number.
    """
    measured = number(row, metric, 0, MOST)
    if measured == 0:
        raise Unpredictable(f"{metric} is 0, which nothing takes")
    return measured


def _deviation(
    row: Row, line: int, name: str, metric: str, measured: float, answer: Prediction, load: str
) -> ServingDeviation:
    predicted = answer.values[metric]
    has_interval = metric in answer.low
    return ServingDeviation(
        row=name,
        line=line,
        metric=metric,
        source=(name.split("/", maxsplit=1)[0] if "/" in name else row.get("source", "").strip())[:80] or "not stated",
        load="single" if load == "closed" and row.get("load", "").strip() == "concurrency=1" else load,
        engine=answer.engine,
        gpu=answer.gpu,
        model=row.get("model", "").strip()[:100],
        calibration=answer.calibration,
        measured=measured,
        predicted=predicted,
        relative=predicted / measured - 1,
        inside=answer.low[metric] <= measured <= answer.high[metric] if has_interval else None,
    )


def _beside(
    columns: Sequence[str], rows: Sequence[Row], answers: Sequence[Prediction | str]
) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """The file's columns, each metric followed by its prediction and interval; then what was assumed."""
    names: list[str] = []
    for column in columns:
        names.append(column)
        if column in (*METRICS, *TAILS):
            names += [f"predicted_{column}", f"predicted_{column}_low", f"predicted_{column}_high"]
    names += ["calibration", "assumed", "not_predicted"]
    made = (row | _cells(row, answer) for row, answer in zip(rows, answers, strict=True))
    return tuple(dict.fromkeys(names)), tuple(made)


def _cells(row: Row, answer: Prediction | str) -> Row:
    """Predictions of the metrics that the row has."""
    if isinstance(answer, str):
        return {"not_predicted": answer}
    asked = [metric for metric in (*METRICS, *TAILS) if row.get(metric, "").strip()]
    cells = {"calibration": answer.calibration, "assumed": "; ".join(answer.assumed)}
    cells["not_predicted"] = "; ".join(dict.fromkeys(answer.reasons[m] for m in asked if m in answer.reasons))
    for metric in asked:
        if metric in answer.values:
            cells[f"predicted_{metric}"] = _text(answer.values[metric])
        if metric in answer.low:
            cells[f"predicted_{metric}_low"] = _text(answer.low[metric])
            cells[f"predicted_{metric}_high"] = _text(answer.high[metric])
    return cells


def _text(value: float) -> str:
    return f"{value:.6g}"
