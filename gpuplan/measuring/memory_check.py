"""`check_memory`: a CSV of measurements -> the same rows with predictions beside them, and how far off those are.

Two kinds of table are told apart by their columns: start-up logs (GiB per part), and what an engine's own code computed
(bytes per rank). See `predict.py` and `truth.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from gpuplan.measuring import predict, truth
from gpuplan.measuring.cells import GIB_PER_GPU, number
from gpuplan.measuring.errors import BadTable, Unpredictable
from gpuplan.measuring.predict import Prediction
from gpuplan.measuring.report import Deviation, MemoryReport, Missing, reasons, summaries, worst_of
from gpuplan.measuring.tables import Row, read_table

SETTINGS = (
    "id", "source", "engine", "engine_version", "model", "weights_dtype_or_quant", "kv_dtype", "gpu", "gpu_mem_gib",
    "tp", "pp", "dp", "ep", "gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
    "enforce_eager", "gpu_blocks", "block_size", "quote", "max_concurrency",
)  # fmt: skip
TRUTH_SETTINGS = ("model", "gpu", "tp", "dtype", "quant", "kv_cache_dtype", "max_model_len", "kv_gib", "error")
MOST_TOKENS = 1e15
MOST_BYTES = 1e18
MOST_PROBLEMS_OF_A_KIND = 20


@dataclass(frozen=True)
class _Kind:
    """What one kind of table is about."""

    name: Literal["measured", "truth"]
    parts: tuple[str, ...]
    highest: Callable[[str], float]
    predict: Callable[[Mapping[str, str], Path | None], Prediction]
    needed: tuple[str, ...]


_MEASURED = _Kind(
    "measured",
    predict.PARTS,
    lambda part: MOST_TOKENS if part == predict.TOKENS else GIB_PER_GPU,
    predict.predict,
    ("model", "engine", "tp"),
)
_TRUTH = _Kind("truth", truth.PARTS, lambda part: MOST_BYTES, truth.predict_truth, ("model", "gpu", "tp"))


def check_memory(path: str | Path, configs_dir: str | Path | None = None) -> MemoryReport:
    """Predict every row of a CSV and compare what it measured.

    Args:
        path: a CSV with the columns of start-up logs (`docs/measuring.md`) or of an engine's own arithmetic.
        configs_dir: a folder of folders `owner--name` with a config.json, for models that are not bundled.

    Raises:
        BadTable: the file cannot be read, or its columns are of neither kind.
    """
    wanted = {*SETTINGS, *TRUTH_SETTINGS, *_MEASURED.parts, *_TRUTH.parts}
    table = read_table(path, wanted)
    kind = _kind(table.columns, path)
    folder = folder_of(configs_dir)
    answers = [_answer(kind, row, folder) for row in table.rows]
    names = [_name_of(row, line) for row, line in zip(table.rows, table.lines, strict=True)]
    deviations, missing, problems = _compare(kind, table.rows, table.lines, names, answers)
    absent = [
        f"Column {name!r} is missing; what depends on it is not predicted."
        for name in kind.needed
        if name not in table.columns
    ]
    columns, rows = _beside(kind, table.columns, table.rows, answers)
    return MemoryReport(
        kind=kind.name,
        rows=len(table.rows),
        predicted=sum(bool(answer.values) for answer in answers),
        problems=(
            *absent,
            *_misnamed(kind, table.columns),
            *_unit_doubts(deviations),
            *shortened(table.problems),
            *shortened(problems),
        ),
        errors=summaries(deviations),
        unpredicted=reasons(missing),
        worst=worst_of(deviations),
        table_columns=columns,
        table=rows,
    )


def _misnamed(kind: _Kind, columns: Sequence[str]) -> list[str]:
    """Measured columns that are missing while one with nearly their name is there."""
    strange = [name for name in columns if name not in {*SETTINGS, *TRUTH_SETTINGS, *kind.parts}]
    found = {part: get_close_matches(part, strange, n=1, cutoff=0.6) for part in kind.parts if part not in columns}
    return [
        f"Column {names[0][:60]!r} is not read; if it is {part!r} in that unit, name it so."
        for part, names in found.items()
        if names
    ]


UNITS = {"MiB": 1024.0, "MB": 2**30 / 1e6, "GB (of 10^9 bytes)": 2**30 / 1e9, "bytes": float(2**30)}
"""What a size in GiB is multiplied by when it is written in another unit."""
SAME_UNIT = 0.01


def _unit_doubts(deviations: Sequence[Deviation]) -> list[str]:
    """Columns most of whose numbers are the prediction in another unit."""
    doubts: list[str] = []
    for part in (predict.WEIGHTS, predict.AVAILABLE):
        ratios = [each.measured / each.predicted for each in deviations if each.part == part and each.predicted > 0]
        for unit, factor in UNITS.items():
            alike = sum(abs(ratio / factor - 1) < SAME_UNIT for ratio in ratios)
            if 2 * alike > len(ratios):
                doubts.append(f"Column {part!r} seems to be in {unit}, not GiB: so in {alike} of {len(ratios)} rows.")
    return doubts


def _kind(columns: Sequence[str], path: str | Path) -> _Kind:
    found = set(columns)
    if "model" in found and found & set(_TRUTH.parts) and not found & {predict.AVAILABLE, predict.WEIGHTS}:
        return _TRUTH
    if "model" in found and found & set(_MEASURED.parts):
        return _MEASURED
    raise BadTable(
        f"{str(path)[:200]} has no column 'model', or none that was measured ({', '.join(_MEASURED.parts)}; or "
        f"{', '.join(_TRUTH.parts)}); name the columns in its first line."
    )


def folder_of(configs_dir: str | Path | None) -> Path | None:
    """The folder of configs that was named, or BadTable; None when none was."""
    if configs_dir is None:
        return None
    folder = Path(configs_dir)
    if not folder.is_dir():
        raise BadTable(f"{str(folder)[:200]} is no folder; give one that holds owner--name/config.json.")
    return folder


def _answer(kind: _Kind, row: Row, folder: Path | None) -> Prediction:
    return kind.predict(row, folder)


def _name_of(row: Row, line: int) -> str:
    return row.get("id", "").strip()[:80] or f"line {line}"


def _compare(
    kind: _Kind, rows: Sequence[Row], lines: Sequence[int], names: Sequence[str], answers: Sequence[Prediction]
) -> tuple[list[Deviation], list[Missing], list[str]]:
    """Every measured number with its prediction, or with the reason why there is none."""
    deviations: list[Deviation] = []
    missing: list[Missing] = []
    problems: list[str] = []
    for row, line, name, answer in zip(rows, lines, names, answers, strict=True):
        if not answer.values:
            missing.append(Missing(name, "row", next(iter(answer.reasons.values()))))
            continue
        for part in kind.parts:
            try:
                measured = number(row, part, -kind.highest(part), kind.highest(part))
            except Unpredictable as wrong:
                problems.append(f"Row {line}: {wrong}.")
                continue
            if measured is not None and part in answer.values:
                deviations.append(_deviation(row, line, name, part, measured, answer))
            elif measured is not None:
                missing.append(Missing(name, part, answer.reasons.get(part, "not predicted")))
    return deviations, missing, problems


def _deviation(row: Row, line: int, name: str, part: str, measured: float, answer: Prediction) -> Deviation:
    predicted = answer.values[part]
    return Deviation(
        row=name,
        line=line,
        part=part,
        family=answer.family,
        engine=answer.engine,
        gpu=answer.gpu,
        model=row.get("model", "")[:100],
        measured=measured,
        predicted=predicted,
        relative=(predicted - measured) / measured if measured > 0 else None,
        settings_known=answer.settings_known,
    )


def shortened(problems: Sequence[str]) -> list[str]:
    """Not more than a screenful of sentences."""
    if len(problems) <= MOST_PROBLEMS_OF_A_KIND:
        return list(problems)
    return [*problems[:MOST_PROBLEMS_OF_A_KIND], f"{len(problems) - MOST_PROBLEMS_OF_A_KIND:,} more of this kind."]


def _beside(
    kind: _Kind, columns: Sequence[str], rows: Sequence[Row], answers: Sequence[Prediction]
) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """The file's columns, each measured one followed by its prediction; then what was assumed, and why parts lack."""
    names: list[str] = []
    for column in columns:
        names.append(column)
        if column in kind.parts:
            names.append(f"predicted_{column}")
    names += [f"predicted_{part}" for part in kind.parts if part not in columns]
    names += ["kv_tokens_basis", "assumed", "not_predicted"]
    return tuple(dict.fromkeys(names)), tuple(
        row | _cells(kind, answer) for row, answer in zip(rows, answers, strict=True)
    )


def _cells(kind: _Kind, answer: Prediction) -> Row:
    why = dict.fromkeys(answer.reasons.values())
    return {
        **{f"predicted_{part}": _text(answer.values[part]) for part in kind.parts if part in answer.values},
        "kv_tokens_basis": answer.kv_tokens_basis,
        "assumed": "; ".join(answer.assumed),
        "not_predicted": "; ".join(why),
    }


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) > 1 else f"{value:.4f}"
