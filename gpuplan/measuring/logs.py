"""`read_log`: a server's start-up log -> a measured row, in the columns that `check_memory` reads.

Colour codes, timestamps, the chatter of many ranks and torn ends are no obstacle: a number is taken wherever its
wording stands, and where ranks disagree the poorest one counts, as it does for the engine.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_db.errors import GpuDbError
from gpu_db.query import find_gpu
from gpuplan.measuring.errors import BadTable
from gpuplan.measuring.signs import (
    AVAILABLE,
    BOOT,
    CONSUMED,
    EAGER_FLAGS,
    FREE_AFTER,
    FREE_BEFORE,
    GIB_PER_UNIT,
    GPU_NAME,
    MARKS,
    NEEDED,
    NON_TORCH,
    SIGNS,
    WEIGHTS,
    WORDS,
    Sign,
)
from gpuplan.measuring.tables import Row

COLUMNS = (
    "id", "source", "engine", "engine_version", "model", "weights_dtype_or_quant", "kv_dtype", "gpu", "gpu_mem_gib",
    "tp", "pp", "dp", "ep", "gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
    "enforce_eager", "weights_gib_per_gpu", "activation_peak_gib", "non_torch_gib", "available_kv_gib_per_gpu",
    "kv_tokens", "gpu_blocks", "block_size", "cudagraph_gib", "kv_gib_needed_for_len", "quote", "max_concurrency",
    "est_max_len", "cpu_blocks",
)  # fmt: skip
"""Columns of a measured row, as in the tables that `check_memory` reads."""


def rows_schema() -> dict[str, Any]:
    """The JSON schema of `plan read-log --json`: a list of rows of text, "" where the log does not say."""
    row = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in COLUMNS},
        "required": list(COLUMNS),
        "additionalProperties": False,
    }
    return {"type": "array", "items": row}


MOST_BYTES = 1 << 30
LONGEST_LINE = 20_000
LONGEST_QUOTE = 4_000

_BLANKS = re.compile(r"\s+")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f\x7f]")


def read_log_file(path: str | Path) -> list[Row]:
    """The starts in a log file; see `read_log`.

    Raises:
        BadTable: the file cannot be read, is too large, or holds no line that an engine prints about memory.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise BadTable(f"{str(path)[:200]} is no file; give the log that a server printed when it started.")
        if file.stat().st_size > MOST_BYTES:
            raise BadTable(f"{file} is larger than {MOST_BYTES >> 20} MiB; cut it after the server has started.")
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        raise BadTable(f"{str(path)[:200]} cannot be read: {error}.") from error
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    rows = read_log(raw.decode(encoding, errors="replace"), source=file.name)
    if not rows:
        raise BadTable(
            f"{file} holds no line that vLLM, SGLang or TensorRT-LLM prints about its memory, such as "
            "'Available KV cache memory: 8.11 GiB'; give the log from the server's start on."
        )
    return rows


def read_log(text: str, source: str = "") -> list[Row]:
    r"""One row per start of a server that a log tells of; empty when it tells of none.

    Args:
        text: the log, or any lines of it.
        source: what the rows' `source` column says.

    >>> row = read_log("INFO 01-02] Available KV cache memory: 8.11 GiB\nINFO GPU KV cache size: 178,880 tokens")[0]
    >>> row["engine"], row["available_kv_gib_per_gpu"], row["kv_tokens"]
    ('vllm', '8.11', '178880')
    """
    rows: list[Row] = []
    for lines in _boots(text):
        row = _read_boot(lines)
        if row:
            rows.append({**dict.fromkeys(COLUMNS, ""), **row, "id": f"log{len(rows) + 1}", "source": source})
    return rows


def _boots(text: str) -> Iterator[list[str]]:
    """Lines of each start: a new one begins where an engine initializes after another had sized its cache."""
    lines: list[str] = []
    sized = False
    for raw in text.splitlines():
        line = _BLANKS.sub(" ", _COLOURS.sub("", raw[:LONGEST_LINE]))
        if sized and BOOT.search(line):
            yield lines
            lines, sized = [], False
        lines.append(line)
        sized = sized or bool(_SIZED.search(line))
    yield lines


_SIZED = re.compile(
    r"KV cache (?:memory|size)|# (?:GPU|CUDA) blocks|KV Cache is allocated|paged kv cache", re.IGNORECASE
)


def engine_of(text: str) -> str | None:
    """The engine that prints like this; None when no wording is known.

    >>> engine_of("KV Cache is allocated. #tokens: 46611"), engine_of("# GPU blocks: 27793"), engine_of("hello")
    ('sglang', 'vllm', None)
    """
    return next((engine for engine, mark in MARKS.items() if mark.search(text)), None)


def _read_boot(lines: Sequence[str]) -> Row:
    """What one start says; empty when it says nothing about memory."""
    engine = engine_of("\n".join(lines))
    if engine is None:
        return {}
    found: dict[str, list[tuple[Sign, float]]] = defaultdict(list)
    quoted: list[str] = []
    for line in _of_the_server(lines):
        before = sum(map(len, found.values()))
        for column, sign, value in _numbers(line, SIGNS[engine]):
            found[column].append((sign, value))
        if sum(map(len, found.values())) > before:
            quoted.append(line.strip()[:LONGEST_QUOTE])
    numbers = {column: _picked(values, SIGNS[engine]) for column, values in found.items()}
    _work_out(numbers)
    if not _MEASURED & numbers.keys():
        return {}
    words = _words(lines, engine)
    row = {column: _text(value) for column, value in numbers.items() if column in COLUMNS}
    if NEEDED in row:
        row[NEEDED] = f"{row.get('max_model_len', '')}:{row[NEEDED]}"
    return {**row, **words, "engine": engine, "quote": " / ".join(quoted)[:LONGEST_QUOTE]}


_DEFAULT_SCHEDULER = re.compile(r"chunked prefill is enabled with max_num_batched_tokens=", re.IGNORECASE)
_PROCESS = re.compile(r"\bpid=\d")


def _of_the_server(lines: Sequence[str]) -> list[str]:
    """Lines but for a scheduler's that vLLM made on import, before it read its arguments (0.11.1 and 0.11.2).

    Such a line has no process before it, where those of the server have.
    """
    if not any(_PROCESS.search(line) for line in lines):
        return list(lines)
    return [line for line in lines if _PROCESS.search(line) or not _DEFAULT_SCHEDULER.search(line)]


_MEASURED = frozenset(
    {WEIGHTS, "activation_peak_gib", NON_TORCH, CONSUMED, AVAILABLE, NEEDED, "kv_tokens", "gpu_blocks", "cudagraph_gib"}
    | {"gpu_mem_gib", "est_max_len"}
)
"""Numbers one of which a start must have told."""


def _numbers(line: str, signs: Iterable[Sign]) -> Iterator[tuple[str, Sign, float]]:
    for sign in signs:
        for match in sign.pattern.finditer(line):
            groups = match.groupdict()
            value = float(groups["n"].replace(",", "") or "nan")
            yield sign.column, sign, value * (GIB_PER_UNIT[(groups["u"] or "").lower()] if "u" in groups else 1)


def _picked(values: Sequence[tuple[Sign, float]], signs: Sequence[Sign]) -> float:
    """The value of the wording that stands first in the table of signs, on the rank that counts."""
    best = min((sign for sign, _ in values), key=signs.index)
    return best.pick([value for sign, value in values if sign is best])


def _work_out(numbers: dict[str, float]) -> None:
    """Columns that follow from others."""
    if WEIGHTS not in numbers and {FREE_BEFORE, FREE_AFTER} <= numbers.keys():
        numbers[WEIGHTS] = numbers[FREE_BEFORE] - numbers[FREE_AFTER]
    if NON_TORCH not in numbers and {CONSUMED, WEIGHTS} <= numbers.keys():
        numbers[NON_TORCH] = numbers[CONSUMED] - numbers[WEIGHTS]
    if AVAILABLE not in numbers and {"k_gib", "v_gib"} <= numbers.keys():
        numbers[AVAILABLE] = numbers["k_gib"] + numbers["v_gib"]


def _words(lines: Sequence[str], engine: str) -> Row:
    """Facts that are words: model, formats, version, card."""
    said: dict[str, str] = {}
    for line in lines:
        for column, pattern in WORDS[engine]:
            match = pattern.search(line) if column not in said else None
            if match and match[1].lower() not in {"none", "null"}:
                said[column] = match[1].strip()[:200]
        if EAGER_FLAGS.search(line):
            said["enforce_eager"] = "True"
        if "gpu" not in said:
            said |= _gpu(line)
    stored = {"weights_dtype_or_quant": said.pop("quantization", "") or said.get("dtype", "")}
    said.pop("dtype", None)
    return {**said, **{column: word for column, word in stored.items() if word and word != "auto"}}


def _gpu(line: str) -> Mapping[str, str]:
    """The card that a line names, if it is one that is known."""
    for match in GPU_NAME.finditer(line):
        words = match[0].split()
        for stop in range(len(words), 1, -1):
            try:
                return {"gpu": find_gpu(" ".join(words[:stop])).name}
            except GpuDbError:
                continue
    return {}


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) >= 1 else f"{value:.4f}".rstrip("0").rstrip(".")
