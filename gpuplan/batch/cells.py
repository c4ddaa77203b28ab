"""One cell, as anybody writes it -> the word that the option takes on the command line: "$10/h" -> "10".

What is not understood here is handed on as it stands: the option's own reader then refuses it in its own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from gpuplan.batch.errors import BadRow

Kind = Literal["name", "names", "flag", "tokens", "count", "rate", "seconds", "usd", "watts", "share", "number", "raw"]

KINDS: Mapping[str, Kind] = {
    "model": "name",
    "revision": "name",
    "isl": "tokens",
    "osl": "tokens",
    "lengths": "raw",
    "shared_prefix_tokens": "tokens",
    "prefix_hit_rate": "share",
    "max_model_len": "tokens",
    "speculative": "raw",
    "acceptance_rate": "share",
    "max_lora_rank": "count",
    "max_loras": "count",
    "lora_target_modules": "names",
    "language_model_only": "flag",
    "min_tps": "rate",
    "requests_per_second": "rate",
    "concurrency": "count",
    "max_ttft": "seconds",
    "max_tpot": "seconds",
    "confidence": "share",
    "percentile": "raw",
    "budget": "usd",
    "max_gpus": "count",
    "max_power": "watts",
    "gpu": "names",
    "exclude_gpu": "names",
    "provider": "names",
    "region": "names",
    "billing": "names",
    "allow": "names",
    "prices_since": "raw",
    "quantization": "names",
    "kv_cache_dtype": "names",
    "engine": "names",
    "tensor_parallel": "count",
    "pipeline_parallel": "count",
    "decode_context_parallel": "count",
    "no_mix": "flag",
    "grid": "number",
    "electricity": "number",
    "pue": "number",
    "objective": "name",
    "alternatives": "count",
    "time_limit": "seconds",
}
"""An option's parameter -> what its cells hold."""

UNITS: Mapping[Kind, Mapping[str, float]] = {
    "name": {"": 1},
    "names": {"": 1},
    "flag": {"": 1},
    "raw": {"": 1, "%": 1},
    "tokens": {"": 1, "tok": 1, "k": 1e3},
    "count": {"": 1, "gpu": 1, "requests": 1, "users": 1},
    "rate": {"": 1, "/s": 1, "tok/s": 1, "req/s": 1, "/min": 1 / 60, "req/min": 1 / 60, "req/h": 1 / 3600, "k/s": 1e3},
    "seconds": {"": 1, "s": 1, "ms": 1e-3, "us": 1e-6, "min": 60},
    "usd": {"": 1, "usd/h": 1, "usd": 1, "usd/day": 1 / 24, "usd/month": 1 / 730, "usd/year": 1 / 8760},
    "watts": {"": 1, "w": 1, "kw": 1e3, "mw": 1e6},
    "share": {"": 1, "%": 0.01},
    "number": {"": 1, "g/kwh": 1, "usd/kwh": 1},
}
"""What a bare number in this unit is multiplied by to be in the option's own."""

_WORDS = {
    "$": "usd",
    "dollars": "usd",
    "dollar": "usd",
    "us": "us",
    "hour": "h",
    "hr": "h",
    "hours": "h",
    "minute": "min",
    "minutes": "min",
    "mo": "month",
    "months": "month",
    "yr": "year",
    "second": "s",
    "seconds": "s",
    "sec": "s",
    "milliseconds": "ms",
    "millisecond": "ms",
    "msec": "ms",
    "microseconds": "us",
    "tokens": "tok",
    "token": "tok",
    "request": "req",
    "requests": "req",
    "watt": "w",
    "watts": "w",
    "kilowatt": "kw",
    "percent": "%",
    "gpus": "gpu",
    "d": "day",
}
_WHOLE = {"rps": "req/s", "qps": "req/s", "tps": "tok/s", "usdh": "usd/h", "req": "requests", "µs": "us"}
_NUMBER = re.compile(r"([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d+)?)", re.ASCII)
_DOLLARS = re.compile(r"(us)?\$\s*", re.IGNORECASE)
_FLAGS = {"yes": True, "true": True, "1": True, "x": True, "no": False, "false": False, "0": False}


def normal_unit(text: str) -> str:
    """A unit as it is compared; see `gpuplan.batch.columns.unit_of`."""
    per = re.sub(r"\bper\b|(?<=^usd)per\b", "/", text.casefold().replace("_", " "))
    parts = [" ".join(_WORDS.get(word, word) for word in part.split()) for part in per.split("/")]
    whole = "/".join("".join(part.split()) for part in parts).replace("$", "usd")
    return _WHOLE.get(whole, whole)


def words_for(option: str, cell: str, unit: str) -> list[str]:
    """The words that a cell types, empty if it types nothing.

    Args:
        option: the parameter.
        cell: not empty.
        unit: of the column, for bare numbers.

    Raises:
        BadRow: the cell's unit is none of the option's.

    >>> words_for("budget", "$1,200/month", ""), words_for("max_tpot", "25", "ms"), words_for("isl", "4k tokens", "")
    (['--budget=1.643835616438356'], ['--max-tpot=0.025'], ['--isl=4k'])
    >>> words_for("gpu", "H100; H200", ""), words_for("no_mix", "yes", "")
    (['--gpu=H100,H200'], ['--no-mix'])
    """
    name, kind = "--" + option.replace("_", "-"), KINDS[option]
    if kind == "flag":
        return [name] if _is_yes(option, cell) else []
    if kind == "names":
        return [f"{name}=" + ",".join(each.strip() for each in re.split(r"[;|\n]", cell) if each.strip())]
    if kind in ("name", "raw"):
        return [f"{name}={cell}"]
    return [f"{name}={_measured(option, kind, cell, unit)}"]


def _is_yes(option: str, cell: str) -> bool:
    if cell.casefold() not in _FLAGS:
        raise BadRow(f"{option}: {cell[:40]!r} is neither yes nor no")
    return _FLAGS[cell.casefold()]


def _measured(option: str, kind: Kind, cell: str, unit: str) -> str:
    """A number in the option's own unit."""
    dollars = _DOLLARS.match(cell) if kind == "usd" else None
    body = cell[dollars.end() :] if dollars else cell
    match = _NUMBER.match(body)
    if match is None or not any(digit.isdigit() for digit in match[1]):
        return cell
    number = match[1].replace(",", "")
    after = ("usd" if dollars else "") + body[match.end() :].strip()
    if kind == "tokens" and re.fullmatch(r"[kKmM](\s*(tok|tokens))?", after):
        return _plain(number) + after[0]
    said = normal_unit(after) if after else unit
    if said not in UNITS[kind]:
        if after and re.match(r"[A-Za-z%/$]", after):
            allowed = ", ".join(each for each in UNITS[kind] if each)
            raise BadRow(f"{option}: {cell[:40]!r} is in {after[:20]!r}; write it in {allowed}")
        return cell
    return _scaled(number, UNITS[kind][said])


def _scaled(number: str, factor: float) -> str:
    if factor == 1:
        return _plain(number)
    inverse = round(1 / factor)
    value = float(number) / inverse if factor < 1 and abs(inverse * factor - 1) < 1e-12 else float(number) * factor
    return _plain(repr(value))


def _plain(number: str) -> str:
    """Spreadsheets write 64 as 64.0.

    >>> _plain("64.0"), _plain("2.50")
    ('64', '2.50')
    """
    return re.sub(r"\.0+$", "", number)
