"""One cell of a measured row -> a value in our words: numbers within their range, engine versions, formats.

Free text is read with care: what is not recognized is refused with a sentence, and what an engine's default stands in
for is said to be assumed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpuplan.measuring.errors import Unpredictable
from optimizer.memory.kv_cache import PACKED_VECTORS

GIB_PER_GPU = 4096.0
"""No accelerator holds more; a larger number is in other units."""


def number(row: Mapping[str, str], column: str, low: float, high: float) -> float | None:
    """A finite number within its range; None when the cell is empty.

    Raises:
        Unpredictable: the cell holds something else.

    >>> number({"tp": "8.0"}, "tp", 1, 4096)
    8.0
    """
    text = row.get(column, "").strip()
    if not text:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise Unpredictable(
            f"{column} is {text[:40]!r}, which is no number from {low:g} to {high:g}{_hint(value, high)}"
        )
    return value


def _hint(value: float, high: float) -> str:
    if high == 1 and 1 < value <= 100:
        return f" (a share, not percent: {value / 100:g}?)"
    if high == GIB_PER_GPU and value > high:
        return " (in GiB)"
    return ""


def count(row: Mapping[str, str], column: str, high: float = 1e9) -> int | None:
    """A whole number from 1 on; None when the cell is empty.

    >>> count({"tp": "8.0"}, "tp"), count({"tp": ""}, "tp")
    (8, None)
    """
    value = number(row, column, 1, high)
    if value is None:
        return None
    if value != int(value):
        raise Unpredictable(f"{column} is {value:g}, which is no whole number")
    return int(value)


def flag(row: Mapping[str, str], column: str) -> bool | None:
    """True or False; None when the cell is empty."""
    text = row.get(column, "").strip().lower()
    if text in {"true", "1", "1.0", "yes"}:
        return True
    if text in {"false", "0", "0.0", "no"}:
        return False
    if text:
        raise Unpredictable(f"{column} is {text[:40]!r}, which is neither True nor False")
    return None


_WEIGHT_WORDS = (
    ("bf16", ("bf16", "fp16", "bfloat16", "float16", "half", "16-bit")),
    ("mxfp4", ("mxfp4",)),
    ("nvfp4", ("nvfp4", "fp4")),
    ("nf4", ("bitsandbytes", "bnb", "nf4")),
    ("int8", ("int8", "w8a8", "w8a16")),  # before methods, which mean 4 bit unless they say others
    ("int4", ("awq", "gptq", "int4", "w4a16", "autoround")),
    ("fp8", ("fp8", "deepseek_v4_fp8")),
    ("fp32", ("fp32", "float32")),
)


def weight_format(text: str) -> str | None:
    """The weight format that free text names; None when it is empty.

    Raises:
        Unpredictable: it names several, or none that is known.

    >>> weight_format("awq int4 (compressed-tensors g32)"), weight_format("GPTQ Int8"), weight_format("")
    ('int4', 'int8', None)
    """
    words = text.strip().lower()
    named = [name for name, marks in _WEIGHT_WORDS if any(mark in words for mark in marks)]
    if not words:
        return None
    if not named or "mixed" in words or "+" in words or re.search(r"[a-z]p\d+/[a-z]*p[48]", words):
        raise Unpredictable(f"its weights are stored as {text[:40]!r}, which is not described here")
    return named[0]


def kv_format(text: str, own: str | None) -> str:
    """The KV-cache format that free text names; empty and "auto" are the checkpoint's own, else 16 bit.

    Args:
        text: "auto", "fp8_e4m3", "auto (bf16)", ...
        own: what the checkpoint prescribes.

    Raises:
        Unpredictable: the format is not described here.

    >>> kv_format("auto (bf16)", None), kv_format("fp8_ds_mla", None), kv_format("", "fp8")
    ('bf16', 'fp8', 'fp8')
    """
    words = text.strip().lower()
    if re.match(r"(fp8|auto \(fp8)", words):
        return "fp8"
    if words in {"bf16", "fp16", "16-bit", "float16", "bfloat16"} or re.match(r"auto \((bf16|fp16|16-bit)", words):
        return "bf16"
    if words in {"", "auto"}:
        return own or "bf16"
    if words in PACKED_VECTORS:
        return words
    raise Unpredictable(f"the KV cache is stored as {text[:40]!r}, which is not described here")


@dataclass(frozen=True)
class Version:
    """An engine's version as far as a cell says it.

    Attributes:
        number: "0.11.0"; None when only a date or nothing is said.
        legacy: whether it is vLLM's first engine (V0).
        month: "2026-08" when a date is given.
    """

    number: str | None
    legacy: bool
    month: str | None


def version(text: str) -> Version:
    """What a version cell says.

    >>> version("0.7.3 (V0)")
    Version(number='0.7.3', legacy=True, month=None)
    >>> version("0.10.x (V1)").number, version("0.2x (2026-09)"), version("0.1.dev20073+g8e685d198").number
    ('0.10', Version(number=None, legacy=False, month='2026-09'), None)
    """
    month = re.search(r"\b(20\d\d)(?:-(\d\d))?\b", text)
    found = re.match(r"\s*[>=~]*\s*v?(\d+\.\d+(?:\.\d+)?)(?![\dx])(?!\.dev)", text)
    named = found.group(1) if found and not text.strip().startswith("20") and found.group(1) != "0.1" else None
    legacy = "V0" in text or ("V1" not in text and named is not None and _numbers(named) < (0, 8))
    return Version(named, legacy, f"{month[1]}-{month[2] or '06'}" if month else None)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
