"""A YAML, JSON or CSV file that anybody may have written -> plain Python values; nothing in it may stand twice."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gpuplan.fleets.errors import BadFleetFile
from gpuplan.fleets.vocabulary import MOST_WORDS

LARGEST_FILE_BYTES = 50_000_000


def read_plain(file: Path) -> Any:
    """What the file holds: mappings, lists, words and numbers; of a CSV the rows, as `services`.

    Raises:
        BadFleetFile: it cannot be read, is too large, or is not what its name says.
    """
    readers: dict[str, Callable[[str], Any]] = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".csv": _csv}
    read = readers.get(file.suffix.lower())
    if read is None:
        raise BadFleetFile([f"{file.name}: a fleet is written in .yaml, .json or .csv, not {file.suffix or 'this'!r}."])
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise BadFleetFile([f"{file.name}: it has {size:,} bytes; at most {LARGEST_FILE_BYTES:,} are read."])
        return read(file.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise BadFleetFile([f"{file.name}: byte {error.start} is not UTF-8 text."]) from error
        reason = getattr(error, "strerror", None) or str(error)
        if "integer string conversion" in reason:
            reason = "a number in it has thousands of digits"
        raise BadFleetFile([f"{file.name}: it cannot be read: {reason}."]) from error
    except RecursionError as error:
        raise BadFleetFile([f"{file.name}: its lists are nested too deeply."]) from error


def _yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML's safe subset, which refuses a key that stands twice."""

    def mapping(loader: Any, node: Any) -> Any:
        twice = _twice(key.value for key, _ in node.value if isinstance(key.value, str) and key.value != "<<")
        if twice:
            raise ValueError(f"{twice[0]!r} stands twice, near line {node.start_mark.line + 1}")
        loader.flatten_mapping(node)
        build = loader.construct_object
        return {build(key, deep=True): build(value, deep=True) for key, value in node.value}

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"not YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(f"not YAML: {error}") from error


def _json(text: str) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = _twice(key for key, _ in found)
        if twice:
            raise ValueError(f"{twice[0]!r} stands twice")
        return dict(found)

    return json.loads(text, object_pairs_hook=pairs)


def _csv(text: str) -> Any:
    """One service per row; its columns are the words of a service."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if not any(header):
        raise ValueError("it is empty; write a header such as name,model,min_tps and a row per service")
    if len(header) > MOST_WORDS:
        raise ValueError(f"it has {len(header):,} columns; at most {MOST_WORDS:,} are read")
    twice = _twice(header)
    if twice:
        raise ValueError(f"the column {twice[0]!r} stands twice")
    wrong = [number for number, row in enumerate(rows[1:], 2) if any(row) and len(row) != len(header)]
    if wrong:
        raise ValueError(f"line {wrong[0]} has {len(rows[wrong[0] - 1])} cells, the header {len(header)}")
    named = (dict(zip(header, row, strict=True)) for row in rows[1:] if any(cell.strip() for cell in row))
    return {"services": [{key: cell.strip() for key, cell in row.items() if cell.strip()} for row in named]}


def _twice(names: Iterable[str]) -> list[str]:
    """Names that stand more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
